//! Scenarios with connections that end in a freeze between two invocations, as after minutes without an
//! invocation.

use std::time::Duration;

use super::fixture::{POLL, RelayFixture, play, play_over_tls};
use crate::conformance::fixture::pass;
use crate::conformance::subject::Certificate;
use crate::conformance::{Kind, Scenario, Subject, Verdict};
use crate::remote::Remote;

/// Time for an extension that sends within the invocation, also on a busy machine.
const DELIVERS_WITHIN: Duration = Duration::from_secs(5);

const PROVES: &str = "If an idle connection ends in this way during a freeze, no report is lost or \
                      repeated, and the log has no error.";

pub const ALL: &[Scenario] = &[
    Scenario {
        kind: Kind::Relay,
        name: "idle-closed",
        proves: PROVES,
        source: "DataDog/datadog-lambda-extension#1092",
        play: |subject| is_no_error(subject, Remote::close_idle),
    },
    Scenario {
        kind: Kind::Relay,
        name: "idle-closed-tls",
        proves: PROVES,
        source: "DataDog/datadog-lambda-extension#1092",
        play: |subject| {
            play_over_tls(subject, Certificate::Right, |fixture| {
                stays_no_error(fixture, Remote::close_idle)
            })
        },
    },
    Scenario {
        kind: Kind::Relay,
        name: "idle-reset",
        proves: PROVES,
        source: "DataDog/datadog-lambda-extension#1007",
        play: |subject| is_no_error(subject, Remote::reset_idle),
    },
    Scenario {
        kind: Kind::Relay,
        name: "idle-forgotten",
        proves: PROVES,
        source: "DataDog/datadog-lambda-extension#195",
        play: |subject| is_no_error(subject, Remote::forget_idle),
    },
    Scenario {
        kind: Kind::Relay,
        name: "idle-agent-connection",
        proves: "An agent's own connection, kept from one invocation to the next, still serves \
                 after the freeze.",
        source: "DataDog/datadog-lambda-go#128",
        play: agent_connection,
    },
];

/// The remote ends idle connections in three freezes.
fn is_no_error(subject: &Subject, leave: fn(&Remote)) -> Verdict {
    play(subject, |fixture| stays_no_error(fixture, leave))
}

fn stays_no_error(mut fixture: RelayFixture, leave: fn(&Remote)) -> Verdict {
    for round in 0..3 {
        let (is_delivered, _) = fixture.invoke(report_and_await);
        if round == 0 && !is_delivered {
            return Verdict::does_not_apply(
                "it sends nothing within an invocation, and has no connection in the freeze",
            );
        }
        // Everything is frozen between two invocations.
        leave(&fixture.remote);
    }
    fixture.invoke(|fixture| drop(fixture.report(2)));
    let end = fixture.shut_down();
    let connections = end.remote.connections();
    match (end.each_once(), end.complaints().first()) {
        (Verdict::Held(_), Some(line)) => Verdict::broke(format!("it logged {line:?}")),
        (Verdict::Held(seen), None) => {
            Verdict::held(format!("{seen}, on {connections} connections"))
        }
        (other, _) => other,
    }
}

/// Gives the extension time to send, so that it has an idle connection. False if it does not send.
fn report_and_await(fixture: &RelayFixture) -> bool {
    fixture.report(2);
    let delivery = fixture.await_delivery(DELIVERS_WITHIN);
    // The client reads its answer and keeps the connection. Nothing reports when that is done.
    pass(POLL);
    delivery.missing.is_empty()
}

fn agent_connection(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        let mut reused = 0;
        for _ in 0..5 {
            let (reported, _) = fixture.invoke(|fixture| fixture.report(1));
            reused += reported.attempts.iter().filter(|attempt| attempt.reused).count();
        }
        match fixture.shut_down().each_once() {
            Verdict::Held(_) if reused == 0 => {
                Verdict::does_not_apply("it keeps no connection of an agent")
            }
            Verdict::Held(seen) => Verdict::held(format!("{seen}; reused {reused} of 4 times")),
            other => other,
        }
    })
}
