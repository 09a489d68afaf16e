//! Tests in virtual time with some bad reports, and a remote that refuses each request with a bad
//! report.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use ureq::http::StatusCode;

use super::{Path, Refusals, Refused, TEST_EVERY, Verdict};
use crate::payload::ledger::Loss;
use crate::payload::limits::RequestLimits;
use crate::payload::route::Route;
use crate::payload::signal::Signal;
use crate::relay::backlog::Batch;
use crate::relay::backlog::tests::{Desk, text};

const KEY: &str = "k";
const REPORTS_MAX: usize = 100;
/// How many requests it takes to halve a full request down to one report.
const HALVINGS: usize = 7;

struct World {
    desk: Desk,
    refusals: Refusals,
    now: Instant,
    pushed: usize,
    /// The reports of each sent request, and its answer.
    sent: Vec<(Vec<usize>, u16)>,
}

impl World {
    fn new() -> Self {
        let refusals = Refusals::of(RequestLimits::OTLP);
        Self { desk: Desk::new(), refusals, now: Instant::now(), pushed: 0, sent: Vec::new() }
    }

    /// Reports of these sizes arrive.
    fn push(&mut self, padding: impl IntoIterator<Item = usize>) {
        for bytes in padding {
            let body = format!("[{:>5}{}]", self.pushed, " ".repeat(bytes));
            self.desk.push(Route::MonitoringData, KEY, &body);
            self.pushed += 1;
        }
    }

    fn push_many(&mut self, count: usize) {
        self.push(vec![0; count]);
    }

    /// Sends all waiting reports, as the exporter does.
    fn send_all(&mut self, answer: impl Fn(&[usize]) -> u16) {
        while let Some(batch) = self.refusals.take(&mut self.desk.backlog, self.now) {
            self.now += Duration::from_millis(1);
            let key = batch.headers().authorization.clone();
            let route = batch.route();
            if self.refusals.refuses_key(route, key.as_ref(), self.now) {
                self.desk.backlog.settle(batch, Some(Loss::Unauthorized));
                continue;
            }
            let reports = numbers(&batch);
            let status = answer(&reports);
            self.sent.push((reports, status));
            match status {
                200 => {
                    self.refusals.delivered(route, key.as_ref(), self.now);
                    self.desk.backlog.settle(batch, None);
                }
                503 => self.desk.backlog.put_back(batch),
                _ => self.refused(batch, status),
            }
        }
    }

    fn refused(&mut self, mut batch: Batch, status: u16) {
        let loss = match status {
            401 | 403 => Loss::Unauthorized,
            413 => Loss::TooLarge,
            _ => Loss::Rejected,
        };
        let is_divisible = batch.is_divisible();
        let request = Refused {
            route: batch.route(),
            key: batch.headers().authorization.as_ref(),
            status: StatusCode::from_u16(status).unwrap(),
            loss,
            reports: batch.reports(),
            bytes: batch.body().length(),
            is_divisible,
        };
        match self.refusals.refused(&request, self.now) {
            Verdict::Split => self.desk.backlog.put_back(batch),
            Verdict::Drop | Verdict::DropKey => self.desk.backlog.settle(batch, Some(loss)),
        }
    }

    fn delivered(&self) -> Vec<usize> {
        let taken = self.sent.iter().filter(|(_, status)| *status == 200);
        let mut delivered: Vec<usize> = taken.flat_map(|(reports, _)| reports.clone()).collect();
        delivered.sort_unstable();
        delivered
    }

    fn requests(&mut self, answer: impl Fn(&[usize]) -> u16) -> usize {
        let before = self.sent.len();
        self.send_all(answer);
        self.sent.len() - before
    }

    /// The most reports in a row that were refused alone.
    fn longest_streak(&self) -> usize {
        let (mut longest, mut streak) = (0, 0);
        for (reports, status) in &self.sent {
            match (*status, reports.len()) {
                (200, _) => streak = 0,
                (503, _) => {}
                (_, 1) => streak += 1,
                _ => {}
            }
            longest = longest.max(streak);
        }
        longest
    }
}

fn numbers(batch: &Batch) -> Vec<usize> {
    serde_json::from_str(&text(batch)).unwrap()
}

