//! Remotes that fail over one report, or seem to: that one must not cost the others, and a failure
//! that was the remote's must not cost anybody.

use std::thread;
use std::time::{Duration, Instant};

use local_lambda::{Answer, Received, Remote, free_port};
use rstest::rstest;

use crate::dialect::Dialect::{self, Otlp, Thundra};
use crate::report::told;
use crate::trial::{ARRAY, COLLECTS, COMPOSITE, PATIENCE, Trial};

/// From the remote and back.
const FAR: Duration = Duration::from_millis(20);

/// Each case on a trial of its own, as most of them wait for the end of a deadline.
fn each_at_once<T: Send>(cases: impl IntoIterator<Item = T>, check: impl Fn(T) + Sync) {
    thread::scope(|scope| {
        let check = &check;
        for case in cases {
            scope.spawn(move || check(case));
        }
    });
}

fn is_bad(it: &Received) -> bool {
    // Identifiers in proper reports may hold the bare word.
    told(it).contains("\"bad\"")
}

/// Fails in this way over what has a bad report in it, and takes all else.
fn trips_over_one(remote: &Remote, answer: Answer) {
    remote.answer_with(move |it| if is_bad(it) { answer.clone() } else { Answer::ok() });
}

#[test]
fn a_report_that_the_remote_fails_over_costs_no_other_at_the_end() {
    let trial = Trial::with(&[COLLECTS]);
    trips_over_one(&trial.remote, Answer::status(Thundra.failure()));
    for body in ["[1]", "[\"bad\"]", "[2]", "[3]"] {
        trial.report(ARRAY, body);
    }
    let (log, items) = trial.shut_down_leaving(Trial::accepted_items);
    assert_eq!(items, ["1", "2", "3"]);
    assert!(log.contains("4 accepted, 3 delivered, lost: 1 unsent"), "{log}");
}

#[test]
fn a_report_that_the_remote_fails_over_lets_others_go_first() {
    let trial = Trial::start();
    trips_over_one(&trial.remote, Answer::status(Thundra.failure()));
    trial.report(ARRAY, "[\"bad\"]");
    trial.received(1);
    for n in 1..=3 {
        trial.report(COMPOSITE, &format!("{{\"n\":{n}}}"));
    }
    let expected = ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"];
    trial.wait_for_items(&expected);
    trial.shut_down();
}

#[test]
fn a_report_that_the_remote_trips_over_in_any_way_keeps_no_other_waiting() {
    each_at_once(Thundra.failures(), |answer| {
        let trial = Trial::start();
        trips_over_one(&trial.remote, answer.clone());
        trial.report(COMPOSITE, "{\"bad\":1}");
        let good = [1, 2, 3].map(|n| format!("{{\"n\":{n}}}"));
        for it in &good {
            trial.report(COMPOSITE, it);
        }
        trial.wait_for_items(&good);
    });
}

#[rstest]
fn a_report_that_the_remote_trips_over_at_the_end_takes_no_other_along(
    #[values(Thundra, Otlp)] dialect: Dialect,
) {
    each_at_once(dialect.failures(), |answer| {
        let trial = dialect.start_with(&[COLLECTS]);
        trips_over_one(&trial.remote, answer);
        trial.report(COMPOSITE, "{\"bad\":1}");
        for n in 1..=10 {
            trial.report(COMPOSITE, &format!("{{\"n\":{n}}}"));
        }
        let (log, items) = trial.shut_down_leaving(Trial::accepted_items);
        assert_eq!(items.len(), 10, "{log}");
        assert!(log.contains("11 accepted, 10 delivered, lost: 1 unsent"), "{log}");
    });
}

#[test]
fn an_array_that_the_remote_trips_over_does_not_take_all_of_its_key_along() {
    let trial = Trial::start();
    trips_over_one(&trial.remote, Answer::status(502));
    trial.report(ARRAY, "[\"bad\"]");
    let good: Vec<String> = (1..=3).map(|n| n.to_string()).collect();
    for it in &good {
        trial.report(ARRAY, &format!("[{it}]"));
    }
    trial.wait_for_items(&good);
    let (log, _) = trial.shut_down_leaving(Trial::accepted_items);
    assert!(log.contains("4 accepted, 3 delivered, lost: 1 unsent"), "{log}");
}

#[test]
fn a_remote_that_asks_to_be_left_alone_gets_few_requests_at_the_end() {
    let trial = Trial::with(&[COLLECTS]);
    trial.remote.answer_with(|_| Answer::status(429).header("Retry-After", "30"));
    for n in 0..100 {
        trial.report(COMPOSITE, &format!("{{\"n\":{n}}}"));
    }
    let (log, requests) = trial.shut_down_leaving(|trial| trial.remote.received().len());
    assert!(requests <= 3, "{requests}");
    assert!(log.contains("lost: 100 unsent"), "{log}");
}

