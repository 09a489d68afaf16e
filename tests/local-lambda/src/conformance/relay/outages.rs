//! Scenarios in which the connection to the remote fails and recovers. Reports that were accepted meanwhile
//! must be delivered.

use std::time::Duration;

use super::fixture::{RelayFixture, play};
use crate::answer::Answer;
use crate::conformance::{Kind, Scenario, Subject, Verdict};
use crate::moment::{Cut, End, Moment};
use crate::pace::Pace;
use crate::remote::{KeepAlive, Remote};

/// Time in which an extension must give up waiting for an answer. Its own limit is shorter.
const GIVES_UP_WITHIN: Duration = Duration::from_secs(8);
/// The size of a report that does not fit into a socket's first buffers.
const LARGE_BYTES: usize = 300_000;

/// The longest time that a slow remote may take for it.
const READ_WITHIN: Duration = Duration::from_secs(5);

pub const ALL: &[Scenario] = &[
    Scenario {
        kind: Kind::Relay,
        name: "relay-refused-then-back",
        proves: "Reports that come while the remote refuses connections arrive when it works \
                 again.",
        source: "getsentry/sentry-python#1510",
        play: refused_then_back,
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-reset-before-request",
        proves: "A connection that is reset before its first byte is read loses nothing.",
        source: "elastic/apm-aws-lambda#352",
        play: |subject| {
            recovers(subject, |remote| {
                remote.refuse_with(|connection| (connection == 0).then_some(End::Reset));
            })
        },
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-reset-within-request",
        proves: "A connection that is reset in the middle of a request loses nothing.",
        source: "aws-observability/aws-otel-lambda#229",
        play: |subject| {
            recovers(subject, |remote| {
                let cut = Cut::at(Moment::BodyRead(100), End::Reset);
                remote.cut_with(move |request| (request == 0).then_some(cut));
            })
        },
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-reset-after-request",
        proves: "A connection that is reset instead of an answer loses nothing.",
        source: "aws-observability/aws-otel-lambda#229",
        play: |subject| recovers(subject, |remote| first_gets(remote, Answer::Reset)),
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-half-answer",
        proves: "An answer that ends within its head does not count as a delivery.",
        source: "elastic/apm-aws-lambda#257",
        play: |subject| {
            let half = Answer::HalfAnswer(b"HTTP/1.1 20".to_vec());
            recovers(subject, move |remote| first_gets(remote, half))
        },
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-no-http",
        proves: "An answer that is not HTTP does not count as a delivery.",
        source: "elastic/apm-aws-lambda#257",
        play: |subject| {
            let garbage = Answer::HalfAnswer(b"\x16\x03\x01 not HTTP\r\n\r\n".to_vec());
            recovers(subject, move |remote| first_gets(remote, garbage))
        },
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-one-hang",
        proves: "A request that is never answered is abandoned and repeated, during an invocation \
                 of up to 8 s or at SHUTDOWN.",
        source: "newrelic/newrelic-lambda-extension#90",
        play: one_hang,
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-slow-reader",
        proves: "A remote that reads slowly gets a large report completely, and once.",
        source: "DataDog/datadog-lambda-extension#181",
        play: slow_reader,
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-slow-answer",
        proves: "An answer that arrives byte by byte counts.",
        source: "DataDog/datadog-lambda-extension#181",
        play: slow_answer,
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-one-request-per-connection",
        proves: "A remote that closes each connection after one answer, without announcing it, \
                 gets everything once.",
        source: "DataDog/datadog-lambda-extension#1092",
        play: |subject| {
            recovers(subject, |remote| {
                remote.keep_alive(KeepAlive::default().requests(1));
            })
        },
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-connection-close",
        proves: "A remote that answers with Connection: close gets everything once.",
        source: "DataDog/datadog-lambda-extension#1092",
        play: |subject| {
            recovers(subject, |remote| {
                remote.answer_with(|_| Answer::ok().header("Connection", "close"));
            })
        },
    },
];

/// Gives only the first request this answer.
fn first_gets(remote: &Remote, answer: Answer) {
    remote.answer_with(move |it| if it.number == 0 { answer.clone() } else { Answer::ok() });
}

fn report_in_three_invocations(fixture: &mut RelayFixture) {
    for _ in 0..3 {
        fixture.invoke(|fixture| drop(fixture.report(2)));
    }
}

/// Requires that each item is accepted exactly once, however often it was sent. The remote accepts a request
/// only if it answers with a 2xx.
fn recovers(subject: &Subject, trouble: impl FnOnce(&Remote)) -> Verdict {
    play(subject, |mut fixture| {
        trouble(&fixture.remote);
        report_in_three_invocations(&mut fixture);
        fixture.shut_down().each_once()
    })
}

fn refused_then_back(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        fixture.invoke(|fixture| drop(fixture.report(2)));
        fixture.remote.go_down();
        report_in_three_invocations(&mut fixture);
        fixture.remote.come_back();
        fixture.invoke_silently();
        // The first item may be accepted twice, because its request was in progress when the remote failed.
        fixture.shut_down().each_at_least_once()
    })
}

fn one_hang(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        first_gets(&fixture.remote, Answer::Hang);
        fixture.invoke(|fixture| drop(fixture.report(2)));
        fixture.invoke(|fixture| {
            fixture.report(2);
            drop(fixture.await_delivery(GIVES_UP_WITHIN));
        });
        fixture.shut_down().each_once()
    })
}

fn slow_reader(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        fixture.remote.read_at(Pace::new(16 * 1024, Duration::from_millis(5)));
        fixture.invoke(|fixture| drop(fixture.report_as(&fixture.agent, 2, LARGE_BYTES)));
        delivered_in_time(fixture)
    })
}

fn slow_answer(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        let pace = Pace::byte_by_byte(Duration::from_millis(2));
        fixture.remote.answer_with(move |_| Answer::ok().at_pace(pace));
        report_in_three_invocations(&mut fixture);
        delivered_in_time(fixture)
    })
}

/// On a busy machine a slow remote is even slower, and SHUTDOWN would not wait for it.
fn delivered_in_time(mut fixture: RelayFixture) -> Verdict {
    fixture.invoke(|fixture| drop(fixture.await_delivery(READ_WITHIN)));
    fixture.shut_down().each_once()
}
