//! Remotes that refuse a report for good. The tests check the cost of one bad report to others, and the cost of
//! a remote that refuses everything.

use std::time::Duration;

use local_lambda::{Answer, Received, Remote};
use rstest::rstest;

use crate::support::fixture::{ARRAY, COLLECTS, retry_after_standstill};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};
use crate::support::report::{items_of, text_of};

/// The statuses by which remotes of OTLP and Thundra refuse a report for good, with the reasons in the account.
const REFUSALS: [(u16, &str); 10] = [
    (301, "rejected"),
    (400, "rejected"),
    (403, "unauthorized"),
    (404, "rejected"),
    (405, "rejected"),
    (406, "rejected"),
    (415, "rejected"),
    (422, "rejected"),
    (500, "rejected"),
    (501, "rejected"),
];

/// The statuses that are final for this protocol. Thundra's collector gets a report again after any 5xx.
fn refusals(protocol: Protocol) -> impl Iterator<Item = (u16, &'static str)> {
    REFUSALS.into_iter().filter(move |(status, _)| protocol == Otlp || *status < 500)
}

fn is_bad(it: &Received) -> bool {
    text_of(it).contains("\"bad\"")
}

/// Refuses each request with a bad report, and accepts all others.
fn refuses_bad(remote: &Remote, status: u16) {
    remote.answer_with(move |it| if is_bad(it) { Answer::status(status) } else { Answer::ok() });
}

fn array(nth: usize, bad: usize) -> String {
    if nth == bad { "[\"bad\"]".to_owned() } else { format!("[{}]", 1000 + nth) }
}

#[rstest]
fn a_bad_report_costs_no_report_that_was_merged_with_it(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    for (status, reason) in refusals(protocol) {
        retry_after_standstill(|| {
            let fixture = protocol.start_with(&[COLLECTS]);
            refuses_bad(&fixture.remote, status);
            for nth in 0..50 {
                fixture.report(ARRAY, &array(nth, 20));
            }
            let (log, received) = fixture.shut_down_leaving(|fixture| fixture.remote.received());
            let line = format!("50 accepted, 49 delivered, lost: 1 {reason}");
            assert!(log.contains(&line), "{status}: {log}");
            let alone = received.iter().filter(|it| text_of(it) == "[\"bad\"]").count();
            assert_eq!(alone, 1, "{status}: a report is never tried again alone");
            let mut items: Vec<String> =
                received.iter().filter(|it| it.is_accepted()).flat_map(items_of).collect();
            items.sort();
            let good: Vec<String> =
                (0..50).filter(|nth| *nth != 20).map(|nth| (1000 + nth).to_string()).collect();
            assert_eq!(items, good, "{status}: each once");
            assert!(received.len() <= 24, "{status}: {} requests", received.len());
        });
    }
}

#[rstest]
fn a_firewalls_403_for_one_report_costs_no_later_report(
    #[values(Thundra, Otlp)] protocol: Protocol,
    #[values(0, 1, 6)] bad: usize,
) {
    let fixture = protocol.start();
    refuses_bad(&fixture.remote, 403);
    for nth in 0..13 {
        fixture.report(ARRAY, &array(nth, bad));
        fixture.wait_for_account(|it| it["accepted"] == nth + 1 && it["pending"] == 0);
    }
    let log = fixture.shut_down();
    let line = "13 accepted, 12 delivered, lost: 1 unauthorized";
    assert!(log.contains(line) && !log.contains("with this key are dropped"), "{log}");
}

#[rstest]
fn a_key_that_is_refused_for_several_reports_is_tried_with_the_smallest_alone(
    #[values(Thundra, Otlp)] protocol: Protocol,
    #[values((401, 2), (403, 3))] (status, requests): (u16, usize),
) {
    let fixture = protocol.start_with(&[COLLECTS]);
    fixture.remote.answer_with(move |_| Answer::status(status));
    for body in ["[1,1,1]", "[2]", "[3,3]", "[4,4,4]"] {
        fixture.report(ARRAY, body);
    }
    let (log, received) = fixture.shut_down_leaving(|fixture| fixture.remote.received());
    assert_eq!(received.len(), requests, "{log}");
    assert_eq!(text_of(&received[1]), "[2]");
    assert!(log.contains("reports with this key are dropped for 5 minutes"), "{log}");
    assert!(log.contains("4 accepted, 0 delivered, lost: 4 unauthorized"), "{log}");
}

#[rstest]
fn keys_that_change_with_each_report_and_are_refused_cost_one_line_in_all(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let fixture = protocol.start();
    fixture.remote.answer_with(|_| Answer::status(401));
    for nth in 1..=20 {
        let key = format!("Authorization: ApiKey {nth}\r\n");
        assert_eq!(fixture.post_with(&key, ARRAY, "[1]").status, 200);
        fixture.wait_for_account(|it| it["accepted"] == nth && it["pending"] == 0);
    }
    let log = fixture.shut_down();
    assert!(log.contains("20 accepted, 0 delivered, lost: 20 unauthorized"), "{log}");
    assert_eq!(log.matches("with this key are dropped").count(), 1, "{log}");
}

#[rstest]
fn a_remote_that_refuses_everything_costs_few_additional_requests(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    /// Several requests full of reports; a thousand are in `src/relay/refusals/tests.rs`.
    const REPORTS: usize = 300;
    for (status, reason) in refusals(protocol) {
        let fixture = protocol.start_with(&[COLLECTS]);
        fixture.remote.answer_with(move |_| Answer::status(status));
        for nth in 0..REPORTS {
            fixture.report(ARRAY, &format!("[{nth}]"));
        }
        let (log, received) = fixture.shut_down_leaving(|fixture| fixture.remote.received());
        assert!(received.len() <= 24, "{status}: {} requests", received.len());
        let line = format!("{REPORTS} accepted, 0 delivered, lost: {REPORTS} {reason}");
        assert!(log.contains(&line), "{status}: {log}");
    }
}

#[rstest]
fn a_part_of_a_refused_request_waits_for_the_pause_that_the_remote_asks_for(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    const PAUSE: Duration = Duration::from_secs(1);
    let fixture = protocol.start();
    fixture.remote.answer_with(|it| match it.number {
        0 => Answer::status(200),
        1 => Answer::status(400),
        2 => Answer::status(429).header("Retry-After", PAUSE.as_secs().to_string()),
        _ => Answer::ok(),
    });
    fixture.while_the_remote_is_busy(|| {
        for n in 1..=4 {
            fixture.report(ARRAY, &format!("[{n}]"));
        }
    });
    let received = fixture.received(5);
    let bodies: Vec<String> = received.iter().map(text_of).collect();
    assert_eq!(bodies[1..], ["[1,2,3,4]", "[1,2]", "[1,2]", "[3,4]"]);
    assert!(received[3].head_at - received[2].at >= PAUSE);
    let log = fixture.shut_down();
    assert!(!log.contains("lost"), "{log}");
}
