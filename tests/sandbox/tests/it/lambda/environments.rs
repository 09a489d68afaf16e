//! Environments from a snapshot.

use sandbox::function::{self, Function};
use sandbox::{Event, Initialization, Lambda, Runtime, Setup, Status};

use super::puppet::{Puppet, with_puppet};
use super::{NOTHING, agent, index_of, nowhere, start};
use crate::{FLOOR, SOON};

#[test]
fn after_a_restore_the_same_processes_go_on_without_a_word_to_extensions() {
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

/// The second invocation restores nothing.
fn invoke_again(lambda: &Lambda, puppet: &mut Puppet) -> Status {
    let in_flight = lambda.begin(NOTHING);
    puppet.event();
    puppet.poll();
    let restores = |entry: &&sandbox::Entry| matches!(entry.event, Event::RestoreStarted);
    let status = in_flight.end(SOON).status;
    assert_eq!(lambda.timeline().iter().filter(restores).count(), 1);
    status
}
