//! Shutdown: which processes are notified, which are killed, and when.

use std::time::Duration;

use local_lambda::{Ended, Event, Role, Runtime, Setup, ShutdownReport, TimeLimits};

use super::failures::make_fifo;
use super::puppet::{Puppet, script, with_puppet};
use super::{NOTHING, healthy, in_a_process, index_of, start};
use crate::{FLOOR, SOON};

#[track_caller]
fn fate<'a>(report: &'a ShutdownReport, process: &Role) -> &'a Ended {
    let found = report.processes.iter().find(|ended| ended.process == *process);
    found.unwrap_or_else(|| panic!("no {process} in {report:?}"))
}

#[test]
fn the_runtime_goes_first_by_sigterm_then_the_extension_by_its_event() {
    let lambda = start(Setup::new().extension(FLOOR).runtime(in_a_process(&[])));
    lambda.invoke(NOTHING);
    let (report, timeline) = lambda.shut_down("spindown");
    let runtime = fate(&report, &Role::Runtime);
    assert!(runtime.told && !runtime.killed, "{report:?}");
    assert!(runtime.status.contains("SIGTERM"), "{report:?}");
    let floor = report.extension("floor").unwrap();
    assert!(floor.told && !floor.killed, "{report:?}");
    assert_eq!(floor.status, "exit status: 0");
    let terminated =
        index_of(&timeline, "SIGTERM", |event| matches!(event, Event::Terminated { .. }));
    let told = index_of(&timeline, "SHUTDOWN", |event| matches!(event, Event::ShutdownSent { .. }));
    assert!(terminated < told);
    let terminations = timeline.iter().filter(|it| matches!(it.event, Event::Terminated { .. }));
    assert_eq!(terminations.count(), 1, "no extension gets SIGTERM");
}

#[test]
fn a_runtime_that_ignores_sigterm_is_killed_at_the_end_of_its_share() {
    let runtime = in_a_process(&["--ignore-sigterm"]);
    let limits = TimeLimits { runtime_shutdown: Duration::from_millis(150), ..TimeLimits::LAMBDA };
    let lambda = start(Setup::new().extension(FLOOR).runtime(runtime).limits(limits));
    lambda.invoke(NOTHING);
    let (report, timeline) = lambda.shut_down("spindown");
    let runtime = fate(&report, &Role::Runtime);
    assert!(runtime.told && runtime.killed, "{report:?}");
    let started = index_of(&timeline, "start", |it| matches!(it, Event::ShutdownStarted { .. }));
    let told = index_of(&timeline, "SHUTDOWN", |it| matches!(it, Event::ShutdownSent { .. }));
    let (started, told) = (timeline[started].at, timeline[told].at);
    assert!(told >= started + limits.runtime_shutdown, "{started:?} {told:?}");
    assert!(!report.extension("floor").unwrap().killed);
}

#[test]
fn with_only_internal_extensions_the_runtime_has_the_whole_shutdown() {
    let limits = TimeLimits { runtime_shutdown: Duration::from_millis(100), ..TimeLimits::LAMBDA };
    let (_home, path) = script("#!/bin/sh\ntrap '' TERM\nread line < \"$GO\"\nexec \"$@\"\n");
    let pipe = tempfile::TempDir::new().unwrap();
    let go = pipe.path().join("go");
    make_fifo(&go);
    let function = ["function", "--agent", "go", "--report-to", "http://127.0.0.1:9/v1"];
    let runtime = [&[crate::LOCAL_LAMBDA], &function[..], &["--ignore-sigterm"]].concat();
    let setup = Setup::new().runtime(Runtime::command(path, &runtime)).limits(limits);
    let lambda = start(setup.env("GO", go.to_str().unwrap()));
    let mut internal = Puppet::registered(&lambda, "internal", &[]);
    std::fs::write(&go, "go\n").unwrap();
    internal.poll();
    assert!(lambda.wait_for_init());
    let (report, timeline) = lambda.shut_down("spindown");
    assert!(fate(&report, &Role::Runtime).killed, "{report:?}");
    let started = index_of(&timeline, "start", |it| matches!(it, Event::ShutdownStarted { .. }));
    let killed = index_of(&timeline, "kill", |it| matches!(it, Event::Killed { .. }));
    let took = timeline[killed].at.saturating_sub(timeline[started].at);
    assert!(took >= limits.internal_shutdown, "{took:?}");
}

