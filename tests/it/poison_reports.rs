//! Remotes that fail because of one report, or seem to. That report must not cost the others, and a failure
//! with another reason must not cost any report.

use std::ops::Range;
use std::time::{Duration, Instant};

use local_lambda::{Answer, Received, Remote, free_port};
use rstest::rstest;

use crate::support::fixture::{ARRAY, COLLECTS, COMPOSITE, Fixture, PATIENCE, each_at_once};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};
use crate::support::report::text_of;

/// The delay of the remote's answer.
const FAR: Duration = Duration::from_millis(20);

fn is_bad(it: &Received) -> bool {
    // Identifiers in good reports may contain the word without quotation marks.
    text_of(it).contains("\"bad\"")
}

/// Fails in this way if a request has a bad report, and accepts all others.
fn fail_on_bad_report(remote: &Remote, answer: Answer) {
    remote.answer_with(move |it| if is_bad(it) { answer.clone() } else { Answer::ok() });
}

/// Reports in this order, of which those in the range are bad. An array's item is merged, a composite goes alone.
#[rstest]
#[case::one_within_arrays(ARRAY, 1..2, 4)]
#[case::the_first_of_a_hundred_arrays(ARRAY, 0..1, 100)]
#[case::the_first_of_eleven_composites(COMPOSITE, 0..1, 11)]
#[case::five_of_twenty_composites(COMPOSITE, 0..5, 20)]
fn poison_reports_cost_no_other_at_shutdown(
    #[values(Thundra, Otlp)] protocol: Protocol,
    #[case] path: &str,
    #[case] bad: Range<usize>,
    #[case] all: usize,
) {
    each_at_once(protocol.failures(), |answer| {
        let fixture = protocol.start_with(&[COLLECTS]);
        fail_on_bad_report(&fixture.remote, answer);
        for n in 0..all {
            fixture.report(path, &body(path, n, bad.contains(&n)));
        }
        let (log, items) = fixture.shut_down_leaving(Fixture::accepted_items);
        let (lost, delivered) = (bad.len(), all - bad.len());
        assert_eq!(items.len(), delivered, "{log}");
        let counts = format!("{all} accepted, {delivered} delivered, lost: {lost} unsent");
        assert!(log.contains(&counts), "{log}");
    });
}

fn body(path: &str, n: usize, is_bad: bool) -> String {
    match (path, is_bad) {
        (ARRAY, true) => "[\"bad\"]".to_owned(),
        (ARRAY, false) => format!("[{n}]"),
        (_, true) => format!("{{\"bad\":{n}}}"),
        (_, false) => format!("{{\"n\":{n}}}"),
    }
}

#[rstest]
fn a_poison_report_that_failed_before_costs_no_other_at_shutdown(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    each_at_once(protocol.failures(), |answer| {
        let fixture = protocol.start_with(&[("THUNDRA_EXTENSION_FLUSH", "continuously")]);
        fail_on_bad_report(&fixture.remote, answer);
        fixture.report(ARRAY, &body(ARRAY, 0, true));
        fixture.received(2);
        for n in 1..100 {
            fixture.report(ARRAY, &body(ARRAY, n, false));
        }
        let (log, items) = fixture.shut_down_leaving(Fixture::accepted_items);
        assert_eq!(items.len(), 99, "{log}");
        assert!(log.contains("100 accepted, 99 delivered, lost: 1 unsent"), "{log}");
    });
}

#[test]
fn a_poison_report_is_sent_after_the_others() {
    let fixture = Fixture::start();
    fail_on_bad_report(&fixture.remote, Answer::status(Thundra.failure()));
    fixture.report(ARRAY, "[\"bad\"]");
    fixture.received(1);
    for n in 1..=3 {
        fixture.report(COMPOSITE, &format!("{{\"n\":{n}}}"));
    }
    let expected = ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"];
    fixture.wait_for_items(&expected);
    fixture.shut_down();
}

#[test]
fn a_poison_report_of_any_kind_delays_no_other() {
    each_at_once(Thundra.failures(), |answer| {
        let fixture = Fixture::start();
        fail_on_bad_report(&fixture.remote, answer.clone());
        fixture.report(COMPOSITE, "{\"bad\":1}");
        let good = [1, 2, 3].map(|n| format!("{{\"n\":{n}}}"));
        for it in &good {
            fixture.report(COMPOSITE, it);
        }
        fixture.wait_for_items(&good);
    });
}

