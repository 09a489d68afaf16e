//! Scenarios with freezes at moments of a delivery.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use super::fixture::{ARRAYS, RelayFixture, items, play};
use crate::agent::Connection;
use crate::answer::Answer;
use crate::conformance::fixture::pass;
use crate::conformance::{Kind, Scenario, Subject, Verdict};
use crate::invocation::InFlight;
use crate::moment::{End, Moment};
use crate::remote::Received;

/// Longer than an attempt usually may take, which is 3 s in extensions that set a limit. The limit's clock goes
/// on in a freeze.
const BEYOND_A_SEND: Duration = Duration::from_secs(4);
const SHORT: Duration = Duration::from_millis(200);
/// Time for an extension that sends within the invocation to begin, also on a busy machine. An extension that
/// sends at once ends the wait.
const SENDS_WITHIN: Duration = Duration::from_secs(2);
/// The number of whole invocations in which it must begin.
const INVOCATIONS_MAX: usize = 3;

pub const ALL: &[Scenario] = &[
    Scenario {
        kind: Kind::Relay,
        name: "freeze-after-post",
        proves: "A report is not lost if the execution environment freezes as soon as the agent \
                 has its answer.",
        source: "open-telemetry/opentelemetry-lambda#224",
        play: after_post,
    },
    Scenario {
        kind: Kind::Relay,
        name: "freeze-within-request",
        proves: "A report of which the remote has read a part before a freeze arrives once.",
        source: "DataDog/datadog-lambda-extension#1000",
        play: |subject| across(subject, Freeze { at: Moment::BodyRead(1000), ..Freeze::default() }),
    },
    Scenario {
        kind: Kind::Relay,
        name: "freeze-before-answer",
        proves: "A report whose answer comes during a short freeze is not sent again.",
        source: "honeycombio/honeycomb-lambda-extension#140",
        play: |subject| across(subject, Freeze::default()),
    },
    Scenario {
        kind: Kind::Relay,
        name: "freeze-long-before-answer",
        proves: "A report whose answer arrives in the socket during a freeze of 4 s is not sent \
                 again.",
        source: "honeycombio/honeycomb-lambda-extension#140",
        play: |subject| across(subject, Freeze { lasts: BEYOND_A_SEND, ..Freeze::default() }),
    },
    Scenario {
        kind: Kind::Relay,
        name: "freeze-then-close",
        proves: "A report is sent again if its connection closes during the freeze, before the \
                 answer.",
        source: "aws-observability/aws-otel-lambda#229",
        play: |subject| across(subject, Freeze { end: Some(End::Close), ..Freeze::default() }),
    },
    Scenario {
        kind: Kind::Relay,
        name: "freeze-then-reset",
        proves: "A report is sent again if its connection is reset during the freeze, before the \
                 answer.",
        source: "DataDog/datadog-lambda-extension#195",
        play: |subject| across(subject, Freeze { end: Some(End::Reset), ..Freeze::default() }),
    },
    Scenario {
        kind: Kind::Relay,
        name: "freeze-then-reset-within-request",
        proves: "A report is sent again if its connection is reset during the freeze, in the \
                 middle of the request.",
        source: "DataDog/datadog-lambda-extension#195",
        play: |subject| {
            let at = Moment::BodyRead(1000);
            across(subject, Freeze { at, end: Some(End::Reset), lasts: SHORT })
        },
    },
    Scenario {
        kind: Kind::Relay,
        name: "freeze-half-sent-post",
        proves: "An agent's request that a freeze cuts off does no harm to later requests.",
        source: "DataDog/datadog-lambda-go#128",
        play: half_sent_post,
    },
    Scenario {
        kind: Kind::Relay,
        name: "freeze-post-in-two-halves",
        proves: "An agent's request with a freeze in its middle is answered and delivered.",
        source: "DataDog/datadog-lambda-go#128",
        play: post_in_two_halves,
    },
];

/// A freeze at a moment of the first request to the remote.
#[derive(Clone, Copy)]
struct Freeze {
    at: Moment,
    /// The way in which the remote ends the connection meanwhile, if it does.
    end: Option<End>,
    lasts: Duration,
}

impl Default for Freeze {
    fn default() -> Self {
        Self { at: Moment::BeforeAnswer, end: None, lasts: SHORT }
    }
}

/// Large enough that bytes are missing at any moment of the request.
const RESPONSE_BYTES: usize = 5000;