#[test]
fn one_failure_at_the_end_costs_no_more_than_a_request_or_two() {
    let trial = Trial::with(&[COLLECTS]);
    trial.remote.answer_with(move |it| {
        if it.number == 0 { Answer::status(Thundra.failure()) } else { Answer::ok() }
    });
    for n in 0..100 {
        trial.report(ARRAY, &format!("[{n},{n}]"));
    }
    let (log, accepted) = trial.shut_down_leaving(accepted_requests);
    assert!(!log.contains("lost") && accepted <= 5, "{accepted}; {log}");
}

#[test]
fn one_report_of_a_hundred_that_is_refused_costs_requests_by_its_logarithm() {
    let trial = Trial::with(&[COLLECTS]);
    trial.remote.answer_with(|it| {
        let answer = if is_bad(it) { Answer::status(400) } else { Answer::ok() };
        answer.after(FAR)
    });
    for n in 0..100 {
        let item = if n == 70 { "\"bad\"".to_owned() } else { n.to_string() };
        trial.report(ARRAY, &format!("[{item}]"));
    }
    let (log, requests) = trial.shut_down_leaving(|trial| trial.remote.received().len());
    assert!(log.contains("100 accepted, 99 delivered, lost: 1 rejected"), "{log}");
    assert!(requests <= 24, "{requests}");
}

/// Forty reports, and a remote that has just come back.
fn behind_a_long_outage() -> Trial {
    /// So many that what goes alone fails too.
    const FAILURES: usize = 7;
    let trial = Trial::start();
    trial.remote.answer_with(|_| Answer::status(503));
    for n in 0..4 {
        trial.report(ARRAY, &format!("[{n}]"));
    }
    trial.received(FAILURES);
    for n in 4..40 {
        trial.report(ARRAY, &format!("[{n}]"));
    }
    trial.remote.answer_with(|_| Answer::ok());
    trial
}

#[test]
fn after_an_outage_reports_go_together_again_however_long_it_was() {
    let trial = behind_a_long_outage();
    let all: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let delivery = trial.wait_for_items(&all);
    assert!(delivery.is_exact(), "{delivery}");
    let accepted = accepted_requests(&trial);
    assert!(accepted <= 10, "{accepted}");
    trial.shut_down();
}

#[test]
fn at_the_end_of_a_long_outage_reports_go_together_again() {
    let trial = behind_a_long_outage();
    let (log, (items, accepted)) =
        trial.shut_down_leaving(|trial| (trial.accepted_items(), accepted_requests(trial)));
    assert!(items.len() == 40 && !log.contains("lost"), "{log}");
    assert!(accepted <= 10, "{accepted}");
}

#[test]
fn several_reports_that_the_remote_trips_over_at_the_end_take_no_other_along() {
    each_at_once(Thundra.failures(), |answer| {
        let trial = Trial::with(&[COLLECTS]);
        trips_over_one(&trial.remote, answer);
        for n in 0..20 {
            let what = if n < 5 { "bad" } else { "n" };
            trial.report(COMPOSITE, &format!("{{\"{what}\":{n}}}"));
        }
        let (log, _) = trial.shut_down_leaving(accepted_requests);
        assert!(log.contains("20 accepted, 15 delivered, lost: 5 unsent"), "{log}");
    });
}

#[rstest]
fn the_first_of_a_hundred_reports_takes_no_other_along_at_the_end(
    #[values(Thundra, Otlp)] dialect: Dialect,
) {
    each_at_once(dialect.failures(), |answer| {
        for failures_before in [0, 2] {
            let strategy =
                if failures_before == 0 { "periodically,900000" } else { "continuously" };
            let trial = dialect.start_with(&[("THUNDRA_EXTENSION_FLUSH", strategy)]);
            trips_over_one(&trial.remote, answer.clone());
            trial.report(ARRAY, "[\"bad\"]");
            trial.received(failures_before);
            for n in 1..100 {
                trial.report(ARRAY, &format!("[{n}]"));
            }
            let (log, items) = trial.shut_down_leaving(Trial::accepted_items);
            assert_eq!(items.len(), 99, "{log}");
            assert!(log.contains("100 accepted, 99 delivered, lost: 1 unsent"), "{log}");
        }
    });
}

