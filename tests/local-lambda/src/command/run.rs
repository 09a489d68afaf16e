//! `local-lambda run`: an environment from init to shutdown, with live output.

use std::fs;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use local_lambda::CallerContext;
use serde_json::value::RawValue;

use super::code::Code;
use super::environment::Environment;
use super::output::unless_unread;
use super::pause::pause;
use super::span::duration;
use screen::Screen;
use verdict::Verdict;

mod ends;
mod screen;
mod summary;
mod verdict;

/// Runs a function and extensions as Lambda would, and prints each event
///
/// Starts the extensions and then the function, and invokes it. Freezes all processes after each invocation,
/// thaws them for the next one, and finally shuts down. Prints each step when it happens. At the end it prints
/// the duration of each invocation and how the processes ended. The exit code is 0 if all inits and all
/// invocations succeeded, and all extensions ended well and left no process behind, else 1.
///
/// SIGINT, SIGTERM and SIGHUP end all processes. SIGKILL leaves them. The next start of local-lambda removes
/// their cgroups, with the processes in them, and temporary directories.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// How often the function is invoked. 0 is for init and shutdown alone
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    invocations: usize,

    /// The event of an invocation. If repeated, the events take turns. `local-lambda function --help` lists the
    /// events of the built-in function
    #[arg(long = "event", value_name = "JSON|@FILE", default_value = "{}", value_parser = event)]
    events: Vec<String>,

    /// The `X-Amzn-Trace-Id` of each caller, for the function and for the extensions
    #[arg(long, value_name = "ID")]
    trace_id: Option<String>,

    /// The `X-Amz-Client-Context` of each caller, not in Base64
    #[arg(long, value_name = "JSON")]
    client_context: Option<String>,

    /// How long the processes stay frozen between two invocations, such as 250ms or 2s, at least. With 0 they
    /// are still frozen and thawed
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    freeze: Duration,

    /// The reason of the shutdown that extensions get
    #[arg(long, value_enum, value_name = "REASON", default_value = "spindown")]
    shutdown: Reason,

    /// Print one JSON object a line: each event, then `{"invocation": …}` for each invocation that has ended,
    /// and finally `{"shutdown": …}` and the rest
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    environment: Environment,

    #[command(flatten)]
    code: Code,
}

const EXAMPLES: &str = "\
Examples:
  An extension beside the built-in function, which reports to it at http://localhost:3333/v1:
    local-lambda run --extension ./my-extension

  Beside a function in Python (pip install awslambdaric), with an event from a file:
    local-lambda run --extension ./my-extension --event @event.json \\
                -- python3 -m awslambdaric app.handler

  In Node.js (npm install aws-lambda-ric):
    local-lambda run --extension ./my-extension --directory ./function \\
                -- npx aws-lambda-ric index.handler

  A freeze of a minute between two invocations:
    local-lambda run --extension ./my-extension --invocations 2 --freeze 60s

  Held to the CPU share and the memory of Lambda's smallest function:
    local-lambda run --extension ./my-extension --memory 128 --confined

  The built-in function runs into its timeout, which ends all processes; then all goes well:
    local-lambda run --extension ./my-extension --timeout 1s \\
                --event '{\"outcome\": \"hang\", \"reports\": 0}' --event '{}' --invocations 2

  What the extension did wrong, for a script:
    local-lambda run --extension ./my-extension --json | jq -r '.problem // empty'";

#[derive(Clone, Copy, ValueEnum)]
enum Reason {
    Spindown,
    Timeout,
    Failure,
}

pub fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let setup = arguments.environment.setup()?.runtime(arguments.code.runtime()?);
    let lambda = setup.start().map_err(|error| {
        io::Error::new(error.kind(), format!("can't start the environment: {error}"))
    })?;
    let screen = Screen::showing(lambda.live_timeline(), arguments.json)?;
    lambda.wait_for_init();
    let mut invocations = Vec::new();
    for (number, event) in arguments.events.iter().cycle().take(arguments.invocations).enumerate() {
        if number > 0 {
            pause(arguments.freeze);
        }
        let context = CallerContext {
            trace_id: arguments.trace_id.clone(),
            client_context: arguments.client_context.clone(),
            ..CallerContext::default()
        };
        let invocation = lambda.invoke_with(event.as_bytes(), context);
        screen.invocation(&invocation)?;
        invocations.push(invocation);
    }
    let (notes, violations) = (lambda.notes(), lambda.violations());
    let (report, entries) = lambda.shut_down(arguments.shutdown.name());
    screen.finish()?;
    let verdict = Verdict::of(&invocations, &report, &entries, violations);
    unless_unread(if arguments.json {
        summary::lines(&report, &notes, &verdict)
    } else {
        summary::table(&invocations, &report, &notes, &verdict)
    })?;
    Ok(if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Spindown => "spindown",
            Self::Timeout => "timeout",
            Self::Failure => "failure",
        }
    }
}

fn event(argument: &str) -> Result<String, String> {
    let text = match argument.strip_prefix('@') {
        Some(path) => {
            fs::read_to_string(path).map_err(|error| format!("can't read {path}: {error}"))?
        }
        None => argument.to_owned(),
    };
    serde_json::from_str::<&RawValue>(&text).map_err(|error| format!("no JSON: {error}"))?;
    Ok(text)
}
