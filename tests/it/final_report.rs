//! How the strategy `end` notices the end of an invocation without the platform: the agent's last report
//! contains the request id.

use std::time::{Duration, Instant};

use local_lambda::otlp::{self, Encoding, Signal};
use local_lambda::{Answer, Platform, Remote};
use rstest::rstest;

use crate::support::fixture::{ARRAY, Fixture, PATIENCE};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};
use crate::support::report::Report;
use crate::support::telemetry_api::{
    self, AT_ONCE, LOGS_HOLDS, SUBSCRIBED, invoke, post_telemetry, runtime_done,
};
use crate::support::two_remotes::TwoRemotes;

/// How long to watch for an event that must not happen.
const A_MOMENT: Duration = Duration::from_millis(300);

/// The time of a round trip to the remote.
const FAR: Duration = Duration::from_millis(200);

fn start(protocol: Protocol, remote: Remote) -> (Fixture, u16) {
    telemetry_api::start(protocol, remote, SUBSCRIBED, &[LOGS_HOLDS])
}

fn word(text: &str) -> String {
    format!("[\"{text}\"]")
}

/// Spans, one of which names this invocation. They are enough for gzip to compress.
fn spans_of(request_id: &str, encoding: Encoding) -> Report {
    let names = ["of this one", "of this one", request_id];
    Report::of(Signal::Traces, encoding, otlp::traces(&names, encoding))
}

#[track_caller]
fn is_let_go_at_once(platform: &Platform) {
    let over = Instant::now();
    platform.wait_for_next(PATIENCE);
    assert!(over.elapsed() < AT_ONCE, "{:?}", over.elapsed());
}

#[rstest]
fn a_report_that_names_the_invocation_is_its_end_and_one_of_another_is_not(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let (fixture, _) = start(protocol, Remote::start());
    for nth in [1, 3, 5] {
        let request_id = invoke(&fixture);
        fixture.report(ARRAY, &word("of another"));
        fixture.received(nth);
        assert!(!fixture.platform.has_next_within(A_MOMENT));
        fixture.report(ARRAY, &word(&request_id));
        is_let_go_at_once(&fixture.platform);
        assert_eq!(fixture.remote.received().len(), nth + 1, "it is there before the freeze");
    }
    fixture.shut_down();
}

#[rstest]
fn a_span_that_names_the_invocation_is_its_end_in_both_encodings(
    #[values(Encoding::Protobuf, Encoding::Json)] encoding: Encoding,
) {
    let (fixture, _) = start(Otlp, Remote::start());
    let request_id = invoke(&fixture);
    assert!(!fixture.platform.has_next_within(A_MOMENT));
    assert_eq!(spans_of(&request_id, encoding).post(fixture.port).status, 200);
    is_let_go_at_once(&fixture.platform);
    assert_eq!(fixture.accepted_items()[2], request_id);
    fixture.shut_down();
}

#[rstest]
fn with_spans_in_gzip_lambdas_report_ends_the_invocation(
    #[values(Encoding::Protobuf, Encoding::Json)] encoding: Encoding,
) {
    let (fixture, telemetry) = start(Otlp, Remote::start());
    let request_id = invoke(&fixture);
    assert_eq!(spans_of(&request_id, encoding).packed().post(fixture.port).status, 200);
    fixture.received(1);
    assert!(!fixture.platform.has_next_within(A_MOMENT));
    post_telemetry(telemetry, &runtime_done(&request_id));
    is_let_go_at_once(&fixture.platform);
    fixture.shut_down();
}

/// A log record may name an invocation at any time, and metrics are exported after spans.
#[rstest]
fn metrics_or_logs_that_name_the_invocation_are_not_its_end_nor_a_later_span(
    #[values(Signal::Metrics, Signal::Logs)] signal: Signal,
    #[values(Encoding::Protobuf, Encoding::Json)] encoding: Encoding,
) {
    let (fixture, telemetry) = start(Otlp, Remote::start());
    let request_id = invoke(&fixture);
    let report = if signal == Signal::Logs { otlp::logs } else { otlp::metrics };
    let body = report(&[&request_id], encoding);
    for (nth, report) in
        [Report::of(signal, encoding, body), spans_of(&request_id, encoding)].iter().enumerate()
    {
        assert_eq!(report.post(fixture.port).status, 200);
        fixture.received(nth + 1);
        assert!(!fixture.platform.has_next_within(A_MOMENT));
    }
    post_telemetry(telemetry, &runtime_done(&request_id));
    is_let_go_at_once(&fixture.platform);
    fixture.shut_down();
}

/// An extension with a remote of each protocol, and the port where it gets Lambda's telemetry.
fn start_both() -> (TwoRemotes, u16) {
    let mut telemetry = 0;
    let both = TwoRemotes::started_by(|own| {
        let own = [own, &[LOGS_HOLDS]].concat();
        let (fixture, port) = telemetry_api::start(Thundra, Remote::start(), SUBSCRIBED, &own);
        telemetry = port;
        fixture
    });
    (both, telemetry)
}

#[rstest]
fn where_one_of_two_remotes_gets_no_report_lambda_reports_the_end_of_the_invocation(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let (both, telemetry) = start_both();
    for _ in 0..3 {
        let request_id = invoke(&both.fixture);
        both.report(protocol, &word(&request_id));
        assert!(!both.fixture.platform.has_next_within(A_MOMENT));
        post_telemetry(telemetry, &runtime_done(&request_id));
        is_let_go_at_once(&both.fixture.platform);
    }
    both.fixture.shut_down();
}

#[rstest]
fn with_agents_of_both_protocols_both_final_reports_arrive_before_the_freeze(
    #[values(Thundra, Otlp)] first: Protocol,
) {
    let (both, _) = start_both();
    for remote in [&both.fixture.remote, &both.otlps] {
        remote.answer_with(|it| Answer::accepting(it).after(FAR));
    }
    let second = if first == Thundra { Otlp } else { Thundra };
    for nth in 1..=2 {
        let request_id = invoke(&both.fixture);
        for protocol in [first, second] {
            both.report(protocol, &word("its first"));
        }
        both.report(first, &word(&request_id));
        assert!(!both.fixture.platform.has_next_within(FAR + A_MOMENT));
        both.report(second, &word(&request_id));
        is_let_go_at_once(&both.fixture.platform);
        for remote in [&both.fixture.remote, &both.otlps] {
            let items: usize = remote.received().iter().map(|it| it.items().len()).sum();
            assert_eq!(items, 2 * nth);
        }
    }
    both.fixture.shut_down();
}

#[test]
fn with_agents_of_both_protocols_lambdas_report_ends_the_invocation_for_both() {
    let (both, telemetry) = start_both();
    let request_id = invoke(&both.fixture);
    for protocol in [Thundra, Otlp] {
        both.report(protocol, &word("no last one"));
    }
    assert!(!both.fixture.platform.has_next_within(A_MOMENT));
    post_telemetry(telemetry, &runtime_done(&request_id));
    is_let_go_at_once(&both.fixture.platform);
    both.fixture.shut_down();
}
