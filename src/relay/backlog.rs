//! The accepted reports that are not delivered yet, oldest first. Some may be in quarantine, because the
//! remote may fail because of them. Selects the reports of the next request.
//!
//! Invariant: until it is settled, each report is in the backlog or in a batch from it. Merged reports keep
//! their order, and are not copied.

mod batch;
#[cfg(test)]
mod otlp_tests;
#[cfg(test)]
pub mod tests;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Instant;

use crate::payload::format::BodyFormat;
use crate::payload::items::{ItemRange, is_within};
use crate::payload::ledger::{Loss, Outcome};
use crate::payload::limits::RequestLimits;
use crate::payload::payload::Payload;
use crate::payload::route::{Headers, Route};

pub use self::batch::Batch;
use self::batch::Selection;

/// How many reports with another key or route may be passed over while a batch is filled. The limit is for
/// the time that checking each report takes.
const LOOK_AHEAD: usize = 100;

#[derive(Debug, Default)]
pub struct Backlog {
    /// First the quarantined reports, the longest untried one first. Then all others, the oldest one first.
    reports: VecDeque<Report>,
    /// How many reports are in quarantine. The remote failed when each of them was sent alone.
    quarantined: usize,
    /// How many bytes of the quota all reports use.
    held: usize,
}

/// A report in the backlog.
#[derive(Debug)]
struct Report {
    payload: Payload,
    contents: Contents,
}

/// The known contents of a report's body.
#[derive(Debug)]
enum Contents {
    /// The body should have this format. It was not parsed, because that was not necessary.
    Unparsed(BodyFormat),
    /// The report is sent alone and unchanged: a composite, a compressed body, or one that does not have its
    /// format.
    Opaque,
    /// The items that are not settled yet. `is_whole` is true if these are all items of the body. `lost` is
    /// the reason if an earlier part was lost.
    Items { format: BodyFormat, rest: ItemRange, is_whole: bool, lost: Option<Loss> },
}

impl Backlog {
    pub fn push(&mut self, payload: Payload) {
        let contents = payload.format().map_or(Contents::Opaque, Contents::Unparsed);
        self.held += payload.cost();
        self.reports.push_back(Report { payload, contents });
    }

    pub fn is_empty(&self) -> bool {
        self.reports.is_empty()
    }

    /// How many bytes of the quota all reports use.
    #[cfg(any(test, fuzzing))]
    pub fn held(&self) -> usize {
        self.held
    }

    /// How many bytes of the quota the reports use that are not in quarantine.
    pub fn held_waiting(&self) -> usize {
        let quarantined = self.reports.range(..self.quarantined).map(|it| it.payload.cost());
        self.held - quarantined.sum::<usize>()
    }

    /// When the oldest report was accepted, not counting those in quarantine.
    pub fn oldest(&self) -> Option<Instant> {
        self.reports.get(self.quarantined).map(|report| report.payload.received_at())
    }

    /// When the next report in quarantine was accepted.
    pub fn next_quarantined(&self) -> Option<Instant> {
        self.reports.range(..self.quarantined).next().map(|report| report.payload.received_at())
    }

    /// How many reports are in quarantine.
    pub fn quarantined(&self) -> usize {
        self.quarantined
    }

    /// Drops the oldest reports until the others use at most this many bytes. With
    /// `only_quarantined`, reports outside of the quarantine are kept, because the remote may accept them at any
    /// time. Otherwise the only report left is kept, because it takes no room from others.
    pub fn evict_down_to(&mut self, bytes: usize, only_quarantined: bool) {
        while self.held > bytes && (only_quarantined || self.reports.len() > 1) {
            let waiting = (self.quarantined..self.reports.len()).take(1);
            let waiting = waiting.filter(|_| !only_quarantined);
            let age = |index: &usize| self.reports[*index].payload.received_at();
            let oldest = waiting.chain(0..self.quarantined).min_by_key(age);
            let Some(report) = oldest.and_then(|index| self.remove(index)) else { return };
            report.settle(Some(Loss::Evicted));
        }
    }

    /// The route and the headers of the oldest report that is not in quarantine.
    pub fn next(&self) -> Option<(Route, &Headers)> {
        self.waiting().next().map(|it| (it.payload.route(), it.payload.headers()))
    }

    /// Takes the next batch: the oldest report, a part of it, or it and later reports that can be merged with
    /// it.
    pub fn take(&mut self, limits: RequestLimits) -> Option<Batch> {
        let oldest = self.remove(self.quarantined)?;
        let is_mergeable = |other: &Report| other.payload.goes_with(&oldest.payload);
        let is_alone = !self.waiting().take(LOOK_AHEAD + 1).any(is_mergeable);
        let mut batch = Batch::of(oldest, is_alone, limits);
        if !is_alone {
            self.fill(&mut batch, limits);
        }
        Some(batch)
    }

    /// Takes the smallest report that [`Self::take`] could merge, or a part of it. Of several smallest ones
    /// it is the newest, because bad reports are often neighbours.
    pub fn take_smallest(&mut self, limits: RequestLimits) -> Option<Batch> {
        let oldest = &self.waiting().next()?.payload;
        let near = self.waiting().take(LOOK_AHEAD + 1).enumerate();
        let mergeable = near.filter(|(_, other)| other.payload.goes_with(oldest));
        let order =
            |(index, report): &(usize, &Report)| (report.payload.body().len(), Reverse(*index));
        let (index, _) = mergeable.min_by_key(order)?;
        let report = self.remove(self.quarantined + index)?;
        Some(Batch::of(report, true, limits))
    }

