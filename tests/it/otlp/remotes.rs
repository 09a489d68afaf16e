//! The remotes of OTLP: their URLs, the meaning of their answers, and the headers that they get.

use local_lambda::otlp::{Encoding, Signal};
use local_lambda::{Answer, Remote};
use rstest::rstest;

use super::{ENCODINGS, report};
use crate::support::fixture::{ARRAY, Fixture, PATIENCE, nowhere};
use crate::support::protocol::Protocol::{Otlp, Thundra};
use crate::support::report::text_of;

const HEADERS: &str = "THUNDRA_EXTENSION_OTLP_HEADERS";
const TRACES: &str = "THUNDRA_EXTENSION_OTLP_TRACES_ENDPOINT";
const LOGS: &str = "THUNDRA_EXTENSION_OTLP_LOGS_ENDPOINT";

#[track_caller]
fn post(fixture: &Fixture, signal: Signal) {
    assert_eq!(report(signal, Encoding::Protobuf, &["1"]).post(fixture.port).status, 200);
}

#[rstest]
fn configured_headers_are_in_each_request_and_in_no_log(#[values(200, 401, 503)] status: u16) {
    let fixture = Otlp.start_with(&[
        (HEADERS, "api-key=s3cret%2Cone, x-other = s3cret two"),
        ("THUNDRA_EXTENSION_LOG_LEVEL", "trace"),
    ]);
    fixture.remote.answer_with(move |it| Answer::status(if it.number == 0 { status } else { 200 }));
    for signal in Signal::ALL {
        post(&fixture, signal);
        fixture.wait_for_an_empty_buffer();
    }
    let received = fixture.remote.received();
    let mut paths: Vec<&str> = received.iter().map(|it| it.path.as_str()).collect();
    paths.dedup();
    assert_eq!(paths, Signal::ALL.map(Signal::path));
    for it in &received {
        assert_eq!(it.header("api-key"), Some("s3cret,one"));
        assert_eq!(it.header("x-other"), Some("s3cret two"));
    }
    let log = fixture.shut_down();
    assert!(log.contains("TRACE") && !log.contains("s3cret"), "{log}");
}

#[test]
fn configured_headers_and_paths_are_decoded_and_encoded_as_meant() {
    let remote = Remote::start();
    let url = format!("{}/täxt/%C3%A4", remote.origin());
    let fixture = Otlp.start_with(&[
        (Otlp.url_variable(), &url),
        (HEADERS, "x-team=Z%C3%BCrich%20%E2%82%AC,a%2Db=1,authorization=Bearer k%C3%A9y"),
    ]);
    assert_eq!(fixture.post_with("Connection: close\r\n", ARRAY, "[1]").status, 200);
    let received = &remote.wait_for(1, PATIENCE)[0];
    assert_eq!(received.path, "/t%C3%A4xt/%C3%A4/v1/traces");
    assert_eq!(received.header("x-team"), Some("Zürich €"));
    assert_eq!(received.header("a%2Db"), Some("1"), "a name is not percent-decoded");
    assert_eq!(received.header("Authorization"), None, "ureq sends no key beyond ASCII");
    let log = fixture.shut_down();
    assert!(log.contains(HEADERS) && log.lines().count() == 1, "{log}");
}

#[test]
fn headers_go_only_to_the_host_that_they_are_configured_for() {
    let logs = Remote::start();
    let url = format!("{}/v1/logs", logs.origin());
    let fixture = Otlp.start_with(&[
        (HEADERS, "x-key=everybodys"),
        ("THUNDRA_EXTENSION_OTLP_METRICS_HEADERS", "x-own=metrics"),
        (LOGS, &url),
    ]);
    for (signal, remote, key, own) in [
        (Signal::Traces, &fixture.remote, Some("everybodys"), None),
        (Signal::Metrics, &fixture.remote, None, Some("metrics")),
        (Signal::Logs, &logs, None, None),
    ] {
        let before = remote.received().len();
        post(&fixture, signal);
        let received = &remote.wait_for(before + 1, PATIENCE)[before];
        assert_eq!((received.header("x-key"), received.header("x-own")), (key, own), "{signal:?}");
    }
    let log = fixture.shut_down();
    let line = "headers for it belong in THUNDRA_EXTENSION_OTLP_LOGS_HEADERS";
    assert!(log.contains(line) && log.lines().count() == 1 && !log.contains("everybodys"), "{log}");
}

#[test]
fn a_signals_own_headers_go_to_its_own_host() {
    let logs = Remote::start();
    let url = format!("{}/v1/logs", logs.origin());
    let fixture = Otlp.start_with(&[
        (HEADERS, "x-key: \"everybodys\"; x-two=2"),
        ("THUNDRA_EXTENSION_OTLP_LOGS_HEADERS", "x-key=logs"),
        (LOGS, &url),
    ]);
    post(&fixture, Signal::Logs);
    assert_eq!(logs.wait_for(1, PATIENCE)[0].header("x-key"), Some("logs"));
    post(&fixture, Signal::Traces);
    let received = &fixture.received(1)[0];
    assert_eq!(
        (received.header("x-key"), received.header("x-two")),
        (Some("everybodys"), Some("2"))
    );
    let log = fixture.shut_down();
    assert_eq!(log.matches("THUNDRA_EXTENSION_OTLP_HEADERS").count(), 2, "what was mended: {log}");
}

