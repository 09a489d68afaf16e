//! Scenarios about the remote's answers: which requests are sent again, and how often.

use std::time::{Duration, Instant};

use super::aftermath::counts;
use super::fixture::{POLL, RelayFixture, items, play};
use crate::agent::{Agent, Family};
use crate::answer::Answer;
use crate::conformance::fixture::pass;
use crate::conformance::{Kind, Scenario, Subject, Verdict};
use crate::remote::Remote;

/// Limits of requests: within an invocation of two seconds, and in total if the remote answers that it will
/// never accept the report.
const ATTEMPTS_PER_INVOCATION_MAX: usize = 100;
const FUTILE_ATTEMPTS_MAX: usize = 5;
const HELD_OPEN: Duration = Duration::from_secs(2);

/// The length of an invocation that is long enough to send in.
const SHORT: Duration = Duration::from_millis(100);

const AGAIN: &str = "A report that gets this status once is sent again, and accepted once.";

pub const ALL: &[Scenario] = &[
    Scenario {
        kind: Kind::Relay,
        name: "relay-500-then-200",
        proves: AGAIN,
        source: "DataDog/datadog-lambda-extension#1220",
        play: |subject| is_sent_again(subject, || Answer::status(500)),
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-503-then-200",
        proves: AGAIN,
        source: "RFC 9110, 15.6.4",
        play: |subject| is_sent_again(subject, || Answer::status(503)),
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-429-with-retry-after",
        proves: "A report that gets 429 with Retry-After: 1 is sent again after this second, and \
                 accepted once.",
        source: "RFC 9110, 10.2.3",
        play: waits_as_asked,
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-endless-500",
        proves: "A remote that always answers 500 gets at most 100 requests within an invocation \
                 of two seconds.",
        source: "DataDog/datadog-lambda-extension#1220",
        play: |subject| {
            is_bounded(subject, |remote| {
                remote.answer_with(|_| Answer::status(500));
            })
        },
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-endless-resets",
        proves: "A remote that resets each connection gets at most 100 requests within an \
                 invocation of two seconds.",
        source: "DataDog/datadog-lambda-extension#1220",
        play: |subject| is_bounded(subject, |remote| remote.answer_with(|_| Answer::Reset)),
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-401",
        proves: "A report with a key that the remote does not know (401) is not sent again and \
                 again.",
        source: "DataDog/datadog-lambda-extension#785",
        play: |subject| is_given_up(subject, 401),
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-403",
        proves: "A report with a key without permission (403) is not sent again and again.",
        source: "DataDog/datadog-lambda-extension#787",
        play: |subject| is_given_up(subject, 403),
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-413",
        proves: "A report that is too large for the remote (413) is not sent again and again, and \
                 later reports arrive.",
        source: "RFC 9110, 15.5.14",
        play: |subject| is_given_up(subject, 413),
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-redirect",
        proves: "A redirect to another host is not followed with the key.",
        source: "RFC 9110, 15.4",
        play: redirect,
    },
];

fn is_sent_again(subject: &Subject, first: fn() -> Answer) -> Verdict {
    play(subject, |mut fixture| {
        fixture.remote.answer_with(move |it| if it.number == 0 { first() } else { Answer::ok() });
        for _ in 0..2 {
            fixture.invoke(|fixture| drop(fixture.report(2)));
        }
        fixture.invoke_silently();
        fixture.shut_down().each_once()
    })
}

fn waits_as_asked(subject: &Subject) -> Verdict {
    const ASKED: Duration = Duration::from_secs(1);
    /// How long an invocation is kept open. It is far longer than an extension may wait in addition to the
    /// demanded pause.
    const SENT_WITHIN: Duration = Duration::from_secs(5);
    play(subject, |mut fixture| {
        fixture.remote.answer_with(|it| match it.number {
            0 => Answer::status(429).header("Retry-After", ASKED.as_secs().to_string()),
            _ => Answer::ok(),
        });
        fixture.invoke(|fixture| {
            fixture.report(2);
            fixture.await_delivery(SENT_WITHIN)
        });
        // For an extension that sends at the next invocation. SHUTDOWN, after it, would not wait.
        fixture.invoke(|fixture| fixture.await_delivery(SENT_WITHIN));
        let waited = match &fixture.remote.received()[..] {
            [first, second, ..] => Some(second.head_at.saturating_duration_since(first.at)),
            _ => None,
        };
        match (waited, fixture.shut_down().each_once()) {
            (Some(waited), _) if waited < ASKED => {
                Verdict::broke(format!("sent again after {waited:.0?}, asked for {ASKED:?}"))
            }
            (_, verdict) => verdict,
        }
    })
}

fn is_bounded(subject: &Subject, trouble: fn(&Remote)) -> Verdict {
    play(subject, |mut fixture| {
        trouble(&fixture.remote);
        let mut most = 0;
        for _ in 0..2 {
            let before = fixture.remote.received().len();
            let attempts = |fixture: &RelayFixture| fixture.remote.received().len() - before;
            fixture.invoke(|fixture| {
                fixture.report(1);
                let end = Instant::now() + HELD_OPEN;
                while Instant::now() < end && attempts(fixture) <= ATTEMPTS_PER_INVOCATION_MAX {
                    pass(POLL);
                }
            });
            most = most.max(attempts(&fixture));
        }
        let seen = format!("up to {most} requests in an invocation of {HELD_OPEN:?}");
        Verdict::of(most <= ATTEMPTS_PER_INVOCATION_MAX, seen)
    })
}

/// The remote always gives one report this status, and accepts another one with another key.
fn is_given_up(subject: &Subject, status: u16) -> Verdict {
    play(subject, |mut fixture| {
        let agent = &fixture.agent;
        let refused = items(agent, 1, 2);
        let text = refused[0].clone();
        let is_refused =
            move |body: &[u8]| body.windows(text.len()).any(|window| window == text.as_bytes());
        let judges = is_refused.clone();
        fixture.remote.answer_with(move |it| {
            if judges(&it.body) { Answer::status(status) } else { Answer::ok() }
        });
        let (reported, _) = fixture.invoke(|fixture| fixture.agent.report(&refused));
        if let Some(failure) = reported.failure() {
            return Verdict::broke(format!("the agent saw: {failure}"));
        }
        for _ in 0..5 {
            fixture.invoke(|_| pass(SHORT));
        }
        let other = Agent::local(Family::CatchpointPython, fixture.port).key("another-key");
        fixture.invoke(|fixture| drop(fixture.report_as(&other, 1, 2)));
        let end = fixture.shut_down();
        let received = end.remote.received();
        let attempts = received.iter().filter(|it| is_refused(&it.body)).count();
        let delivery = end.delivery();
        let seen = format!("sent {attempts} times; another: {}", counts(&delivery));
        Verdict::of((1..=FUTILE_ATTEMPTS_MAX).contains(&attempts) && delivery.is_exact(), seen)
    })
}

fn redirect(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        let other = Remote::start();
        let to = other.base_url();
        fixture.remote.answer_with(move |it| {
            let path = it.path.trim_start_matches("/v1");
            Answer::status(307).header("Location", format!("{to}{path}"))
        });
        for _ in 0..2 {
            fixture.invoke(|fixture| drop(fixture.report(1)));
        }
        let end = fixture.shut_down();
        let asked = end.remote.received().len();
        let followed = other.received();
        let keys = followed.iter().filter(|it| it.header("Authorization").is_some()).count();
        let seen = format!(
            "{asked} requests redirected, {} followed, {keys} of them with Authorization",
            followed.len()
        );
        Verdict::of(asked > 0 && keys == 0, seen)
    })
}