    /// Takes a report from the quarantine, or a part of it.
    pub fn take_quarantined(&mut self, limits: RequestLimits) -> Option<Batch> {
        let report = (self.quarantined > 0).then(|| self.remove(0))??;
        Some(Batch { is_quarantined: true, ..Batch::of(report, true, limits) })
    }

    /// Adds later reports that can be merged with the first one. Reports with another key or route are passed
    /// over.
    fn fill(&mut self, batch: &mut Batch, limits: RequestLimits) {
        if batch.is_head() {
            return;
        }
        let Some((format, rest)) = batch.reports[0].open() else { return };
        let (mut items, mut bytes) = (rest.items, rest.range.len());
        let mut passed = 0;
        while passed <= LOOK_AHEAD && batch.reports.len() < limits.reports {
            let Some(next) = self.reports.get_mut(self.quarantined + passed) else { break };
            let is_mergeable = next.payload.goes_with(&batch.reports[0].payload);
            let Some((_, rest)) = is_mergeable.then(|| next.open()).flatten() else {
                passed += 1;
                continue;
            };
            items += rest.items;
            bytes += format.separator().len() + rest.range.len();
            if !limits.allow(items, format.length(bytes)) {
                break;
            }
            batch.taken = Selection::Items(format);
            batch.reports.extend(self.remove(self.quarantined + passed));
        }
    }

    /// Puts back a batch that was not delivered.
    pub fn put_back(&mut self, batch: Batch) {
        let Batch { reports, is_quarantined, .. } = batch;
        for report in reports.into_iter().rev() {
            self.put_one_back(report, is_quarantined);
        }
    }

    /// Puts the reports of a failed batch into quarantine, behind those already there. From then on each of
    /// them is sent alone, if no other report is due.
    pub fn quarantine(&mut self, batch: Batch) {
        for report in batch.reports {
            self.insert(self.quarantined, report);
            self.quarantined += 1;
        }
    }

    /// Empties the quarantine. Its reports wait with the others again, because they were not the reason of
    /// the failures.
    pub fn release_quarantined(&mut self) {
        let last = |it: &mut Self| it.quarantined.checked_sub(1).and_then(|last| it.remove(last));
        while let Some(report) = last(self) {
            self.put_one_back(report, false);
        }
    }

    /// Settles the sent items of a batch: as lost for this reason, or else as delivered. Puts the unsent items
    /// back.
    pub fn settle(&mut self, batch: Batch, reason: Option<Loss>) {
        let Batch { reports, taken, is_quarantined } = batch;
        for mut report in reports {
            match &taken {
                Selection::Head { format, rest, .. } if rest.items > 0 => {
                    let (format, rest, earlier) = (*format, rest.clone(), report.lost());
                    let lost = earlier.or(reason);
                    report.contents = Contents::Items { format, rest, is_whole: false, lost };
                    self.put_one_back(report, is_quarantined);
                }
                _ => report.settle(reason),
            }
        }
    }

    pub fn drain(&mut self) -> impl Iterator<Item = Payload> {
        (self.quarantined, self.held) = (0, 0);
        self.reports.drain(..).map(|report| report.payload)
    }

    /// The reports that are not in quarantine.
    fn waiting(&self) -> impl Iterator<Item = &Report> {
        self.reports.range(self.quarantined..)
    }

    /// Puts back a report: as the first one in quarantine, or by its age with the others.
    fn put_one_back(&mut self, report: Report, is_quarantined: bool) {
        if is_quarantined {
            self.insert(0, report);
            self.quarantined += 1;
            return;
        }
        let is_older = |it: &&Report| it.payload.received_at() < report.payload.received_at();
        // Few are older than a report of a batch: those that the batch has passed over. All may be older than a
        // report that leaves quarantine.
        let index = self.quarantined + self.waiting().take_while(is_older).count();
        self.insert(index, report);
    }

    fn insert(&mut self, index: usize, report: Report) {
        self.held += report.payload.cost();
        self.reports.insert(index, report);
    }

    fn remove(&mut self, index: usize) -> Option<Report> {
        let report = self.reports.remove(index)?;
        self.held -= report.payload.cost();
        self.quarantined -= usize::from(index < self.quarantined);
        Some(report)
    }
}

impl Report {
    /// Whether the report is not parsed yet, and can be sent unchanged.
    fn fits_unopened(&self, limits: RequestLimits) -> bool {
        let Contents::Unparsed(format) = self.contents else { return false };
        is_within(limits, format, self.payload.body())
    }

    /// The unsettled items, if the report can be merged or split. Parses the body if necessary.
    fn open(&mut self) -> Option<(BodyFormat, ItemRange)> {
        if let Contents::Unparsed(format) = self.contents {
            self.contents = match ItemRange::of(format, self.payload.body()) {
                Some(rest) => Contents::Items { format, rest, is_whole: true, lost: None },
                None => Contents::Opaque,
            };
        }
        match &self.contents {
            Contents::Items { format, rest, .. } => Some((*format, rest.clone())),
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

    /// Counts the report: as lost if any part of it was lost.
    fn settle(self, loss: Option<Loss>) {
        let loss = self.lost().or(loss);
        self.payload.settle(loss.map_or(Outcome::Delivered, Outcome::Dropped));
    }
}
