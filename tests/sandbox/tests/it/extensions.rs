//! The suite tells good from bad: extensions with one fault each, two correct ones to compare with.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use sandbox::conformance::{Scenario, Subject, Verdict, scenarios};
use tempfile::TempDir;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/extensions");

/// Scenarios played at the same time: most of them wait most of the time.
const AT_ONCE: usize = 8;

/// Just above the fault whose next times out last, after 30 s.
const NEXT_HELD: Duration = Duration::from_secs(32);

/// Python alone, with all that a relay imports, needs about the second that is allowed for; `floor`
/// holds it in `conformance.rs`.
const TOO_TIGHT_FOR_PYTHON: &str = "small-share-of-a-cpu";

/// Classes of `lifecycle_faults.py`, where a sentence says what is wrong with each, and the
/// scenarios that must see it.
const LIFECYCLE_FAULTS: &[(&str, &[&str])] = &[
    // The first take longest.
    ("TimesOutAndPollsAnew", &["next-held-open"]),
    ("TimesOutAndExits", &["next-held-open"]),
    ("NeverRegisters", &["registers-in-time"]),
    ("RegistersLate", &["registers-in-time"]),
    ("NeverPolls", &["registers-in-time"]),
    ("RegistersSlowly", &["small-share-of-a-cpu"]),
    ("ReportsExitAndStays", &["next-after-each-invocation"]),
    ("ExitsEarly", &["next-after-each-invocation"]),
    ("ExitsWithoutConfiguration", &["registers-in-time"]),
    ("CrashesInInit", &["registers-in-time"]),
    ("ConstantName", &["renamed-file"]),
    ("ConstantAddress", &["registers-in-time"]),
    ("AsksForUnknownEvent", &["events-that-exist"]),
    ("SpinsOnRefusedRegister", &["refused-register"]),
    ("DemandsInvoke", &["managed-instances"]),
    ("NeedsHome", &["bare-environment"]),
    ("NeedsRuntimesVariable", &["bare-environment"]),
    ("NeedsNumber", &["empty-variables", "absurd-variables"]),
    ("NeedsSmallNumber", &["absurd-numbers"]),
    ("NeedsUtf8", &["variables-that-are-not-utf-8"]),
    ("UsesProxy", &["proxy-variables"]),
    ("NeedsIpAddress", &["runtime-api-by-name"]),
    ("LocksOthersOut", &["ten-at-once", "crash-beside-it"]),
    ("AbandonsNext", &["next-held-open", "slow-one-beside-it"]),
    ("TimesOutAtThaw", &["frozen-between-invocations", "provisioned-concurrency", "snap-start"]),
    ("PollsTwice", &["next-after-each-invocation"]),
    ("PollsAfterShutdown", &["spindown"]),
    ("IgnoresShutdown", &["spindown", "spindown-unused"]),
    ("IgnoresDeadline", &["runtime-ignores-sigterm", "short-shutdown"]),
    ("FailsAtShutdown", &["spindown"]),
    ("NeedsUpperCaseReason", &["spindown"]),
    ("NeedsKnownReason", &["unknown-reason"]),
    ("FailsAfterFailure", &["timeout-and-failure", "function-timeout", "runtime-crash"]),
    ("NeedsEventIdentifier", &["spindown"]),
    ("NeedsJsonType", &["spindown"]),
    ("NeedsTracing", &["traced-invocation"]),
    ("NeedsKnownFields", &["additions-to-answers"]),
    ("CrashesOnUnknownEvent", &["unknown-event"]),
    ("SpinsOnUnknownEvent", &["unknown-event"]),
    ("SpinsOnFailedNext", &["next-answered-500"]),
    ("ExitsCleanlyOnFailedNext", &["next-answered-500"]),
    ("NeedsContentLength", &["chunked-answers"]),
    ("NeedsHeaderCase", &["headers-in-lower-case", "headers-in-upper-case"]),
    ("ReadsOnce", &["answers-byte-by-byte"]),
    ("HoldsInvocation", &["invocations-not-held"]),
    ("LeaksDescriptors", &["steady-footprint"]),
    ("LeaksMemory", &["steady-footprint"]),
    ("BurnsCpu", &["sleeps-while-idle"]),
    ("WakesOften", &["sleeps-while-idle"]),
    ("LeavesChild", &["spindown"]),
    ("FloodsLog", &["quiet-log"]),
];