/// A remote that refuses a request with one of these reports.
fn refusing(bad: &HashMap<usize, u16>) -> impl Fn(&[usize]) -> u16 {
    |reports| reports.iter().find_map(|it| bad.get(it)).copied().unwrap_or(200)
}

#[track_caller]
fn check_one_bad(status: u16, nth: usize) {
    let mut world = World::new();
    world.push_many(REPORTS_MAX);
    if (status, nth) == (401, REPORTS_MAX - 1) {
        // This report is tried alone first. A 401 to it refuses a key that never worked.
        return;
    }
    let requests = world.requests(refusing(&HashMap::from([(nth, status)])));
    let good: Vec<usize> = (0..REPORTS_MAX).filter(|it| *it != nth).collect();
    assert_eq!(world.delivered(), good, "{status} over report {nth}");
    assert!(requests <= 4 * HALVINGS, "{status} over report {nth}: {requests} requests");
}

const REFUSALS: [u16; 12] = [301, 400, 401, 403, 404, 405, 406, 413, 415, 422, 500, 501];

#[test]
fn one_bad_report_of_a_hundred_costs_no_other_whatever_its_status_and_place() {
    for status in REFUSALS {
        for nth in 0..REPORTS_MAX {
            check_one_bad(status, nth);
        }
    }
}

#[test]
fn a_remote_that_refuses_everything_costs_few_more_requests_than_one_that_accepts_it() {
    for status in REFUSALS {
        let mut world = World::new();
        world.push_many(10 * REPORTS_MAX);
        let requests = world.requests(|_| status);
        assert!(requests <= 10 + HALVINGS + 6, "{status}: {requests} requests");
        assert_eq!(world.desk.account.balance().pending(), 0);
    }
}

#[test]
fn a_remote_that_refuses_everything_with_changing_statuses_is_not_flooded() {
    let mut world = World::new();
    world.push_many(10 * REPORTS_MAX);
    let nth = std::cell::Cell::new(0);
    let requests = world.requests(|_| {
        nth.set(nth.get() + 1);
        [404, 400, 500, 301][nth.get() % 4]
    });
    assert!(requests <= 10 + HALVINGS + 6, "{requests} requests");
}

#[test]
fn a_path_that_refuses_everything_is_tested_at_intervals_and_used_again_after_a_success() {
    let mut world = World::new();
    world.push_many(10 * REPORTS_MAX);
    world.send_all(|_| 404);
    for (pause, requests) in [(0, 1), (1, 1), (59, 2), (1, 1), (60, 2)] {
        world.now += Duration::from_secs(pause);
        world.push_many(REPORTS_MAX);
        // One single report is lost, and then the others in one request.
        let expected = if requests == 2 { 3 } else { 1 };
        assert_eq!(world.requests(|_| 404), expected, "after {pause} s");
    }
    world.now += TEST_EVERY;
    world.push_many(REPORTS_MAX);
    let bad = HashMap::from([(world.pushed - 1, 404)]);
    world.send_all(refusing(&bad));
    assert_eq!(world.delivered().len(), REPORTS_MAX - 1);
}

#[test]
fn a_path_that_refuses_everything_does_not_affect_another_path() {
    let (mut refusals, now) = (Refusals::of(RequestLimits::OTLP), Instant::now());
    let mut answer = |signal, reports| {
        let (route, status, loss) = (Route::Otlp(signal), StatusCode::NOT_FOUND, Loss::Rejected);
        let request =
            Refused { route, key: None, status, loss, reports, bytes: 10, is_divisible: false };
        refusals.refused(&request, now)
    };
    for _ in 0..5 {
        assert_eq!(answer(Signal::Traces, 1), Verdict::Drop);
    }
    assert_eq!(answer(Signal::Traces, 100), Verdict::Drop);
    assert_eq!(answer(Signal::Logs, 100), Verdict::Split);
    refusals.delivered(Route::Otlp(Signal::Logs), None, now);
    assert!(refusals.path(Route::Otlp(Signal::Traces)).is_some_and(Path::refuses_all));
}

#[test]
fn several_neighbouring_bad_reports_do_not_make_a_path_bad() {
    let mut world = World::new();
    world.push_many(REPORTS_MAX);
    let bad: HashMap<usize, u16> = [10, 11, 12, 13, 14, 15, 60].map(|it| (it, 400)).into();
    world.send_all(refusing(&bad));
    assert_eq!(world.delivered().len(), REPORTS_MAX - bad.len());
}

