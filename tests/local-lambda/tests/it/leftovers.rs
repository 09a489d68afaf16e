//! If a signal ends a program, it leaves no process, cgroup or file behind.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use local_lambda::{Container, FreezeBy, Launch, Limits, Process};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::run::interrupted::Interrupted;
use crate::{FLOOR, LOCAL_LAMBDA, SOON};

/// A variable with a unique value in the environment of all processes of one program.
const MARK: &str = "LOCAL_LAMBDA_TEST_MARK";

/// Starts this test again as a program for an interrupt.
fn program(test: &str, mark: &Path) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    command.env(MARK, mark).env("TMPDIR", mark).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn is_the_program() -> bool {
    env::var_os(MARK).is_some()
}

/// In the program: everything is made, and stays until the signal.
fn wait_for_the_signal() {
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn wait_until_ready(program: &mut Child) {
    let lines = BufReader::new(program.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("ready")), "it never was");
}

pub fn send(program: &Child, signal: Signal) {
    kill_process(Pid::from_child(program), signal).unwrap();
}

#[track_caller]
pub fn exit_code(program: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(status) = program.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() >= deadline {
            program.kill().unwrap();
            panic!("the program outlives its signal");
        }
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// The live processes with this mark.
fn marked(mark: &Path) -> Vec<String> {
    let expected = format!("{MARK}={}", mark.display());
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|it| it.path());
    let is_marked = |process: &Path| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == expected.as_bytes())
    };
    processes.filter(|it| is_marked(it)).map(|it| it.display().to_string()).collect()
}

/// Waits for processes that were killed with their group, which takes a moment.
#[track_caller]
fn wait_for_the_end_of_all(mark: &Path) {
    let deadline = Instant::now() + SOON;
    while !marked(mark).is_empty() {
        assert!(Instant::now() < deadline, "still there: {:?}", marked(mark));
        thread::park_timeout(Duration::from_millis(1));
    }
}

pub fn cgroups(pid: u32) -> String {
    let name = format!("local-lambda-{pid}-*");
    let found = Command::new("find").args(["/sys/fs/cgroup", "-name", &name]).output().unwrap();
    String::from_utf8(found.stdout).unwrap()
}

/// Waits for the end of the process, which another test's local Lambda may be killing.
#[track_caller]
fn wait_until_gone(pid: u32) {
    let deadline = Instant::now() + SOON;
    while !cgroups(pid).is_empty() {
        assert!(Instant::now() < deadline, "still there: {}", cgroups(pid));
        thread::park_timeout(Duration::from_millis(1));
    }
}

fn kill(process: &str) {
    let pid = process.trim_start_matches("/proc/").parse().unwrap();
    let _ended_meanwhile = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
}

fn held(mark: &Path) -> (Process, Process) {
    let forks = mark.join("forks");
    fs::write(&forks, "( while :; do :; done ) & echo forked; wait\n").unwrap();
    let start = || Launch::of("/bin/bash").env("BASH_ENV", &forks).env(MARK, mark).name("forks");
    let (one, two) = (start().start(), start().start());
    one.wait_for_log("forked", SOON);
    two.wait_for_log("forked", SOON);
    fs::remove_file(forks).unwrap();
    (one, two)
}

#[track_caller]
fn leaves_nothing(test: &str, signal: Signal, by: FreezeBy) {
    if is_the_program() {
        local_lambda::on_interrupt();
        let mark = env::var_os(MARK).unwrap();
        let container = Container::freezing_by(by, Limits::of_memory_mb(512));
        let (frozen, free) = held(Path::new(&mark));
        container.admit(&frozen);
        container.freeze();
        wait_for_the_signal();
        drop((container, frozen, free));
        return;
    }
    let home = TempDir::new().unwrap();
    let mut program = program(test, home.path());
    wait_until_ready(&mut program);
    assert_eq!(marked(home.path()).len(), 5, "the program, and two processes with a child each");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "a link for each");
    send(&program, signal);
    assert_eq!(exit_code(&mut program), Some(128 + signal.as_raw()));
    wait_for_the_end_of_all(home.path());
    assert_eq!(cgroups(program.id()), "");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn sigint_removes_processes_that_cgroup_v2_froze() {
    let name = "leftovers::sigint_removes_processes_that_cgroup_v2_froze";
    leaves_nothing(name, Signal::INT, FreezeBy::CgroupV2);
}

#[test]
fn sigterm_removes_processes_that_cgroup_v1_froze() {
    let name = "leftovers::sigterm_removes_processes_that_cgroup_v1_froze";
    leaves_nothing(name, Signal::TERM, FreezeBy::CgroupV1);
}

#[test]
fn sighup_removes_processes_that_signals_stopped() {
    let name = "leftovers::sighup_removes_processes_that_signals_stopped";
    leaves_nothing(name, Signal::HUP, FreezeBy::Signals);
}