#[test]
fn a_poison_array_costs_no_other_report_of_its_key() {
    let fixture = Fixture::start();
    fail_on_bad_report(&fixture.remote, Answer::status(502));
    fixture.report(ARRAY, "[\"bad\"]");
    let good: Vec<String> = (1..=3).map(|n| n.to_string()).collect();
    for it in &good {
        fixture.report(ARRAY, &format!("[{it}]"));
    }
    fixture.wait_for_items(&good);
    let (log, _) = fixture.shut_down_leaving(Fixture::accepted_items);
    assert!(log.contains("4 accepted, 3 delivered, lost: 1 unsent"), "{log}");
}

#[test]
fn a_remote_that_asks_for_a_pause_gets_few_requests_at_shutdown() {
    let fixture = Fixture::with(&[COLLECTS]);
    fixture.remote.answer_with(|_| Answer::status(429).header("Retry-After", "30"));
    for n in 0..100 {
        fixture.report(COMPOSITE, &format!("{{\"n\":{n}}}"));
    }
    let (log, requests) = fixture.shut_down_leaving(|fixture| fixture.remote.received().len());
    assert!(requests <= 3, "{requests}");
    assert!(log.contains("lost: 100 unsent"), "{log}");
}

#[test]
fn one_failure_at_shutdown_costs_at_most_two_requests() {
    let fixture = Fixture::with(&[COLLECTS]);
    fixture.remote.answer_with(move |it| {
        if it.number == 0 { Answer::status(Thundra.failure()) } else { Answer::ok() }
    });
    for n in 0..100 {
        fixture.report(ARRAY, &format!("[{n},{n}]"));
    }
    let (log, accepted) = fixture.shut_down_leaving(accepted_requests);
    assert!(!log.contains("lost") && accepted <= 5, "{accepted}; {log}");
}

#[test]
fn one_report_of_a_hundred_that_is_refused_costs_requests_by_its_logarithm() {
    let fixture = Fixture::with(&[COLLECTS]);
    fixture.remote.answer_with(|it| {
        let answer = if is_bad(it) { Answer::status(400) } else { Answer::ok() };
        answer.after(FAR)
    });
    for n in 0..100 {
        let item = if n == 70 { "\"bad\"".to_owned() } else { n.to_string() };
        fixture.report(ARRAY, &format!("[{item}]"));
    }
    let (log, requests) = fixture.shut_down_leaving(|fixture| fixture.remote.received().len());
    assert!(log.contains("100 accepted, 99 delivered, lost: 1 rejected"), "{log}");
    assert!(requests <= 24, "{requests}");
}

/// Forty reports, and a remote that has just recovered.
fn behind_a_long_outage() -> Fixture {
    /// So many failures that reports sent alone have failed too.
    const FAILURES: usize = 7;
    let fixture = Fixture::start();
    fixture.remote.answer_with(|_| Answer::status(503));
    for n in 0..4 {
        fixture.report(ARRAY, &format!("[{n}]"));
    }
    fixture.received(FAILURES);
    for n in 4..40 {
        fixture.report(ARRAY, &format!("[{n}]"));
    }
    fixture.remote.answer_with(|_| Answer::ok());
    fixture
}

#[test]
fn after_any_outage_reports_are_merged_again() {
    let fixture = behind_a_long_outage();
    let all: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let delivery = fixture.wait_for_items(&all);
    assert!(delivery.is_exact(), "{delivery}");
    let accepted = accepted_requests(&fixture);
    assert!(accepted <= 10, "{accepted}");
    fixture.shut_down();
}

#[test]
fn reports_are_merged_again_at_the_end_of_a_long_outage() {
    let fixture = behind_a_long_outage();
    let (log, (items, accepted)) =
        fixture.shut_down_leaving(|fixture| (fixture.accepted_items(), accepted_requests(fixture)));
    assert!(items.len() == 40 && !log.contains("lost"), "{log}");
    assert!(accepted <= 10, "{accepted}");
}

#[test]
fn a_pause_for_one_report_delays_no_other() {
    let busy = || Answer::status(503).header("Retry-After", "1");
    each_at_once(["continuously", "periodically,900000"], |strategy| {
        let fixture = Fixture::with(&[("THUNDRA_EXTENSION_FLUSH", strategy)]);
        fail_on_bad_report(&fixture.remote, busy());
        fixture.report(COMPOSITE, "{\"bad\":1}");
        let good = [1, 2, 3].map(|n| format!("{{\"n\":{n}}}"));
        for it in &good {
            fixture.report(COMPOSITE, it);
        }
        if strategy == "continuously" {
            fixture.wait_for_items(&good);
        }
        let (log, _) = fixture.shut_down_leaving(accepted_requests);
        assert!(log.contains("4 accepted, 3 delivered, lost: 1 unsent"), "{log}");
    });
}

