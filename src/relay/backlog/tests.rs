use super::*;
use crate::payload::items::tests::{array, items_of, limits};
use crate::payload::ledger::Account;
use crate::payload::quota::Quota;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::value::RawValue;
use std::io::Read;
use std::sync::Arc;
use ureq::http::HeaderValue;

const OVERHEAD: usize = 10;

pub struct Desk {
    quota: Quota,
    pub account: Account,
    pub backlog: Backlog,
}

impl Desk {
    pub fn new() -> Self {
        let (quota, account) = (Quota::of(1_000_000), Account::default());
        Self { quota, account, backlog: Backlog::default() }
    }

    pub fn push(&mut self, route: Route, key: &str, body: &str) {
        let headers = Headers {
            authorization: Some(HeaderValue::from_str(key).unwrap()),
            ..Headers::default()
        };
        self.push_with(route, headers, body.as_bytes().to_vec());
    }

    pub fn push_with(&mut self, route: Route, headers: Headers, body: Vec<u8>) {
        let cost = body.len() + OVERHEAD;
        let permit = self.quota.take(cost).unwrap();
        let (target, body) = ((route, headers), Arc::new(body));
        let payload = Payload::accept(target, body, permit, &self.account, Instant::now());
        self.backlog.push(payload);
    }

    /// The bodies of all requests, if the remote accepts them.
    fn requests(&mut self, limits: RequestLimits) -> Vec<String> {
        let requests = self.requests_in_bytes(limits).into_iter();
        requests.map(|it| String::from_utf8(it).unwrap()).collect()
    }

    pub fn requests_in_bytes(&mut self, limits: RequestLimits) -> Vec<Vec<u8>> {
        let mut requests = Vec::new();
        while let Some(batch) = self.backlog.take(limits) {
            requests.push(bytes(&batch));
            self.backlog.settle(batch, None);
        }
        requests
    }
}

pub fn text(batch: &Batch) -> String {
    String::from_utf8(bytes(batch)).unwrap()
}

fn bytes(batch: &Batch) -> Vec<u8> {
    let (mut body, mut bytes) = (batch.body(), Vec::new());
    body.read_to_end(&mut bytes).unwrap();
    assert_eq!(body.length(), bytes.len());
    bytes
}

const ARRAYS: Route = Route::MonitoringData;
const COMPOSITES: Route = Route::CompositeMonitoringData;

#[track_caller]
fn check(reports: &[(Route, &str, &str)], limits: RequestLimits, requests: &[&str]) {
    let mut desk = Desk::new();
    for (route, key, body) in reports {
        desk.push(*route, key, body);
    }
    assert_eq!(desk.requests(limits), requests);
    assert_eq!((desk.quota.held(), desk.backlog.held()), (0, 0));
    assert_eq!(desk.account.balance().delivered, reports.len() as u64);
}

#[test]
fn only_arrays_with_the_same_key_are_merged() {
    let limits = limits(5, 100);
    let array = |body| (ARRAYS, "k", body);
    check(&[array(" [1, 2] ")], limits, &[" [1, 2] "]);
    check(&[array(" [1, 2] "), array("[3]")], limits, &["[1, 2,3]"]);
    check(&[array("[1]"), (ARRAYS, "l", "[2]"), array("[3]")], limits, &["[1,3]", "[2]"]);
    check(&[array("[1]"), (COMPOSITES, "k", "{}"), array("[2]")], limits, &["[1,2]", "{}"]);
    let composite = (COMPOSITES, "k", "[1]");
    check(&[composite, composite], limits, &["[1]", "[1]"]);
    check(&[array("[1]"), array("no array"), array("[2]")], limits, &["[1,2]", "no array"]);
}