#[test]
fn an_agents_own_key_replaces_a_configured_one() {
    let fixture = Otlp.start_with(&[(HEADERS, "authorization=Bearer configured")]);
    fixture.report(ARRAY, "[1]");
    fixture.received(1);
    fixture.wait_for_an_empty_buffer();
    assert_eq!(fixture.post_with("Connection: close\r\n", ARRAY, "[2]").status, 200);
    let received = fixture.received(2);
    let keys: Vec<_> = received.iter().map(|it| it.header("Authorization")).collect();
    assert_eq!(keys, [Some("ApiKey test-key"), Some("Bearer configured")]);
    fixture.shut_down();
}

#[test]
fn a_refused_configured_key_costs_at_most_two_requests_with_a_line_each() {
    // A firewall may answer 403 because of one report, so the key counts as refused only after a second 403.
    for (status, requests) in [(401, 1), (403, 2)] {
        let fixture = Otlp.start_with(&[(HEADERS, "api-key=wrong")]);
        fixture.remote.answer_with(move |_| Answer::status(status));
        for n in 1..=4 {
            assert_eq!(fixture.post_with("Connection: close\r\n", ARRAY, "[1]").status, 200);
            fixture.wait_for_account(|it| it["dropped"]["unauthorized"] == n);
        }
        assert_eq!(fixture.remote.received().len(), requests);
        let place = fixture.place();
        let log = fixture.shut_down();
        assert!(
            log.contains(&format!("cannot deliver 1 report to {place}: it answered {status}")),
            "{log}"
        );
        assert!(log.contains("4 accepted, 0 delivered, lost: 4 unauthorized"), "{log}");
        assert_eq!(log.lines().count(), requests + 1, "{log}");
    }
}

#[test]
fn a_key_that_is_refused_for_one_signal_costs_the_others_nothing() {
    let fixture = Otlp.start();
    fixture.remote.answer_with(|it| match &*it.path {
        "/v1/logs" => Answer::status(401),
        _ => Answer::accepting(it),
    });
    for (nth, signal) in
        [Signal::Logs, Signal::Traces, Signal::Logs, Signal::Metrics].into_iter().enumerate()
    {
        post(&fixture, signal);
        fixture.wait_for_account(|it| it["accepted"] == nth + 1 && it["pending"] == 0);
    }
    let (log, received) = fixture.shut_down_leaving(|fixture| fixture.remote.received().len());
    assert!(log.contains("4 accepted, 2 delivered, lost: 2 unauthorized"), "{log}");
    assert_eq!(received, 3, "nothing is sent with that key for logs any more");
}

#[test]
fn each_signal_goes_to_its_own_endpoint_unchanged_and_a_dead_one_costs_the_others_nothing() {
    let logs = Remote::start();
    let url = format!("{}/in/logs?key=a%20b&c", logs.origin());
    let fixture = Otlp.start_with(&[(TRACES, &nowhere()), (LOGS, &url)]);
    for _ in 0..3 {
        post(&fixture, Signal::Traces);
        for (signal, remote, path) in [
            (Signal::Metrics, &fixture.remote, "/v1/metrics"),
            (Signal::Logs, &logs, "/in/logs?key=a%20b&c"),
        ] {
            let before = remote.received().len();
            post(&fixture, signal);
            assert_eq!(remote.wait_for(before + 1, PATIENCE)[before].path, path);
        }
    }
    let log = fixture.shut_down();
    assert!(log.contains(": 3 accepted, 0 delivered, lost: 3 unsent"), "{log}");
    assert!(!log.contains("a%20b"), "a query may hold a key: {log}");
}

#[test]
fn a_signal_without_an_endpoint_is_answered_404() {
    let remote = Remote::start();
    let fixture = Otlp.start_with(&[
        (Otlp.url_variable(), ""),
        (TRACES, &format!("{}/v1/traces", remote.origin())),
    ]);
    for encoding in ENCODINGS {
        for signal in [Signal::Metrics, Signal::Logs] {
            let response = report(signal, encoding, &["1"]).post(fixture.port);
            assert_eq!(response.status, 404);
            assert_eq!(response.header("Content-Type"), Some(encoding.content_type()));
        }
    }
    post(&fixture, Signal::Traces);
    remote.wait_for(1, PATIENCE);
    let log = fixture.shut_down();
    assert!(log.contains("1 accepted, 1 delivered, lost: 4 refused as no_remote"), "{log}");
}

