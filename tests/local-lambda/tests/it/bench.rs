//! `local-lambda bench`, with the extension that does nothing and with one that answers posts.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::extensions::Packed;
use crate::{FLOOR, LOCAL_LAMBDA};

fn bench(options: &[&str]) -> Output {
    Command::new(LOCAL_LAMBDA).arg("bench").args(options).output().unwrap()
}

/// The report of a run in which each measure succeeded. On a busy machine an extension may be too slow for one.
fn report(options: &[&str]) -> Value {
    const ATTEMPTS: usize = 3;
    let mut errors = String::new();
    for _ in 0..ATTEMPTS {
        let output = bench(&[options, &["--json"]].concat());
        if output.status.success() {
            return serde_json::from_slice(&output.stdout).unwrap();
        }
        errors.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    panic!("{errors}");
}

#[test]
fn without_an_extension_the_help_names_the_options_for_one() {
    let output = bench(&[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text.contains("--extension <NAME=PATH>") && text.contains("--otlp <NAME=PATH>"),
        "{text}"
    );
}

#[test]
fn an_extension_that_takes_no_reports_is_measured_without_reports() {
    let floor = format!("floor={FLOOR}");
    let report = report(&["--extension", &floor, "--no-comparators", "--runs", "1"]);
    for size in ["full", "128"] {
        let median = |figure: &str| report["sizes"][size][figure]["floor"]["median"].as_f64();
        let above_zero = [
            "binary",
            "deflated",
            "register",
            "first_next",
            "start_cpu",
            "paged_in",
            "idle_peak",
            "idle_anonymous",
            "threads",
            "descriptors",
            "silent_cpu",
            "silent_wakes",
            "after_peak",
            "after_anonymous",
        ];
        for figure in above_zero {
            assert!(median(figure).is_some_and(|it| it > 0.0), "{size}: {figure}: {report:#}");
        }
        assert_eq!((median("threads"), median("wakes")), (Some(1.0), Some(0.0)));
        assert!(median("register") <= median("first_next"), "{report:#}");
        // This extension has no figures for an agent's wait, nor for time that it adds to invocations.
        for figure in ["post_p50", "report_cpu", "wait_4", "silent_wait", "once"] {
            assert_eq!(median(figure), None, "{figure}");
        }
    }
}

#[test]
fn a_relay_has_the_figures_of_reports() {
    let relay = Packed::new("relay");
    let mut options = vec!["--no-comparators", "--size", "full", "--runs", "1", "--extension"];
    let extension = format!("relay={}", relay.file().display());
    options.push(&extension);
    for group in ["invocations", "posts", "freezes"] {
        options.extend(["--only", group]);
    }
    for variable in ["RELAY_PORT={port}", "RELAY_REMOTE={remote}", "RELAY_CA={ca}"] {
        options.extend(["--env", variable]);
    }
    let report = report(&options);
    let median = |figure: &str| report["sizes"]["full"][figure]["relay"]["median"].as_f64();
    assert!(median("post_p50") > Some(0.0) && median("posts") > Some(0.0), "{report:#}");
    assert!(median("post_p50") <= median("post_p99"), "{report:#}");
    assert!(median("report_cpu") > median("silent_cpu"), "{report:#}");
    assert!(median("report_wakes") > median("silent_wakes"), "{report:#}");
    assert_eq!(
        [median("once"), median("twice"), median("never")],
        [Some(30.0), Some(0.0), Some(0.0)]
    );
    assert_eq!(
        report["variables"]["relay"],
        serde_json::json!(["RELAY_PORT", "RELAY_REMOTE", "RELAY_CA"])
    );
}

#[test]
fn a_relay_over_otlp_has_the_same_figures() {
    let relay = Packed::new("relay");
    let extension = format!("relay={}", relay.file().display());
    let options = ["--no-comparators", "--size", "full", "--runs", "1", "--otlp", &extension];
    let groups = ["invocations", "posts", "freezes"].map(|group| ["--only", group]);
    let variables = ["RELAY_PORT={port}", "RELAY_REMOTE={remote}", "RELAY_CA={ca}"];
    let variables = variables.map(|variable| ["--env", variable]);
    let report = report(&[&options[..], groups.as_flattened(), variables.as_flattened()].concat());
    let n = |figure: &str| report["sizes"]["full"][figure]["relay"]["n"].as_u64();
    for figure in ["report_cpu", "post_p50", "posts", "never"] {
        assert_eq!(n(figure), Some(1), "{figure}: {report:#}");
    }
    let once = &report["sizes"]["full"]["once"]["relay"];
    assert_eq!(once["median"], 30.0, "{once}");
    let told = report["variables"]["relay"].to_string();
    assert!(told.contains("\"THUNDRA_EXTENSION_OTLP_PORT\",\"THUNDRA_EXTENSION_OTLP_ENDPOINT\""));
}

#[test]
fn async_gets_reports_over_otlp_if_the_extension_does() {
    let comparators = TempDir::new().unwrap();
    for name in ["floor", "bare", "async"] {
        fs::copy(FLOOR, comparators.path().join(name)).unwrap();
    }
    let directory = comparators.path().display().to_string();
    let (mine, otlp) = (format!("mine={FLOOR}"), format!("mine-otlp={FLOOR}"));
    let options = ["--comparators", &directory, "--only", "start", "--size", "full", "--runs", "1"];
    let all = |more: &[&str]| report(&[&options[..], more].concat())["contenders"].clone();
    let expected = serde_json::json!(["none", "floor", "bare", "async", "mine"]);
    assert_eq!(all(&["--extension", &mine]), expected);
    let expected = serde_json::json!(["none", "floor", "bare", "async", "async-otlp", "mine-otlp"]);
    assert_eq!(all(&["--otlp", &otlp]), expected);
}

#[test]
fn each_contender_is_in_the_table_the_page_and_the_picture_and_its_budgets_are_checked() {
    let home = TempDir::new().unwrap();
    let file = |name: &str| home.path().join(name).display().to_string();
    let (budgets, page, picture) = (file("budgets"), file("page.html"), file("picture.svg"));
    let (one, two) = (format!("one={FLOOR}"), format!("two={FLOOR}"));
    let run = |budget: &str| {
        fs::write(&budgets, format!("[full]\n{budget}\n")).unwrap();
        let options = ["--extension", &one, "--extension", &two, "--no-comparators"];
        let more = ["--only", "start", "--size", "full", "--runs", "1", "--budgets", &budgets];
        let output = bench(&[&options[..], &more, &["--html", &page, "--svg", &picture]].concat());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run("binary(one) <= 1 * binary(two)");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("first next, ms") && text.contains("\ntwo "), "{text}");
    assert!(text.contains("\nkept "), "{text}");
    for written in [&page, &picture] {
        let written = fs::read_to_string(written).unwrap();
        assert!(written.contains(">one<") && written.contains("Cold start: first next, ms"));
    }
    let (code, text) = run("register(one) <= 0");
    assert!(code == Some(1) && text.matches("\nBROKEN ").count() == 4, "{text}");
    assert_eq!(text.matches("\nonce more:\nBROKEN ").count(), 3, "{text}");
    let (code, text) = run("register(one) <= 0\npost_p50(one) <= 1");
    assert!(code == Some(1) && text.contains("\nnot measured: [full] post_p50"), "{text}");
    assert!(!text.contains("once more"), "nothing makes that good: {text}");
}

#[test]
fn with_json_the_budgets_are_printed_on_standard_error() {
    let home = TempDir::new().unwrap();
    let budgets = home.path().join("budgets").display().to_string();
    fs::write(&budgets, "register(one) <= 0\nthreads(one) <= 1\n").unwrap();
    let one = format!("one={FLOOR}");
    let options = ["--extension", &one, "--no-comparators", "--size", "full", "--runs", "1"];
    let more = ["--only", "start", "--only", "idle", "--json", "--budgets", &budgets];
    let output = bench(&[&options[..], &more].concat());
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok_and(|it| it["runs"] == 1));
    assert_eq!(told.matches("BROKEN ").count(), 4, "{told}");
    assert_eq!(told.matches("kept ").count(), 1, "{told}");
}

#[test]
fn a_failed_measurement_is_one_line_and_a_failure() {
    let floor = format!("x={FLOOR}");
    for (options, why) in [
        (
            ["--extension", "x=/no/such/file", "--no-comparators"].as_slice(),
            "no extension x at /no/such/file",
        ),
        (&["--extension", &floor, "--extension", &floor, "--no-comparators"], "two are called x"),
        (
            &["--extension", &floor, "--env", "y:A=1", "--no-comparators"],
            "a variable is for y, which nobody is called",
        ),
        (
            &["--extension", &floor, "--comparators", "/no/such/directory"],
            "no extension floor at /no/such/directory/floor",
        ),
        (
            &["--extension", &floor, "--no-comparators", "--budgets", "/no/such/file"],
            "can't read /no/such/file: No such file or directory (os error 2)",
        ),
    ] {
        let output = bench(options);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&output.stderr), format!("local-lambda: {why}\n"));
    }
}

