//! The suite as a command: its output and its exit codes.

mod calls;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use local_lambda::conformance::scenarios;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::extensions::{Packed, unexpected};
use crate::run::interrupted::Interrupted;
use crate::{FLOOR, LOCAL_LAMBDA};

fn conformance(arguments: &[&str]) -> Output {
    Command::new(LOCAL_LAMBDA).arg("conformance").args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// How many scenarios run at a time. Most of them wait most of the time.
const AT_ONCE: &str = "8";

/// The scenarios that some machines cannot run, because they are not root or have no writable cgroups.
const MAY_NOT_APPLY: [&str; 2] = ["lambdas-user", "small-share-of-a-cpu"];

/// The scenarios about INVOKE, for which an extension need not register.
const FOR_INVOKE: [&str; 5] = [
    "frozen-with-an-event",
    "unknown-event",
    "huge-event",
    "next-answered-500",
    "slow-one-beside-it",
];
const FOR_SHUTDOWN: [&str; 6] = [
    "spindown",
    "spindown-unused",
    "timeout-and-failure",
    "unknown-reason",
    "runtime-ignores-sigterm",
    "short-shutdown",
];

/// Checks that all lifecycle scenarios except these hold, and that no relay scenario applies.
#[track_caller]
fn check_all_held_but(do_not_apply: &[&str], suite: &dyn Fn() -> Command) {
    let is_expected = |finding: &Value| {
        let name = finding["scenario"].as_str().unwrap();
        match (finding["kind"].as_str().unwrap(), finding["verdict"].as_str().unwrap()) {
            ("lifecycle", "held") => !do_not_apply.contains(&name),
            ("lifecycle", "does_not_apply") => {
                MAY_NOT_APPLY.contains(&name) || do_not_apply.contains(&name)
            }
            ("relay", "does_not_apply") => true,
            _ => false,
        }
    };
    let (played, wrong) = unexpected(suite, &["--quick", "--jobs", AT_ONCE], &is_expected);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(played, scenarios().len());
}

#[test]
fn a_minimal_correct_extension_passes_all_lifecycle_scenarios() {
    let packed = Packed::new("minimal");
    check_all_held_but(&[], &|| minimal(&packed.file(), "AsksForEachEvent"));
}

#[test]
fn an_extension_registered_for_shutdown_only_passes_all_that_applies() {
    let packed = Packed::new("minimal");
    check_all_held_but(&FOR_INVOKE, &|| minimal(&packed.file(), "AsksForShutdown"));
}

#[test]
fn an_extension_registered_for_no_event_passes_all_that_applies() {
    let packed = Packed::new("minimal");
    let do_not_apply = [&FOR_INVOKE[..], &FOR_SHUTDOWN].concat();
    check_all_held_but(&do_not_apply, &|| minimal(&packed.file(), "AsksForNoEvent"));
}

#[test]
fn an_extension_started_by_a_shell_passes_all_lifecycle_scenarios() {
    // Python reads the archive at the end of the file. The shell exits before it.
    let shell = b"#!/bin/sh\npython3 -S -E \"$0\"\nexit $?\n";
    let archive = fs::read(Packed::new("minimal").file()).unwrap();
    let (_home, extension) = file("wrapped", [&shell[..], &archive].concat(), 0o755);
    check_all_held_but(&[], &|| minimal(extension.as_ref(), "AsksForEachEvent"));
}

#[test]
fn the_floor_passes_all_lifecycle_scenarios() {
    check_all_held_but(&[], &|| suite(FLOOR.as_ref()));
}

/// The suite with this class of `minimal.py`.
fn minimal(extension: &Path, class: &str) -> Command {
    let mut command = suite(extension);
    command.args(["--env", &format!("FAULT={class}")]);
    command
}

fn suite(extension: &Path) -> Command {
    let mut command = Command::new(LOCAL_LAMBDA);
    command.args(["conformance", "--extension"]).arg(extension);
    command
}

/// A file with this name, content and mode in its own directory.
fn file(name: &str, content: impl AsRef<[u8]>, mode: u32) -> (TempDir, String) {
    let home = TempDir::new().unwrap();
    let path = home.path().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (home, path)
}

#[test]
fn a_broken_scenario_is_printed_with_its_sentence_source_and_observation() {
    let (_home, path) = file("leaves-at-once", "#!/bin/sh\necho bye\n", 0o755);
    let output = conformance(&["--extension", &path, "--only", "registers-in-time"]);
    let told = stdout(&output);
    for part in [
        "1 scenarios, ",
        "1/1  BROKE           registers-in-time",
        "0 held, 1 broke, 0 do not apply",
        "proves: It registers with its file's name",
        "source: AWS docs \"Lambda execution environment lifecycle\"",
        "init: failure Extension.Crash",
    ] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), b"".as_slice()));
}