/// Makes two things at a time, again and again, until the signal comes.
#[track_caller]
fn what_is_made_meanwhile_is_removed(test: &str, make: fn(&OsStr)) {
    if is_the_program() {
        local_lambda::on_interrupt();
        let mark = env::var_os(MARK).unwrap();
        let make = || {
            loop {
                make(&mark);
            }
        };
        thread::scope(|scope| {
            scope.spawn(make);
            scope.spawn(make);
            wait_for_the_signal();
        });
        return;
    }
    for _ in 0..10 {
        let home = TempDir::new().unwrap();
        let mut program = program(test, home.path());
        wait_until_ready(&mut program);
        send(&program, Signal::INT);
        assert_eq!(exit_code(&mut program), Some(130));
        wait_for_the_end_of_all(home.path());
        assert_eq!(cgroups(program.id()), "");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_directory_that_is_filled_while_the_signal_comes_is_removed_too() {
    let name = "leftovers::a_directory_that_is_filled_while_the_signal_comes_is_removed_too";
    what_is_made_meanwhile_is_removed(name, |_| {
        let directory = local_lambda::TempDir::new().unwrap();
        let file = |n: u32| fs::write(directory.path().join(n.to_string()), "");
        // The loop ends when the directory is gone.
        let _removed = (0..1_000).map(file).find(Result::is_err);
    });
}

#[test]
fn a_directory_that_is_made_while_the_signal_comes_is_removed_too() {
    let name = "leftovers::a_directory_that_is_made_while_the_signal_comes_is_removed_too";
    what_is_made_meanwhile_is_removed(name, |mark| {
        let container = Container::new(Limits::of_memory_mb(512));
        let sleep = Launch::of("/usr/bin/env").env(MARK, mark).name("env").start();
        container.admit(&sleep);
    });
}

/// Checks that the next local Lambda removes the leftovers of SIGKILL, and keeps those of a live one.
#[track_caller]
fn is_removed_by_the_next(test: &str, by: FreezeBy) {
    if is_the_program() {
        local_lambda::on_interrupt();
        let mark = env::var_os(MARK).unwrap();
        let container = Container::freezing_by(by, Limits::of_memory_mb(512));
        let (frozen, other) = held(Path::new(&mark));
        container.admit(&frozen);
        container.admit(&other);
        container.freeze();
        wait_for_the_signal();
        drop((container, frozen, other));
        return;
    }
    let (home, live_home) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (mut killed, mut live) = (program(test, home.path()), program(test, live_home.path()));
    wait_until_ready(&mut killed);
    wait_until_ready(&mut live);
    assert_eq!(marked(home.path()).len(), 5, "the program, and two processes with a child each");
    let has_cgroup = !cgroups(killed.id()).is_empty();
    killed.kill().unwrap();
    killed.wait().unwrap();
    let mut next = Command::new(LOCAL_LAMBDA);
    next.args(["run", "--invocations", "0", "--extension", FLOOR]).env("TMPDIR", home.path());
    assert!(next.output().unwrap().status.success());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    if !has_cgroup {
        println!("left out: this machine gives no cgroup");
        for process in marked(home.path()) {
            kill(&process);
        }
    }
    wait_for_the_end_of_all(home.path());
    wait_until_gone(killed.id());
    assert_eq!(marked(live_home.path()).len(), 5, "another local Lambda was not left in peace");
    send(&live, Signal::INT);
    assert_eq!(exit_code(&mut live), Some(130));
}

#[test]
fn the_next_lambda_removes_processes_left_frozen_by_cgroup_v2() {
    let name = "leftovers::the_next_lambda_removes_processes_left_frozen_by_cgroup_v2";
    is_removed_by_the_next(name, FreezeBy::CgroupV2);
}

#[test]
fn the_next_lambda_removes_processes_left_frozen_by_cgroup_v1() {
    let name = "leftovers::the_next_lambda_removes_processes_left_frozen_by_cgroup_v1";
    is_removed_by_the_next(name, FreezeBy::CgroupV1);
}

#[test]
fn a_directory_that_only_has_the_name_is_left_alone() {
    let home = TempDir::new().unwrap();
    let kept = home.path().join("local-lambda-reports").join("requests.jsonl");
    fs::create_dir(kept.parent().unwrap()).unwrap();
    fs::write(&kept, "somebody's").unwrap();
    let mut next = Command::new(LOCAL_LAMBDA);
    next.args(["run", "--invocations", "0", "--extension", FLOOR]).env("TMPDIR", home.path());
    assert!(next.output().unwrap().status.success());
    assert_eq!(fs::read_to_string(kept).unwrap(), "somebody's");
}

#[test]
fn an_interrupted_bench_leaves_nothing() {
    let floor = format!("floor={FLOOR}");
    for signal in [Signal::INT, Signal::TERM] {
        // In each round, an idle extension runs for a second.
        let options = ["bench", "--no-comparators", "--only", "idle", "--runs", "30"];
        let bench = Interrupted::start(&[&options[..], &["--extension", &floor]].concat());
        bench.wait_for_processes(2);
        bench.leaves_nothing(signal);
    }
}