#[test]
fn an_extension_that_ends_is_shown_with_its_log_and_costs_the_others_nothing() {
    let floor = format!("floor={FLOOR}");
    let options = ["--extension", "x=/bin/ls", "--extension", &floor, "--no-comparators"];
    let more = ["--only", "start", "--size", "full", "--runs", "1"];
    let output = bench(&[&options[..], &more].concat());
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.starts_with("local-lambda: x has ended; its log:"), "{error}");
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, start) = text.split_once("Cold start").unwrap();
    assert!(start.contains("\nfloor ") && !start.contains("\nx "), "{text}");
}

#[test]
fn a_runner_starts_the_extensions() {
    let floor = format!("floor={FLOOR}");
    let with_runner = |runner: &str| {
        let options =
            ["bench", "--extension", &floor, "--no-comparators", "--only", "start", "--runs", "1"];
        Command::new(LOCAL_LAMBDA)
            .args(options)
            .env("LOCAL_LAMBDA_RUNNER", runner)
            .output()
            .unwrap()
    };
    assert!(with_runner("/usr/bin/env").status.success());
    let output = with_runner("/no/such/runner");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("/no/such/runner: not found"), "{error}");
}

/// The comparators' manifest belongs to another workspace, which inherits no settings.
#[test]
fn the_comparators_are_built_as_the_extension_is() {
    let profile = |path: &str| {
        let manifest =
            fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let (_, profile) = manifest.split_once("[profile.release]\n").unwrap();
        let settings =
            profile.lines().map(|line| line.split('#').next().unwrap().trim().to_owned());
        settings
            .take_while(|line| !line.starts_with('['))
            .filter(|it| !it.is_empty())
            .collect::<Vec<_>>()
    };
    let ours = profile("../../Cargo.toml");
    assert!(ours.len() >= 4, "{ours:?}");
    assert_eq!(profile("../comparators/Cargo.toml"), ours);
}