#[test]
fn requests_obey_the_limits_and_larger_arrays_are_split() {
    let array = |body| (ARRAYS, "k", body);
    let three = limits(3, 100);
    check(&[array("[1,2]"), array("[3]"), array("[4]")], three, &["[1,2,3]", "[4]"]);
    check(&[array("[1,2]"), array("[3,4]")], three, &["[1,2]", "[3,4]"]);
    check(&[array("[1,2,3,4,5]"), array("[6]")], three, &["[1,2,3]", "[4,5,6]"]);
    check(&[array("[1 , 2,3,4]")], three, &["[1 , 2,3]", "[4]"]);
    let short = limits(9, 5);
    check(&[array("[1,2]"), array("[3]")], short, &["[1,2]", "[3]"]);
    check(&[array("[\"too long\"]"), array("[3]")], short, &["[\"too long\"]", "[3]"]);
    check(&[array("[1]     ")], short, &["[1]"]);
}

#[test]
fn without_room_the_oldest_reports_are_dropped_and_counted() {
    let mut desk = Desk::new();
    for body in ["[1]", "[2]", "[3]", "[4]"] {
        desk.push(ARRAYS, "k", body);
    }
    desk.backlog.evict_down_to(2 * (3 + OVERHEAD), false);
    assert_eq!(desk.account.balance().dropped(Loss::Evicted), 2);
    assert_eq!(desk.requests(RequestLimits::THUNDRA), ["[3,4]"]);
    desk.push(ARRAYS, "k", "[5]");
    desk.backlog.evict_down_to(0, false);
    assert_eq!(desk.requests(RequestLimits::THUNDRA), ["[5]"], "the last report is kept");
}

#[test]
fn a_report_that_lost_a_part_counts_as_lost() {
    let mut desk = Desk::new();
    desk.push(ARRAYS, "k", "[1,2,3]");
    let limits = limits(1, 100);
    for loss in [None, Some(Loss::TooLarge), None] {
        let batch = desk.backlog.take(limits).unwrap();
        desk.backlog.settle(batch, loss);
    }
    let balance = desk.account.balance();
    assert_eq!((balance.delivered, balance.dropped(Loss::TooLarge)), (0, 1));
}

fn few(reports: usize) -> RequestLimits {
    RequestLimits { reports, ..RequestLimits::THUNDRA }
}

#[test]
fn a_request_has_no_more_reports_than_allowed_however_few_items_they_have() {
    let mut desk = Desk::new();
    for body in ["[1,2,3]", "[4]", "[5,6]", "[7]", "[8]"] {
        desk.push(ARRAYS, "k", body);
    }
    assert_eq!(desk.requests(few(2)), ["[1,2,3,4]", "[5,6,7]", "[8]"]);
}

#[test]
fn a_quarantined_report_is_sent_alone_and_only_on_request() {
    let mut desk = Desk::new();
    desk.push(ARRAYS, "k", "[1]");
    desk.push(ARRAYS, "k", "[2]");
    for _ in 0..2 {
        let lone = desk.backlog.take(few(1)).unwrap();
        desk.backlog.quarantine(lone);
    }
    desk.push(ARRAYS, "k", "[3]");
    assert_eq!(
        (desk.requests(RequestLimits::THUNDRA), desk.backlog.quarantined()),
        (vec!["[3]".to_owned()], 2)
    );
    let first = desk.backlog.take_quarantined(RequestLimits::THUNDRA).unwrap();
    assert_eq!((text(&first).as_str(), first.is_quarantined()), ("[1]", true));
    desk.backlog.quarantine(first);
    let second = desk.backlog.take_quarantined(RequestLimits::THUNDRA).unwrap();
    assert_eq!(text(&second), "[2]");
    desk.backlog.put_back(second);
    assert_eq!(desk.backlog.quarantined(), 2);
}

#[test]
fn the_smallest_mergeable_report_is_taken_alone_and_put_back_in_its_place() {
    let mut desk = Desk::new();
    for (key, body) in [("k", "[100]"), ("l", "[2]"), ("k", "[30]"), ("k", "[40]")] {
        desk.push(ARRAYS, key, body);
    }
    let batch = desk.backlog.take_smallest(RequestLimits::THUNDRA).unwrap();
    assert_eq!((text(&batch).as_str(), batch.reports()), ("[40]", 1));
    desk.backlog.put_back(batch);
    assert_eq!(desk.requests(RequestLimits::THUNDRA), ["[100,30,40]", "[2]"]);
    assert!(desk.backlog.take_smallest(RequestLimits::THUNDRA).is_none());
}

