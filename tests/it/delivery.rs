//! The order in which reports reach the remote, and the fate of those that do not.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use local_lambda::{Answer, Authority, End, Platform, Received, Remote, agent};
use rstest::rstest;

use crate::support::fixture::{
    ARRAY, COLLECTS, COMPOSITE, Fixture, PATIENCE, SHUTDOWN, array_of, nowhere, pass, report_of,
    retry_after_standstill,
};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};
use crate::support::report::{items_of, text_of};

#[test]
fn reports_arrive_at_their_own_route_in_its_order_on_one_connection() {
    let fixture = Fixture::start();
    for n in 0..40 {
        fixture.report(if n % 2 == 0 { ARRAY } else { COMPOSITE }, &format!("[{n}]"));
    }
    fixture.items_received(40);
    let received = fixture.remote.received();
    for (path, first) in [(ARRAY, 0), (COMPOSITE, 1)] {
        let items = received.iter().filter(|it| it.path == path).flat_map(Received::items);
        let items: Vec<String> = items.map(|it| it.to_string()).collect();
        let expected = (first..40).step_by(2).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(items, expected);
    }
    assert_eq!(fixture.remote.connections(), 1);
    fixture.shut_down();
}

#[test]
fn one_tls_connection_serves_all_reports() {
    let authority = Authority::new();
    let ca = authority.pem_file().to_str().unwrap().to_owned();
    let remote = Remote::start_tls(&authority);
    let fixture = Fixture::on(Platform::start(), remote, &[("SSL_CERT_FILE", &ca)]);
    for _ in 0..10 {
        fixture.report(ARRAY, r#"["täxt"]"#);
    }
    assert_eq!(fixture.items_received(10), [r#""täxt""#; 10]);
    assert_eq!(fixture.remote.connections(), 1);
    fixture.shut_down();
}

#[test]
fn only_three_headers_are_forwarded() {
    let fixture = Fixture::start();
    let request = "POST /v1/monitoring-data?x=1 HTTP/1.1\r\nhost: a\r\nCONTENT-TYPE: application/x\r\n\
                   authorization: ApiKey mine\r\nContent-Encoding: gzip\r\nX-Thundra-Trace-Id: t\r\n\
                   Cookie: c\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngzip";
    assert_eq!(agent::request(fixture.port, request.as_bytes()).status, 200);
    let received = fixture.received(1).pop().unwrap();
    assert_eq!(received.path, ARRAY);
    assert_eq!(received.header("Content-Type"), Some("application/x"));
    assert_eq!(received.header("Authorization"), Some("ApiKey mine"));
    assert_eq!(received.header("Content-Encoding"), Some("gzip"));
    assert_eq!(received.headers.len(), 6, "{:?}", received.headers);
    fixture.shut_down();
}

#[test]
fn a_remote_that_refuses_does_not_slow_agents_and_is_one_line() {
    let fixture = Fixture::with(&[(Thundra.url_variable(), &nowhere())]);
    for _ in 0..5 {
        fixture.platform.invoke(PATIENCE);
        fixture.report(ARRAY, "[1]");
    }
    let log = fixture.shut_down();
    assert_eq!(log.matches("cannot deliver to ").count(), 1, "{log}");
    assert!(log.contains("5 accepted, 0 delivered, lost: 5 unsent"), "{log}");
}

#[test]
fn a_remote_that_never_answers_delays_neither_agents_nor_invocations_nor_shutdown() {
    const AN_ATTEMPT: Duration = Duration::from_secs(3);
    retry_after_standstill(|| {
        let fixture = Fixture::start();
        fixture.remote.answer_with(|_| Answer::Hang);
        for _ in 0..5 {
            let invoked = Instant::now();
            fixture.platform.invoke(PATIENCE);
            fixture.report(ARRAY, "[1]");
            fixture.platform.wait_for_next(PATIENCE);
            assert!(invoked.elapsed() < AN_ATTEMPT, "{:?}", invoked.elapsed());
        }
        fixture.received(1);
        let asked = Instant::now();
        let log = fixture.shut_down();
        assert!(asked.elapsed() < AN_ATTEMPT, "{:?}", asked.elapsed());
        assert!(log.contains("5 accepted, 0 delivered, lost: 5 unsent"), "{log}");
    });
}

#[test]
fn one_missing_response_costs_no_later_report_at_shutdown() {
    retry_after_standstill(|| {
        let fixture = Fixture::with(&[("THUNDRA_EXTENSION_LOG_LEVEL", "info")]);
        fixture
            .remote
            .answer_with(|it| if it.connection == 0 { Answer::Hang } else { Answer::ok() });
        fixture.report(ARRAY, "[1]");
        fixture.received(1);
        for n in 2..=4 {
            fixture.report(ARRAY, &format!("[{n}]"));
        }
        fixture.platform.shutdown("spindown", SHUTDOWN);
        assert!(fixture.process.exit(PATIENCE).success());
        assert_eq!(fixture.bodies_received(2), ["[1]", "[1,2,3,4]"]);
        let log = fixture.process.log();
        assert!(log.contains("INFO") && log.contains(": 4 accepted, 4 delivered\n"), "{log}");
        assert!(log.contains("no answer yet, and the execution environment ends"), "{log}");
    });
}

#[test]
fn a_refused_report_costs_no_later_report_at_shutdown() {
    let fixture = Fixture::start();
    fixture.remote.answer_with(move |it| {
        Answer::status(if text_of(it) == "{1}" { Thundra.failure() } else { 200 })
    });
    for n in 1..=3 {
        fixture.report(COMPOSITE, &format!("{{{n}}}"));
    }
    fixture.received(1);
    let log = fixture.shut_down();
    assert!(log.contains("3 accepted, 2 delivered, lost: 1 unsent"), "{log}");
}

#[rstest]
fn a_response_whose_body_never_ends_counts_and_delays_nothing(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let fixture = protocol.start();
    fixture.remote.answer_with(|_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n";
        // This is half of a partial success.
        let answer = format!("{head}Content-Length: 9\r\n\r\n\x0a\x07\x08\x01");
        Answer::HalfAnswer(answer.into_bytes())
    });
    for n in 1..=3 {
        fixture.report(ARRAY, &format!("[{n}]"));
    }
    assert_eq!(fixture.items_received(3), ["1", "2", "3"]);
    assert_eq!(fixture.shut_down(), "");
}

#[rstest]
fn undelivered_reports_are_sent_in_order_when_the_remote_is_back(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let fixture = protocol.start();
    fixture.remote.answer_with(move |it| {
        Answer::status(if it.number < 3 { protocol.failure() } else { 200 })
    });
    fixture.report(COMPOSITE, "{1}");
    fixture.received(1);
    fixture.report(ARRAY, "[2]");
    let bodies = fixture.bodies_received(5);
    assert_eq!(bodies, ["{1}", "{1}", "{1}", "{1}", "[2]"]);
    let log = fixture.shut_down();
    assert!(log.contains(&format!(": it answered {}", protocol.failure())), "{log}");
    assert!(log.contains(" is back") && !log.contains("lost"), "{log}");
}

#[test]
fn waiting_reports_are_sent_at_shutdown() {
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_LOG_LEVEL", "info")]);
    // The pause is longer than the test. At SHUTDOWN the extension tries once, whatever pause the remote
    // demands.
    fixture.remote.answer_with(|_| Answer::status(503).header("Retry-After", "60"));
    fixture.report(ARRAY, "[1]");
    fixture.wait_for_log("cannot deliver to http");
    fixture.report(ARRAY, "[2]");
    fixture.report(ARRAY, "[3]");
    fixture.remote.answer_with(|_| Answer::ok());
    fixture.platform.shutdown("spindown", SHUTDOWN);
    assert!(fixture.process.exit(PATIENCE).success());
    assert_eq!(fixture.bodies_received(2), ["[1]", "[1,2,3]"]);
    let log = fixture.process.log();
    assert!(log.contains("INFO") && log.contains(": 3 accepted, 3 delivered\n"), "{log}");
}

#[test]
fn a_failure_at_shutdown_costs_nothing_while_there_is_time() {
    let reset = |remote: &Remote| {
        remote.refuse_with(|connection| (connection == 0).then_some(End::Reset));
    };
    let fail = |remote: &Remote| {
        let failure = Thundra.failure();
        remote.answer_with(move |it| Answer::status(if it.number < 2 { failure } else { 200 }));
    };
    for trouble in [&reset as &dyn Fn(&Remote), &fail] {
        let fixture = Fixture::with(&[COLLECTS]);
        trouble(&fixture.remote);
        fixture.report(ARRAY, "[1]");
        fixture.report(COMPOSITE, "{}");
        let (log, bodies) = fixture.shut_down_leaving(|fixture| {
            let received = fixture.remote.received();
            let accepted = received.iter().filter(|it| it.is_accepted());
            accepted.map(text_of).collect::<BTreeSet<_>>()
        });
        assert_eq!(bodies, ["[1]", "{}"].map(str::to_owned).into());
        assert!(!log.contains("lost"), "{log}");
    }
}

#[test]
fn a_slow_remote_at_shutdown_gets_what_fits_and_the_rest_is_counted_in_time() {
    let fixture = Fixture::start();
    fixture.remote.answer_with(|_| Answer::ok().after(Duration::from_millis(600)));
    for n in 0..5 {
        fixture.report(COMPOSITE, &format!("{{{n}}}"));
    }
    let log = fixture.shut_down();
    assert!(log.contains(": 5 accepted, ") && log.contains(" delivered, lost: "), "{log}");
    assert!(!log.contains("5 accepted, 0 delivered"), "{log}");
}

#[rstest]
fn a_final_refusal_drops_the_report_and_counts_its_reason(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    for (status, reason) in [(413, "too_large"), (400, "rejected"), (422, "rejected")] {
        let fixture = protocol.start();
        fixture
            .remote
            .answer_with(move |it| Answer::status(if text_of(it) == "[1]" { status } else { 200 }));
        fixture.report(ARRAY, "[1]");
        fixture.received(1);
        fixture.report(ARRAY, "[2]");
        assert_eq!(fixture.bodies_received(2), ["[1]", "[2]"], "{status} is not tried again");
        let log = fixture.shut_down();
        assert!(log.contains(&format!("it answered {status}")), "{log}");
        let line = format!("2 accepted, 1 delivered, lost: 1 {reason}");
        assert!(log.contains(&line), "{log}");
    }
}

#[rstest]
fn a_key_that_was_refused_is_not_tried_again_and_others_are(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    // A firewall may answer 403 because of one report, so the key counts as refused only after a second 403.
    for (status, refused) in [(401, 1), (403, 2)] {
        let fixture = protocol.start();
        let is_refused = |it: &Received| it.header("Authorization") == Some("ApiKey test-key");
        fixture
            .remote
            .answer_with(move |it| Answer::status(if is_refused(it) { status } else { 200 }));
        for n in 1..=refused {
            fixture.report(ARRAY, &format!("[{n}]"));
            fixture.received(n);
        }
        fixture.process.wait_for_log("reports with this key are dropped", PATIENCE);
        for n in refused + 1..=5 {
            fixture.report(ARRAY, &format!("[{n}]"));
        }
        let other = fixture.post_with("Authorization: ApiKey other\r\n", ARRAY, "[6]");
        assert_eq!(other.status, 200);
        assert_eq!(fixture.bodies_received(refused + 1)[refused], "[6]");
        let log = fixture.shut_down();
        assert!(log.contains("6 accepted, 1 delivered, lost: 5 unauthorized"), "{log}");
        assert_eq!(log.lines().count(), refused + 1, "{log}");
    }
}

#[rstest]
fn waiting_reports_are_merged_into_as_few_requests_as_the_limits_allow(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    // The remote does not delay its answer here, because on a busy machine all these reports may take longer
    // than an attempt may.
    let fixture = protocol.start_with(&[COLLECTS]);
    for n in 0..250 {
        fixture.report(ARRAY, &format!("[ {n} ]"));
    }
    fixture.report(ARRAY, &array_of(600_000));
    fixture.report(ARRAY, &array_of(600_000));
    let (log, (received, items)) =
        fixture.shut_down_leaving(|fixture| (fixture.received(4), fixture.items_received(252)));
    let counts: Vec<usize> = received.iter().map(|it| it.items().len()).collect();
    assert_eq!((log.as_str(), counts), ("", vec![100, 100, 51, 1]));
    let numbers: Vec<String> = (0..250).map(|n| n.to_string()).collect();
    assert_eq!(items[..250], numbers);
}

#[rstest]
fn an_array_over_the_limits_is_cut_between_items(#[values(Thundra, Otlp)] protocol: Protocol) {
    let fixture = protocol.start();
    let items: Vec<String> = (0..250).map(|n| format!("{{\"n\": {n}}}")).collect();
    fixture.report(ARRAY, &format!("[{}]", items.join(" ,")));
    assert_eq!(fixture.items_received(250), items);
    let requests = if protocol == Otlp { 1 } else { 3 }; // OTLP has no limit of items
    assert_eq!(fixture.remote.received().len(), requests);
    let large: Vec<String> = (0..3).map(|n| format!("\"{n}{}\"", "x".repeat(400_000))).collect();
    fixture.report(ARRAY, &format!("[{}]", large.join(",")));
    assert!(fixture.items_received(253)[250..] == large);
    assert_eq!(fixture.remote.received().len(), requests + 2);
    assert_eq!(fixture.shut_down(), "");
}

#[rstest]
fn after_a_413_reports_are_sent_in_smaller_requests(#[values(Thundra, Otlp)] protocol: Protocol) {
    let fixture = protocol.start();
    fixture.remote.answer_with(|it| Answer::status(if it.body.len() > 20_000 { 413 } else { 200 }));
    let items: Vec<String> = (0..40).map(|n| format!("\"{n:02}{}\"", "x".repeat(2_000))).collect();
    fixture.report(ARRAY, &format!("[{}]", items.join(",")));
    fixture.report(ARRAY, &array_of(30_000));
    let delivery = fixture.wait_for_items(&items);
    assert!(delivery.is_exact(), "{delivery}");
    let log = fixture.shut_down();
    assert!(log.contains("2 accepted, 1 delivered, lost: 1 too_large"), "{log}");
}

#[rstest]
fn a_rejected_report_costs_no_other_in_its_request(#[values(Thundra, Otlp)] protocol: Protocol) {
    let fixture = protocol.start();
    let is_bad = |it: &Received| text_of(it).contains("bad");
    fixture.remote.answer_with(move |it| Answer::status(if is_bad(it) { 400 } else { 200 }));
    fixture.while_the_remote_is_busy(|| {
        for body in ["[1]", "[\"bad\"]", "[2]"] {
            fixture.report(ARRAY, body);
        }
    });
    let bodies = fixture.bodies_received(6);
    assert_eq!(bodies[1..], ["[1,\"bad\",2]", "[1]", "[\"bad\",2]", "[\"bad\"]", "[2]"]);
    let log = fixture.shut_down();
    assert!(log.contains("4 accepted, 3 delivered, lost: 1 rejected"), "{log}");
}

#[test]
fn encoded_reports_and_non_arrays_are_sent_unchanged() {
    let fixture = Fixture::start();
    fixture.while_the_remote_is_busy(|| {
        let encoded = report_of(3, "Content-Encoding: gzip\r\n", "[1]");
        for _ in 0..2 {
            assert_eq!(agent::request(fixture.port, encoded.as_bytes()).status, 200);
        }
        fixture.report(ARRAY, "no array");
        fixture.report(ARRAY, "[2]");
    });
    assert_eq!(fixture.bodies_received(5)[1..], ["[1]", "[1]", "no array", "[2]"]);
    assert_eq!(fixture.shut_down(), "");
}

#[test]
fn an_outage_costs_attempts_by_its_logarithm_and_keeps_the_newest_reports() {
    let buffer = 256 * 1024;
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_BUFFER", "256KiB")]);
    fixture.remote.answer_with(|_| Answer::status(503));
    let item = |n: usize| format!("\"{n:03}{}\"", "x".repeat(2_000));
    let started = Instant::now();
    for n in 0..200 {
        fixture.report_when_there_is_room(ARRAY, &format!("[{}]", item(n)));
        fixture.platform.invoke(PATIENCE);
        fixture.platform.wait_for_next(PATIENCE);
        pass(Duration::from_millis(20));
    }
    // The pauses double from 100 ms on, and jitter shortens each. So the number of attempts is between the
    // number of doublings and about twice as many. If the pauses did not grow, there would be hundreds.
    let (attempts, lasted) = (fixture.remote.received().len(), started.elapsed());
    let doublings = (lasted.as_millis() / 100).ilog2() as usize;
    assert!(attempts < 2 * doublings + 8, "{attempts} attempts in {lasted:?}");
    // This waits until the sender has taken the last of them.
    fixture.wait_for_health(|it| it["buffer"]["held"].as_u64().unwrap() <= buffer * 3 / 4);
    fixture.remote.answer_with(|_| Answer::ok());
    let log = fixture.shut_down_leaving(|fixture| {
        let received = fixture.remote.received();
        let accepted = received[attempts..].iter().filter(|it| it.is_accepted());
        let items: BTreeSet<String> = accepted.flat_map(items_of).collect();
        let first = 200 - items.len();
        // Three quarters of the buffer. Each report also needs some overhead.
        let costs_at_most = 2_000 + 1_000;
        assert!(items.len() as u64 * costs_at_most > buffer * 3 / 4, "{} survived", items.len());
        assert_eq!(items, (first..200).map(item).collect());
        first
    });
    assert!(log.0.contains(&format!("lost: {} evicted", log.1)), "{}", log.0);
}

#[test]
fn a_pause_that_the_remote_asks_for_is_kept() {
    let fixture = Fixture::start();
    let in_a_second = || "1".to_owned();
    for (number, value) in [(0, in_a_second as fn() -> String), (1, in_two_seconds)] {
        fixture.remote.answer_with(move |it| match it.number {
            nth if nth == number * 2 => Answer::status(429).header("Retry-After", value()),
            _ => Answer::ok(),
        });
        let reported = Instant::now();
        fixture.report(ARRAY, "[1]");
        fixture.received(number * 2 + 2);
        let waited = reported.elapsed();
        assert!(waited >= Duration::from_millis(900), "{waited:?}");
        fixture.wait_for_an_empty_buffer();
    }
    fixture.shut_down();
}

/// The time in two seconds as an HTTP date, which has whole seconds.
fn in_two_seconds() -> String {
    httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2))
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Remote::start();
    let target = format!("{}/monitoring-data", elsewhere.base_url());
    let fixture = Fixture::start();
    fixture.remote.answer_with(move |_| Answer::status(302).header("Location", target.clone()));
    fixture.report(ARRAY, "[1]");
    fixture.received(1);
    let log = fixture.shut_down();
    assert!(log.contains("lost: 1 rejected"), "{log}");
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn a_connection_that_died_while_idle_costs_no_report_and_no_line() {
    let fixture = Fixture::start();
    fixture.remote.answer_with(|it| {
        // The first connection ends after its first answer.
        if it.connection == 0 && text_of(it) == "[2]" { Answer::Reset } else { Answer::ok() }
    });
    fixture.report(ARRAY, "[1]");
    fixture.received(1);
    fixture.report(ARRAY, "[2]");
    fixture.received(3);
    fixture.report(ARRAY, "[3]");
    let bodies = fixture.bodies_received(4);
    assert_eq!(bodies, ["[1]", "[2]", "[2]", "[3]"]);
    assert_eq!(fixture.shut_down(), "");
}

#[test]
fn a_remote_that_comes_and_goes_is_not_a_line_each_time() {
    let fixture = Fixture::start();
    for _ in 0..10 {
        fixture.remote.answer_with(|_| Answer::status(503));
        let before = fixture.remote.received().len();
        fixture.report(ARRAY, "[1]");
        fixture.received(before + 1);
        fixture.remote.answer_with(|_| Answer::ok());
        fixture.wait_for_an_empty_buffer();
    }
    let log = fixture.shut_down();
    assert_eq!(log.matches("cannot deliver to ").count(), 1, "{log}");
    assert_eq!(log.matches(" is back").count(), 1, "{log}");
}

#[test]
fn half_a_response_is_a_failure() {
    let fixture = Fixture::start();
    fixture.remote.answer_with(|it| match it.number {
        0 => Answer::HalfAnswer(b"HTTP/1.1 200 O".to_vec()),
        _ => Answer::ok(),
    });
    fixture.report(ARRAY, "[1]");
    assert_eq!(fixture.bodies_received(2), ["[1]", "[1]"]);
    fixture.shut_down();
}