#[test]
fn a_remote_that_asks_for_pauses_over_one_report_takes_the_others_all_the_same() {
    let busy = || Answer::status(503).header("Retry-After", "1");
    each_at_once(["continuously", "periodically,900000"], |strategy| {
        let trial = Trial::with(&[("THUNDRA_EXTENSION_FLUSH", strategy)]);
        trips_over_one(&trial.remote, busy());
        trial.report(COMPOSITE, "{\"bad\":1}");
        let good = [1, 2, 3].map(|n| format!("{{\"n\":{n}}}"));
        for it in &good {
            trial.report(COMPOSITE, it);
        }
        if strategy == "continuously" {
            trial.wait_for_items(&good);
        }
        let (log, _) = trial.shut_down_leaving(accepted_requests);
        assert!(log.contains("4 accepted, 3 delivered, lost: 1 unsent"), "{log}");
    });
}

#[test]
fn a_large_report_drives_out_what_the_remote_fails_over_and_nothing_else() {
    let trial = Trial::with(&[("THUNDRA_EXTENSION_BUFFER", "1MiB"), COLLECTS]);
    trips_over_one(&trial.remote, Answer::status(503));
    // More than half the buffer is sent at once.
    let bad = format!("{{\"bad\":\"{}\"}}", "x".repeat(600_000));
    trial.report(COMPOSITE, &bad);
    wait_for_it_to_stand_back(&trial.remote);
    trial.report(COMPOSITE, "{}");
    for n in 0..100 {
        trial.report(ARRAY, &format!("[{n},\"{}\"]", "x".repeat(2_000)));
    }
    trial.wait_for_account(|it| it["dropped"]["evicted"] == 1);
    let (log, _) = trial.shut_down_leaving(accepted_requests);
    assert!(log.contains("102 accepted, 101 delivered, lost: 1 evicted"), "{log}");
}

#[test]
fn a_remote_that_fails_over_everything_gets_few_requests_at_the_end() {
    each_at_once(Thundra.failures(), |answer| {
        let trial = Trial::with(&[COLLECTS]);
        trial.remote.answer_with(move |_| answer.clone());
        for n in 0..100 {
            trial.report(COMPOSITE, &format!("{{\"n\":{n}}}"));
        }
        let (log, requests) = trial.shut_down_leaving(|trial| trial.remote.received().len());
        assert!(requests <= 3 * 5, "{requests}");
        assert!(log.contains("lost: 100 unsent"), "{log}");
    });
}

/// Waits until the remote has failed over bad reports so often.
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

/// Waits until the bad report goes last.
fn wait_for_it_to_stand_back(remote: &Remote) {
    wait_for_failures(remote, 6);
}

#[test]
fn a_report_that_the_remote_keeps_failing_over_makes_no_later_one_wait() {
    let trial = Trial::start();
    trips_over_one(&trial.remote, Answer::status(503));
    trial.report(COMPOSITE, "{\"bad\":1}");
    wait_for_it_to_stand_back(&trial.remote);
    // After the first it is tried again soon, as it may have been the remote, and then ever later.
    trial.report(COMPOSITE, "{}");
    trial.wait_for_items(&["{}"]);
    wait_for_failures(&trial.remote, 12);
    for n in 0..5 {
        let failed = |trial: &Trial| trial.remote.received().iter().filter(|it| is_bad(it)).count();
        let before = failed(&trial);
        trial.report(COMPOSITE, &format!("{{\"n\":{n}}}"));
        trial.wait_for_items(&[format!("{{\"n\":{n}}}")]);
        assert!(failed(&trial) <= before + 2, "one may be under way, and one have been due");
    }
    trial.shut_down();
}

#[test]
fn a_report_that_the_remote_keeps_failing_over_does_not_let_go_of_later_invocations() {
    let (remote, port) = (Remote::start(), free_port());
    trips_over_one(&remote, Answer::status(503));
    let setup = Thundra.lambda(&Thundra.url(&remote), port).env("THUNDRA_EXTENSION_FLUSH", "end");
    let lambda = setup.timeout(PATIENCE).start().unwrap();
    assert!(lambda.wait_for_init());
    // The pauses meanwhile add up to 3.1 s at most.
    let in_flight = lambda.begin(r#"{"reports":0,"work_ms":6000}"#);
    assert_eq!(Thundra.report(COMPOSITE, "{\"bad\":1}").post(port).status, 200);
    wait_for_failures(&remote, 5);
    // The remote takes others.
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

fn accepted_requests(trial: &Trial) -> usize {
    accepted(&trial.remote)
}

fn accepted(remote: &Remote) -> usize {
    remote.received().iter().filter(|it| it.is_accepted()).count()
}
