//! The exit codes if the caller or the machine, and not the extension, is at fault.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::{conformance, stdout};
use crate::run::unread::{left_after_a_line, without_room};
use crate::{FLOOR, LOCAL_LAMBDA};

const BOTH_HALVES: [&str; 4] = ["--env", "PORT={port}", "--env", "REMOTE={remote}"];

#[track_caller]
fn is_wrong(options: &[&str], why: &str) {
    let output = conformance(&[&["--extension", FLOOR], options].concat());
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{options:?}: {told}");
    assert!(told.contains(why), "{options:?}: no {why:?} in {told}");
}

#[test]
fn a_call_that_plays_no_scenario_is_a_wrong_call() {
    is_wrong(&["--only", "spindown", "--except", "spindown"], "leave no scenario");
    is_wrong(&["--only", "spindown", "--kind", "relay"], "leave no scenario");
    is_wrong(&["--only", "relay-several-reports"], "relay-several-reports is for relays");
    is_wrong(&["--env", "PORT={port}"], "no variable has {remote}");
    is_wrong(&["--port", "4000"], "no variable has {remote}");
    is_wrong(&["--env", "REMOTE={remote}"], "no variable has {port}");
    is_wrong(&["--port", "0", "--env", "REMOTE={remote}"], "--port");
    let typo = ["--env", "REMOTE={remot}", "--env", "PORT={port}"];
    is_wrong(&[&typo[..], &["--only", "relay-several-reports"]].concat(), "{remot}");
}

#[test]
fn a_relay_without_its_port_or_remote_can_play_the_lifecycle() {
    let options = ["--extension", FLOOR, "--env", "PORT={port}", "--only", "spindown"];
    assert_eq!(conformance(&options).status.code(), Some(0));
    let listed = stdout(&conformance(&["--list", "--kind", "relay"]));
    assert!(listed.contains(" (relay)\n") && !listed.contains(" (lifecycle)\n"), "{listed}");
}

#[test]
fn a_failure_of_the_machine_is_no_broken_scenario() {
    let home = TempDir::new().unwrap();
    let options = ["--extension", FLOOR, "--only", "spindown", "--only", "relay-several-reports"];
    let in_no_directory = |form: &[&str]| {
        let mut command = Command::new(LOCAL_LAMBDA);
        command.arg("conformance").args([&options[..], &BOTH_HALVES, form].concat());
        command.env("TMPDIR", home.path().join("missing")).output().unwrap()
    };
    let output = in_no_directory(&["--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    for finding in told["findings"].as_array().unwrap() {
        assert_eq!(finding["verdict"], "not_played", "{told}");
        assert!(finding["seen"].as_str().unwrap().contains("No such file or directory"), "{told}");
    }
    assert_eq!(output.status.code(), Some(3), "{told}");
    let output = in_no_directory(&[]);
    let told = stdout(&output);
    assert!(told.contains("0 held, 0 broke, 0 do not apply, 2 could not be played\n"), "{told}");
    assert_eq!(output.status.code(), Some(3), "{told}");
}

#[test]
fn a_shortage_of_descriptors_is_no_broken_scenario() {
    // The limit is enough for one extension, but not for ten.
    let suite =
        format!("ulimit -n 32; exec {LOCAL_LAMBDA} conformance --extension {FLOOR} --jobs 1");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{suite} --only ten-at-once")]);
    let output = command.output().unwrap();
    let told = stdout(&output);
    assert!(told.contains("NOT PLAYED") && told.contains("Too many open files"), "{told}");
    assert_eq!(output.status.code(), Some(3), "{told}");
}

#[test]
fn a_suite_with_a_closed_output_goes_on_and_its_exit_code_counts() {
    let suite = ["conformance", "--only", "spindown", "--only", "registers-in-time"];
    for (extension, expected) in [(FLOOR, 0), ("/bin/true", 1)] {
        let told = left_after_a_line(&[&suite[..], &["--extension", extension]].concat());
        assert_eq!(told, (Some(expected), String::new()));
    }
}

#[test]
fn a_suite_that_cannot_print_its_results_has_its_own_exit_code() {
    for (extension, form, expected) in
        [(FLOOR, &[][..], 3), (FLOOR, &["--json"], 3), ("/bin/true", &[], 1)]
    {
        let suite = ["conformance", "--only", "spindown", "--extension", extension];
        let (code, told) = without_room(&[&suite[..], form].concat());
        assert_eq!(code, Some(expected), "{told}");
        assert!(told.contains("can't tell what came out: No space left"), "{told}");
    }
}

#[test]
fn a_feature_that_the_machine_lacks_is_one_line() {
    let options = ["--extension", FLOOR, "--only", "spindown"];
    let told = stdout(&conformance(&options));
    let as_json = conformance(&[&options[..], &["--json"]].concat());
    let as_json: Value = serde_json::from_slice(&as_json.stdout).unwrap();
    let is_note = |line: &&str| line.starts_with("without ");
    let notes: Vec<&str> = told.lines().filter(is_note).collect();
    assert_eq!(notes.first().copied(), as_json["shortfall"].as_str(), "{told}");
    let is_root = rustix::process::geteuid().is_root();
    assert!(is_root || notes.len() == 1 && notes[0].contains("own user"), "{told}");
}
