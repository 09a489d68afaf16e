//! The suite tells good from bad, as a command: extensions with one fault each, which are in
//! `tests/extensions`, and a correct one to compare with.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::SANDBOX;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/extensions");

/// Scenarios played at the same time: most of them wait most of the time.
const AT_ONCE: usize = 8;

/// Just above the fault whose next times out last, after 30 s.
const NEXT_HELD: &str = "32s";
/// The scenario that takes so long, and has to begin first.
const LONGEST: &str = "next-held-open";

/// Python alone, with all that a relay imports, needs about the second that is allowed for; `floor`
/// holds it in `conformance.rs`.
const TOO_TIGHT_FOR_PYTHON: &str = "small-share-of-a-cpu";

/// Who does not run as root has no other user to start a process as.
const FOR_ROOT: &str = "lambdas-user";

#[test]
fn each_fault_in_a_lifecycle_is_seen_by_the_scenario_made_for_it() {
    let packed = Packed::new("lifecycle_faults");
    let faults = packed.faults();
    assert!(faults.len() > 50, "{faults:?}");
    assert_eq!(packed.played(faults, "broke"), "");
}

#[test]
fn each_fault_of_a_relay_is_seen_by_the_scenario_made_for_it() {
    let packed = Packed::new("relay_faults");
    let faults = packed.faults();
    assert!(faults.len() > 25, "{faults:?}");
    assert_eq!(packed.played(faults, "broke"), "");
}

#[test]
fn a_correct_relay_holds_all_of_these_scenarios() {
    let faults = ["lifecycle_faults", "relay_faults"].map(|it| Packed::new(it).faults());
    let mut scenarios: Vec<String> = faults.into_iter().flatten().flat_map(|(_, by)| by).collect();
    scenarios.sort_unstable();
    scenarios.dedup();
    scenarios.retain(|name| name != TOO_TIGHT_FOR_PYTHON);
    let none = BTreeMap::from([("none".to_owned(), scenarios)]);
    assert_eq!(Packed::new("relay").played(none, "held"), "");
}

#[test]
fn where_its_port_is_fixed_no_two_scenarios_are_played_at_a_time() {
    // One that meets another copy ends.
    let (packed, fault) = (Packed::new("relay_faults"), "FAULT=DiesWhenPortIsTaken");
    let port = sandbox::free_port().to_string();
    let mut command = Command::new(SANDBOX);
    command.arg("conformance").arg("--extension").arg(packed.file());
    command.args(["--port", &port, "--env", &format!("RELAY_PORT={port}")]);
    command.args(["--env", fault, "--env", "RELAY_REMOTE={remote}", "--quick", "--jobs", "4"]);
    for scenario in ["next-held-open", "relay-several-reports", "idle-closed", "local-empty-body"] {
        command.args(["--only", scenario]);
    }
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("4 scenarios, 1 at a time") && told.contains("4 held"), "{told}");
}

/// A program of `tests/extensions` in one file, which any user can execute from any place.
struct Packed {
    home: TempDir,
    name: &'static str,
}

struct Case {
    fault: String,
    scenario: String,
}

impl Packed {
    fn new(module: &'static str) -> Self {
        let packed = Self { home: TempDir::new().unwrap(), name: module };
        let main = format!("{module}:main");
        let status = Command::new("python3")
            .args(["-m", "zipapp", SOURCES, "-p", "/usr/bin/env python3", "-m", &main, "-o"])
            .arg(packed.file())
            .status();
        assert!(status.unwrap().success(), "zipapp failed");
        fs::set_permissions(packed.file(), Permissions::from_mode(0o755)).unwrap();
        packed
    }

    fn file(&self) -> PathBuf {
        self.home.path().join(self.name)
    }

    /// Each of its faults, with the scenarios that must see it.
    fn faults(&self) -> BTreeMap<String, Vec<String>> {
        let told = Command::new(self.file()).env_remove("FAULT").output().unwrap();
        serde_json::from_slice(&told.stdout).unwrap()
    }

    /// Plays each of the scenarios with each of the faults, and tells a line of each case that does
    /// not end so.
    fn played(&self, faults: BTreeMap<String, Vec<String>>, verdict: &str) -> String {
        let each = |(fault, scenarios): (String, Vec<String>)| {
            scenarios.into_iter().map(move |scenario| Case { fault: fault.clone(), scenario })
        };
        let mut cases: Vec<Case> = faults.into_iter().flat_map(each).collect();
        let is_root = rustix::process::geteuid().is_root();
        cases.retain(|case| is_root || case.scenario != FOR_ROOT);
        cases.sort_by_key(|case| case.scenario != LONGEST);
        let (next, wrong) = (AtomicUsize::new(0), Mutex::new(String::new()));
        let play_all = || {
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Some(line) = self.play(case, verdict) {
                    wrong.lock().unwrap().push_str(&line);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(play_all);
            }
        });
        wrong.into_inner().unwrap()
    }

    /// What is not as it should be: the verdict, or the exit code that belongs to it.
    fn play(&self, Case { fault, scenario }: &Case, verdict: &str) -> Option<String> {
        let fault_is = format!("FAULT={fault}");
        let mut command = Command::new(SANDBOX);
        command.arg("conformance").arg("--extension").arg(self.file());
        command.args(["--only", scenario, "--env", &fault_is, "--next-held", NEXT_HELD, "--json"]);
        if !self.name.starts_with("lifecycle") {
            command.args(["--env", "RELAY_PORT={port}", "--env", "RELAY_REMOTE={remote}"]);
        }
        let output = command.output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let code = i32::from(verdict == "broke");
        let found = &told["findings"][0];
        let is_right = found["verdict"] == verdict && output.status.code() == Some(code);
        let errors = String::from_utf8_lossy(&output.stderr);
        (!is_right).then(|| format!("{fault} in {scenario}: {}, {found}{errors}\n", output.status))
    }
}
