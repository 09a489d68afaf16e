//! `sandbox bench`, run on the extension that does nothing.

use std::process::Command;

use serde_json::Value;

use crate::{FLOOR, SANDBOX};

fn bench(options: &[&str]) -> std::process::Output {
    Command::new(SANDBOX).arg("bench").args(options).output().unwrap()
}

#[test]
fn extensions_are_compared_with_the_first() {
    let (one, two) = (format!("one={FLOOR}"), format!("two={FLOOR}"));
    let options = ["--extension", &one, "--extension", &two, "--runs", "3"];
    let table = bench(&options);
    let text = String::from_utf8_lossy(&table.stdout);
    let names: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["register,", "median", "one", "two"], "{text}");

    let output = bench(&[options.as_slice(), &["--json"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["runs"], 3);
    let extensions = report["extensions"].as_array().unwrap();
    assert_eq!((&extensions[0]["name"], &extensions[1]["name"]), (&"one".into(), &"two".into()));
    for outcome in extensions {
        let ms = |measure: &str, value: &str| outcome[measure][value].as_f64().unwrap();
        assert!(ms("register", "q1_ms") > 0.0 && ms("register", "ratio_to_first") > 0.0);
        assert!(ms("register", "median_ms") <= ms("first_next", "median_ms"), "{outcome}");
    }
    assert_eq!(extensions[0]["register"]["ratio_to_first"], 1.0);
}

#[test]
fn a_missing_extension_is_one_line_and_a_failure() {
    let output = bench(&["--extension", "x=/no/such/file"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error, "sandbox: no extension x at /no/such/file\n");
}

#[test]
fn a_runner_starts_the_extensions() {
    let floor = format!("floor={FLOOR}");
    let with_runner = |runner: &str| {
        let arguments = ["bench", "--extension", &floor, "--runs", "1"];
        Command::new(SANDBOX).args(arguments).env("SANDBOX_RUNNER", runner).output().unwrap()
    };
    assert!(with_runner("/usr/bin/env").status.success());
    let output = with_runner("/no/such/runner");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("can't start \"/no/such/runner\""), "{error}");
}
