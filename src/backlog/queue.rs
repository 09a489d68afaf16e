//! Reports in a row, and what keeping them costs.

use std::collections::VecDeque;
use std::time::Instant;

use super::Report;

#[derive(Debug, Default)]
pub struct Queue {
    reports: VecDeque<Report>,
    /// What keeping them costs, in bytes.
    held: usize,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.reports.is_empty()
    }

    pub fn len(&self) -> usize {
        self.reports.len()
    }

    /// What keeping all of it costs, in bytes.
    pub fn held(&self) -> usize {
        self.held
    }

    pub fn first(&self) -> Option<&Report> {
        self.reports.front()
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut Report> {
        self.reports.get_mut(index)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Report> {
        self.reports.iter()
    }

    pub fn push_back(&mut self, report: Report) {
        self.held += report.cost();
        self.reports.push_back(report);
    }

    pub fn push_front(&mut self, report: Report) {
        self.held += report.cost();
        self.reports.push_front(report);
    }

    pub fn pop_first(&mut self) -> Option<Report> {
        self.remove(0)
    }

    pub fn remove(&mut self, index: usize) -> Option<Report> {
        let report = self.reports.remove(index)?;
        self.held -= report.cost();
        Some(report)
    }

    /// Since when the oldest waits, wherever it stands.
    pub fn oldest(&self) -> Option<Instant> {
        self.reports.iter().map(|report| report.payload.came).min()
    }

    pub fn pop_oldest(&mut self) -> Option<Report> {
        let ages = self.reports.iter().map(|report| report.payload.came).enumerate();
        let (index, _) = ages.min_by_key(|(_, came)| *came)?;
        self.remove(index)
    }

    pub fn append(&mut self, other: &mut Self) {
        self.reports.append(&mut other.reports);
        self.held += std::mem::take(&mut other.held);
    }

    /// By age.
    pub fn sort(&mut self) {
        self.reports.make_contiguous().sort_by_key(|report| report.payload.came);
    }

    pub fn drain(&mut self) -> impl Iterator<Item = Report> {
        self.held = 0;
        self.reports.drain(..)
    }
}
