//! What the collector accepted and the remote has not taken yet, oldest first; what it trips over
//! apart from that; and what of it goes into the next request.
//!
//! Invariant: each report is in the backlog, or in a batch that was taken from it, until it is
//! settled; what is merged keeps its order and is not copied.

mod batch;
#[cfg(test)]
mod otlp;
mod queue;

use std::time::Instant;

use crate::form::Form;
use crate::items::{Most, Run};
use crate::ledger::{Loss, Outcome};
use crate::payload::Payload;

pub use self::batch::Batch;
use self::batch::Taken;
use self::queue::Queue;

/// How many reports that do not go along are passed for one that does: each costs a look.
const LOOK_AHEAD: usize = 100;

#[derive(Debug, Default)]
pub struct Backlog {
    /// Oldest first.
    waiting: Queue,
    /// What the remote failed over when it went alone, the one that was tried longest ago first.
    apart: Queue,
}

/// A report that waits.
#[derive(Debug)]
struct Report {
    payload: Payload,
    contents: Contents,
}

/// What is known of a report's body.
#[derive(Debug)]
enum Contents {
    /// Nothing but that it should be of this form: nobody had to look.
    Unopened(Form),
    /// It goes alone, as it is: a composite, what is encoded, what is not of the form that it should
    /// be.
    Sealed,
    /// Of its items these are left: all of them, or some, and of those before them perhaps some that
    /// were lost.
    Items { form: Form, rest: Run, is_whole: bool, lost: Option<Loss> },
}

impl Backlog {
    pub fn push(&mut self, payload: Payload) {
        let contents = payload.form().map_or(Contents::Sealed, Contents::Unopened);
        self.waiting.push_back(Report { payload, contents });
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.apart.is_empty()
    }

    /// What keeping all reports costs, in bytes.
    pub fn held(&self) -> usize {
        self.waiting.held() + self.apart.held()
    }

    /// What keeping those costs that are not apart, in bytes.
    pub fn held_waiting(&self) -> usize {
        self.waiting.held()
    }

    /// Since when the oldest report waits, but for those apart.
    pub fn oldest(&self) -> Option<Instant> {
        self.waiting.first().map(|report| report.payload.came)
    }

    /// How many reports are apart.
    pub fn apart(&self) -> usize {
        self.apart.len()
    }

    /// Drops the oldest reports until those that are left cost no more than so many bytes, or only
    /// one is left, which is in nobody's way.
    pub fn evict_down_to(&mut self, bytes: usize) {
        while self.held() > bytes && self.waiting.len() + self.apart.len() > 1 {
            let is_apart = match (self.oldest(), self.apart.oldest()) {
                (Some(waiting), Some(apart)) => apart < waiting,
                (waiting, _) => waiting.is_none(),
            };
            let oldest = if is_apart { self.apart.pop_oldest() } else { self.waiting.pop_first() };
            let Some(report) = oldest else { return };
            report.settle(Some(Loss::Evicted));
        }
    }

    /// As [`Self::evict_down_to`], but none of those that the remote may take at any moment.
    pub fn evict_apart_down_to(&mut self, bytes: usize) {
        while self.held() > bytes {
            let Some(report) = self.apart.pop_oldest() else { return };
            report.settle(Some(Loss::Evicted));
        }
    }

    /// What to send next: the oldest report, or a part of it, or it and those behind it that go
    /// with it into one body.
    pub fn take(&mut self, most: Most) -> Option<Batch> {
        let oldest = self.waiting.pop_first()?;
        let goes_along = |other: &Report| other.payload.goes_with(&oldest.payload);
        let is_alone = !self.waiting.iter().take(LOOK_AHEAD + 1).any(goes_along);
        let mut batch = Batch::of(oldest, is_alone, most);
        if !is_alone {
            self.fill(&mut batch, most);
        }
        Some(batch)
    }

    /// One of those apart, or a part of it.
    pub fn take_apart(&mut self, most: Most) -> Option<Batch> {
        let report = self.apart.pop_first()?;
        Some(Batch { is_apart: true, ..Batch::of(report, true, most) })
    }

    /// Reports of another key or route between them do not keep those of one from going together.
    fn fill(&mut self, batch: &mut Batch, most: Most) {
        if batch.is_head() {
            return;
        }
        let Some((form, run)) = batch.reports[0].open() else { return };
        let (mut items, mut bytes) = (run.items, run.range.len());
        let mut passed = 0;
        while passed <= LOOK_AHEAD && batch.reports.len() < most.reports {
            let Some(next) = self.waiting.get_mut(passed) else { break };
            let goes_along = next.payload.goes_with(&batch.reports[0].payload);
            let Some((_, run)) = goes_along.then(|| next.open()).flatten() else {
                passed += 1;
                continue;
            };
            items += run.items;
            bytes += form.separator().len() + run.range.len();
            if !most.is_kept_by(items, form.length(bytes)) {
                break;
            }
            batch.taken = Taken::Items(form);
            batch.has_passed |= passed > 0;
            batch.reports.extend(self.waiting.remove(passed));
        }
    }

