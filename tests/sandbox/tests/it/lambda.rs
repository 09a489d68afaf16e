//! The phases of an environment, with real extensions and a function.

use std::time::Duration;

use sandbox::agent::{Agent, Endpoint, Family};
use sandbox::function::Function;
use sandbox::{Event, Remote, Role, Runtime, Setup, Status};

use crate::{FLOOR, SOON};

/// A runtime in threads of this test, whose agent reports to this remote.
fn function(remote: &Remote) -> Runtime {
    let to = Endpoint::remote(&remote.base_url()).unwrap();
    Runtime::function(move || Function::of(Agent::to(Family::ThundraPython, to.clone())))
}

fn with_floor(remote: &Remote) -> Setup {
    Setup::new().extension(FLOOR).runtime(function(remote))
}

#[test]
fn an_invocation_ends_when_runtime_and_extension_ask_for_the_next() {
    let remote = Remote::start();
    let lambda = with_floor(&remote).start().unwrap();
    for _ in 0..3 {
        let invocation = lambda.invoke(r#"{"items":1}"#);
        assert_eq!(invocation.status, Status::Success, "{invocation:?}");
        assert!(invocation.reply.latency <= invocation.duration);
    }
    let (report, timeline) = lambda.shut_down("spindown");
    assert!(!timeline.is_empty());
    let floor = report.extension("floor").unwrap();
    assert!(floor.told && !floor.killed, "{report:?}");
    assert_eq!(floor.status, "exit status: 0");
    let _ = (SOON, Role::Runtime, Duration::ZERO, Event::Frozen);
}
