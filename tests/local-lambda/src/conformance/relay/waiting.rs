//! Scenarios with bad remotes, in which agents get answers at once, and no invocation is delayed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::fixture::{RelayFixture, items, play, play_in};
use crate::agent::{Agent, Family};
use crate::answer::Answer;
use crate::conformance::fixture::pass;
use crate::conformance::{Kind, Scenario, Subject, Verdict};
use crate::moment::End;
use crate::remote::Remote;
use crate::setup::Setup;

/// How long a slow remote takes for each answer.
const SLOW: Duration = Duration::from_secs(2);
/// The function's timeout. An extension that waits for ever meets it, one that waits for a slow remote does
/// not.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Limit of the time added to a report or to an invocation on a busy machine. It is half of one wait for the
/// remote.
const ADDED_MAX: Duration = Duration::from_secs(1);
/// The number of invocations with the healthy remote, and with the other one. Their medians are compared.
const INVOCATIONS: usize = 3;

const PROVES: [&str; 7] = [
    "A remote that takes 2 s for each answer delays neither the agent nor an invocation.",
    "A remote that never answers delays neither the agent nor an invocation.",
    "A remote that accepts connections and reads nothing delays neither the agent nor an \
     invocation.",
    "A remote that refuses connections delays neither the agent nor an invocation.",
    "A remote that resets each connection delays neither the agent nor an invocation.",
    "A remote that answers 500 delays neither the agent nor an invocation.",
    "A remote that answers 429 delays neither the agent nor an invocation.",
];

pub fn all() -> Vec<Scenario> {
    let scenario = |nth: usize, name, source, play| Scenario {
        kind: Kind::Relay,
        name,
        proves: PROVES[nth],
        source,
        play,
    };
    vec![
        Scenario {
            kind: Kind::Relay,
            name: "relay-no-report",
            proves: "An invocation in which no agent reports is not delayed.",
            source: "newrelic/newrelic-lambda-extension#341",
            play: no_report,
        },
        Scenario {
            kind: Kind::Relay,
            name: "relay-endless-reports",
            proves: "Reports that arrive again and again after the function's response do not \
                     delay the invocation's end.",
            source: "DataDog/datadog-lambda-extension#726",
            play: endless_reports,
        },
        scenario(0, "relay-slow-remote", "DataDog/datadog-lambda-extension#131", |subject| {
            delays_nobody(subject, |remote| remote.answer_with(|_| Answer::ok().after(SLOW)))
        }),
        scenario(1, "relay-hanging-remote", "newrelic/newrelic-lambda-layers#202", |subject| {
            delays_nobody(subject, |remote| remote.answer_with(|_| Answer::Hang))
        }),
        scenario(2, "relay-black-hole", "DataDog/datadog-lambda-extension#60", |subject| {
            delays_nobody(subject, |remote| {
                remote.refuse_with(|_| Some(End::Hang));
                remote.close_idle();
            })
        }),
        scenario(3, "relay-dead-remote", "newrelic/newrelic-lambda-extension#65", |subject| {
            delays_nobody(subject, Remote::go_down)
        }),
        scenario(
            4,
            "relay-resetting-remote",
            "open-telemetry/opentelemetry-lambda#888",
            |subject| delays_nobody(subject, |remote| remote.answer_with(|_| Answer::Reset)),
        ),
        scenario(5, "relay-failing-remote", "newrelic/newrelic-lambda-extension#90", |subject| {
            delays_nobody(subject, |remote| remote.answer_with(|_| Answer::status(500)))
        }),
        scenario(6, "relay-refusing-remote", "newrelic/newrelic-lambda-layers#202", |subject| {
            delays_nobody(subject, |remote| remote.answer_with(|_| Answer::status(429)))
        }),
    ]
}

fn no_report(subject: &Subject) -> Verdict {
    Verdict::of_attempts(|| play(subject, is_not_held_without_a_report))
}

fn is_not_held_without_a_report(mut fixture: RelayFixture) -> Verdict {
    let with = Pair::of(&mut fixture).invocation;
    let without = median((0..INVOCATIONS).map(|_| fixture.invoke_silently().duration).collect());
    let seen = format!("medians with a report: {with:.1?}; without: {without:.1?}");
    Verdict::of(without < with + ADDED_MAX, seen)
}

fn endless_reports(subject: &Subject) -> Verdict {
    Verdict::of_attempts(|| play(subject, is_not_held_by_reports))
}

fn is_not_held_by_reports(mut fixture: RelayFixture) -> Verdict {
    /// Far longer than an invocation may take.
    const ENDLESS: Duration = Duration::from_secs(3);
    const BETWEEN_TWO: Duration = Duration::from_millis(5);
    let with_one = Pair::of(&mut fixture).invocation;
    let agent = Agent::local(Family::CatchpointPython, fixture.port);
    let (items, is_over) = (items(&agent, 1, 2), AtomicBool::new(false));
    let report_on = || {
        let end = Instant::now() + ENDLESS;
        while !is_over.load(Ordering::Relaxed) && Instant::now() < end {
            // The freeze begins while the last of them is sent.
            drop(agent.report(&items));
            pass(BETWEEN_TWO);
        }
    };
    let took = thread::scope(|scope| {
        scope.spawn(report_on);
        let took = fixture.invoke(|_| pass(BETWEEN_TWO * 10)).1.duration;
        is_over.store(true, Ordering::Relaxed);
        drop(fixture.shut_down());
        took
    });
    let seen = format!("with reports that do not end {took:.1?}, with one {with_one:.1?}");
    Verdict::of(took < with_one + ADDED_MAX, seen)
}

fn delays_nobody(subject: &Subject, trouble: fn(&Remote)) -> Verdict {
    let short = |setup: Setup, _| setup.timeout(TIMEOUT);
    let play_once = || play_in(subject, short, |fixture| is_delayed_by_nothing(fixture, trouble));
    Verdict::of_attempts(play_once)
}

fn is_delayed_by_nothing(mut fixture: RelayFixture, trouble: fn(&Remote)) -> Verdict {
    let healthy = Pair::of(&mut fixture);
    trouble(&fixture.remote);
    let troubled = Pair::of(&mut fixture);
    let is_near = |it: Duration, reference: Duration| it < reference + ADDED_MAX;
    let kept = is_near(troubled.report, healthy.report)
        && is_near(troubled.invocation, healthy.invocation);
    Verdict::of(kept, format!("medians with a healthy remote: {healthy}; then: {troubled}"))
}

/// The medians of an agent's wait and of an invocation.
struct Pair {
    report: Duration,
    invocation: Duration,
}

impl Pair {
    fn of(fixture: &mut RelayFixture) -> Self {
        let mut reports = Vec::new();
        let mut invocations = Vec::new();
        for _ in 0..INVOCATIONS {
            let (reported, invocation) = fixture.invoke(|fixture| fixture.report(1));
            reports.push(reported.took);
            invocations.push(invocation.duration);
        }
        Self { report: median(reports), invocation: median(invocations) }
    }
}

impl std::fmt::Display for Pair {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { report, invocation } = self;
        write!(out, "a report {report:.1?}, an invocation {invocation:.1?}")
    }
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}
