//! The suite distinguishes good extensions from bad ones. It runs as a command on a correct extension, and on
//! extensions with one fault each, from `tests/extensions`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use local_lambda::conformance::scenarios;
use serde_json::Value;
use tempfile::TempDir;

use crate::LOCAL_LAMBDA;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/extensions");

/// Python starts faster without `site` and the user's settings.
const INTERPRETER: &str = "/usr/bin/env -S python3 -S -E";

/// How many scenarios each of these tests runs at a time. Most of them wait most of the time.
const AT_ONCE: usize = 8;

/// Longer than the fault whose `next` times out last, after 5 s.
const NEXT_HELD: &str = "8s";
/// The longest scenarios, which must begin first.
const LONGEST: [&str; 7] = [
    "next-held-open",
    "frozen-for-long",
    "small-share-of-a-cpu",
    "invocations-not-held",
    "relay-endless-reports",
    "relay-managed-instances",
    "relay-slow-remote",
];

/// Python alone, with all imports of a relay, needs about the second that is allowed. `conformance.rs` runs
/// this scenario with `floor`.
const TOO_TIGHT_FOR_PYTHON: &str = "small-share-of-a-cpu";

/// Scenarios that no fault breaks, because such an extension would have to be made for them alone. `relay.rs`
/// shows that those for relays can break.
const WITHOUT_A_FAULT: [&str; 6] = [
    "function-error",
    "relay-twenty-at-once",
    "relay-connection-close",
    "freeze-half-sent-post",
    "freeze-post-in-two-halves",
    "idle-agent-connection",
];

/// A scenario that each fault leaves whole. This proves that the fault is not another one.
const HELD: &str = "registers-in-time";

/// Faults that break even that scenario, because they are there from the first second.
const HOLD_NOTHING: [&str; 6] = [
    "AsksForUnknownEvent",
    "ConstantName",
    "NeedsHome",
    "NeedsRuntimesVariable",
    "NeedsWritableDirectory",
    "PollsTwice",
];

/// The scenario that needs root, because only root can start processes as another user.
const FOR_ROOT: &str = "lambdas-user";

#[test]
fn each_lifecycle_fault_breaks_its_scenario() {
    let packed = Packed::new("lifecycle_faults");
    let faults = packed.faults();
    assert!(faults.len() > 50, "{faults:?}");
    assert_eq!(packed.played(faults), "");
}

#[test]
fn each_relay_fault_breaks_its_scenario() {
    let packed = Packed::new("relay_faults");
    let faults = packed.faults();
    assert!(faults.len() > 25, "{faults:?}");
    assert_eq!(packed.played(faults), "");
}

#[test]
fn each_scenario_except_the_listed_ones_has_a_fault_that_breaks_it() {
    let faults = ["lifecycle_faults", "relay_faults"].map(|it| Packed::new(it).faults());
    let seen_by: BTreeSet<String> =
        faults.into_iter().flatten().flat_map(|(_, seen_by)| seen_by.into_keys()).collect();
    let without = scenarios().into_iter().map(|it| it.name).filter(|it| !seen_by.contains(*it));
    assert_eq!(without.collect::<Vec<_>>(), WITHOUT_A_FAULT);
}

