//! A remote of each protocol. The failure of one costs the other nothing.

use std::time::{Duration, Instant};

use local_lambda::{Answer, Received, Remote};
use rstest::rstest;

use crate::support::closing_line::is_closing;
use crate::support::fixture::{COLLECTS, PATIENCE, SHUTDOWN, array_of, retry_after_standstill};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};
use crate::support::report::items_of;
use crate::support::two_remotes::TwoRemotes;

const INFO: (&str, &str) = ("THUNDRA_EXTENSION_LOG_LEVEL", "info");

/// Checks that each remote has its own closing line with these counts.
#[track_caller]
fn check_closing_lines(log: &str, protocol: Protocol, counts: &str, others: &str) {
    for (protocol, counts) in [(protocol, counts), (protocol.other(), others)] {
        let begins = format!(" {} to http", protocol.name());
        let is_its = |line: &&str| line.contains(&begins) && is_closing(line);
        let lines: Vec<&str> = log.lines().filter(is_its).collect();
        assert!(lines.len() == 1 && lines[0].ends_with(&format!(": {counts}")), "{log}");
    }
}

#[test]
fn reports_arrive_at_the_remote_of_their_protocol_and_each_has_a_closing_line() {
    let both = TwoRemotes::with(&[INFO]);
    for n in 0..10 {
        both.report(Thundra, &format!("[{n}]"));
        both.report(Otlp, &format!("[{n},{n}]"));
    }
    let of = |remote: &Remote| remote.received().iter().map(|it| items_of(it).len()).sum::<usize>();
    let (log, counts) = both.fixture.shut_down_leaving(|it| (of(&it.remote), of(&both.otlps)));
    assert_eq!(counts, (10, 20));
    check_closing_lines(&log, Thundra, "10 accepted, 10 delivered", "10 accepted, 10 delivered");
}

#[rstest]
fn a_dead_remote_with_a_full_backlog_leaves_room_for_the_other(
    #[values(Thundra, Otlp)] dead: Protocol,
) {
    let both = TwoRemotes::with(&[("THUNDRA_EXTENSION_BUFFER", "256KiB"), INFO]);
    both.remote(dead).go_down();
    let alive = dead.other();
    both.report(dead, "[1]");
    both.fixture.process.wait_for_log("cannot deliver to ", PATIENCE);
    // This lasts until the oldest report was dropped.
    let flooded = Instant::now();
    while both.fixture.health()[dead.account()]["dropped"]["evicted"] == 0 {
        assert!(flooded.elapsed() < PATIENCE, "{}", both.fixture.health());
        both.post(dead, &array_of(10_000));
    }
    for n in 1..=50 {
        both.report(alive, &array_of(10_000));
        both.post(dead, &array_of(10_000));
        both.fixture.wait_for_health(|it| it[alive.account()]["delivered"] == n);
    }
    let log = both.fixture.shut_down();
    assert!(log.contains("50 accepted, 50 delivered"), "{log}");
}

#[rstest]
fn a_remote_has_room_for_its_reports_beside_any_number_for_the_other(
    #[values(Thundra, Otlp)] failing: Protocol,
    #[values(true, false)] hangs: bool,
) {
    let both = TwoRemotes::with(&[("THUNDRA_EXTENSION_BUFFER", "1MiB")]);
    let answer = if hangs { Answer::Hang } else { Answer::status(503).header("Retry-After", "60") };
    both.remote(failing).answer_with(move |_| answer.clone());
    let flood: Vec<u16> = (0..150).map(|_| both.post(failing, &array_of(10_000)).status).collect();
    both.remote(failing).wait_for(1, PATIENCE);
    assert!(!hangs || flood.contains(&failing.full()), "it was never full: {flood:?}");
    both.report(failing.other(), &array_of(100_000));
    both.remote(failing.other()).wait_for(1, PATIENCE);
    if !hangs {
        both.fixture.wait_for_health(|it| it[failing.account()]["dropped"]["evicted"] != 0);
        both.fixture.wait_for_health(|it| it["buffer"]["held"].as_u64().unwrap() < 400 * 1024);
        both.report(failing.other(), &array_of(300_000));
    }
    both.fixture.shut_down();
}

#[test]
fn a_report_has_at_most_three_quarters_of_its_remotes_half_of_the_buffer() {
    let both = TwoRemotes::with(&[("THUNDRA_EXTENSION_BUFFER", "1MiB")]);
    let half = 512 * 1024;
    let largest = half / 4 * 3;
    assert_eq!(both.post(Thundra, &array_of(largest)).status, 413);
    assert_eq!(both.post(Thundra, &array_of(largest - 10_000)).status, 200);
    both.remote(Thundra).wait_for(1, PATIENCE);
    both.fixture.shut_down();
}

#[test]
fn collected_reports_are_sent_at_half_of_their_remotes_quota() {
    let both = TwoRemotes::with(&[COLLECTS, ("THUNDRA_EXTENSION_BUFFER", "256KiB")]);
    both.report(Thundra, &array_of(20_000));
    for n in 1..=20 {
        both.report(Thundra, &array_of(20_000));
        // A quarter of the buffer is half of one remote's half.
        let share = |it: &serde_json::Value| it["buffer"]["held"].as_u64().unwrap() < 96 * 1024;
        both.fixture.wait_for_health(|it| share(it) && it["reports"]["accepted"] == n + 1);
    }
    let log = both.fixture.shut_down();
    assert!(!log.contains("lost"), "{log}");
}

#[rstest]
fn a_hanging_remote_under_a_flood_leaves_room_for_the_other(
    #[values(Thundra, Otlp)] hanging: Protocol,
) {
    retry_after_standstill(|| flood_a_hanging_remote(hanging));
}