#[test]
fn without_an_extension_the_runtime_is_killed_at_once() {
    let lambda = start(Setup::new().runtime(in_a_process(&["--ignore-sigterm"])));
    lambda.invoke(NOTHING);
    let (report, _) = lambda.shut_down("spindown");
    let runtime = fate(&report, &Role::Runtime);
    assert!(!runtime.told && runtime.killed, "{report:?}");
}

#[test]
fn an_extension_that_ignores_its_event_is_killed_at_the_deadline_and_not_before() {
    let limits = TimeLimits { shutdown: Duration::from_secs(4), ..TimeLimits::LAMBDA };
    let lambda = start(with_puppet(healthy(), "deaf").limits(limits));
    let mut deaf = Puppet::registered(&lambda, "deaf", &["SHUTDOWN"]);
    deaf.poll();
    assert!(lambda.wait_for_init());
    let (report, _) = lambda.shut_down("spindown");
    let ended = report.extension("deaf").unwrap();
    assert!(ended.told && ended.killed, "{report:?}");
    assert!(report.duration >= limits.shutdown, "{report:?}");
    assert_eq!(report.extension("floor").unwrap().status, "exit status: 0");
}

#[test]
fn an_extension_that_did_not_ask_for_shutdown_is_killed_without_notice() {
    let limits = TimeLimits { shutdown: SOON, ..TimeLimits::LAMBDA };
    let setup = Setup::new().runtime(super::in_threads()).limits(limits);
    let lambda = start(with_puppet(setup, "uninvited"));
    let mut uninvited = Puppet::registered(&lambda, "uninvited", &["INVOKE"]);
    uninvited.poll();
    assert!(lambda.wait_for_init());
    let (report, _) = lambda.shut_down("spindown");
    let ended = report.extension("uninvited").unwrap();
    assert!(!ended.told && ended.killed, "{report:?}");
    assert!(report.duration < SOON, "{report:?}");
    assert!(lambda_is_clean(&report));
}

#[test]
fn an_extension_that_is_late_for_its_next_gets_the_event_as_soon_as_it_asks() {
    let lambda = start(with_puppet(healthy().timeout(super::ENOUGH), "late"));
    let mut late = Puppet::registered(&lambda, "late", &["INVOKE", "SHUTDOWN"]);
    late.poll();
    let in_flight = lambda.begin(NOTHING);
    late.event();
    lambda.wait_for("shutdown", |it| matches!(it, Event::ShutdownStarted { .. }).then_some(()));
    late.poll();
    assert_eq!(late.event()["shutdownReason"], "timeout");
    assert_eq!(in_flight.end(SOON).status, local_lambda::Status::Timeout);
}

#[test]
fn the_deadline_is_the_end_of_the_budget_in_epoch_milliseconds() {
    let lambda = start(with_puppet(healthy(), "reader"));
    let mut reader = Puppet::registered(&lambda, "reader", &["SHUTDOWN"]);
    reader.poll();
    assert!(lambda.wait_for_init());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let (event, then) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| (reader.event(), std::time::UNIX_EPOCH.elapsed().unwrap()));
        drop(lambda.shut_down("failure"));
        reader.join().unwrap()
    });
    assert_eq!(event["shutdownReason"], "failure");
    let deadline = Duration::from_millis(event["deadlineMs"].as_u64().unwrap());
    // The shutdown began between the two. Half of its time is for a busy machine.
    let budget = TimeLimits::LAMBDA.shutdown;
    assert!(deadline > now + budget / 2 && deadline <= then + budget, "{now:?} {event} {then:?}");
}

fn lambda_is_clean(report: &ShutdownReport) -> bool {
    report.processes.iter().all(|ended| ended.status != "still there")
}
