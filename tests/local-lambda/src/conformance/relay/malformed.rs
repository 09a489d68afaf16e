//! Scenarios with requests that no agent should send. The process must survive and accept the next proper
//! report.

use std::time::Duration;

use super::aftermath::counts;
use super::fixture::play;
use crate::conformance::raw_requests::{Then, chunked, head, send_raw};
use crate::conformance::{Kind, Scenario, Subject, Verdict};

/// Time limit of an answer. Then the client closes the connection.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);
/// The number of stalled connections, more than any thread pool that fits into a small function.
const STALLED: usize = 30;

pub fn all() -> Vec<Scenario> {
    let proves = "A malformed request does not end it, and does not prevent the next proper \
                  report.";
    let (kind, source) = (Kind::Relay, "DataDog/datadog-lambda-extension#39");
    let scenario = |name, play| Scenario { kind, name, proves, source, play };
    vec![
        scenario("malformed-length", |it| {
            survives_head(it, "Content-Length: ten\r\n", "", Then::Wait)
        }),
        scenario("malformed-negative-length", |it| {
            survives_head(it, "Content-Length: -1\r\n", "", Then::Wait)
        }),
        scenario("malformed-huge-length", |it| {
            survives_head(it, "Content-Length: 18446744073709551615\r\n", "", Then::Wait)
        }),
        scenario("malformed-large-length", |it| {
            survives_head(it, "Content-Length: 9223372036854775807\r\n", "", Then::Close)
        }),
        scenario("malformed-chunk", |it| survives_chunks(it, "zz\r\n[1]\r\n0\r\n\r\n", Then::Wait)),
        scenario("malformed-huge-chunk", |it| {
            survives_chunks(it, "ffffffffffffffff\r\n[1", Then::Close)
        }),
        scenario("malformed-garbage", |it| {
            let garbage: Vec<u8> = (0..4096_u32).map(|it| (it * 31 % 251) as u8).collect();
            survives(it, &garbage, Then::Wait)
        }),
        scenario("malformed-tls-hello", |it| {
            survives(it, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Then::Wait)
        }),
        scenario("malformed-http2-preface", |it| {
            survives(it, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", Then::Wait)
        }),
        scenario("malformed-endless-head", |it| {
            let line = format!("X-Filler: {}\r\n", "x".repeat(1000));
            survives(
                it,
                format!("POST {} HTTP/1.1\r\n{}", it.speech.path(), line.repeat(200)).as_bytes(),
                Then::Wait,
            )
        }),
        scenario("malformed-half-a-request", |it| {
            survives_head(it, "Content-Length: 500\r\n", "[{\"a\"", Then::Close)
        }),
        scenario("malformed-reset-after-sending", |it| {
            survives_head(it, "Content-Length: 2\r\n", it.speech.nothing(), Then::Reset)
        }),
        scenario("malformed-reset-at-once", |it| survives(it, b"", Then::Reset)),
        Scenario {
            kind: Kind::Relay,
            name: "malformed-stalled-connections",
            proves: "Thirty connections that stop in the middle of a request do not delay an \
                     agent.",
            source: "elastic/apm-agent-nodejs#2994",
            play: stalled,
        },
    ]
}

/// Enough repetitions to use up leaked threads, and to reach each worker once.
const TIMES: usize = 20;

/// Sends this head, with as much of the body as `body` has.
fn survives_head(it: &Subject, headers: &str, body: &str, then: Then) -> Verdict {
    survives(it, &[&head(it.speech, headers), body.as_bytes()].concat(), then)
}

fn survives_chunks(it: &Subject, body: &str, then: Then) -> Verdict {
    survives(it, &chunked(it.speech, body), then)
}

fn survives(subject: &Subject, bytes: &[u8], then: Then) -> Verdict {
    play(subject, |mut fixture| {
        fixture.invoke(|fixture| {
            throw_all(fixture.port, bytes, then);
            drop(fixture.report(1));
        });
        fixture.invoke(|fixture| drop(fixture.report(1)));
        let end = fixture.shut_down();
        let delivery = end.delivery();
        // An incomplete or malformed report must not be forwarded.
        Verdict::of(delivery.is_exact(), format!("after {TIMES} such: {}", counts(&delivery)))
    })
}

/// Sends all at once, so that they wait for answers at the same time.
fn throw_all(port: u16, bytes: &[u8], then: Then) {
    let thrown = (0..TIMES).filter_map(|_| send_raw(port, bytes, ANSWER_WITHIN));
    for stream in thrown.collect::<Vec<_>>() {
        then.end(stream, ANSWER_WITHIN / 10);
    }
}

fn stalled(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        let halves = [
            head(subject.speech, "Content-Length: 5000\r\n"),
            head(subject.speech, "X: y\r\n")[..60].to_vec(),
        ];
        let stalled: Vec<_> = (0..STALLED)
            .filter_map(|nth| send_raw(fixture.port, &halves[nth % 2], ANSWER_WITHIN))
            .collect();
        let took = [(); 3].map(|()| fixture.invoke(|fixture| fixture.report(1)).0.took);
        drop(stalled);
        match fixture.shut_down().each_once() {
            Verdict::Held(seen) => Verdict::held(format!("{seen}; reports took {took:.1?}")),
            other => other,
        }
    })
}
