//! Failures inside, at each point that `src/fault.rs` is called at: a panic of the collector or of
//! the sender costs what is in hand, which is counted, and nothing else.
//!
//! They need a binary with these points in it: `cargo test --features faults --test it inside_`.

use std::net::Ipv4Addr;
use std::time::Instant;

use sandbox::{Answer, agent};
use serde_json::Value;

use crate::trial::{ARRAY, PATIENCE, SHUTDOWN, Trial, exchange, report_of};

/// While a request is taken.
const OF_THE_COLLECTOR: [&str; 4] =
    ["collector.request", "collector.body", "collector.accepted", "collector.handed-on"];

/// While the sender works before SHUTDOWN.
const OF_THE_SENDER: [&str; 7] = [
    "sender.step",
    "sender.kept",
    "sender.taken",
    "sender.request",
    "sender.posted",
    "sender.delivered",
    "sender.failed",
];

/// And what becomes of three reports.
const AT_THE_END: [(&str, &str); 2] = [
    ("sender.end", "delivered 3 of 3 accepted reports"),
    ("sender.last", "delivered 0 of 3 accepted reports, lost: 3 failed"),
];

/// With a panic at this point, and at the info level: then the log tells of all.
fn start(point: &str) -> Trial {
    let trial = Trial::with(&[
        ("THUNDRA_EXTENSION_PANIC_AT", point),
        ("THUNDRA_EXTENSION_LOG_LEVEL", "info"),
    ]);
    trial.remote.answer_with(|it| Answer::status(if it.number == 1 { 503 } else { 200 }));
    trial
}

/// Posts, whatever comes of it: the status, or the end of the connection.
fn try_to_report(trial: &Trial, n: u64) -> Option<u16> {
    let body = format!("[{n},\"{}\"]", "x".repeat(2_000));
    let request = report_of(body.len(), "Connection: close\r\n", &body);
    let answer = exchange((Ipv4Addr::LOCALHOST, trial.port).into(), &request).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

fn count(health: &Value, what: &str) -> u64 {
    health["reports"][what].as_u64().unwrap()
}

/// Whether each report is accounted for once nothing is pending, and how many were lost.
fn failed(trial: &Trial) -> u64 {
    trial.wait_for_health(|it| count(it, "pending") == 0);
    let health = trial.health();
    let failed = health["reports"]["dropped"]["failed"].as_u64().unwrap();
    assert_eq!(count(&health, "accepted"), count(&health, "delivered") + failed, "{health}");
    failed
}

/// Ends it, with this many panics in its log.
fn end(trial: Trial, panics: usize) -> String {
    let log = trial.shut_down();
    assert_eq!(log.matches("panicked").count(), panics, "{log}");
    assert!(!log.contains("as asked for"), "a panic's message may hold a secret: {log}");
    log
}

#[test]
fn a_panic_of_the_collector_costs_one_request_at_most() {
    for point in OF_THE_COLLECTOR {
        for nth in 1..=3 {
            let trial = start(&format!("{point}:{nth}"));
            let statuses: Vec<_> = (1..=5).map(|n| try_to_report(&trial, n)).collect();
            for (n, status) in (1..).zip(statuses) {
                let is_hit = n == nth;
                assert!(is_hit || status == Some(200), "{point}:{nth}, report {n}: {status:?}");
                assert!(!is_hit || matches!(status, None | Some(200 | 500)), "{status:?}");
            }
            assert!(failed(&trial) <= 1, "{point}:{nth}");
            end(trial, 1);
        }
    }
}

#[test]
fn a_panic_of_the_sender_costs_what_it_has_in_hand_and_it_goes_on() {
    for point in OF_THE_SENDER {
        for nth in 1..=2 {
            let trial = start(&format!("{point}:{nth}"));
            for n in 1..=5 {
                assert_eq!(try_to_report(&trial, n), Some(200), "{point}:{nth}");
                // So that each is a request of its own; but the one that is lost.
                trial.wait_for_health(|it| count(it, "pending") == 0);
                trial.platform.invoke(PATIENCE);
                trial.platform.wait_for_next(PATIENCE);
            }
            // What is being sent waits for the next attempt, as after any that failed.
            let most = u64::from(point != "sender.request");
            assert!(failed(&trial) <= most, "{point}:{nth}");
            // Fails only once in a run.
            let panics = usize::from(point != "sender.failed" || nth == 1);
            end(trial, panics);
        }
    }
}

#[test]
fn a_panic_at_the_end_is_an_end_in_time_and_all_is_counted() {
    for (point, told) in AT_THE_END {
        let trial = Trial::with(&[
            ("THUNDRA_EXTENSION_PANIC_AT", point),
            ("THUNDRA_EXTENSION_LOG_LEVEL", "info"),
            ("THUNDRA_EXTENSION_FLUSH", "periodically,900000"),
        ]);
        for n in 1..=3 {
            assert_eq!(agent::post(trial.port, ARRAY, format!("[{n}]").as_bytes()).status, 200);
        }
        let began = Instant::now();
        let log = end(trial, 1);
        assert!(began.elapsed() < SHUTDOWN, "{point}: {:?}", began.elapsed());
        assert!(log.contains(told), "{point}: {log}");
    }
}
