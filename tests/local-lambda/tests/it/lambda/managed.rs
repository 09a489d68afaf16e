//! Managed Instances: several invocations at once, no freezes, no restarts.

use std::num::NonZeroUsize;
use std::time::Duration;

use local_lambda::function::{self, Function};
use local_lambda::{Event, Initialization, Lambda, Runtime, Setup, Status};

use super::failures::make_fifo;
use super::puppet::{Puppet, script, with_puppet};
use super::runtime_calls::{Client, check, polling};
use super::{ENOUGH, HANG, NOTHING, agent, nowhere, start};
use crate::SOON;

fn managed(workers: usize) -> Setup {
    let count = NonZeroUsize::new(workers).unwrap();
    let environment = function::Environment::ManagedInstances(count);
    let make = move || Function::of(agent(&nowhere())).environment(environment);
    let initialization = Initialization::ManagedInstances { max_concurrency: workers };
    Setup::new().initialization(initialization).runtime(Runtime::function(make))
}

/// A setup in which the test acts as the runtime.
fn played() -> Setup {
    Setup::new().initialization(Initialization::ManagedInstances { max_concurrency: 1 })
}

fn wait_for_workers(lambda: &Lambda, count: usize) {
    let mut ready = 0;
    lambda.wait_for("workers", |event| {
        ready += usize::from(matches!(event, Event::RuntimeReady));
        (ready == count).then_some(())
    });
}

#[test]
fn managed_instances_invoke_in_parallel_without_events_and_never_freeze() {
    let lambda = start(with_puppet(managed(2), "only-shutdown"));
    let mut puppet = Puppet::of(&lambda, "only-shutdown");
    let refused = puppet.register(&["INVOKE", "SHUTDOWN"]);
    assert_eq!(refused.status, 403);
    assert_eq!(puppet.register(&["SHUTDOWN"]).status, 200);
    puppet.poll();
    assert!(lambda.wait_for_init());
    wait_for_workers(&lambda, 2);
    let hung = lambda.begin(HANG);
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
    let hung = lambda.invoke(HANG);
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
    let inits = |entry: &&local_lambda::Entry| matches!(entry.event, Event::InitStarted { .. });
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
    assert_eq!(beside.event()["shutdownReason"], "failure");
    drop(beside);
    assert_eq!(lambda.invoke(NOTHING).status, crash);
}

#[test]
fn on_managed_instances_the_end_of_a_process_ends_the_environment_though_nobody_invokes() {
    let (_home, path) = script("#!/bin/sh\nread line < \"$GO\"\nexit 0\n");
    let pipe = tempfile::TempDir::new().unwrap();
    let go = pipe.path().join("go");
    make_fifo(&go);
    let setup = with_puppet(managed(1).extension_named(&path, "mortal"), "beside");
    let lambda = start(setup.env("GO", go.to_str().unwrap()));
    let mut mortal = Puppet::registered(&lambda, "mortal", &["SHUTDOWN"]);
    let mut beside = Puppet::registered(&lambda, "beside", &["SHUTDOWN"]);
    mortal.poll();
    beside.poll();
    assert!(lambda.wait_for_init());
    std::fs::write(&go, "exit\n").unwrap();
    assert_eq!(beside.event()["shutdownReason"], "failure");
}

#[test]
fn on_managed_instances_an_invocation_that_finds_no_idle_worker_is_refused_and_never_handed_out() {
    let (lambda, mut client) = polling(played());
    let first = lambda.begin("1");
    assert_eq!(client.event(), b"1");
    let surplus = lambda.invoke("2");
    assert_eq!(surplus.status, Status::Failure("Runtime.Unavailable".to_owned()));
    assert_eq!(surplus.reply.payload, br#"{"errorType":"Runtime.Unavailable"}"#);
    client.respond(first.request_id(), 202);
    client.poll();
    assert_eq!(first.end(SOON).status, Status::Success);
    let _third = lambda.begin("3");
    assert_eq!(client.event(), b"3");
}

#[test]
fn on_managed_instances_an_answer_after_the_timeout_is_too_late_and_the_worker_goes_on() {
    let (lambda, mut client) = polling(played().timeout(ENOUGH));
    let late = lambda.begin("1");
    assert_eq!(client.event(), b"1");
    let id = late.request_id().to_owned();
    assert_eq!(late.end(SOON).status, Status::Timeout);
    check(&client.respond(&id, 410), 410, "InvokeTimeout", "Invoke timeout");
    client.poll();
    wait_for_workers(&lambda, 2);
    let next = lambda.begin("2");
    assert_eq!(client.event(), b"2");
    client.respond(next.request_id(), 202);
    assert_eq!(next.reply(SOON).status, Status::Success);
}

#[test]
fn on_managed_instances_no_more_workers_wait_than_may_work() {
    let (lambda, _first) = polling(played());
    let mut second = Client::of(&lambda);
    second.poll();
    check(&second.response(), 500, "InternalServerError", "Internal Server Error");
}

#[test]
fn on_managed_instances_an_invocation_is_over_when_its_worker_can_take_the_next() {
    let lambda = start(managed(1));
    for _ in 0..20 {
        assert_eq!(lambda.invoke(NOTHING).status, Status::Success);
    }
}

#[test]
fn on_managed_instances_a_shutdown_ends_the_invocations_that_are_under_way() {
    let lambda = start(managed(1).timeout(crate::SOON * 6));
    assert!(lambda.wait_for_init());
    let hung = lambda.begin(HANG);
    drop(lambda.shut_down("spindown"));
    let ended = hung.end(SOON);
    let shut_down = "Client.ExecutionEnvironmentShutDown".to_owned();
    assert_eq!(ended.status, Status::Failure(shut_down));
}
