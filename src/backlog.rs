//! What the collector accepted and the remote has not taken yet, oldest first but for what was put
//! behind; and what of it goes into the next request.
//!
//! Invariant: each report is in the backlog, or in the one batch that was taken from it, until it
//! is settled; what is merged keeps its order and is not copied.

mod batch;

use std::collections::VecDeque;
use std::time::Instant;

use crate::items::{Most, Run};
use crate::ledger::{Loss, Outcome};
use crate::payload::{Payload, Route};

pub use self::batch::Batch;
use self::batch::Taken;

/// How many reports that do not go along are passed for one that does: each costs a look.
const LOOK_AHEAD: usize = 100;

const COMMA: usize = 1;

#[derive(Debug, Default)]
pub struct Backlog {
    reports: VecDeque<Report>,
    /// What keeping them costs, in bytes.
    held: usize,
    /// Whether one may stand behind a younger one.
    is_shuffled: bool,
}

/// A report that waits.
#[derive(Debug)]
struct Report {
    payload: Payload,
    contents: Contents,
    /// It was refused in company, and is to be judged by itself.
    is_apart: bool,
}

/// What is known of a report's body.
#[derive(Debug)]
enum Contents {
    /// Nothing: nobody had to look.
    Unopened,
    /// It goes alone, as it is: a composite, what is encoded, what is no array.
    Sealed,
    /// An array, of which these items are left: all of them, or some, and of those before them
    /// perhaps some that were lost.
    Items { rest: Run, is_whole: bool, lost: Option<Loss> },
}

impl Backlog {
    pub fn push(&mut self, payload: Payload) {
        let is_array = payload.route == Route::MonitoringData;
        let may_open = is_array && payload.headers.content_encoding.is_none();
        let contents = if may_open { Contents::Unopened } else { Contents::Sealed };
        self.push_back(Report { payload, contents, is_apart: false });
    }

    pub fn is_empty(&self) -> bool {
        self.reports.is_empty()
    }

    /// What keeping all reports costs, in bytes.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Since when the oldest report waits.
    pub fn oldest(&self) -> Option<Instant> {
        self.reports.get(self.index_of_oldest()).map(|report| report.payload.came)
    }

    /// Drops the oldest reports until those that are left cost no more than so many bytes, or only
    /// one is left, which is in nobody's way.
    pub fn evict_down_to(&mut self, bytes: usize) {
        while self.held > bytes && self.reports.len() > 1 {
            let Some(report) = self.remove(self.index_of_oldest()) else { return };
            report.settle(Some(Loss::Evicted));
        }
    }

    fn index_of_oldest(&self) -> usize {
        if !self.is_shuffled {
            return 0;
        }
        let ages = self.reports.iter().map(|report| report.payload.came).enumerate();
        ages.min_by_key(|(_, came)| *came).map_or(0, |(index, _)| index)
    }

    /// What to send next: the oldest report, or a part of it, or it and those behind it that go
    /// with it into one array.
    pub fn take(&mut self, most: Most) -> Option<Batch> {
        let mut oldest = self.pop()?;
        let is_alone = self.reports.is_empty();
        if is_alone && oldest.is_unopened() && most.is_kept_by_array(&oldest.payload.body) {
            return Some(Batch::verbatim(oldest));
        }
        let Some(run) = oldest.open() else { return Some(Batch::verbatim(oldest)) };
        if !most.is_kept_by(run.items, run.array_bytes()) {
            let mut rest = run;
            let head = rest.split_to(&oldest.payload.body, most);
            return Some(Batch { reports: vec![oldest], taken: Taken::Head { head, rest } });
        }
        let fits = oldest.is_whole() && oldest.payload.body.len() <= most.bytes;
        let batch = self.merge(oldest, &run, most);
        let taken = if fits && batch.reports.len() == 1 { Taken::Whole } else { Taken::Items };
        Some(Batch { taken, ..batch })
    }

    /// Reports of another key or route between them do not keep those of one apart.
    fn merge(&mut self, oldest: Report, run: &Run, most: Most) -> Batch {
        let (mut items, mut bytes) = (run.items, run.array_bytes());
        let (mut reports, mut passed) = (vec![oldest], 0);
        while let Some(next) = self.reports.get_mut(passed).filter(|_| passed <= LOOK_AHEAD) {
            let goes_along = !next.is_apart
                && !reports[0].is_apart
                && next.payload.goes_with(&reports[0].payload);
            let Some(run) = goes_along.then(|| next.open()).flatten() else {
                passed += 1;
                continue;
            };
            items += run.items;
            bytes += run.range.len() + COMMA;
            if !most.is_kept_by(items, bytes) {
                break;
            }
            reports.extend(self.remove(passed));
        }
        Batch { reports, taken: Taken::Items }
    }

