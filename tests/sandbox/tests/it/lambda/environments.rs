//! Kinds of environments: Managed Instances, snapshots.

use std::num::NonZeroUsize;
use std::time::Duration;

use sandbox::function::{self, Function};
use sandbox::{Event, Initialization, Lambda, Runtime, Setup, Status};

use super::puppet::{Puppet, script, with_puppet};
use super::{NOTHING, agent, index_of, nowhere, start};
use crate::{FLOOR, SOON};

fn managed(workers: usize) -> Setup {
    let count = NonZeroUsize::new(workers).unwrap();
    let environment = function::Environment::ManagedInstances(count);
    let make = move || Function::of(agent(&nowhere())).environment(environment);
    let initialization = Initialization::ManagedInstances { max_concurrency: workers };
    Setup::new().initialization(initialization).runtime(Runtime::function(make))
}

#[test]
fn managed_instances_invoke_at_the_same_time_tell_extensions_nothing_and_never_freeze() {
    let lambda = start(with_puppet(managed(2), "only-shutdown"));
    let mut puppet = Puppet::of(&lambda, "only-shutdown");
    let refused = puppet.register(&["INVOKE", "SHUTDOWN"]);
    assert_eq!(refused.status, 403);
    assert_eq!(puppet.register(&["SHUTDOWN"]).status, 200);
    puppet.poll();
    assert!(lambda.wait_for_init());
    let hung = lambda.begin(r#"{"reports":0,"outcome":"hang"}"#);
    let beside = lambda.invoke(NOTHING);
    assert_eq!(beside.status, Status::Success);
    assert!(!lambda.timeline().iter().any(|entry| matches!(entry.event, Event::Frozen)));
    drop(hung);
    let event = std::thread::scope(|scope| {
        let reader = scope.spawn(|| puppet.event());
        drop(lambda.shut_down("spindown"));
        reader.join().unwrap()
    });
    assert_eq!(event["eventType"], "SHUTDOWN");
}

#[test]
fn on_managed_instances_an_invocation_still_has_the_functions_timeout() {
    let lambda = start(managed(1).timeout(Duration::from_millis(200)));
    assert!(lambda.wait_for_init());
    let hung = lambda.invoke(r#"{"reports":0,"outcome":"hang"}"#);
    assert_eq!(hung.status, Status::Timeout);
}

#[test]
fn on_managed_instances_the_end_of_a_process_is_the_end_of_all() {
    let (_home, path) = script("#!/bin/sh\nexec sleep 1000\n");
    let (_home, leaves) = script("#!/bin/sh\nexit 1\n");
    let setup = managed(1).extension_named(&path, "mortal");
    let lambda = start(setup.extension_named(&leaves, "leaves-at-once"));
    let mut mortal = Puppet::of(&lambda, "mortal");
    assert_eq!(mortal.register(&["SHUTDOWN"]).status, 200);
    mortal.poll();
    let status = lambda.wait_for("end of init", |event| match event {
        Event::InitEnded { status, .. } => Some(status.clone()),
        _ => None,
    });
    let crash = Status::Failure("Extension.Crash".to_owned());
    assert_eq!(status, crash);
    assert_eq!(lambda.invoke(NOTHING).status, crash);
    let inits = |entry: &&sandbox::Entry| matches!(entry.event, Event::InitStarted { .. });
    assert_eq!(lambda.timeline().iter().filter(inits).count(), 1, "nothing is repaired");
}

#[test]
fn on_managed_instances_a_crash_in_an_invocation_ends_the_environment() {
    let process = super::in_a_process(&[]);
    let lambda = start(with_puppet(managed(1), "beside").runtime(process));
    let mut beside = Puppet::registered(&lambda, "beside", &["SHUTDOWN"]);
    beside.poll();
    let crash = Status::Failure("Runtime.ExitError".to_owned());
    assert_eq!(lambda.invoke(r#"{"reports":0,"outcome":"crash"}"#).status, crash);
    let after = lambda.begin(NOTHING);
    assert_eq!(beside.event()["shutdownReason"], "failure");
    drop(beside);
    assert_eq!(after.end(SOON).status, crash);
}

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
