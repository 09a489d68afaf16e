//! By what the strategy `end` knows that an invocation is over, without the platform telling: its agent
//! names it in what it reports last.

use std::time::{Duration, Instant};

use local_lambda::otlp::{self, Encoding, Signal};
use local_lambda::{Answer, Platform, Remote};
use rstest::rstest;

use crate::both::Both;
use crate::dialect::Dialect::{self, Otlp, Thundra};
use crate::report::Report;
use crate::subscriptions::{self, AT_ONCE, LOGS_HOLDS, SUBSCRIBED, invoke, runtime_done, tell};
use crate::trial::{ARRAY, PATIENCE, Trial};

/// Long enough to see what must not happen, if it does.
const A_MOMENT: Duration = Duration::from_millis(300);

/// To the remote and back.
const FAR: Duration = Duration::from_millis(200);

fn start(dialect: Dialect, remote: Remote) -> (Trial, u16) {
    subscriptions::start(dialect, remote, SUBSCRIBED, &[LOGS_HOLDS])
}

fn word(text: &str) -> String {
    format!("[\"{text}\"]")
}

/// Spans of which one names this invocation; enough for gzip to pack them.
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
    #[values(Thundra, Otlp)] dialect: Dialect,
) {
    let (trial, _) = start(dialect, Remote::start());
    for nth in [1, 3, 5] {
        let request_id = invoke(&trial);
        trial.report(ARRAY, &word("of another"));
        trial.received(nth);
        assert!(!trial.platform.has_next_within(A_MOMENT));
        trial.report(ARRAY, &word(&request_id));
        is_let_go_at_once(&trial.platform);
        assert_eq!(trial.remote.received().len(), nth + 1, "it is there before the freeze");
    }
    trial.shut_down();
}

#[rstest]
fn a_span_that_names_the_invocation_is_its_end_in_both_encodings(
    #[values(Encoding::Protobuf, Encoding::Json)] encoding: Encoding,
) {
    let (trial, _) = start(Otlp, Remote::start());
    let request_id = invoke(&trial);
    assert!(!trial.platform.has_next_within(A_MOMENT));
    assert_eq!(spans_of(&request_id, encoding).post(trial.port).status, 200);
    is_let_go_at_once(&trial.platform);
    assert_eq!(trial.accepted_items()[2], request_id);
    trial.shut_down();
}

#[rstest]
fn of_spans_in_gzip_lambda_tells_which_are_the_last(
    #[values(Encoding::Protobuf, Encoding::Json)] encoding: Encoding,
) {
    let (trial, telemetry) = start(Otlp, Remote::start());
    let request_id = invoke(&trial);
    assert_eq!(spans_of(&request_id, encoding).packed().post(trial.port).status, 200);
    trial.received(1);
    assert!(!trial.platform.has_next_within(A_MOMENT));
    tell(telemetry, &runtime_done(&request_id));
    is_let_go_at_once(&trial.platform);
    trial.shut_down();
}

/// A record of a log may name it at any time, and metrics are exported after spans.
#[rstest]
fn what_names_the_invocation_in_metrics_or_logs_is_not_its_end_nor_a_span_after_it(
    #[values(Signal::Metrics, Signal::Logs)] signal: Signal,
    #[values(Encoding::Protobuf, Encoding::Json)] encoding: Encoding,
) {
    let (trial, telemetry) = start(Otlp, Remote::start());
    let request_id = invoke(&trial);
    let report = if signal == Signal::Logs { otlp::logs } else { otlp::metrics };
    let body = report(&[&request_id], encoding);
    for (nth, report) in
        [Report::of(signal, encoding, body), spans_of(&request_id, encoding)].iter().enumerate()
    {
        assert_eq!(report.post(trial.port).status, 200);
        trial.received(nth + 1);
        assert!(!trial.platform.has_next_within(A_MOMENT));
    }
    tell(telemetry, &runtime_done(&request_id));
    is_let_go_at_once(&trial.platform);
    trial.shut_down();
}

/// With a remote of each protocol, and the port where it is told of ends.
fn start_both() -> (Both, u16) {
    let mut telemetry = 0;
    let both = Both::started_by(|own| {
        let own = [own, &[LOGS_HOLDS]].concat();
        let (trial, port) = subscriptions::start(Thundra, Remote::start(), SUBSCRIBED, &own);
        telemetry = port;
        trial
    });
    (both, telemetry)
}

#[rstest]
fn where_one_of_two_remotes_gets_no_report_lambda_reports_the_end_of_the_invocation(
    #[values(Thundra, Otlp)] dialect: Dialect,
) {
    let (both, telemetry) = start_both();
    for _ in 0..3 {
        let request_id = invoke(&both.trial);
        both.report(dialect, &word(&request_id));
        assert!(!both.trial.platform.has_next_within(A_MOMENT));
        tell(telemetry, &runtime_done(&request_id));
        is_let_go_at_once(&both.trial.platform);
    }
    both.trial.shut_down();
}

#[rstest]
fn with_agents_of_both_the_last_word_of_each_is_waited_for_and_all_is_there_before_the_freeze(
    #[values(Thundra, Otlp)] first: Dialect,
) {
    let (both, _) = start_both();
    for remote in [&both.trial.remote, &both.otlps] {
        remote.answer_with(|it| Answer::accepting(it).after(FAR));
    }
    let second = if first == Thundra { Otlp } else { Thundra };
    for nth in 1..=2 {
        let request_id = invoke(&both.trial);
        for dialect in [first, second] {
            both.report(dialect, &word("its first"));
        }
        both.report(first, &word(&request_id));
        assert!(!both.trial.platform.has_next_within(FAR + A_MOMENT));
        both.report(second, &word(&request_id));
        is_let_go_at_once(&both.trial.platform);
        for remote in [&both.trial.remote, &both.otlps] {
            let items: usize = remote.received().iter().map(|it| it.items().len()).sum();
            assert_eq!(items, 2 * nth);
        }
    }
    both.trial.shut_down();
}

#[test]
fn with_agents_of_both_lambda_tells_of_the_end_to_both() {
    let (both, telemetry) = start_both();
    let request_id = invoke(&both.trial);
    for dialect in [Thundra, Otlp] {
        both.report(dialect, &word("no last one"));
    }
    assert!(!both.trial.platform.has_next_within(A_MOMENT));
    tell(telemetry, &runtime_done(&request_id));
    is_let_go_at_once(&both.trial.platform);
    both.trial.shut_down();
}
