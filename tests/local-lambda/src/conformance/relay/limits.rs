//! Scenarios about the extension's memory, connections and log.

use std::time::Duration;

use super::fixture::{items, play};
use crate::agent::{Agent, Family};
use crate::answer::Answer;
use crate::conformance::fixture::pass;
use crate::conformance::{Kind, Scenario, Subject, Verdict};

const REPORTS: usize = 2000;
/// The size of a report. All reports together have 120 MB, more than the smallest function's memory.
const REPORT_BYTES: usize = 60_000;
/// Limit of memory: three quarters of the smallest function's 128 MB. Beyond it the function has too little
/// left.
const PEAK_KIB_MAX: u64 = 96 * 1024;
/// Limit of lines in a healthy execution environment, from its start to its end.
const LINES_MAX: usize = 5;
/// Limit of lines for each invocation while the remote is down.
const OUTAGE_LINES_MAX: usize = 3;
const SECRET: &str = "5ecret-5ecret-5ecret";

pub const ALL: &[Scenario] = &[
    Scenario {
        kind: Kind::Relay,
        name: "memory-dead-remote",
        proves: "2,000 reports of 60 kB for a dead remote take no more than 96 MiB in a \
                 function of 128 MB.",
        source: "open-telemetry/opentelemetry-lambda#1496",
        play: memory,
    },
    Scenario {
        kind: Kind::Relay,
        name: "steady-descriptors",
        proves: "After sixty reports, each on its own connection on both sides, it has as many \
                 descriptors as before.",
        source: "axiomhq/axiom-lambda-extension#48",
        play: descriptors,
    },
    Scenario {
        kind: Kind::Relay,
        name: "log-quiet",
        proves: "Twenty healthy invocations cause at most five lines in the log.",
        source: "DataDog/datadog-lambda-extension#612",
        play: quiet,
    },
    Scenario {
        kind: Kind::Relay,
        name: "log-outage",
        proves: "A remote that is down for twenty invocations causes at most three lines in the \
                 log for each.",
        source: "DataDog/datadog-lambda-extension#954",
        play: outage,
    },
    Scenario {
        kind: Kind::Relay,
        name: "log-no-key",
        proves: "No line of the log contains the key of the agent's Authorization, with a healthy \
                 remote or in an outage.",
        source: "newrelic/newrelic-lambda-extension-rust 88df8f7 (#54)",
        play: no_key,
    },
];

/// Not confined, because a fraction of a CPU would make this a test of speed. An extension below the limit
/// would not be killed anyway.
fn memory(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        fixture.remote.go_down();
        let patience = Duration::from_secs(30);
        let agent = Agent::local(Family::CatchpointPython, fixture.port).patience(patience);
        let report = items(&agent, 2, REPORT_BYTES);
        let post =
            |_: &_| (0..REPORTS / 20).filter(|_| !agent.report(&report).is_success()).count();
        let failed: usize = (0..20).map(|_| fixture.invoke(post).0).sum();
        fixture.invoke_silently();
        // The system counts in KiB and writes kB.
        let peak_kib = fixture.footprint().peak_kb;
        if peak_kib == 0 {
            return Verdict::broke("the process is gone");
        }
        let seen = format!("peak {peak_kib} KiB, {failed} of {REPORTS} reports failed");
        Verdict::of(peak_kib <= PEAK_KIB_MAX && failed == 0, seen)
    })
}

fn descriptors(subject: &Subject) -> Verdict {
    const WARM_UP: usize = 10;
    const REPORTS: usize = 60;
    /// Limit of additional connections, whose other end has just closed.
    const MORE_MAX: usize = 4;
    /// Time for an extension that collects reports and delivers several later.
    const DELIVERS_WITHIN: Duration = Duration::from_millis(200);
    play(subject, |mut fixture| {
        fixture.remote.answer_with(|_| Answer::ok().header("Connection", "close"));
        let mut after = |reports| {
            for _ in 0..reports {
                fixture.invoke(|fixture| {
                    let agent = Agent::local(Family::CatchpointPython, fixture.port);
                    drop(fixture.report_as(&agent, 1, 2));
                    drop(fixture.await_delivery(DELIVERS_WITHIN));
                });
            }
            fixture.footprint().descriptors
        };
        let (before, after) = (after(WARM_UP), after(REPORTS));
        let seen = format!("{before} descriptors before, {after} after {REPORTS} reports");
        Verdict::of(before > 0 && after <= before + MORE_MAX, seen)
    })
}

fn quiet(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        for _ in 0..20 {
            fixture.invoke(|fixture| drop(fixture.report(2)));
        }
        let log = fixture.shut_down().log();
        let first = log.first().map_or("", String::as_str);
        Verdict::of(log.len() <= LINES_MAX, format!("{} lines, the first {first:?}", log.len()))
    })
}

fn outage(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        fixture.remote.go_down();
        for _ in 0..20 {
            fixture.invoke(|fixture| drop(fixture.report(1)));
        }
        let log = fixture.shut_down().log();
        let first = log.first().map_or("", String::as_str);
        Verdict::of(
            log.len() <= 20 * OUTAGE_LINES_MAX,
            format!("{} lines, the first {first:?}", log.len()),
        )
    })
}

fn no_key(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        let agent = Agent::local(Family::CatchpointPython, fixture.port).key(SECRET);
        let trouble = [200, 401, 403, 400, 500];
        for status in trouble {
            fixture.remote.answer_with(move |_| Answer::status(status));
            fixture.invoke(|fixture| {
                drop(fixture.report_as(&agent, 1, 2));
                pass(Duration::from_millis(100));
            });
        }
        fixture.remote.go_down();
        fixture.invoke(|fixture| drop(fixture.report_as(&agent, 1, 2)));
        let end = fixture.shut_down();
        let log = end.log();
        let leaks = log.iter().filter(|line| line.contains(SECRET)).count();
        Verdict::of(leaks == 0, format!("in {leaks} of {} lines", log.len()))
    })
}