#[test]
fn a_correct_relay_passes_every_scenario() {
    let packed = Packed::new("relay");
    let is_root = rustix::process::geteuid().is_root();
    let excepted = [TOO_TIGHT_FOR_PYTHON, FOR_ROOT];
    let mut options = vec!["--jobs", "8"];
    for scenario in excepted.iter().take(if is_root { 1 } else { 2 }) {
        options.extend(["--except", scenario]);
    }
    let suite = || packed.conformance("none");
    let (played, wrong) = unexpected(&suite, &options, &|finding| finding["verdict"] == "held");
    assert!(played > 130 && wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn with_a_fixed_port_one_scenario_is_played_at_a_time() {
    // An extension that meets another copy ends.
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

/// A program from `tests/extensions` as one file, which any user can execute from any directory.
pub struct Packed {
    home: TempDir,
    name: &'static str,
}

/// For each scenario, a part of its observations. A fault that is noticed for another reason does not count.
type SeenBy = BTreeMap<String, String>;

struct Case {
    fault: String,
    scenario: String,
    due: Due,
}

enum Due {
    /// Broken, with this in the observations.
    Broke(String),
    Held,
}

/// Runs the suite with these options. Returns how many scenarios it played, and the unexpected findings.
///
/// Lambda's limits are those of real time, so a scenario that broke beside others is played again alone. Only that
/// counts.
pub fn unexpected(
    suite: &dyn Fn() -> Command,
    options: &[&str],
    is_expected: &dyn Fn(&Value) -> bool,
) -> (usize, Vec<Value>) {
    let (all, code) = findings(suite().args(options));
    let (expected, broken): (Vec<_>, Vec<_>) = all.into_iter().partition(is_expected);
    let played = expected.len() + broken.len();
    assert!(code == Some(0) || !broken.is_empty(), "{code:?}");
    let again = |it: &Value| {
        let scenario = it["scenario"].as_str().unwrap();
        findings(suite().args(options).args(["--only", scenario])).0
    };
    let wrong = broken.iter().flat_map(again).filter(|it| !is_expected(it)).collect();
    (played, wrong)
}

/// The findings of a run of the suite, and its exit code.
fn findings(suite: &mut Command) -> (Vec<Value>, Option<i32>) {
    let output = suite.arg("--json").output().unwrap();
    let mut told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = serde_json::from_value(told["findings"].take()).unwrap();
    (findings, output.status.code())
}

impl Packed {
    pub fn new(module: &'static str) -> Self {
        let packed = Self { home: TempDir::new().unwrap(), name: module };
        let sources = TempDir::new().unwrap();
        for source in fs::read_dir(SOURCES).unwrap().flatten() {
            fs::copy(source.path(), sources.path().join(source.file_name())).unwrap();
        }
        let directory = sources.path().to_str().unwrap();
        // The sources stay, for an interpreter of another version in Lambda's PATH.
        python(&["compileall", "-q", "-b", "--invalidation-mode", "unchecked-hash", directory]);
        let (main, file) = (format!("{module}:main"), packed.file());
        let file = file.to_str().unwrap();
        python(&["zipapp", directory, "-p", INTERPRETER, "-m", &main, "-o", file]);
        fs::set_permissions(file, Permissions::from_mode(0o755)).unwrap();
        packed
    }

    pub fn file(&self) -> PathBuf {
        self.home.path().join(self.name)
    }

    /// Each of its faults, with the scenarios that must notice it.
    fn faults(&self) -> BTreeMap<String, SeenBy> {
        let told = Command::new(self.file()).env_remove("FAULT").output().unwrap();
        serde_json::from_slice(&told.stdout).unwrap()
    }

    pub fn conformance(&self, fault: &str) -> Command {
        let mut command = Command::new(LOCAL_LAMBDA);
        command.arg("conformance").arg("--extension").arg(self.file());
        command.args(["--env", &format!("FAULT={fault}"), "--next-held", NEXT_HELD]);
        if !self.name.starts_with("lifecycle") {
            command.args(["--env", "RELAY_PORT={port}", "--env", "RELAY_REMOTE={remote}"]);
            command.args(["--env", "RELAY_CA={ca}"]);
        }
        command
    }

    /// Runs each of the scenarios with each of the faults. Returns a line for each wrong case.
    fn played(&self, faults: BTreeMap<String, SeenBy>) -> String {
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
        // Beside many others, an interpreter may take longer to start than an init may. Alone it does not.
        wrong.into_inner().unwrap().into_iter().filter_map(|case| self.play(case)).collect()
    }

    /// The error of this case: the verdict, or the exit code for it.
    fn play(&self, Case { fault, scenario, due }: &Case) -> Option<String> {
        let output = self.conformance(fault).args(["--json", "--only", scenario]).output().unwrap();
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

fn python(module: &[&str]) {
    let status = Command::new("python3").arg("-m").args(module).status();
    assert!(status.unwrap().success(), "{module:?} failed");
}

fn cases_of((fault, seen_by): (String, SeenBy)) -> Vec<Case> {
    let holds = !HOLD_NOTHING.contains(&fault.as_str()) && !seen_by.contains_key(HELD);
    let held = holds.then(|| (HELD.to_owned(), Due::Held));
    let broke = seen_by.into_iter().map(|(scenario, part)| (scenario, Due::Broke(part)));
    let case = |(scenario, due)| Case { fault: fault.clone(), scenario, due };
    broke.chain(held).map(case).collect()
}