    /// Puts a batch back that was not sent.
    pub fn put_back(&mut self, batch: Batch) {
        for report in batch.reports.into_iter().rev() {
            self.push_front(report);
        }
    }

    /// As [`Self::put_back`], and each report of it goes alone from now on: together they were
    /// refused for what may be the fault of one.
    pub fn put_back_apart(&mut self, mut batch: Batch) {
        for report in &mut batch.reports {
            report.is_apart = true;
        }
        self.put_back(batch);
    }

    /// As [`Self::put_back`], but behind all others: what the remote fails over must not keep them
    /// waiting. A lone one goes alone from now on, so that it takes none along.
    pub fn put_behind(&mut self, mut batch: Batch) {
        self.is_shuffled |= !self.is_empty();
        if let [lone] = &mut batch.reports[..] {
            lone.is_apart = true;
        }
        batch.reports.into_iter().for_each(|report| self.push_back(report));
    }

    /// Settles what went out with a batch, as lost for `this` reason if there is one, and puts back
    /// what is left of it.
    pub fn settle(&mut self, batch: Batch, this: Option<Loss>) {
        let Batch { mut reports, taken } = batch;
        match taken {
            Taken::Head { rest, .. } if rest.items > 0 => {
                for mut report in reports.drain(..) {
                    let lost = report.lost().or(this);
                    report.contents = Contents::Items { rest: rest.clone(), is_whole: false, lost };
                    self.push_front(report);
                }
            }
            _ => reports.into_iter().for_each(|report| report.settle(this)),
        }
        // There is no batch but this one.
        self.is_shuffled &= !self.is_empty();
    }

    pub fn drain(&mut self) -> impl Iterator<Item = Payload> {
        self.held = 0;
        self.reports.drain(..).map(|report| report.payload)
    }

    fn pop(&mut self) -> Option<Report> {
        self.remove(0)
    }

    fn remove(&mut self, index: usize) -> Option<Report> {
        let report = self.reports.remove(index)?;
        self.held -= report.payload.permit.bytes();
        Some(report)
    }

    fn push_back(&mut self, report: Report) {
        self.held += report.payload.permit.bytes();
        self.reports.push_back(report);
    }

    fn push_front(&mut self, report: Report) {
        self.held += report.payload.permit.bytes();
        self.reports.push_front(report);
    }
}

impl Report {
    fn is_unopened(&self) -> bool {
        matches!(self.contents, Contents::Unopened)
    }

    /// The items that are left of it, if it is an array that may be merged or cut.
    fn open(&mut self) -> Option<Run> {
        if self.is_unopened() {
            self.contents = match Run::of(&self.payload.body) {
                Some(rest) => Contents::Items { rest, is_whole: true, lost: None },
                None => Contents::Sealed,
            };
        }
        match &self.contents {
            Contents::Items { rest, .. } => Some(rest.clone()),
            _ => None,
        }
    }

    fn is_whole(&self) -> bool {
        matches!(self.contents, Contents::Items { is_whole: true, .. })
    }

    fn lost(&self) -> Option<Loss> {
        match self.contents {
            Contents::Items { lost, .. } => lost,
            _ => None,
        }
    }

