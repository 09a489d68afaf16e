//! Processes of extensions: names, environment, logs and ends.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use local_lambda::{Launch, Platform, Process};
use tempfile::TempDir;

use crate::{A_MOMENT, FLOOR, SOON, panic_of};

#[test]
fn a_renamed_extension_registers_under_its_new_name() {
    let platform = Platform::start();
    let _process = Launch::of(FLOOR).name("my-renamed.extension").on(&platform).start();
    assert_eq!(platform.registration(SOON).name, "my-renamed.extension");
}

#[test]
fn the_environment_is_what_was_given_and_the_platforms_minimum() {
    let process = Launch::of("/usr/bin/env").env("A", "b=c").without("AWS_REGION").start();
    assert!(process.exit(SOON).success());
    let log = process.log();
    let lines: Vec<&str> = log.lines().collect();
    let expected = [
        "A=b=c",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128",
        "AWS_LAMBDA_FUNCTION_NAME=local-lambda-function",
        "PATH=/usr/local/bin:/usr/bin/:/bin:/opt/bin",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_failing_extension_shows_its_exit_code_and_its_stderr() {
    let process = Launch::of(FLOOR).start();
    assert_eq!(process.exit(SOON).code(), Some(1));
    assert!(
        process.log().contains("AWS_LAMBDA_RUNTIME_API: environment variable not found"),
        "{}",
        process.log()
    );
    assert!(!process.is_running());
}

#[test]
fn a_log_larger_than_a_pipe_blocks_nobody() {
    let large = "x".repeat(100_000);
    let process = Launch::of("/usr/bin/env").env("ONE", &large).env("TWO", &large).start();
    assert!(process.wait_for_log("TWO=x", SOON).len() > large.len());
    assert!(process.exit(SOON).success());
}

#[test]
fn a_missing_line_fails_with_the_log() {
    let process = Launch::of("/usr/bin/env").start();
    // The limit is long, to prove that the end of the log ends the wait.
    let message = panic_of(|| process.wait_for_log("no such line", Duration::from_secs(3600)));
    assert!(message.starts_with("no \"no such line\" within 3600s; its log:\n"), "{message}");
    assert!(message.contains("AWS_REGION=us-east-1"), "{message}");
}

#[test]
fn an_extension_that_does_not_end_fails_at_the_deadline() {
    let platform = Platform::start();
    let process = Launch::of(FLOOR).on(&platform).start();
    platform.wait_for_next(SOON);
    assert!(process.is_running());
    let message = panic_of(|| process.exit(A_MOMENT));
    let expected = format!("process {} still runs after 100ms", process.pid());
    assert!(message.starts_with(&expected), "{message}");
}

#[test]
fn a_dropped_process_is_killed_and_reaped() {
    let platform = Platform::start();
    let process = Launch::of(FLOOR).on(&platform).start();
    platform.wait_for_next(SOON);
    let directory = PathBuf::from(format!("/proc/{}", process.pid()));
    assert!(directory.exists());
    drop(process);
    assert!(!directory.exists());
}

#[test]
fn a_killed_process_has_no_exit_code() {
    let platform = Platform::start();
    let process = Launch::of(FLOOR).on(&platform).start();
    process.kill();
    assert_eq!(process.exit(SOON).code(), None);
}

/// Runs a process with a child that sleeps in the same group. Also returns the file with the child's pid.
fn parent_of_a_sleeper(home: &TempDir) -> (Process, PathBuf) {
    let script = home.path().join("script");
    fs::write(&script, "sleep 3600 & echo child $!; wait\n").unwrap();
    let process = Launch::of("/bin/bash").env("BASH_ENV", &script).start();
    let line = process.wait_for_log("child ", SOON);
    (process, PathBuf::from(format!("/proc/{}/stat", line.trim_start_matches("child ").trim())))
}

/// Whether the process is alive. If its parent has ended, it may be a zombie until the system reaps it.
fn lives(stat: &PathBuf) -> bool {
    fs::read_to_string(stat).is_ok_and(|stat| !stat.contains(") Z "))
}

#[track_caller]
fn wait_for_the_end(stat: &PathBuf) {
    let deadline = Instant::now() + SOON;
    while lives(stat) {
        assert!(Instant::now() < deadline, "{} lives", stat.display());
        thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn a_kill_includes_the_children_of_the_process() {
    let home = TempDir::new().unwrap();
    let (process, child) = parent_of_a_sleeper(&home);
    assert!(lives(&child));
    process.kill();
    process.kill();
    wait_for_the_end(&child);
    assert_eq!(process.exit(SOON).signal(), Some(9));
}

#[test]
fn a_drop_kills_the_children_of_a_process_that_has_ended() {
    let home = TempDir::new().unwrap();
    let script = home.path().join("script");
    fs::write(&script, "sleep 3600 >&- 2>&- & echo child $!; exit 7\n").unwrap();
    let process = Launch::of("/bin/bash").env("BASH_ENV", &script).start();
    let line = process.wait_for_log("child ", SOON);
    let child = PathBuf::from(format!("/proc/{}/stat", &line["child ".len()..]));
    assert_eq!(process.exit(SOON).code(), Some(7));
    assert!(lives(&child));
    drop(process);
    wait_for_the_end(&child);
}

#[test]
fn a_process_that_is_asked_to_terminate_ends_by_sigterm_with_its_group() {
    let home = TempDir::new().unwrap();
    let (process, child) = parent_of_a_sleeper(&home);
    process.terminate();
    assert_eq!(process.exit(SOON).signal(), Some(15));
    wait_for_the_end(&child);
}

#[test]
fn the_end_of_a_process_is_recorded_and_can_be_read_afterwards() {
    let process = Launch::of(FLOOR).start();
    let (told, ends) = mpsc::channel();
    process.on_exit(move |status| told.send(status).unwrap());
    assert_eq!(ends.recv_timeout(SOON).unwrap().code(), Some(1));
    assert_eq!(process.exit(SOON).code(), Some(1));
    process.kill();
    assert_eq!(process.exit(SOON).code(), Some(1));
}

#[test]
fn a_drop_is_recorded_as_an_end() {
    let home = TempDir::new().unwrap();
    let (process, _child) = parent_of_a_sleeper(&home);
    let (told, ends) = mpsc::channel();
    process.on_exit(move |status| told.send(status).unwrap());
    drop(process);
    assert_eq!(ends.recv_timeout(SOON).unwrap().signal(), Some(9));
    // The thread has ended and has dropped its sender.
    assert_eq!(ends.recv_timeout(SOON), Err(mpsc::RecvTimeoutError::Disconnected));
}
