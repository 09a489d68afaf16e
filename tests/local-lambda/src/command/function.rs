//! `local-lambda function`: a function with an agent, as a process.

use std::env;
use std::io;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use local_lambda::agent::{Agent, Endpoint, Family, Localhost};
use local_lambda::function::{End, Environment, Function, Init};
use signal_hook::consts::SIGTERM;
use signal_hook::flag;

/// Runs a function with a telemetry agent, as Lambda's runtimes do
///
/// Takes events from the Runtime API and, as a runtime, never ends by itself. The agent sends the same bytes as
/// the real one of its family.
#[derive(clap::Args)]
#[command(after_help = EVENTS)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub struct Arguments {
    /// The family of the agent in the function
    #[arg(long, value_name = "FAMILY")]
    agent: Family,

    /// The port on localhost to which the agent reports, instead of its family's 3333 or 4318 (OpenTelemetry)
    #[arg(long, conflicts_with = "report_to")]
    port: Option<u16>,

    /// The addresses of the name `localhost`
    #[arg(long, value_name = "ORDER", default_value = "v4-first", conflicts_with = "report_to")]
    localhost: Localhost,

    /// Report to this collector instead, as without an extension: `http[s]://HOST[:PORT][/PATH]`. The agent
    /// appends `/monitoring-data` or the like, or `/traces`, but no `/v1`
    #[arg(long, value_name = "URL", value_parser = Endpoint::remote)]
    report_to: Option<Endpoint>,

    /// A PEM file of authorities to trust for an https URL
    #[arg(long, value_name = "FILE", requires = "report_to")]
    ca: Option<PathBuf>,

    /// The key in the agent's reports, instead of `some-key`. OpenTelemetry's agents send none
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    key: Option<String>,

    /// How long the agent waits for an answer, in milliseconds, instead of its family's 5000
    /// (Python), 3000 (Node.js), for ever (Go) or 10000 (OpenTelemetry)
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..))]
    patience_ms: Option<u32>,

    /// How long before its deadline the agent reports an invocation as timed out, in milliseconds, instead of
    /// its family's 200 (Python), 1000 (Node.js) or 600 (Go). OpenTelemetry's agents never do
    #[arg(long, value_name = "MS")]
    timeout_margin_ms: Option<u32>,

    /// How long the function's init takes, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    init_ms: u32,

    /// Fail the init: report it to the Runtime API and exit with code 1
    #[arg(long)]
    init_error: bool,

    /// Never poll for an event
    #[arg(long, conflicts_with = "init_error")]
    never_ready: bool,

    /// Ignore SIGTERM, so that only SIGKILL ends the function
    #[arg(long)]
    ignore_sigterm: bool,

    /// Write a line for each invocation to standard error. By default nothing is written
    #[arg(long)]
    verbose: bool,
}

const EVENTS: &str = "\
Events:
  Each event is JSON that says what is to happen; every key may be left out:
    cpu_ms               CPU time the handler uses up (0)
    work_ms              wall time it then waits, as for a database (0)
    outcome              \"success\", \"error\", \"crash\", \"exit-0\", \"hang\", or \"late\": the handler
                         returns between the report of its timeout and the deadline (success)
    items                items of each report (2: an Invocation and a Span, or two spans)
    reports              reports before the response; 0 turns the agent off (1)
    body_bytes           length of the text in the response, which the agent reports too (2)
    after_response_post  true for one more report after the response (false)
  One that is not of this form is an error of the function. The response is
    {\"agent_us\": how long the agent held the invocation,
     \"handler_us\": how long the handler took, \"body\": the text}

Environment:
  AWS_LAMBDA_RUNTIME_API          HOST:PORT of the Runtime API
  AWS_LAMBDA_INITIALIZATION_TYPE  snap-start: wait to be restored before the first event
  AWS_LAMBDA_MAX_CONCURRENCY      how many events to take at the same time

Example:
  AWS_LAMBDA_RUNTIME_API=127.0.0.1:9001 local-lambda function --agent thundra-python --verbose";

pub fn run(arguments: Arguments) -> io::Result<()> {
    let runtime_api = variable("AWS_LAMBDA_RUNTIME_API").ok_or_else(|| {
        io::Error::other("cannot take events: AWS_LAMBDA_RUNTIME_API is not set to HOST:PORT")
    })?;
    let initialization_type = variable("AWS_LAMBDA_INITIALIZATION_TYPE");
    let max_concurrency = variable("AWS_LAMBDA_MAX_CONCURRENCY");
    let environment = Environment::of(initialization_type.as_deref(), max_concurrency.as_deref())
        .map_err(io::Error::other)?;
    if arguments.ignore_sigterm {
        // Nobody reads the flag. Setting it replaces the signal's default action, which ends the process.
        flag::register(SIGTERM, Arc::new(AtomicBool::new(false)))?;
    }
    let verbose = arguments.verbose;
    let function = function(arguments).map_err(io::Error::other)?;
    let end = function.environment(environment).run(&runtime_api);
    if verbose {
        eprintln!("function: ends: {end:?}");
    }
    match end {
        End::Crashed => process::abort(),
        End::Exited => Ok(()),
        // If the platform is gone, no message is needed.
        End::InitFailed | End::Stopped | End::Disconnected(_) => process::exit(1),
        End::Unreachable(why) | End::Refused(why) => Err(io::Error::other(why)),
    }
}

fn function(arguments: Arguments) -> Result<Function, String> {
    let port = arguments.port.unwrap_or(arguments.agent.local_port());
    let local = Endpoint::local(port, arguments.localhost);
    let endpoint = match (arguments.report_to, arguments.ca) {
        (Some(remote), Some(ca)) => remote.trusting(&ca)?,
        (Some(remote), None) => remote,
        (None, _) => local,
    };
    if arguments.agent.speaks_otlp() {
        for (is_given, option) in [
            (arguments.key.is_some(), "--key"),
            (arguments.timeout_margin_ms.is_some(), "--timeout-margin-ms"),
        ] {
            if is_given {
                return Err(format!("OpenTelemetry's agents have no {option}"));
            }
        }
    }
    let mut agent = Agent::to(arguments.agent, endpoint);
    if let Some(key) = &arguments.key {
        agent = agent.key(key);
    }
    if let Some(patience) = arguments.patience_ms {
        agent = agent.patience(milliseconds(patience));
    }
    if let Some(margin) = arguments.timeout_margin_ms {
        agent = agent.timeout_margin(milliseconds(margin));
    }
    let init = match (arguments.init_error, arguments.never_ready) {
        (true, _) => Init::Fails,
        (_, true) => Init::Hangs,
        _ => Init::Succeeds,
    };
    let function = Function::of(agent).init(init).init_takes(milliseconds(arguments.init_ms));
    Ok(function.verbose(arguments.verbose))
}

fn milliseconds(count: u32) -> Duration {
    Duration::from_millis(count.into())
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