fn flood_a_hanging_remote(hanging: Protocol) {
    let both = TwoRemotes::with(&[("THUNDRA_EXTENSION_BUFFER", "256KiB"), INFO]);
    both.remote(hanging).answer_with(|_| Answer::Hang);
    let alive = hanging.other();
    both.report(hanging, &array_of(10_000));
    both.remote(hanging).wait_for(1, PATIENCE);
    // Reports in a request cannot be dropped until its attempt is over.
    let mut refused = 0;
    for n in 1..=50 {
        for _ in 0..3 {
            refused += usize::from(both.post(hanging, &array_of(10_000)).status == hanging.full());
        }
        both.report(alive, &array_of(10_000));
        both.fixture.wait_for_health(|it| it[alive.account()]["delivered"] == n);
    }
    assert!(refused > 0, "its part was never full");
    let log = both.fixture.shut_down();
    assert!(log.contains("50 accepted, 50 delivered"), "{log}");
}

#[rstest]
fn a_key_that_one_remote_refuses_is_still_good_at_the_other(
    #[values(Thundra, Otlp)] refusing: Protocol,
) {
    let both = TwoRemotes::with(&[INFO]);
    both.remote(refusing).answer_with(|_| Answer::status(401));
    for n in 1..=3 {
        for protocol in [refusing, refusing.other()] {
            both.report(protocol, "[1]");
            both.fixture.wait_for_health(|it| {
                let of = |count: &serde_json::Value| *count == n;
                let account = &it[protocol.account()];
                of(&account["delivered"]) || of(&account["dropped"]["unauthorized"])
            });
        }
    }
    assert_eq!(both.remote(refusing).received().len(), 1);
    let log = both.fixture.shut_down();
    let refused = "3 accepted, 0 delivered, lost: 3 unauthorized (the remote refused the key)";
    check_closing_lines(&log, refusing, refused, "3 accepted, 3 delivered");
}

#[test]
fn in_an_outage_of_both_each_keeps_its_half_of_the_buffer() {
    /// How many reports fit into three quarters of half of 256 KiB, with the overhead of each.
    const KEPT: u64 = 96 * 1024 / 11_000;
    let both = TwoRemotes::with(&[("THUNDRA_EXTENSION_BUFFER", "256KiB")]);
    for protocol in [Thundra, Otlp] {
        both.remote(protocol).answer_with(|_| Answer::status(503).header("Retry-After", "60"));
        both.report(protocol, "[0]");
        both.remote(protocol).wait_for(1, PATIENCE);
    }
    // One remote gets a flood, and the other gets reports later.
    for (protocol, reports) in [(Thundra, 60), (Otlp, 15), (Thundra, 60), (Otlp, 15)] {
        for _ in 0..reports {
            both.post(protocol, &array_of(10_000));
        }
    }
    for protocol in [Thundra, Otlp] {
        both.remote(protocol).answer_with(Answer::accepting);
    }
    let accepted = |remote: &Remote| {
        let received = remote.received();
        received.iter().filter(|it| it.is_accepted()).map(|it| items_of(it).len() as u64).sum()
    };
    let (log, kept): (_, [u64; 2]) =
        both.fixture.shut_down_leaving(|fixture| [&fixture.remote, &both.otlps].map(accepted));
    assert!(kept.iter().all(|it| *it >= KEPT - 1), "{kept:?}; {log}");
}

#[rstest]
fn a_hanging_remote_delays_the_other_neither_now_nor_at_shutdown(
    #[values(Thundra, Otlp)] hanging: Protocol,
) {
    retry_after_standstill(|| {
        let both = TwoRemotes::with(&[INFO]);
        both.remote(hanging).answer_with(|_| Answer::Hang);
        both.report(hanging, "[1]");
        both.remote(hanging).wait_for(1, PATIENCE);
        both.report(hanging.other(), "[1]");
        both.remote(hanging.other()).wait_for(1, PATIENCE);
        let log = both.fixture.process.log();
        assert!(!log.contains("cannot deliver"), "not before the first attempt was over: {log}");
        let asked = Instant::now();
        let log = both.fixture.shut_down();
        assert!(asked.elapsed() < SHUTDOWN + Duration::from_secs(1), "{:?}", asked.elapsed());
        let unsent = "1 accepted, 0 delivered, lost: 1 unsent (the end came first)";
        check_closing_lines(&log, hanging, unsent, "1 accepted, 1 delivered");
    });
}

#[rstest]
fn a_hanging_remote_costs_no_report_of_the_other_at_shutdown(
    #[values(Thundra, Otlp)] hanging: Protocol,
) {
    retry_after_standstill(|| {
        let both = TwoRemotes::with(&[COLLECTS, INFO]);
        both.remote(hanging).answer_with(|_| Answer::Hang);
        for n in 0..20 {
            both.report(hanging, &format!("[{n}]"));
            both.report(hanging.other(), &format!("[{n}]"));
        }
        let (otlps, asked) = (&both.otlps, Instant::now());
        let (log, items) = both.fixture.shut_down_leaving(|fixture| {
            let remote = if hanging == Otlp { &fixture.remote } else { otlps };
            let received: Vec<Received> = remote.received();
            received.iter().flat_map(items_of).count()
        });
        assert!(asked.elapsed() < SHUTDOWN + Duration::from_secs(1), "{:?}", asked.elapsed());
        let unsent = "20 accepted, 0 delivered, lost: 20 unsent (the end came first)";
        check_closing_lines(&log, hanging, unsent, "20 accepted, 20 delivered");
        assert_eq!(items, 20);
    });
}
