//! The phases of an environment. Most tests use real processes, and some make each call themselves.

mod environments;
mod failures;
mod freezing;
mod init;
mod invocations;
mod managed;
mod processes;
pub mod puppet;
mod runtime_calls;
mod shutdown;
mod telemetry;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use local_lambda::agent::{Agent, Endpoint, Family};
use local_lambda::function::Function;
use local_lambda::{Entry, Event, Lambda, Remote, Role, Runtime, Setup, TimeLimits};
use socket2::{Domain, Socket, Type};

use crate::{FLOOR, LOCAL_LAMBDA, SOON};

/// The function's timeout in tests that reach it.
const SHORT: Duration = Duration::from_millis(500);

/// The same, but with time for what must happen before, such as a second init.
const ENOUGH: Duration = Duration::from_secs(5);

/// An event whose handler does nothing and reports nothing.
const NOTHING: &str = r#"{"reports":0}"#;

/// An event whose handler never ends.
const HANG: &str = r#"{"reports":0,"outcome":"hang"}"#;

/// A runtime in threads of this test. Its agent reports to nobody, unless an event orders a report.
fn in_threads() -> Runtime {
    Runtime::function(|| Function::of(agent(&nowhere())))
}

/// A runtime as a process.
fn in_a_process(arguments: &[&str]) -> Runtime {
    let report_to = nowhere();
    let always = ["function", "--agent", "go", "--report-to", report_to.as_str()];
    Runtime::command(LOCAL_LAMBDA, &[&always, arguments].concat())
}

fn agent(url: &str) -> Agent {
    Agent::to(Family::Go, Endpoint::remote(url).unwrap())
}

/// A base URL at which nothing listens. The port stays bound while the tests run.
fn nowhere() -> String {
    static CLOSED: OnceLock<(Socket, SocketAddr)> = OnceLock::new();
    let (_, address) = CLOSED.get_or_init(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    });
    format!("http://{address}/v1")
}

/// A correct extension, and a runtime in threads.
fn healthy() -> Setup {
    Setup::new().extension(FLOOR).runtime(in_threads())
}

/// A tenth of Lambda's time limits, for tests that reach them.
fn tenth() -> TimeLimits {
    TimeLimits::LAMBDA.scaled(0.1)
}

/// The same for the shutdown alone.
fn short_shutdown() -> TimeLimits {
    TimeLimits { init: SOON, restore: SOON, ..tenth() }
}

/// Lambda's time limits, but with time for the start of many extensions.
fn long_init() -> TimeLimits {
    TimeLimits { init: SOON, ..TimeLimits::LAMBDA }
}

fn start(setup: Setup) -> Lambda {
    setup.start().unwrap()
}

/// The index of the first entry that `is` accepts.
#[track_caller]
fn index_of(timeline: &[Entry], what: &str, is: impl Fn(&Event) -> bool) -> usize {
    timeline.iter().position(|entry| is(&entry.event)).unwrap_or_else(|| {
        let lines: Vec<String> = timeline.iter().map(ToString::to_string).collect();
        panic!("no {what} in\n{}", lines.join("\n"))
    })
}

fn extension(name: &str) -> Role {
    Role::Extension(name.to_owned())
}

fn remote_with_agent() -> (Remote, Runtime) {
    let remote = Remote::start();
    let url = remote.base_url();
    (remote, Runtime::function(move || Function::of(agent(&url))))
}
