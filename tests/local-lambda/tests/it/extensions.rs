//! The suite tells good from bad, as a command: extensions with one fault each, which are in
//! `tests/extensions`, and a correct one to compare with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use local_lambda::conformance::scenarios;
use serde_json::Value;
use tempfile::TempDir;

use crate::LOCAL_LAMBDA;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/extensions");

/// Scenarios played at the same time: most of them wait most of the time.
const AT_ONCE: usize = 8;

/// Who plays so many has the machine for himself: where two did, scenarios that measure a time, such
/// as that of a slow remote, met one of another machine.
static MACHINE: Mutex<()> = Mutex::new(());

fn have_the_machine() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Well above the fault whose next times out last, after 5 s.
const NEXT_HELD: &str = "8s";
/// The scenarios that take so long, and have to begin first.
const LONGEST: [&str; 3] = ["next-held-open", "frozen-for-long", "relay-endless-reports"];

/// Python alone, with all that a relay imports, needs about the second that is allowed for; `floor`
/// holds it in `conformance.rs`.
const TOO_TIGHT_FOR_PYTHON: &str = "small-share-of-a-cpu";

/// What an extension would have to be made for to break them, and them alone. That those for relays
/// can break is shown in `relay.rs`.
const WITHOUT_A_FAULT: [&str; 6] = [
    "function-error",
    "relay-twenty-at-once",
    "relay-connection-close",
    "freeze-half-sent-post",
    "freeze-post-in-two-halves",
    "idle-agent-connection",
];

/// What a fault leaves whole: so it is no other than the one that is meant.
const HELD: &str = "registers-in-time";

/// But for these, which are in each life from its first second.
const HOLD_NOTHING: [&str; 6] = [
    "AsksForUnknownEvent",
    "ConstantName",
    "NeedsHome",
    "NeedsRuntimesVariable",
    "NeedsWritableDirectory",
    "PollsTwice",
];

/// Who does not run as root has no other user to start a process as.
const FOR_ROOT: &str = "lambdas-user";

#[test]
fn each_fault_in_a_lifecycle_is_seen_by_the_scenario_made_for_it() {
    let packed = Packed::new("lifecycle_faults");
    let faults = packed.faults();
    assert!(faults.len() > 50, "{faults:?}");
    assert_eq!(packed.played(faults), "");
}

#[test]
fn each_fault_of_a_relay_is_seen_by_the_scenario_made_for_it() {
    let packed = Packed::new("relay_faults");
    let faults = packed.faults();
    assert!(faults.len() > 25, "{faults:?}");
    assert_eq!(packed.played(faults), "");
}

#[test]
fn each_scenario_has_a_fault_that_it_sees_but_for_those_that_are_listed() {
    let faults = ["lifecycle_faults", "relay_faults"].map(|it| Packed::new(it).faults());
    let seen_by: BTreeSet<String> =
        faults.into_iter().flatten().flat_map(|(_, seen_by)| seen_by.into_keys()).collect();
    let without = scenarios().into_iter().map(|it| it.name).filter(|it| !seen_by.contains(*it));
    assert_eq!(without.collect::<Vec<_>>(), WITHOUT_A_FAULT);
}

#[test]
fn a_correct_relay_holds_every_scenario() {
    let packed = Packed::new("relay");
    let mut command = packed.conformance("none");
    let is_root = rustix::process::geteuid().is_root();
    let excepted = [TOO_TIGHT_FOR_PYTHON, FOR_ROOT];
    for scenario in excepted.iter().take(if is_root { 1 } else { 2 }) {
        command.args(["--except", scenario]);
    }
    let _mine = have_the_machine();
    let output = command.args(["--jobs", "8"]).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = told["findings"].as_array().unwrap();
    let wrong: Vec<_> = findings.iter().filter(|finding| finding["verdict"] != "held").collect();
    assert!(findings.len() > 130 && wrong.is_empty(), "{wrong:#?}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn where_its_port_is_fixed_no_two_scenarios_are_played_at_a_time() {
    // One that meets another copy ends.
    let (packed, fault) = (Packed::new("relay_faults"), "FAULT=DiesWhenPortIsTaken");
    let port = local_lambda::free_port().to_string();
    let mut command = Command::new(LOCAL_LAMBDA);
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
pub struct Packed {
    home: TempDir,
    name: &'static str,
}

/// By scenario, a part of what it must see: a fault that is seen for another reason is not.
type SeenBy = BTreeMap<String, String>;

struct Case {
    fault: String,
    scenario: String,
    due: Due,
}

enum Due {
    /// With this in what was seen.
    Broke(String),
    Held,
}

impl Packed {
    pub fn new(module: &'static str) -> Self {
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

    pub fn file(&self) -> PathBuf {
        self.home.path().join(self.name)
    }

    /// Each of its faults, with the scenarios that must see it.
    fn faults(&self) -> BTreeMap<String, SeenBy> {
        let told = Command::new(self.file()).env_remove("FAULT").output().unwrap();
        serde_json::from_slice(&told.stdout).unwrap()
    }

    pub fn conformance(&self, fault: &str) -> Command {
        let mut command = Command::new(LOCAL_LAMBDA);
        command.arg("conformance").arg("--extension").arg(self.file());
        command.args(["--env", &format!("FAULT={fault}"), "--next-held", NEXT_HELD, "--json"]);
        if !self.name.starts_with("lifecycle") {
            command.args(["--env", "RELAY_PORT={port}", "--env", "RELAY_REMOTE={remote}"]);
            command.args(["--env", "RELAY_CA={ca}"]);
        }
        command
    }

    /// Plays each of the scenarios with each of the faults, and tells a line of each case that is not
    /// as it should be.
    fn played(&self, faults: BTreeMap<String, SeenBy>) -> String {
        let _mine = have_the_machine();
        let mut cases: Vec<Case> = faults.into_iter().flat_map(cases_of).collect();
        let is_root = rustix::process::geteuid().is_root();
        cases.retain(|case| is_root || case.scenario != FOR_ROOT);
        cases.sort_by_key(|case| !LONGEST.contains(&case.scenario.as_str()));
        let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let play_all = || {
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.play(case).is_some() {
                    wrong.lock().unwrap().push(case);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(play_all);
            }
        });
        // An interpreter's start beside seven others can take longer than an init may. Alone it cannot.
        wrong.into_inner().unwrap().into_iter().filter_map(|case| self.play(case)).collect()
    }

    /// What is not as it should be: the verdict, or the exit code that belongs to it.
    fn play(&self, Case { fault, scenario, due }: &Case) -> Option<String> {
        let output = self.conformance(fault).args(["--only", scenario]).output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let found = &told["findings"][0];
        let seen = found["seen"].as_str().unwrap_or_default();
        let (verdict, code) = (found["verdict"].as_str().unwrap_or_default(), output.status.code());
        let is_due = match due {
            Due::Broke(part) => (verdict, code) == ("broke", Some(1)) && seen.contains(part),
            Due::Held => (verdict, code) == ("held", Some(0)),
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        (!is_due).then(|| format!("{fault} in {scenario}: {}, {found}{errors}\n", output.status))
    }
}

fn cases_of((fault, seen_by): (String, SeenBy)) -> Vec<Case> {
    let holds = !HOLD_NOTHING.contains(&fault.as_str()) && !seen_by.contains_key(HELD);
    let held = holds.then(|| (HELD.to_owned(), Due::Held));
    let broke = seen_by.into_iter().map(|(scenario, part)| (scenario, Due::Broke(part)));
    let case = |(scenario, due)| Case { fault: fault.clone(), scenario, due };
    broke.chain(held).map(case).collect()
}