    /// Puts a batch back that was not sent.
    pub fn put_back(&mut self, batch: Batch) {
        let Batch { reports, is_apart, has_passed, .. } = batch;
        for report in reports.into_iter().rev() {
            self.put_first(report, is_apart);
        }
        if has_passed {
            self.waiting.sort();
        }
    }

    /// Puts a batch back that failed by itself: from now on each report of it goes alone, when no
    /// other is due, and those that are apart already go first.
    pub fn put_apart(&mut self, batch: Batch) {
        batch.reports.into_iter().for_each(|report| self.apart.push_back(report));
    }

    /// Those apart wait with the others again: that they failed was not their fault.
    pub fn reunite(&mut self) {
        self.waiting.append(&mut self.apart);
        self.waiting.sort();
    }

    /// Settles what went out with a batch, as lost for `this` reason if there is one, and puts back
    /// what is left of it.
    pub fn settle(&mut self, batch: Batch, this: Option<Loss>) {
        let Batch { reports, taken, is_apart, .. } = batch;
        for mut report in reports {
            match &taken {
                Taken::Head { form, rest, .. } if rest.items > 0 => {
                    let (form, rest, lost) = (*form, rest.clone(), report.lost().or(this));
                    report.contents = Contents::Items { form, rest, is_whole: false, lost };
                    self.put_first(report, is_apart);
                }
                _ => report.settle(this),
            }
        }
    }

    pub fn drain(&mut self) -> impl Iterator<Item = Payload> {
        self.waiting.drain().chain(self.apart.drain()).map(|report| report.payload)
    }

    fn put_first(&mut self, report: Report, is_apart: bool) {
        let queue = if is_apart { &mut self.apart } else { &mut self.waiting };
        queue.push_front(report);
    }
}

impl Report {
    /// What keeping it costs, in bytes.
    fn cost(&self) -> usize {
        self.payload.permit.bytes()
    }

    /// Whether nobody had to look into it yet, and it goes as it is.
    fn fits_unopened(&self, most: Most) -> bool {
        let Contents::Unopened(form) = self.contents else { return false };
        most.is_kept_unopened(form, &self.payload.body)
    }