/// Classes of `relay_faults.py`, and the scenarios that must see them.
const RELAY_FAULTS: &[(&str, &[&str])] = &[
    ("ForwardsInline", &["relay-slow-remote", "relay-hanging-remote"]),
    ("WaitsForRemote", &["relay-hanging-remote", "relay-dead-remote"]),
    ("WaitsForAgent", &["invocations-not-held"]),
    ("Answers202", &["relay-every-agent"]),
    ("Answers500", &["relay-every-agent"]),
    ("ListensOnV4", &["relay-ipv6-only"]),
    ("SingleThreaded", &["malformed-stalled-connections"]),
    ("CrashesOnReset", &["malformed-reset-at-once"]),
    ("CrashesOnMalformed", &["malformed-length", "malformed-garbage"]),
    ("DiesWhenPortIsTaken", &["local-port-taken"]),
    ("ResetsOversize", &["relay-one-megabyte"]),
    ("IgnoresChunks", &["relay-every-agent"]),
    ("KeepsCutBodies", &["malformed-half-a-request"]),
    ("DropsFailures", &["freeze-then-reset", "relay-reset-after-request"]),
    ("RepeatsAfterFreeze", &["freeze-long-before-answer"]),
    ("SendsTwice", &["relay-several-reports"]),
    ("DropsAt500", &["relay-500-then-200"]),
    ("DropsAt429", &["relay-429-with-retry-after"]),
    ("RetriesAtOnce", &["relay-endless-500", "relay-endless-resets"]),
    ("RetriesRefusals", &["relay-401", "relay-403"]),
    ("FollowsRedirects", &["relay-redirect"]),
    ("DropsAuthorization", &["relay-authorization"]),
    ("RewritesBodies", &["relay-every-agent"]),
    ("LogsKey", &["log-no-key"]),
    ("LogsEachAttempt", &["log-outage"]),
    ("Unbounded", &["memory-dead-remote"]),
    ("SendsAtTheEnd", &["relay-before-shutdown"]),
    ("StaysDeaf", &["local-port-freed"]),
    ("NoFlush", &["shutdown-slow-remote", "shutdown-after-outage"]),
    ("FlushesBeyondDeadline", &["shutdown-hanging-remote"]),
];

#[test]
fn each_fault_in_a_lifecycle_is_seen_by_the_scenario_made_for_it() {
    let packed = Packed::new("lifecycle_faults");
    let findings = played(&packed, LIFECYCLE_FAULTS);
    assert_eq!(those_that(&findings, |it| !matches!(it, Verdict::Broke(_))), "");
}

#[test]
fn who_writes_beside_its_file_is_seen_where_it_can_be_started_as_lambdas_user() {
    let packed = Packed::new("lifecycle_faults");
    let verdict = scenario("lambdas-user").play(&packed.subject("NeedsWritableDirectory")).verdict;
    let seen = matches!(verdict, Verdict::Broke(_));
    assert_eq!(seen, rustix::process::geteuid().is_root(), "{verdict:?}");
}

#[test]
fn each_fault_of_a_relay_is_seen_by_the_scenario_made_for_it() {
    let packed = Packed::new("relay_faults");
    let findings = played(&packed, RELAY_FAULTS);
    assert_eq!(those_that(&findings, |it| !matches!(it, Verdict::Broke(_))), "");
}

#[test]
fn a_correct_relay_holds_all_of_these_scenarios() {
    let packed = Packed::new("relay");
    let seen = [LIFECYCLE_FAULTS, RELAY_FAULTS].concat();
    let mut seen: Vec<_> = seen.iter().flat_map(|(_, scenarios)| *scenarios).copied().collect();
    seen.sort_unstable();
    seen.dedup();
    seen.retain(|name| *name != TOO_TIGHT_FOR_PYTHON);
    let none = seen.iter().map(|name| ("none", std::slice::from_ref(name)));
    let findings = played(&packed, &none.collect::<Vec<_>>());
    assert_eq!(those_that(&findings, |it| !matches!(it, Verdict::Held(_))), "");
}

/// A program of `tests/extensions` in one file, which any user can execute from any place.
struct Packed {
    home: TempDir,
    name: &'static str,
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

    fn subject(&self, fault: &str) -> Subject {
        let relays = !self.name.starts_with("lifecycle");
        let relay = [("RELAY_PORT", "{port}"), ("RELAY_REMOTE", "{remote}")];
        let relay = relay.into_iter().filter(|_| relays);
        let variables = relay.chain([("FAULT", fault)]);
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        subject(&self.file(), variables.collect())
    }
}

fn subject(binary: &Path, variables: Vec<(String, String)>) -> Subject {
    Subject { variables, next_held: NEXT_HELD, ..Subject::new(binary) }
}

struct Played {
    fault: &'static str,
    scenario: &'static str,
    verdict: Verdict,
}

/// Plays each of the scenarios with each of the faults.
fn played(packed: &Packed, faults: &[(&'static str, &[&'static str])]) -> Vec<Played> {
    let each = |(fault, names): &(&'static str, &[&'static str])| {
        let fault = *fault;
        names.iter().map(move |name| (fault, scenario(name))).collect::<Vec<_>>()
    };
    let cases: Vec<_> = faults.iter().flat_map(each).collect();
    let (next, played) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let play_all = || {
        while let Some((fault, scenario)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let finding = scenario.play(&packed.subject(fault));
            let verdict = finding.verdict;
            let seen = Played { fault, scenario: scenario.name, verdict };
            played.lock().unwrap().push(seen);
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(play_all);
        }
    });
    played.into_inner().unwrap()
}

fn scenario(name: &str) -> Scenario {
    let found = scenarios().into_iter().find(|it| it.name == name);
    found.unwrap_or_else(|| panic!("no scenario {name}"))
}

/// What was seen of these, a line each.
fn those_that(played: &[Played], wrong: impl Fn(&Verdict) -> bool) -> String {
    let wrong = played.iter().filter(|it| wrong(&it.verdict));
    let lines = wrong.map(|it| format!("{} in {}: {:?}\n", it.fault, it.scenario, it.verdict));
    lines.collect()
}
