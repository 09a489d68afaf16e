//! Failures that end an invocation and reset the environment.

use std::fs;

use local_lambda::{Event, Role, Setup, Status};

use super::puppet::{Puppet, script, with_puppet};
use super::{
    ENOUGH, HANG, NOTHING, SHORT, extension, healthy, in_a_process, in_threads, index_of,
    short_shutdown, start,
};
use crate::{FLOOR, SOON};

fn inits(lambda: &local_lambda::Lambda) -> usize {
    let timeline = lambda.timeline();
    timeline.iter().filter(|entry| matches!(entry.event, Event::InitStarted { .. })).count()
}

#[test]
fn an_extension_that_is_not_back_by_the_timeout_turns_a_success_into_a_timeout_and_a_reset() {
    let setup = with_puppet(healthy(), "slow").timeout(ENOUGH).limits(short_shutdown());
    let lambda = start(setup);
    let mut slow = Puppet::registered(&lambda, "slow", &["INVOKE"]);
    slow.poll();
    let in_flight = lambda.begin(NOTHING);
    assert_eq!(slow.event()["eventType"], "INVOKE");
    assert_eq!(in_flight.reply(SOON).status, Status::Success);
    assert_eq!(in_flight.end(SOON).status, Status::Timeout);
    let reason = lambda.wait_for("shutdown", |event| match event {
        Event::ShutdownStarted { reason } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason, "timeout");
}

#[test]
fn a_function_that_hangs_times_out_and_the_next_invocation_finds_new_processes() {
    // The timeout also covers the next invocation, in which everything starts again.
    let setup = Setup::new().extension(FLOOR).runtime(in_a_process(&[]));
    let lambda = start(setup.timeout(ENOUGH));
    assert!(lambda.wait_for_init());
    let first = lambda.pid_of("floor").unwrap();
    let hung = lambda.invoke(HANG);
    assert_eq!(hung.status, Status::Timeout);
    assert!(hung.duration >= ENOUGH, "{hung:?}");
    let payload = String::from_utf8_lossy(&hung.reply.payload).into_owned();
    assert!(payload.contains("Task timed out after 5.00 seconds"), "{payload}");
    let timeline = lambda.timeline();
    index_of(&timeline, "orderly end of the floor", |event| {
        matches!(event, Event::Exited { process, status }
            if *process == extension("floor") && status == "exit status: 0")
    });

    assert_eq!(lambda.invoke(NOTHING).status, Status::Success);
    assert_ne!(lambda.pid_of("floor").unwrap(), first);
    assert_eq!(inits(&lambda), 2);
    assert_eq!(lambda.violations(), Vec::<String>::new());
}

#[test]
fn a_reset_cuts_off_the_connections_of_the_processes_before_it() {
    let setup = with_puppet(Setup::new().runtime(in_threads()), "puppet");
    let lambda = start(setup.timeout(ENOUGH).limits(short_shutdown()));
    let mut old = Puppet::registered(&lambda, "puppet", &["INVOKE"]);
    old.poll();
    assert_eq!(lambda.invoke(NOTHING).status, Status::Timeout);
    assert!(old.is_cut_off(SOON));
    let in_flight = lambda.begin(NOTHING);
    let mut new = Puppet::registered(&lambda, "puppet", &["INVOKE"]);
    new.poll();
    new.event();
    new.poll();
    assert_eq!(in_flight.end(SOON).status, Status::Success);
    assert_eq!(lambda.violations(), Vec::<String>::new());
}

#[test]
fn a_runtime_that_ends_fails_the_invocation_whatever_its_code() {
    for outcome in ["crash", "exit-0"] {
        let setup = Setup::new().extension(FLOOR).runtime(in_a_process(&[]));
        let lambda = start(setup);
        let failed = lambda.invoke(format!(r#"{{"reports":0,"outcome":"{outcome}"}}"#));
        assert_eq!(failed.status, Status::Failure("Runtime.ExitError".to_owned()), "{outcome}");
        let timeline = lambda.timeline();
        index_of(
            &timeline,
            "shutdown by failure",
            |event| matches!(event, Event::ShutdownStarted { reason } if reason == "failure"),
        );
        let is_killed = |entry: &local_lambda::Entry| matches!(entry.event, Event::Killed { .. });
        assert!(!timeline.iter().any(is_killed), "the floor had its SHUTDOWN");
        assert_eq!(lambda.invoke(NOTHING).status, Status::Success);
    }
}

#[test]
fn an_extension_that_exits_with_0_is_a_crash_of_the_invocation() {
    let (_home, path) = script("#!/bin/sh\nread line < \"$GO\"\nexit 0\n");
    let pipe = tempfile::TempDir::new().unwrap();
    let go = pipe.path().join("go");
    make_fifo(&go);
    let setup = Setup::new().extension_named(&path, "leaver").runtime(in_threads());
    let lambda = start(setup.env("GO", go.to_str().unwrap()).limits(short_shutdown()));
    let mut leaver = Puppet::registered(&lambda, "leaver", &["INVOKE"]);
    leaver.poll();
    let in_flight = lambda.begin(NOTHING);
    leaver.event();
    fs::write(&go, "exit\n").unwrap();
    let invocation = in_flight.end(SOON);
    assert_eq!(invocation.status, Status::Failure("Extension.Crash".to_owned()));
}

#[test]
fn an_extension_that_abandons_its_next_is_killed_at_the_timeout() {
    let setup = with_puppet(healthy(), "lost").timeout(SHORT).limits(short_shutdown());
    let lambda = start(setup);
    let mut lost = Puppet::registered(&lambda, "lost", &["INVOKE", "SHUTDOWN"]);
    lost.poll();
    assert!(lambda.wait_for_init());
    drop(lost);
    assert!(lambda.wait_for_violation().contains("closed while its next was pending"));
    let invocation = lambda.invoke(NOTHING);
    assert_eq!(invocation.status, Status::Timeout);
    let timeline = lambda.timeline();
    index_of(
        &timeline,
        "kill of the extension",
        |event| matches!(event, Event::Killed { process } if *process == extension("lost")),
    );
    let told = |entry: &local_lambda::Entry| matches!(&entry.event, Event::ShutdownSent { extension } if extension == "lost");
    assert!(!timeline.iter().any(told), "nobody was there to be told");
}

#[test]
fn a_runtime_that_cannot_be_started_fails_with_the_reason() {
    let runtime = local_lambda::Runtime::command("no-such-program", &[]);
    let lambda = start(Setup::new().extension(FLOOR).runtime(runtime));
    let invocation = lambda.invoke(NOTHING);
    assert_eq!(invocation.status, Status::Failure("Runtime.InvalidEntrypoint".to_owned()));
    let payload = String::from_utf8_lossy(&invocation.reply.payload).into_owned();
    assert!(payload.contains("can't start runtime: no no-such-program in PATH"), "{payload}");
}

pub fn make_fifo(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    let directory = path.parent().unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let made = std::process::Command::new("mkfifo").args(["-m", "666"]).arg(path).status();
    assert!(made.unwrap().success());
    let _ = Role::Runtime;
}