#[test]
fn the_rest_of_a_report_that_passed_others_waits_behind_them() {
    let mut desk = Desk::new();
    desk.push(ARRAYS, "k", "[11,12,13]");
    desk.push(ARRAYS, "k", "[1,2]");
    let oldest = desk.backlog.oldest();
    let head = desk.backlog.take_smallest(limits(1, 100)).unwrap();
    assert_eq!(text(&head), "[1]");
    desk.backlog.settle(head, None);
    assert_eq!(desk.backlog.oldest(), oldest);
    assert_eq!(desk.requests(RequestLimits::THUNDRA), ["[11,12,13,2]"]);
}

#[test]
fn reports_released_from_quarantine_are_sorted_by_age() {
    let mut desk = Desk::new();
    desk.push(ARRAYS, "k", "[1]");
    desk.push(ARRAYS, "k", "[2]");
    let lone = desk.backlog.take(few(1)).unwrap();
    desk.backlog.quarantine(lone);
    desk.push(ARRAYS, "k", "[3]");
    desk.backlog.release_quarantined();
    assert_eq!(
        (desk.requests(RequestLimits::THUNDRA), desk.backlog.quarantined()),
        (vec!["[1,2,3]".to_owned()], 0)
    );
    assert_eq!((desk.quota.held(), desk.backlog.held()), (0, 0));
}

#[test]
fn a_batch_is_put_back_in_its_place_even_if_it_passed_others() {
    let mut desk = Desk::new();
    for (key, body) in [("k", "[1]"), ("l", "[2]"), ("k", "[3]")] {
        desk.push(ARRAYS, key, body);
    }
    let batch = desk.backlog.take(RequestLimits::THUNDRA).unwrap();
    assert_eq!(text(&batch), "[1,3]");
    desk.backlog.put_back(batch);
    desk.backlog.evict_down_to(3 + OVERHEAD, false);
    assert_eq!(desk.requests(RequestLimits::THUNDRA), ["[3]"]);
}

#[test]
fn without_room_the_oldest_report_is_dropped_first_wherever_it_is() {
    let mut desk = Desk::new();
    for body in ["{0}", "{1}", "{2}", "{3}"] {
        desk.push(COMPOSITES, "k", body);
    }
    let [first, second] = [(); 2].map(|()| desk.backlog.take(RequestLimits::THUNDRA).unwrap());
    desk.backlog.quarantine(second);
    desk.backlog.quarantine(first);
    desk.backlog.evict_down_to(3 * (3 + OVERHEAD), false);
    let left = desk.backlog.take_quarantined(RequestLimits::THUNDRA).unwrap();
    assert_eq!(text(&left), "{1}");
    desk.backlog.quarantine(left);
    desk.backlog.evict_down_to(2 * (3 + OVERHEAD), false);
    assert_eq!(
        (desk.requests(RequestLimits::THUNDRA), desk.backlog.quarantined()),
        (vec!["{2}".to_owned(), "{3}".to_owned()], 0)
    );
}

#[test]
fn while_the_remote_accepts_reports_only_quarantined_ones_are_dropped() {
    let mut desk = Desk::new();
    for body in ["{1}", "{2}", "{3}"] {
        desk.push(COMPOSITES, "k", body);
    }
    let first = desk.backlog.take(RequestLimits::THUNDRA).unwrap();
    desk.backlog.quarantine(first);
    assert_eq!(desk.backlog.held_waiting(), 2 * (3 + OVERHEAD));
    desk.backlog.evict_down_to(3 + OVERHEAD, true);
    assert_eq!((desk.backlog.quarantined(), desk.requests(RequestLimits::THUNDRA).len()), (0, 2));
}

#[test]
fn only_a_batch_with_several_items_is_divisible() {
    for (body, items, divisible) in [
        ("[1]", 9, false),
        ("[1,2]", 9, true),
        ("[1,2]", 1, false),
        ("[1,2,3]", 2, true),
        ("{}", 9, false),
    ] {
        let mut desk = Desk::new();
        desk.push(ARRAYS, "k", body);
        let limits = limits(items, 100);
        let mut batch = desk.backlog.take(limits).unwrap();
        assert_eq!(batch.is_divisible(), divisible, "{body} {limits:?}");
        desk.backlog.settle(batch, None);
    }
}

