//! Internal failures at each point where `src/failpoint.rs` is called. A panic of the collector or of the
//! sender costs only the report that it was handling, and that report is counted.
//!
//! The tests need a binary with these points: `cargo test --features faults --test it failpoints::`.

use std::time::Instant;

use local_lambda::Answer;
use local_lambda::agent::Connection;
use rstest::rstest;
use serde_json::Value;

use crate::support::fixture::{
    ARRAY, COLLECTS, Fixture, PATIENCE, SHUTDOWN, retry_after_standstill,
};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};

/// Points while a request is accepted.
const OF_THE_COLLECTOR: [&str; 4] =
    ["collector.request", "collector.body", "collector.accepted", "collector.handed-on"];

/// Points in the sender before SHUTDOWN.
const OF_THE_SENDER: [&str; 7] = [
    "sender.step",
    "sender.kept",
    "sender.taken",
    "sender.request",
    "sender.posted",
    "sender.delivered",
    "sender.failed",
];

/// Points at SHUTDOWN, each with the fates of three reports.
const AT_THE_END: [(&str, &str); 2] = [
    ("sender.end", "3 accepted, 3 delivered"),
    ("sender.last", "3 accepted, 0 delivered, lost: 3 failed"),
];

/// A fixture with a panic at this point, and with level info, so that the log has all counts.
fn start(protocol: Protocol, point: &str) -> Fixture {
    let fixture = protocol.start_with(&[
        ("THUNDRA_EXTENSION_PANIC_AT", point),
        ("THUNDRA_EXTENSION_LOG_LEVEL", "info"),
    ]);
    fixture.remote.answer_with(|it| Answer::status(if it.number == 1 { 503 } else { 200 }));
    fixture
}

/// Posts a report. Returns the status, or `None` if the connection ended.
fn try_to_report(fixture: &Fixture, n: u64) -> Option<u16> {
    let report = fixture.protocol.report(ARRAY, &format!("[{n},\"{}\"]", "x".repeat(2_000)));
    let mut connection = Connection::try_open(fixture.port).ok()?;
    connection.exchange(&report.request("Connection: close\r\n")).ok().map(|it| it.status)
}

/// Checks that no report is pending, that each is counted and that the buffer is empty. Returns how many
/// reports were lost.
fn failed(fixture: &Fixture) -> u64 {
    fixture.wait_for_account(|it| it["pending"] == 0);
    fixture.wait_for_an_empty_buffer();
    let account = &fixture.health()[fixture.protocol.account()];
    let count = |of: &Value| of.as_u64().unwrap();
    let (failed, refused) =
        (count(&account["dropped"]["failed"]), count(&account["refused"]["failed"]));
    assert_eq!(count(&account["accepted"]), count(&account["delivered"]) + failed, "{account}");
    assert_eq!(count(&account["accepted"]) + refused, 5, "each is in one count: {account}");
    failed + refused
}

/// Ends the fixture, whose log must have this many panics. Returns the log.
fn end(fixture: Fixture, panics: usize) -> String {
    let log = fixture.shut_down();
    assert_eq!(log.matches("panicked").count(), panics, "{log}");
    assert!(!log.contains("as asked for"), "a panic's message may hold a secret: {log}");
    log
}

#[rstest]
fn a_panic_of_the_collector_costs_one_request_at_most(#[values(Thundra, Otlp)] protocol: Protocol) {
    for point in OF_THE_COLLECTOR {
        for nth in 1..=3 {
            let fixture = start(protocol, &format!("{point}:{nth}"));
            let statuses: Vec<_> = (1..=5).map(|n| try_to_report(&fixture, n)).collect();
            for (n, status) in (1..).zip(statuses) {
                let is_hit = n == nth;
                assert!(is_hit || status == Some(200), "{point}:{nth}, report {n}: {status:?}");
                assert!(!is_hit || matches!(status, None | Some(200 | 500)), "{status:?}");
            }
            assert!(failed(&fixture) <= 1, "{point}:{nth}");
            end(fixture, 1);
        }
    }
}

#[rstest]
fn a_panic_of_the_sender_costs_the_batch_in_work_only(#[values(Thundra, Otlp)] protocol: Protocol) {
    for point in OF_THE_SENDER {
        for nth in 1..=2 {
            let fixture = start(protocol, &format!("{point}:{nth}"));
            for n in 1..=5 {
                assert_eq!(try_to_report(&fixture, n), Some(200), "{point}:{nth}");
                // This makes each report a separate request, except the lost one.
                fixture.wait_for_account(|it| it["pending"] == 0);
                fixture.platform.invoke(PATIENCE);
                fixture.platform.wait_for_next(PATIENCE);
            }
            // After a panic, the report in the request waits for the next attempt, as after any failure.
            let most = u64::from(point != "sender.request");
            assert!(failed(&fixture) <= most, "{point}:{nth}");
            // This point is reached only once in a run.
            let panics = usize::from(point != "sender.failed" || nth == 1);
            end(fixture, panics);
        }
    }
}

#[rstest]
fn a_panic_at_shutdown_delays_nothing_and_all_reports_are_counted(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    retry_after_standstill(|| {
        for (point, line) in AT_THE_END {
            let fixture = protocol.start_with(&[
                ("THUNDRA_EXTENSION_PANIC_AT", point),
                ("THUNDRA_EXTENSION_LOG_LEVEL", "info"),
                COLLECTS,
            ]);
            for n in 1..=3 {
                fixture.report(ARRAY, &format!("[{n}]"));
            }
            let began = Instant::now();
            let log = end(fixture, 1);
            assert!(began.elapsed() < SHUTDOWN, "{point}: {:?}", began.elapsed());
            assert!(log.contains(line), "{point}: {log}");
        }
    });
}