fn across(subject: &Subject, freeze: Freeze) -> Verdict {
    play(subject, |mut fixture| {
        if freeze.end.is_some() {
            // This answer never arrives. Its status shows that the remote has not accepted the report.
            let first =
                |it: &Received| if it.number == 0 { Answer::status(500) } else { Answer::ok() };
            fixture.remote.answer_with(first);
        }
        let (told, frozen) = mpsc::channel();
        let (reported, answered) = mpsc::channel();
        let (freezer, end) = (fixture.freezer(), freeze.end);
        fixture.remote.at(freeze.at, 0, move |interruption| {
            // The agent gets its answer before the freeze, unless it has to wait for the remote's.
            let _ = answered.recv_timeout(SENDS_WITHIN);
            freezer.freeze();
            if let Some(end) = end {
                interruption.end(end);
            }
            // This fails if the scenario no longer waits.
            let _ = told.send(());
        });
        if !thaws_after(&mut fixture, &reported, &frozen, freeze.lasts) {
            return Verdict::does_not_apply("it sends nothing within its first invocations");
        }
        fixture.invoke(|fixture| drop(fixture.report(1)));
        fixture.shut_down().each_once()
    })
}

/// Reports, and invokes until the freeze has begun. Then lets it last. False if it never began.
fn thaws_after(
    fixture: &mut RelayFixture,
    reported: &Sender<()>,
    frozen: &Receiver<()>,
    lasts: Duration,
) -> bool {
    for nth in 0..INVOCATIONS_MAX {
        let in_flight = fixture.begin();
        if nth == 0 {
            fixture.report_as(&fixture.agent, 2, RESPONSE_BYTES);
            // This fails if the action no longer waits.
            let _ = reported.send(());
        }
        let within = thaws(fixture, frozen, lasts);
        fixture.reply(&in_flight);
        let has_thawed = within || thaws(fixture, frozen, lasts);
        fixture.end(in_flight);
        if has_thawed {
            return true;
        }
    }
    false
}

fn thaws(fixture: &RelayFixture, frozen: &Receiver<()>, lasts: Duration) -> bool {
    let is_frozen = frozen.recv_timeout(SENDS_WITHIN).is_ok();
    if is_frozen {
        pass(lasts);
        fixture.freezer().thaw();
    }
    is_frozen
}

fn after_post(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        for _ in 0..5 {
            let in_flight = fixture.begin();
            fixture.report(2);
            frozen_for(&mut fixture, in_flight, SHORT / 4);
        }
        fixture.shut_down().each_once()
    })
}

fn frozen_for(fixture: &mut RelayFixture, in_flight: InFlight, time: Duration) {
    let freezer = fixture.freezer();
    freezer.freeze();
    pass(time);
    freezer.thaw();
    fixture.reply(&in_flight);
    fixture.end(in_flight);
}

/// The head and the body of a report.
fn request(fixture: &RelayFixture) -> (Vec<u8>, Vec<String>) {
    let items = items(&fixture.agent, 2, 2);
    let body = format!("[{}]", items.join(","));
    let head = format!(
        "POST {ARRAYS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Authorization: ApiKey some-key\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (format!("{head}{body}").into_bytes(), items)
}

fn half_sent_post(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        let (bytes, _) = request(&fixture);
        let in_flight = fixture.begin();
        let mut connection = Connection::open(fixture.port);
        connection.send(&bytes[..bytes.len() / 2]);
        fixture.freezer().freeze();
        connection.reset();
        fixture.freezer().thaw();
        fixture.report(1);
        fixture.reply(&in_flight);
        fixture.end(in_flight);
        fixture.invoke(|fixture| drop(fixture.report(1)));
        fixture.shut_down().each_once()
    })
}

fn post_in_two_halves(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        let (bytes, items) = request(&fixture);
        let in_flight = fixture.begin();
        let mut connection = Connection::open(fixture.port);
        let (first, second) = bytes.split_at(bytes.len() / 2);
        connection.send(first);
        fixture.freezer().freeze();
        pass(SHORT);
        connection.send(second);
        fixture.freezer().thaw();
        let status = connection.response().status;
        if status != 200 {
            return Verdict::broke(format!("the agent was answered {status}"));
        }
        fixture.accept(items);
        fixture.reply(&in_flight);
        fixture.end(in_flight);
        fixture.shut_down().each_once()
    })
}
