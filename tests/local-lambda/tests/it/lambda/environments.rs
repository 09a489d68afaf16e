//! Environments from a snapshot, and the variables that describe an environment.

use std::time::Duration;

use local_lambda::agent::Connection;
use local_lambda::function::{self, Function};
use local_lambda::{Event, Initialization, Lambda, Runtime, Setup, Status, TimeLimits};

use super::puppet::{Puppet, with_puppet};
use super::{NOTHING, agent, index_of, nowhere, start};
use crate::{FLOOR, SOON};

#[test]
fn after_a_restore_the_same_processes_go_on_without_an_event_for_extensions() {
    let make = || Function::of(agent(&nowhere())).environment(function::Environment::SnapStart);
    let setup = with_puppet(Setup::new().extension(FLOOR), "clone");
    let lambda =
        start(setup.runtime(Runtime::function(make)).initialization(Initialization::SnapStart));
    let mut clone = Puppet::registered(&lambda, "clone", &["INVOKE"]);
    clone.poll();
    assert!(lambda.wait_for_init());
    lambda.wait_for("snapshot", |event| matches!(event, Event::Frozen).then_some(()));
    let pid = lambda.pid_of("floor");
    let in_flight = lambda.begin(NOTHING);
    assert_eq!(clone.event()["eventType"], "INVOKE", "the first event after the snapshot");
    clone.poll();
    assert_eq!(in_flight.end(SOON).status, Status::Success);
    assert_eq!(lambda.pid_of("floor"), pid);
    let timeline = lambda.timeline();
    let restored = index_of(&timeline, "restore", |event| matches!(event, Event::Restored));
    let invoked = index_of(&timeline, "invoke", |it| matches!(it, Event::InvokeStarted { .. }));
    assert!(restored < invoked);
    assert_eq!(invoke_again(&lambda, &mut clone), Status::Success);
}

#[test]
fn a_restore_that_hangs_ends_at_its_own_limit_with_its_own_error() {
    let limits = TimeLimits { restore: Duration::from_millis(200), ..TimeLimits::LAMBDA };
    let setup = Setup::new().limits(limits).timeout(SOON);
    let lambda = start(setup.initialization(Initialization::SnapStart));
    let mut runtime = Connection::open_at(lambda.runtime_api().parse().unwrap());
    runtime.send(b"GET /2018-06-01/runtime/restore/next HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(lambda.wait_for_init());
    let invocation = lambda.invoke(NOTHING);
    assert_eq!(invocation.status, Status::Timeout);
    let payload = String::from_utf8(invocation.reply.payload).unwrap();
    assert!(payload.contains("Error: restore timed out after 0.20 seconds"), "{payload}");
}

/// Invokes a second time, which restores nothing.
fn invoke_again(lambda: &Lambda, puppet: &mut Puppet) -> Status {
    let in_flight = lambda.begin(NOTHING);
    puppet.event();
    puppet.poll();
    let restores = |entry: &&local_lambda::Entry| matches!(entry.event, Event::RestoreStarted);
    let status = in_flight.end(SOON).status;
    assert_eq!(lambda.timeline().iter().filter(restores).count(), 1);
    status
}

#[test]
fn the_zone_is_given_to_a_process_with_the_token() {
    let lambda = start(Setup::new());
    let mut connection = Connection::open_at(lambda.runtime_api().parse().unwrap());
    let mut ask = |header: &str| {
        let path = "/2026-01-15/metadata/execution-environment";
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n").as_bytes());
        connection.response()
    };
    let zone = ask("Authorization: Bearer local-lambda\r\n");
    assert_eq!(zone.status, 200);
    assert_eq!(zone.body, br#"{"AvailabilityZoneID":"use1-az1"}"#);
    assert_eq!(zone.header("Cache-Control"), Some("private, max-age=43200, immutable"));
    assert_eq!(ask("Authorization: Bearer another\r\n").status, 401);
    assert_eq!(ask("").status, 401);
}
