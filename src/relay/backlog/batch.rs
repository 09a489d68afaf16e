//! The reports of one request.

use std::time::Instant;

use super::{Contents, Report};
use crate::payload::format::BodyFormat;
use crate::payload::items::ItemRange;
use crate::payload::ledger::Account;
use crate::payload::limits::RequestLimits;
use crate::payload::parts::Parts;
use crate::payload::route::{Headers, Route};
use crate::remote::client::Request;

/// The reports, or parts of one report, that are sent in one request.
#[derive(Debug)]
#[must_use = "dropping a batch counts its reports as failed"]
pub struct Batch {
    /// At least one report. All have the same route and headers.
    pub(super) reports: Vec<Report>,
    pub(super) taken: Selection,
    /// Whether the batch was taken from the quarantine.
    pub(super) is_quarantined: bool,
}

/// The selected parts of a batch's reports.
#[derive(Debug)]
pub(super) enum Selection {
    /// The only report, unchanged.
    Whole,
    /// The unsettled items of all reports, merged into one body.
    Items(BodyFormat),
    /// The first items of the only report.
    Head { format: BodyFormat, head: ItemRange, rest: ItemRange },
}

impl Batch {
    /// A batch with as much of a report as the limits allow. A report that is sent alone need not be parsed.
    pub(super) fn of(mut report: Report, is_alone: bool, limits: RequestLimits) -> Self {
        let fits_unopened = is_alone && report.fits_unopened(limits);
        let opened = if fits_unopened { None } else { report.open() };
        let taken = match opened {
            Some((format, mut rest))
                if !limits.allow(rest.items, format.length(rest.range.len())) =>
            {
                let head = rest.split_to(format, report.payload.body(), limits);
                Selection::Head { format, head, rest }
            }
            Some((format, _))
                if !report.is_whole() || report.payload.body().len() > limits.bytes =>
            {
                Selection::Items(format)
            }
            _ => Selection::Whole,
        };
        Self { reports: vec![report], taken, is_quarantined: false }
    }

    pub(super) fn is_head(&self) -> bool {
        matches!(self.taken, Selection::Head { .. })
    }

    pub fn route(&self) -> Route {
        self.reports[0].payload.route()
    }

    pub fn headers(&self) -> &Headers {
        self.reports[0].payload.headers()
    }

    /// The account of its reports.
    pub fn account(&self) -> &Account {
        self.reports[0].payload.account()
    }

    /// When its first report was accepted.
    pub fn oldest(&self) -> Instant {
        self.reports[0].payload.received_at()
    }

    pub fn reports(&self) -> usize {
        self.reports.len()
    }

    /// Whether the batch is a quarantined report.
    pub fn is_quarantined(&self) -> bool {
        self.is_quarantined
    }

    /// Whether the batch could be sent in smaller requests.
    pub fn is_divisible(&mut self) -> bool {
        match &self.taken {
            Selection::Head { head, .. } => head.items > 1,
            Selection::Items(_) | Selection::Whole => {
                let items = |it: &mut Report| it.open().map_or(1, |(_, rest)| rest.items);
                self.reports.iter_mut().map(items).sum::<usize>() > 1
            }
        }
    }

    pub fn request(&self) -> Request<'_> {
        Request { route: self.route(), headers: self.headers(), body: self.body() }
    }

    /// The request's body: the bytes of its reports, without a copy.
    pub fn body(&self) -> Parts<'_> {
        let mut parts: Vec<&[u8]> = Vec::with_capacity(self.reports.len() * 2 + 1);
        match &self.taken {
            Selection::Whole => parts.push(self.reports[0].payload.body()),
            Selection::Head { format, head, .. } => {
                let items = &self.reports[0].payload.body()[head.range.clone()];
                parts.extend([format.opening(), items, format.closing()]);
            }
            Selection::Items(format) => {
                for (nth, report) in self.reports.iter().enumerate() {
                    if let Contents::Items { rest, .. } = &report.contents {
                        parts.push(if nth == 0 { format.opening() } else { format.separator() });
                        parts.push(&report.payload.body()[rest.range.clone()]);
                    }
                }
                parts.push(format.closing());
            }
        }
        Parts::of(parts)
    }
}