/// Checks the number of requests until a key counts as refused, with `waiting` reports at once.
#[track_caller]
fn check_key(status: u16, has_delivered: bool, waiting: usize, requests: usize) {
    let mut world = World::new();
    if has_delivered {
        world.push_many(1);
        world.send_all(|_| 200);
    }
    world.push_many(waiting);
    assert_eq!(world.requests(|_| status), requests, "{status}, {has_delivered}, {waiting}");
    // Nothing is sent for five minutes, and then one report.
    for (pause, requests) in [(0, 0), (4 * 60, 0), (61, 1), (1, 0)] {
        world.now += Duration::from_secs(pause);
        world.push_many(20);
        assert_eq!(world.requests(|_| status), requests, "{status} after {pause} s");
    }
    world.now += Duration::from_secs(301);
    world.push_many(20);
    assert_eq!(world.requests(|_| 200), 2, "one alone, and then all others");
}

#[test]
fn a_refused_key_costs_few_requests() {
    // The first request has all reports. Then as many single ones follow as must be refused.
    check_key(401, false, 50, 2);
    check_key(403, false, 50, 3);
    check_key(401, true, 50, 4);
    check_key(403, true, 50, 4);
    check_key(401, false, 1, 1);
}

#[test]
fn a_report_that_a_firewall_refuses_costs_no_other() {
    for has_delivered in [false, true] {
        let mut world = World::new();
        if has_delivered {
            world.push_many(1);
            world.send_all(|_| 200);
        }
        let bad = world.pushed;
        for _ in 0..10 {
            world.push_many(1);
            world.send_all(refusing(&HashMap::from([(bad, 403)])));
        }
        assert_eq!(world.delivered().len(), world.pushed - 1);
    }
}

fn report() -> impl Strategy<Value = (usize, Option<u16>)> {
    let is_bad = prop_oneof![
        9 => Just(None),
        1 => prop::sample::select(&REFUSALS[..]).prop_map(Some),
    ];
    (0_usize..200, is_bad)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Reports arrive in waves, with outages between them.
    #[test]
    fn no_report_is_doubled_and_good_ones_are_lost_only_after_many_refusals_in_a_row(
        waves in vec((vec(report(), 0..150), 0_u64..400), 1..5),
        outages in vec(any::<bool>(), 0..40),
    ) {
        let (mut world, mut bad) = (World::new(), HashMap::new());
        for (reports, pause) in &waves {
            let first = world.pushed;
            bad.extend(reports.iter().enumerate().filter_map(|(nth, it)| Some((first + nth, it.1?))));
            world.push(reports.iter().map(|(bytes, _)| *bytes));
            let (refusing, requests) = (refusing(&bad), std::cell::Cell::new(0));
            world.send_all(|reports| {
                let is_down = outages.get(requests.get()).copied().unwrap_or_default();
                requests.set(requests.get() + 1);
                if is_down { 503 } else { refusing(reports) }
            });
            world.now += Duration::from_secs(*pause);
        }
        prop_assert_eq!(world.desk.account.balance().pending(), 0);
        let delivered = world.delivered();
        prop_assert!(delivered.windows(2).all(|it| it[0] < it[1]), "doubled");
        let good = (0..world.pushed).filter(|it| !bad.contains_key(it)).count();
        let streak = world.longest_streak();
        if streak <= 1 {
            let is_key_lost = bad.values().any(|it| *it == 401);
            prop_assert!(is_key_lost || delivered.len() == good, "{} of {good}", delivered.len());
        }
        let is_about_keys = bad.values().any(|it| [401, 403].contains(it));
        if !is_about_keys && streak < 4 {
            prop_assert_eq!(delivered.len(), good);
        }
        // No refused part is sent a second time.
        let mut refused = HashSet::new();
        for (reports, status) in world.sent.iter().filter(|(_, status)| *status != 503) {
            prop_assert!(!refused.contains(reports), "{reports:?}");
            if *status != 200 {
                refused.insert(reports.clone());
            }
        }
        let down = outages.len() * waves.len();
        let bound = waves.len() * 4 + down + 3 * (HALVINGS + 1) * bad.len();
        prop_assert!(world.sent.len() <= bound, "{} requests, {bound}", world.sent.len());
    }
}
