//! Slow remotes at the end of the execution environment. If the remote's system has acknowledged a request, the
//! extension waits for its answer and does not send it again.

use std::time::{Duration, Instant};

use local_lambda::{Answer, Remote, Standstills};
use rstest::rstest;

use crate::support::fixture::{ARRAY, COLLECTS, Fixture, SHUTDOWN, array_of};
use crate::support::protocol::Protocol::Otlp;
use crate::support::report::text_of;

/// The number of attempts. On a busy machine, some have no time left and prove nothing.
const TRIALS: usize = 10;

/// The time after the answer: the extension's margin, and as much again to read the answer.
const LEFT: Duration = Duration::from_millis(200);

fn slow(remote: &Remote, from: usize, takes: Duration) {
    remote.answer_with(move |it| {
        let answer = Answer::accepting(it);
        if it.number < from { answer } else { answer.after(takes) }
    });
}

/// Whether there was time for an answer that takes this long. If so, all reports must be delivered. In any
/// case, no report may arrive twice.
fn delivers_once(fixture: Fixture, requests: usize, takes: Duration) -> bool {
    let (asked, standstills) = (Instant::now(), Standstills::watch());
    let (log, received) = fixture.shut_down_leaving(|fixture| fixture.remote.received());
    let stood_still = standstills.within(asked, Instant::now());
    let bodies: Vec<String> = received.iter().map(text_of).collect();
    assert!(bodies.len() <= requests, "{bodies:?}\n{log}");
    let Some(last) = received.get(requests - 1) else { return false };
    let was_time = last.at + takes + stood_still + LEFT < asked + SHUTDOWN;
    assert!(!was_time || !log.contains("lost"), "{log}");
    was_time
}

#[track_caller]
fn is_shown(fixture: impl Fn() -> bool) {
    assert!(
        (0..TRIALS).any(|_| fixture()),
        "no request is there in time, or the machine is too busy"
    );
}

#[rstest]
fn shutdown_waits_for_a_slow_response_on_a_kept_connection(#[values(1_100, 1_500)] takes_ms: u64) {
    let takes = Duration::from_millis(takes_ms);
    is_shown(|| {
        let fixture = Otlp.start_with(&[COLLECTS]);
        slow(&fixture.remote, 1, takes);
        // Half of the buffer is sent at once, so a connection is open afterwards.
        fixture.report(ARRAY, &array_of(3_000_000));
        fixture.received(1);
        fixture.wait_for_an_empty_buffer();
        fixture.report(ARRAY, "[2]");
        delivers_once(fixture, 2, takes)
    });
}

#[test]
fn an_earlier_attempt_with_an_acknowledged_request_goes_on_at_shutdown() {
    let takes = Duration::from_millis(1_300);
    is_shown(|| {
        let fixture = Otlp.start();
        slow(&fixture.remote, 0, takes);
        fixture.report(ARRAY, "[1]");
        fixture.received(1);
        delivers_once(fixture, 1, takes)
    });
}
