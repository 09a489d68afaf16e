//! The local Lambda as a command: its help is the manual.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod command {
    pub mod bench;
    pub mod build;
    pub mod code;
    pub mod conformance;
    pub mod course;
    pub mod demo;
    pub mod environment;
    pub mod function;
    pub mod output;
    pub mod pause;
    pub mod protocol;
    pub mod quartiles;
    pub mod remote;
    pub mod reports;
    pub mod run;
    pub mod span;
}

use command::{bench, conformance, demo, function, remote, run};

/// A local Lambda for extensions: stand-ins for what an extension talks to, without an AWS account.
#[derive(Parser)]
#[command(after_help = EXAMPLES, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Run(run::Arguments),
    Remote(remote::Arguments),
    Bench(bench::Arguments),
    Conformance(conformance::Arguments),
    Function(function::Arguments),
}

const EXAMPLES: &str = "\
Examples:
  What the extension of this repository is for, in numbers:
    local-lambda demo

  An extension beside a function, from init to shutdown, step by step:
    local-lambda run --extension ./my-extension -- python3 -m awslambdaric app.handler

  A collector with TLS that writes down each report it gets:
    local-lambda remote --tls --dir /tmp/collector

  One that fails at each:
    local-lambda remote --dir /tmp/collector --answer 500

  One that takes the first report without saying so, then answers 503 for a while, slowly:
    local-lambda remote --dir /tmp/collector --latency 200ms \\
                   --answer reset@answer --answer 503 --answer 503 --answer 200

  What an extension costs, beside the least that any must, as a page:
    local-lambda bench --extension mine=target/release/my-extension --html bench.html

  What Lambda asks of any extension, tried on one:
    local-lambda conformance --extension target/release/my-extension

  A function that reports as Thundra's agent for Node.js does, at a Runtime API:
    AWS_LAMBDA_RUNTIME_API=127.0.0.1:9001 local-lambda function --agent node";

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // A function ends by a signal as any process does. It leaves nothing to remove.
    if !matches!(command, Command::Function(_)) {
        local_lambda::on_interrupt();
    }
    let done = match command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Conformance(arguments) => conformance::run(&arguments),
        Command::Remote(arguments) => remote::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Function(arguments) => function::run(arguments).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("local-lambda: {error}");
        ExitCode::FAILURE
    })
}