#[test]
fn a_file_that_cannot_be_executed_is_refused_with_the_reason() {
    let (_home, forbidden) = file("forbidden", "#!/bin/sh\n", 0o644);
    let (_home, nonsense) = file("nonsense", "what is this", 0o755);
    let (_home, homeless) = file("homeless", "#!/no/such/interpreter\n", 0o755);
    for (path, why) in [
        (forbidden, "forbidden can't be executed: Permission denied"),
        (nonsense, "nonsense can't be executed: Exec format error"),
        (homeless, "homeless can't be executed: No such file or directory"),
    ] {
        for scenario in ["registers-in-time", "relay-several-reports"] {
            let relays = ["--env", "PORT={port}", "--env", "REMOTE={remote}"];
            let output =
                conformance(&[&["--extension", &path, "--only", scenario], &relays[..]].concat());
            let told = stdout(&output);
            let line = told.lines().find(|line| line.starts_with("  1/1  BROKE"));
            assert!(line.is_some_and(|line| line.contains(why)), "no {why:?} in {told}");
        }
    }
}

#[test]
fn a_wrong_call_exits_with_2() {
    for arguments in [
        &[][..],
        &["--extension", "/no/such/file"],
        &["--extension", "/tmp"],
        &["--extension", FLOOR, "--only", "no-such-scenario"],
        &["--extension", FLOOR, "--env", "NAME"],
    ] {
        let output = conformance(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn each_scenario_has_a_name_of_its_own_a_sentence_and_a_source() {
    let listed = conformance(&["--list", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let mut names = HashSet::new();
    for scenario in listed["scenarios"].as_array().unwrap() {
        let name = scenario["scenario"].as_str().unwrap();
        let kebab =
            name.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-');
        assert!(kebab && names.insert(name), "{name}");
        let (proves, source) = (&scenario["proves"], scenario["source"].as_str().unwrap());
        let sentence = proves.as_str().unwrap();
        assert!(sentence.ends_with('.') && !sentence.contains("  "), "{name}: {sentence}");
        assert!(!source.is_empty() && !source.contains("  "), "{name}: {source}");
    }
    let heading = "spindown (lifecycle)";
    let only = stdout(&conformance(&["--list", "--only", "spindown"]));
    assert_eq!(only.lines().next(), Some(heading), "{only}");
    let without = stdout(&conformance(&["--list", "--except", "spindown"]));
    assert!(!without.lines().any(|line| line == heading), "{without}");
}

#[test]
fn an_interrupted_suite_leaves_nothing_and_reports_no_failure() {
    let some = ["--only", "frozen-between-invocations", "--only", "ten-at-once"];
    let more = ["--only", "next-held-open", "--only", "registers-in-time", "--jobs", "4"];
    let suite = ["conformance", "--extension", FLOOR];
    let mut suite = Interrupted::start(&[&suite[..], &some, &more].concat());
    // The first finding is printed while other scenarios are running.
    suite.wait_for_line("held");
    let rest = suite.leaves_nothing(Signal::INT);
    assert!(!rest.contains("BROKE"), "{rest}");
}