#[test]
fn a_large_report_evicts_the_poison_report_and_no_other() {
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_BUFFER", "1MiB"), COLLECTS]);
    fail_on_bad_report(&fixture.remote, Answer::status(503));
    // More than half of the buffer is sent at once.
    let bad = format!("{{\"bad\":\"{}\"}}", "x".repeat(600_000));
    fixture.report(COMPOSITE, &bad);
    wait_for_it_to_stand_back(&fixture.remote);
    fixture.report(COMPOSITE, "{}");
    for n in 0..100 {
        fixture.report(ARRAY, &format!("[{n},\"{}\"]", "x".repeat(2_000)));
    }
    fixture.wait_for_account(|it| it["dropped"]["evicted"] == 1);
    let (log, _) = fixture.shut_down_leaving(accepted_requests);
    assert!(log.contains("102 accepted, 101 delivered, lost: 1 evicted"), "{log}");
}

#[test]
fn a_remote_that_fails_on_everything_gets_few_requests_at_shutdown() {
    each_at_once(Thundra.failures(), |answer| {
        let fixture = Fixture::with(&[COLLECTS]);
        fixture.remote.answer_with(move |_| answer.clone());
        for n in 0..100 {
            fixture.report(COMPOSITE, &format!("{{\"n\":{n}}}"));
        }
        let (log, requests) = fixture.shut_down_leaving(|fixture| fixture.remote.received().len());
        assert!(requests <= 3 * 5, "{requests}");
        assert!(log.contains("lost: 100 unsent"), "{log}");
    });
}

/// Waits until the remote has failed this many times because of bad reports.
fn wait_for_failures(remote: &Remote, count: usize) {
    let waited = Instant::now();
    for requests in 1.. {
        let received = remote.wait_for(requests, PATIENCE);
        if received.iter().filter(|it| is_bad(it)).count() >= count {
            return;
        }
        assert!(waited.elapsed() < PATIENCE);
    }
}

/// Waits until the bad report is quarantined.
fn wait_for_it_to_stand_back(remote: &Remote) {
    wait_for_failures(remote, 6);
}

#[test]
fn a_poison_report_delays_no_later_report() {
    let fixture = Fixture::start();
    fail_on_bad_report(&fixture.remote, Answer::status(503));
    fixture.report(COMPOSITE, "{\"bad\":1}");
    wait_for_it_to_stand_back(&fixture.remote);
    // After the first failure the report is tried again soon, because the remote may have been the reason. Then
    // the pauses grow.
    fixture.report(COMPOSITE, "{}");
    fixture.wait_for_items(&["{}"]);
    wait_for_failures(&fixture.remote, 12);
    for n in 0..5 {
        let failed =
            |fixture: &Fixture| fixture.remote.received().iter().filter(|it| is_bad(it)).count();
        let before = failed(&fixture);
        fixture.report(COMPOSITE, &format!("{{\"n\":{n}}}"));
        fixture.wait_for_items(&[format!("{{\"n\":{n}}}")]);
        assert!(failed(&fixture) <= before + 2, "one may be under way, and one have been due");
    }
    fixture.shut_down();
}

#[test]
fn later_invocations_are_still_held_beside_a_poison_report() {
    let (remote, port) = (Remote::start(), free_port());
    fail_on_bad_report(&remote, Answer::status(503));
    let setup = Thundra.lambda(&Thundra.url(&remote), port).env("THUNDRA_EXTENSION_FLUSH", "end");
    let lambda = setup.timeout(PATIENCE).start().unwrap();
    assert!(lambda.wait_for_init());
    // The pauses meanwhile take 3.1 s at most in total.
    let in_flight = lambda.begin(r#"{"reports":0,"work_ms":6000}"#);
    assert_eq!(Thundra.report(COMPOSITE, "{\"bad\":1}").post(port).status, 200);
    wait_for_failures(&remote, 5);
    // The remote accepts other reports.
    assert_eq!(Thundra.report(COMPOSITE, "{\"n\":1}").post(port).status, 200);
    remote.wait_for_items(&[Thundra.item("{\"n\":1}")], PATIENCE);
    let _ = in_flight.end(PATIENCE);
    for _ in 0..5 {
        let before = accepted(&remote);
        lambda.invoke(r#"{"items":2}"#);
        let after = accepted(&remote);
        assert_eq!(after, before + 1, "it is there before the freeze");
    }
}

fn accepted_requests(fixture: &Fixture) -> usize {
    accepted(&fixture.remote)
}

fn accepted(remote: &Remote) -> usize {
    remote.received().iter().filter(|it| it.is_accepted()).count()
}