/// The remote's answer to a request.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Takes,
    Fails,
    /// The remote fails, and a report of the request may be the reason.
    Trips,
    Refuses,
}

fn answer() -> impl Strategy<Value = Answer> {
    use Answer::{Fails, Refuses, Takes, Trips};
    prop_oneof![Just(Takes), Just(Fails), Just(Trips), Just(Refuses)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merged_arrays_have_the_posted_items_byte_for_byte_in_order(
        reports in vec(array(), 1..6),
        limits in (1_usize..100, 1_usize..4_000).prop_map(|(items, bytes)| limits(items, bytes)),
    ) {
        let mut desk = Desk::new();
        for (_, body) in &reports {
            desk.push(ARRAYS, "k", body);
        }
        let posted: Vec<String> = reports.into_iter().flat_map(|(items, _)| items).collect();
        let sent: Vec<String> =
            desk.requests(limits).iter().flat_map(|request| items_of(request)).collect();
        prop_assert_eq!(sent, posted);
    }

    #[test]
    fn whatever_the_remote_answers_each_item_is_sent_once_in_order_or_counted_as_lost(
        reports in vec(0_usize..7, 1..20),
        answers in vec(answer(), 0..60),
        limits in (1_usize..4, 1_usize..6, 1_usize..30)
            .prop_map(|(reports, items, bytes)| RequestLimits { reports, items, bytes }),
    ) {
        let (mut desk, mut number) = (Desk::new(), 0..);
        for items in &reports {
            let items: Vec<String> =
                number.by_ref().take(*items).map(|it: u32| it.to_string()).collect();
            desk.push(ARRAYS, "k", &format!("[{}]", items.join(", ")));
        }
        let (mut taken, mut refused, mut tripped): (Vec<u32>, Vec<u32>, Vec<u32>) =
            Default::default();
        let mut answers = answers.into_iter().chain(std::iter::repeat(Answer::Takes));
        let next = |backlog: &mut Backlog| backlog.take(limits).or_else(|| backlog.take_quarantined(limits));
        while let Some(batch) = next(&mut desk.backlog) {
            let items: Vec<Box<RawValue>> = serde_json::from_str(&text(&batch)).unwrap();
            let items = items.iter().map(|it| it.get().parse::<u32>().unwrap());
            match answers.next().unwrap() {
                Answer::Takes => {
                    taken.extend(items);
                    let was_quarantined = batch.is_quarantined();
                    desk.backlog.settle(batch, None);
                    if was_quarantined {
                        desk.backlog.release_quarantined();
                    }
                }
                Answer::Trips if batch.reports() == 1 => {
                    tripped.extend(items);
                    desk.backlog.quarantine(batch);
                }
                Answer::Fails | Answer::Trips => desk.backlog.put_back(batch),
                Answer::Refuses => {
                    refused.extend(items);
                    desk.backlog.settle(batch, Some(Loss::Rejected));
                }
            }
        }
        // Only a quarantined report is sent after later ones. Its own items keep their order.
        let mut first = 0;
        for count in reports.iter().map(|count| u32::try_from(*count).unwrap()) {
            let report = first..first + count;
            prop_assert!(taken.iter().filter(|it| report.contains(it)).is_sorted());
            if tripped.iter().any(|it| report.contains(it)) {
                tripped.extend(report.clone());
            }
            first = report.end;
        }
        prop_assert!(taken.iter().filter(|it| !tripped.contains(it)).is_sorted());
        let mut all = [taken, refused].concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..number.start).collect::<Vec<_>>());
        let balance = desk.account.balance();
        prop_assert_eq!(balance.pending(), 0);
        prop_assert_eq!(balance.delivered + balance.dropped(Loss::Rejected), reports.len() as u64);
        prop_assert_eq!((desk.quota.held(), desk.backlog.held()), (0, 0));
    }
}