    /// The items that are left of it, if it may be merged or cut.
    fn open(&mut self) -> Option<(Form, Run)> {
        if let Contents::Unopened(form) = self.contents {
            self.contents = match Run::of(form, &self.payload.body) {
                Some(rest) => Contents::Items { form, rest, is_whole: true, lost: None },
                None => Contents::Sealed,
            };
        }
        match &self.contents {
            Contents::Items { form, rest, .. } => Some((*form, rest.clone())),
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
    use crate::items::tests::{array, items_of, most};
    use crate::ledger::Account;
    use crate::payload::{Headers, Route};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use std::io::Read;
    use ureq::http::HeaderValue;

    const OVERHEAD: usize = 10;

    pub struct Desk {
        budget: Budget,
        account: Account,
        backlog: Backlog,
    }

    impl Desk {
        pub fn new() -> Self {
            let (budget, account) = (Budget::of(1_000_000), Account::default());
            Self { budget, account, backlog: Backlog::default() }
        }

        fn push(&mut self, route: Route, key: &str, body: &str) {
            let headers = Headers {
                authorization: Some(HeaderValue::from_str(key).unwrap()),
                ..Headers::default()
            };
            self.push_with(route, headers, body.as_bytes().to_vec());
        }

        pub fn push_with(&mut self, route: Route, headers: Headers, body: Vec<u8>) {
            let permit = self.budget.take(body.len() + OVERHEAD).unwrap();
            let (came, entry) = (Instant::now(), self.account.accept());
            self.backlog.push(Payload { route, headers, body, came, permit, entry });
        }

        /// The bodies of all requests, if the remote takes them.
        fn requests(&mut self, most: Most) -> Vec<String> {
            let requests = self.requests_in_bytes(most).into_iter();
            requests.map(|it| String::from_utf8(it).unwrap()).collect()
        }

        pub fn requests_in_bytes(&mut self, most: Most) -> Vec<Vec<u8>> {
            let mut requests = Vec::new();
            while let Some(batch) = self.backlog.take(most) {
                requests.push(bytes(&batch));
                self.backlog.settle(batch, None);
            }
            requests
        }
    }

    fn text(batch: &Batch) -> String {
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
    fn check(reports: &[(Route, &str, &str)], most: Most, requests: &[&str]) {
        let mut desk = Desk::new();
        for (route, key, body) in reports {
            desk.push(*route, key, body);
        }
        assert_eq!(desk.requests(most), requests);
        assert_eq!((desk.budget.held(), desk.backlog.held()), (0, 0));
        assert_eq!(desk.account.balance().delivered, reports.len() as u64);
    }

    #[test]
    fn arrays_of_one_key_become_one_and_nothing_else_does() {
        let most = most(5, 100);
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
        let three = most(3, 100);
        check(&[array("[1,2]"), array("[3]"), array("[4]")], three, &["[1,2,3]", "[4]"]);
        check(&[array("[1,2]"), array("[3,4]")], three, &["[1,2]", "[3,4]"]);
        check(&[array("[1,2,3,4,5]"), array("[6]")], three, &["[1,2,3]", "[4,5,6]"]);
        check(&[array("[1 , 2,3,4]")], three, &["[1 , 2,3]", "[4]"]);
        let short = most(9, 5);
        check(&[array("[1,2]"), array("[3]")], short, &["[1,2]", "[3]"]);
        check(&[array("[\"too long\"]"), array("[3]")], short, &["[\"too long\"]", "[3]"]);
        check(&[array("[1]     ")], short, &["[1]"]);
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room_and_are_counted() {
        let mut desk = Desk::new();
        for body in ["[1]", "[2]", "[3]", "[4]"] {
            desk.push(ARRAYS, "k", body);
        }
        desk.backlog.evict_down_to(2 * (3 + OVERHEAD));
        assert_eq!(desk.account.balance().dropped(Loss::Evicted), 2);
        assert_eq!(desk.requests(Most::THUNDRA), ["[3,4]"]);
        desk.push(ARRAYS, "k", "[5]");
        desk.backlog.evict_down_to(0);
        assert_eq!(desk.requests(Most::THUNDRA), ["[5]"], "the last one is kept");
    }

    #[test]
    fn a_report_that_lost_a_part_counts_as_lost() {
        let mut desk = Desk::new();
        desk.push(ARRAYS, "k", "[1,2,3]");
        let most = most(1, 100);
        for loss in [None, Some(Loss::TooLarge), None] {
            let batch = desk.backlog.take(most).unwrap();
            desk.backlog.settle(batch, loss);
        }
        let balance = desk.account.balance();
        assert_eq!((balance.delivered, balance.dropped(Loss::TooLarge)), (0, 1));
    }

    fn few(reports: usize) -> Most {
        Most { reports, ..Most::THUNDRA }
    }

    #[test]
    fn no_more_reports_go_together_than_may_however_many_items_they_have() {
        let mut desk = Desk::new();
        for body in ["[1,2,3]", "[4]", "[5,6]", "[7]", "[8]"] {
            desk.push(ARRAYS, "k", body);
        }
        assert_eq!(desk.requests(few(2)), ["[1,2,3,4]", "[5,6,7]", "[8]"]);
    }

    #[test]
    fn what_was_put_apart_goes_alone_and_when_it_is_asked_for() {
        let mut desk = Desk::new();
        desk.push(ARRAYS, "k", "[1]");
        desk.push(ARRAYS, "k", "[2]");
        for _ in 0..2 {
            let lone = desk.backlog.take(few(1)).unwrap();
            desk.backlog.put_apart(lone);
        }
        desk.push(ARRAYS, "k", "[3]");
        assert_eq!(
            (desk.requests(Most::THUNDRA), desk.backlog.apart()),
            (vec!["[3]".to_owned()], 2)
        );
        let first = desk.backlog.take_apart(Most::THUNDRA).unwrap();
        assert_eq!((text(&first).as_str(), first.is_apart()), ("[1]", true));
        desk.backlog.put_apart(first);
        let second = desk.backlog.take_apart(Most::THUNDRA).unwrap();
        assert_eq!(text(&second), "[2]");
        desk.backlog.put_back(second);
        assert_eq!(desk.backlog.apart(), 2);
    }

    #[test]
    fn what_is_no_longer_apart_goes_with_the_others_by_age() {
        let mut desk = Desk::new();
        desk.push(ARRAYS, "k", "[1]");
        desk.push(ARRAYS, "k", "[2]");
        let lone = desk.backlog.take(few(1)).unwrap();
        desk.backlog.put_apart(lone);
        desk.push(ARRAYS, "k", "[3]");
        desk.backlog.reunite();
        assert_eq!(
            (desk.requests(Most::THUNDRA), desk.backlog.apart()),
            (vec!["[1,2,3]".to_owned()], 0)
        );
        assert_eq!((desk.budget.held(), desk.backlog.held()), (0, 0));
    }

    #[test]
    fn what_is_put_back_stands_where_it_stood_also_if_it_passed_others() {
        let mut desk = Desk::new();
        for (key, body) in [("k", "[1]"), ("l", "[2]"), ("k", "[3]")] {
            desk.push(ARRAYS, key, body);
        }
        let batch = desk.backlog.take(Most::THUNDRA).unwrap();
        assert_eq!(text(&batch), "[1,3]");
        desk.backlog.put_back(batch);
        desk.backlog.evict_down_to(3 + OVERHEAD);
        assert_eq!(desk.requests(Most::THUNDRA), ["[3]"]);
    }

    #[test]
    fn the_oldest_goes_first_when_there_is_no_room_wherever_it_was_put() {
        let mut desk = Desk::new();
        for body in ["{0}", "{1}", "{2}", "{3}"] {
            desk.push(COMPOSITES, "k", body);
        }
        let [first, second] = [(); 2].map(|()| desk.backlog.take(Most::THUNDRA).unwrap());
        desk.backlog.put_apart(second);
        desk.backlog.put_apart(first);
        desk.backlog.evict_down_to(3 * (3 + OVERHEAD));
        let left = desk.backlog.take_apart(Most::THUNDRA).unwrap();
        assert_eq!(text(&left), "{1}");
        desk.backlog.put_apart(left);
        desk.backlog.evict_down_to(2 * (3 + OVERHEAD));
        assert_eq!(
            (desk.requests(Most::THUNDRA), desk.backlog.apart()),
            (vec!["{2}".to_owned(), "{3}".to_owned()], 0)
        );
    }

    #[test]
    fn while_the_remote_takes_others_only_those_apart_make_room() {
        let mut desk = Desk::new();
        for body in ["{1}", "{2}", "{3}"] {
            desk.push(COMPOSITES, "k", body);
        }
        let first = desk.backlog.take(Most::THUNDRA).unwrap();
        desk.backlog.put_apart(first);
        assert_eq!(desk.backlog.held_waiting(), 2 * (3 + OVERHEAD));
        desk.backlog.evict_apart_down_to(3 + OVERHEAD);
        assert_eq!((desk.backlog.apart(), desk.requests(Most::THUNDRA).len()), (0, 2));
    }

    #[test]
    fn only_what_has_several_items_is_divisible() {
        for (body, items, divisible) in [
            ("[1]", 9, false),
            ("[1,2]", 9, true),
            ("[1,2]", 1, false),
            ("[1,2,3]", 2, true),
            ("{}", 9, false),
        ] {
            let mut desk = Desk::new();
            desk.push(ARRAYS, "k", body);
            let most = most(items, 100);
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
        /// Over this one, as it looks.
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
        fn merged_arrays_are_what_was_posted_byte_for_byte_in_order(
            reports in vec(array(), 1..6),
            most in (1_usize..100, 1_usize..4_000).prop_map(|(items, bytes)| most(items, bytes)),
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
            most in (1_usize..4, 1_usize..6, 1_usize..30)
                .prop_map(|(reports, items, bytes)| Most { reports, items, bytes }),
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
            let next = |backlog: &mut Backlog| backlog.take(most).or_else(|| backlog.take_apart(most));
            while let Some(batch) = next(&mut desk.backlog) {
                let items: Vec<Box<RawValue>> = serde_json::from_str(&text(&batch)).unwrap();
                let items = items.iter().map(|it| it.get().parse::<u32>().unwrap());
                match answers.next().unwrap() {
                    Answer::Takes => {
                        taken.extend(items);
                        let was_apart = batch.is_apart();
                        desk.backlog.settle(batch, None);
                        if was_apart {
                            desk.backlog.reunite();
                        }
                    }
                    Answer::Trips if batch.reports() == 1 => {
                        tripped.extend(items);
                        desk.backlog.put_apart(batch);
                    }
                    Answer::Fails | Answer::Trips => desk.backlog.put_back(batch),
                    Answer::Refuses => {
                        refused.extend(items);
                        desk.backlog.settle(batch, Some(Loss::Rejected));
                    }
                }
            }
            // Only a report that was tripped over goes out after others; in itself it keeps its order.
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
            prop_assert_eq!((desk.budget.held(), desk.backlog.held()), (0, 0));
        }
    }
}