    /// Counts it: as lost if any part of it was.
    fn settle(self, loss: Option<Loss>) {
        let loss = self.lost().or(loss);
        self.payload.settle(loss.map_or(Outcome::Delivered, Outcome::Dropped));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::items::tests::{array, items_of};
    use crate::ledger::Ledger;
    use crate::payload::Headers;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use std::io::Read;
    use ureq::http::HeaderValue;

    const OVERHEAD: usize = 10;

    struct Desk {
        budget: Budget,
        ledger: Ledger,
        backlog: Backlog,
    }

    impl Desk {
        fn new() -> Self {
            let (budget, ledger) = (Budget::of(1_000_000), Ledger::default());
            Self { budget, ledger, backlog: Backlog::default() }
        }

        fn push(&mut self, route: Route, key: &str, body: &str) {
            let headers = Headers {
                authorization: Some(HeaderValue::from_str(key).unwrap()),
                ..Headers::default()
            };
            let payload = Payload {
                route,
                headers,
                body: body.as_bytes().to_vec(),
                came: Instant::now(),
                permit: self.budget.take(body.len() + OVERHEAD).unwrap(),
                entry: self.ledger.accept(),
            };
            self.backlog.push(payload);
        }

        /// The bodies of all requests, if the remote takes them.
        fn requests(&mut self, most: Most) -> Vec<String> {
            let mut requests = Vec::new();
            while let Some(batch) = self.backlog.take(most) {
                requests.push(text(&batch));
                self.backlog.settle(batch, None);
            }
            requests
        }
    }

    fn text(batch: &Batch) -> String {
        let (mut body, mut text) = (batch.body(), String::new());
        body.read_to_string(&mut text).unwrap();
        assert_eq!(body.length(), text.len());
        text
    }

    const ARRAYS: Route = Route::MonitoringData;
    const COMPOSITES: Route = Route::CompositeMonitoringData;

    #[track_caller]
    fn check(reports: &[(Route, &str, &str)], most: Most, requests: &[&str]) {
        let mut desk = Desk::new();
        for (route, key, body) in reports {
            desk.push(*route, key, body);
        }
        assert_eq!(desk.requests(most), requests);
        assert_eq!((desk.budget.held(), desk.backlog.held()), (0, 0));
        assert_eq!(desk.ledger.balance().delivered, reports.len() as u64);
    }

    #[test]
    fn arrays_of_one_key_become_one_and_nothing_else_does() {
        let most = Most { items: 5, bytes: 100 };
        let array = |body| (ARRAYS, "k", body);
        check(&[array(" [1, 2] ")], most, &[" [1, 2] "]);
        check(&[array(" [1, 2] "), array("[3]")], most, &["[1, 2,3]"]);
        check(&[array("[1]"), (ARRAYS, "l", "[2]"), array("[3]")], most, &["[1,3]", "[2]"]);
        check(&[array("[1]"), (COMPOSITES, "k", "{}"), array("[2]")], most, &["[1,2]", "{}"]);
        let composite = (COMPOSITES, "k", "[1]");
        check(&[composite, composite], most, &["[1]", "[1]"]);
        check(&[array("[1]"), array("no array"), array("[2]")], most, &["[1,2]", "no array"]);
    }

    #[test]
    fn requests_keep_to_the_limits_and_arrays_beyond_them_are_cut() {
        let array = |body| (ARRAYS, "k", body);
        let most = Most { items: 3, bytes: 100 };
        check(&[array("[1,2]"), array("[3]"), array("[4]")], most, &["[1,2,3]", "[4]"]);
        check(&[array("[1,2]"), array("[3,4]")], most, &["[1,2]", "[3,4]"]);
        check(&[array("[1,2,3,4,5]"), array("[6]")], most, &["[1,2,3]", "[4,5,6]"]);
        check(&[array("[1 , 2,3,4]")], most, &["[1 , 2,3]", "[4]"]);
        let most = Most { items: 9, bytes: 5 };
        check(&[array("[1,2]"), array("[3]")], most, &["[1,2]", "[3]"]);
        check(&[array("[\"too long\"]"), array("[3]")], most, &["[\"too long\"]", "[3]"]);
        check(&[array("[1]     ")], most, &["[1]"]);
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room_and_are_counted() {
        let mut desk = Desk::new();
        for body in ["[1]", "[2]", "[3]", "[4]"] {
            desk.push(ARRAYS, "k", body);
        }
        desk.backlog.evict_down_to(2 * (3 + OVERHEAD));
        assert_eq!(desk.ledger.balance().dropped(Loss::Evicted), 2);
        assert_eq!(desk.requests(Most::REMOTE), ["[3,4]"]);
        desk.push(ARRAYS, "k", "[5]");
        desk.backlog.evict_down_to(0);
        assert_eq!(desk.requests(Most::REMOTE), ["[5]"], "the last one is kept");
    }

    #[test]
    fn a_report_that_lost_a_part_counts_as_lost() {
        let mut desk = Desk::new();
        desk.push(ARRAYS, "k", "[1,2,3]");
        let most = Most { items: 1, bytes: 100 };
        for loss in [None, Some(Loss::TooLarge), None] {
            let batch = desk.backlog.take(most).unwrap();
            desk.backlog.settle(batch, loss);
        }
        let balance = desk.ledger.balance();
        assert_eq!((balance.delivered, balance.dropped(Loss::TooLarge)), (0, 1));
    }

    #[test]
    fn what_was_refused_together_goes_alone() {
        let mut desk = Desk::new();
        desk.push(ARRAYS, "k", "[1]");
        desk.push(ARRAYS, "k", "[2]");
        let batch = desk.backlog.take(Most::REMOTE).unwrap();
        assert_eq!((text(&batch).as_str(), batch.reports()), ("[1,2]", 2));
        desk.backlog.put_back_apart(batch);
        desk.push(ARRAYS, "k", "[3]");
        assert_eq!(desk.requests(Most::REMOTE), ["[1]", "[2]", "[3]"]);
    }

    #[test]
    fn what_was_put_behind_comes_last() {
        let mut desk = Desk::new();
        desk.push(COMPOSITES, "k", "{1}");
        let first = desk.backlog.take(Most::REMOTE).unwrap();
        desk.push(COMPOSITES, "k", "{2}");
        desk.backlog.put_behind(first);
        desk.push(COMPOSITES, "k", "{3}");
        assert_eq!(desk.requests(Most::REMOTE), ["{2}", "{1}", "{3}"]);
        assert_eq!(desk.backlog.held(), 0);
    }

    #[test]
    fn the_oldest_goes_first_when_there_is_no_room_wherever_it_was_put() {
        let mut desk = Desk::new();
        desk.push(COMPOSITES, "k", "{1}");
        let first = desk.backlog.take(Most::REMOTE).unwrap();
        desk.push(COMPOSITES, "k", "{2}");
        desk.push(COMPOSITES, "k", "{3}");
        desk.backlog.put_behind(first);
        let again = desk.backlog.take(Most::REMOTE).unwrap();
        desk.backlog.put_back(again);
        desk.backlog.evict_down_to(2 * (3 + OVERHEAD));
        assert_eq!(desk.requests(Most::REMOTE), ["{2}", "{3}"]);
    }

    #[test]
    fn only_what_has_several_items_is_divisible() {
        for (body, most, divisible) in [
            ("[1]", 9, false),
            ("[1,2]", 9, true),
            ("[1,2]", 1, false),
            ("[1,2,3]", 2, true),
            ("{}", 9, false),
        ] {
            let mut desk = Desk::new();
            desk.push(ARRAYS, "k", body);
            let most = Most { items: most, bytes: 100 };
            let mut batch = desk.backlog.take(most).unwrap();
            assert_eq!(batch.is_divisible(), divisible, "{body} {most:?}");
            desk.backlog.settle(batch, None);
        }
    }

    /// What the remote makes of a request.
    #[derive(Clone, Copy, Debug)]
    enum Answer {
        Takes,
        Fails,
        Refuses,
        RefusesTogether,
    }

    fn answer() -> impl Strategy<Value = Answer> {
        use Answer::{Fails, Refuses, RefusesTogether, Takes};
        prop_oneof![Just(Takes), Just(Fails), Just(Refuses), Just(RefusesTogether)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn merged_arrays_are_what_was_posted_byte_for_byte_in_order(
            reports in vec(array(), 1..6),
            most in (1_usize..100, 1_usize..4_000).prop_map(|(items, bytes)| Most { items, bytes }),
        ) {
            let mut desk = Desk::new();
            for (_, body) in &reports {
                desk.push(ARRAYS, "k", body);
            }
            let posted: Vec<String> = reports.into_iter().flat_map(|(items, _)| items).collect();
            let sent: Vec<String> =
                desk.requests(most).iter().flat_map(|request| items_of(request)).collect();
            prop_assert_eq!(sent, posted);
        }

        #[test]
        fn whatever_the_remote_answers_each_item_goes_out_once_in_order_or_is_counted_as_lost(
            reports in vec(0_usize..7, 1..20),
            answers in vec(answer(), 0..60),
            most in (1_usize..6, 1_usize..30).prop_map(|(items, bytes)| Most { items, bytes }),
        ) {
            let (mut desk, mut number) = (Desk::new(), 0..);
            for items in &reports {
                let items: Vec<String> =
                    number.by_ref().take(*items).map(|it: u32| it.to_string()).collect();
                desk.push(ARRAYS, "k", &format!("[{}]", items.join(", ")));
            }
            let (mut taken, mut refused): (Vec<u32>, Vec<u32>) = Default::default();
            let mut answers = answers.into_iter().chain(std::iter::repeat(Answer::Takes));
            while let Some(batch) = desk.backlog.take(most) {
                let items: Vec<Box<RawValue>> = serde_json::from_str(&text(&batch)).unwrap();
                let items = items.iter().map(|it| it.get().parse::<u32>().unwrap());
                match answers.next().unwrap() {
                    Answer::Takes => {
                        taken.extend(items);
                        desk.backlog.settle(batch, None);
                    }
                    Answer::Fails => desk.backlog.put_back(batch),
                    Answer::RefusesTogether if batch.reports() > 1 => {
                        desk.backlog.put_back_apart(batch);
                    }
                    Answer::Refuses | Answer::RefusesTogether => {
                        refused.extend(items);
                        desk.backlog.settle(batch, Some(Loss::Rejected));
                    }
                }
            }
            prop_assert!(taken.is_sorted() && refused.is_sorted());
            let mut all = [taken, refused].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..number.start).collect::<Vec<_>>());
            let balance = desk.ledger.balance();
            prop_assert_eq!(balance.pending(), 0);
            prop_assert_eq!(balance.delivered + balance.dropped(Loss::Rejected), reports.len() as u64);
            prop_assert_eq!((desk.budget.held(), desk.backlog.held()), (0, 0));
        }
    }
}