#[rstest]
fn items_rejected_in_a_partial_success_are_counted_and_one_line(
    #[values(Signal::Traces, Signal::Metrics, Signal::Logs)] signal: Signal,
    #[values(Encoding::Protobuf, Encoding::Json)] encoding: Encoding,
) {
    let fixture = Otlp.start();
    fixture.remote.answer_with(|it| Answer::partial(it, 2, "of another shape"));
    for n in 1..=3 {
        assert_eq!(report(signal, encoding, &["1", "2", "3"]).post(fixture.port).status, 200);
        fixture.wait_for_account(|it| it["rejected_items"] == 2 * n);
    }
    assert_eq!(fixture.remote.received().len(), 3, "none is tried again");
    let account = fixture.health()["otlp"].clone();
    assert_eq!((&account["delivered"], &account["dropped"]["rejected"]), (&3.into(), &0.into()));
    let log = fixture.shut_down();
    let closing = "3 accepted, 3 delivered, lost: 6 rejected items (the remote took the rest of their reports)";
    assert!(log.contains(closing), "{log}");
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(!log.contains("of another shape"), "what a remote says may hold anything: {log}");
}

#[rstest]
fn a_partial_success_without_a_content_type_has_the_requests_encoding(
    #[values(Encoding::Protobuf, Encoding::Json)] encoding: Encoding,
) {
    let fixture = Otlp.start();
    let body: &[u8] = match encoding {
        Encoding::Protobuf => b"\x0a\x02\x08\x02",
        Encoding::Json => br#"{"partialSuccess":{"rejectedSpans":"2"}}"#,
    };
    fixture.remote.answer_with(move |_| Answer::status(200).body(body));
    assert_eq!(report(Signal::Traces, encoding, &["1", "2", "3"]).post(fixture.port).status, 200);
    fixture.wait_for_account(|it| it["rejected_items"] == 2);
    fixture.shut_down();
}

#[test]
fn a_line_about_rejected_items_does_not_hide_one_about_a_dropped_report() {
    let fixture = Otlp.start();
    fixture.remote.answer_with(|it| match it.number {
        0 => Answer::partial(it, 2, ""),
        _ => Answer::status(404),
    });
    for n in 1..=2 {
        post(&fixture, Signal::Logs);
        fixture.wait_for_account(|it| it["accepted"] == n && it["pending"] == 0);
    }
    let url = format!("{}/v1/logs", fixture.remote.origin());
    let log = fixture.shut_down();
    assert!(log.contains(&format!("cannot deliver 2 items to {url}: it rejected")), "{log}");
    assert!(log.contains(&format!("bytes, to {url}: it answered 404 Not Found")), "{log}");
}

#[test]
fn a_success_with_a_warning_or_a_malformed_body_is_a_success() {
    let fixture = Otlp.start();
    fixture.remote.answer_with(|it| match it.number {
        0 => Answer::partial(it, 0, "a warning"),
        1 => {
            Answer::status(200).header("Content-Type", "application/json").body("{\"partialSuccess")
        }
        2 => Answer::status(202).header("Content-Type", "application/x-protobuf").body([0xff; 20]),
        3 => Answer::partial(it, i64::MAX, "more than was sent"),
        _ => Answer::status(204),
    });
    for n in 1..=5 {
        post(&fixture, Signal::Traces);
        fixture.wait_for_account(|it| it["delivered"] == n);
    }
    assert_eq!(fixture.shut_down(), "");
}

#[rstest]
fn only_statuses_that_the_specification_calls_retryable_are_retried(
    #[values(400, 404, 408, 425, 429, 500, 501, 502, 503, 504, 505)] status: u16,
) {
    let fixture = Otlp.start();
    fixture.remote.answer_with(move |it| {
        let is_first = it.number == 0 && text_of(it) == "[1]";
        if is_first { Answer::status(status) } else { Answer::accepting(it) }
    });
    fixture.report(ARRAY, "[1]");
    fixture.received(1);
    fixture.report(ARRAY, "[2]");
    let is_retryable = matches!(status, 429 | 502 | 503 | 504);
    fixture.wait_for_account(|it| it["delivered"] == 1 + u64::from(is_retryable));
    let items = fixture.accepted_items();
    assert_eq!(items.contains(&"1".to_owned()), is_retryable);
    let log = fixture.shut_down();
    assert_eq!(log.contains("lost: 1 rejected"), !is_retryable, "{log}");
}

#[test]
fn thundras_key_is_not_given_to_the_remote_of_otlp() {
    let fixture = Otlp.start_with(&[("THUNDRA_APIKEY", "environments-key")]);
    assert_eq!(fixture.post_with("Connection: close\r\n", ARRAY, "[1]").status, 200);
    let received = fixture.received(1);
    assert_eq!(received[0].header("Authorization"), None, "{:?}", received[0].headers);
    fixture.shut_down();
}

#[test]
fn a_header_of_otlps_is_not_given_to_thundras_remote() {
    let (otlps, thundras) = (Remote::start(), Remote::start());
    let url = otlps.origin();
    let fixture = Thundra.start_on(
        local_lambda::Platform::start(),
        thundras,
        &[(Otlp.url_variable(), &url), (HEADERS, "api-key=otlps")],
    );
    fixture.report(ARRAY, "[1]");
    assert_eq!(fixture.received(1)[0].header("api-key"), None);
    fixture.shut_down();
}
