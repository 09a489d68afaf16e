//! What goes into one request, without a copy: the bytes of several reports, one after the other,
//! where they lie.

use std::io::{self, Read};

use super::{Contents, Report};
use crate::form::Form;
use crate::items::{Most, Run};
use crate::ledger::Account;
use crate::payload::{Headers, Route};

/// What goes into one request.
#[derive(Debug)]
#[must_use = "dropping a batch counts its reports as failed"]
pub struct Batch {
    /// At least one; all of one route, with the same headers.
    pub(super) reports: Vec<Report>,
    pub(super) taken: Taken,
    /// It was taken from those apart.
    pub(super) is_apart: bool,
    /// Older ones were passed for some of it.
    pub(super) has_passed: bool,
}

/// What of its reports is in a batch.
#[derive(Debug)]
pub(super) enum Taken {
    /// The one there is, as it came.
    Whole,
    /// The items that are left of each, in one body.
    Items(Form),
    /// Of the one there is the first items, in a body of their own.
    Head { form: Form, head: Run, rest: Run },
}

impl Batch {
    /// As much of a report as may go. One that goes `alone` need not be opened.
    pub(super) fn of(mut report: Report, is_alone: bool, most: Most) -> Self {
        let fits_unopened = is_alone && report.fits_unopened(most);
        let opened = if fits_unopened { None } else { report.open() };
        let taken = match opened {
            Some((form, run)) if !most.is_kept_by(run.items, form.length(run.range.len())) => {
                let mut rest = run;
                let head = rest.split_to(form, &report.payload.body, most);
                Taken::Head { form, head, rest }
            }
            Some((form, _)) if !report.is_whole() || report.payload.body.len() > most.bytes => {
                Taken::Items(form)
            }
            _ => Taken::Whole,
        };
        Self { reports: vec![report], taken, is_apart: false, has_passed: false }
    }

    pub(super) fn is_head(&self) -> bool {
        matches!(self.taken, Taken::Head { .. })
    }

    pub fn route(&self) -> Route {
        self.reports[0].payload.route
    }

    pub fn headers(&self) -> &Headers {
        &self.reports[0].payload.headers
    }

    /// Where its reports are counted.
    pub fn account(&self) -> &Account {
        self.reports[0].payload.entry.account()
    }

    pub fn reports(&self) -> usize {
        self.reports.len()
    }

    /// Whether the remote failed over it before, when it went alone.
    pub fn is_apart(&self) -> bool {
        self.is_apart
    }

    /// Whether it could go in smaller requests.
    pub fn is_divisible(&mut self) -> bool {
        match &self.taken {
            Taken::Head { head, .. } => head.items > 1,
            Taken::Items(_) | Taken::Whole => {
                let items = |it: &mut Report| it.open().map_or(1, |(_, run)| run.items);
                self.reports.iter_mut().map(items).sum::<usize>() > 1
            }
        }
    }

    /// The request's body, to be read once.
    pub fn body(&self) -> Body<'_> {
        let mut parts: Vec<&[u8]> = Vec::with_capacity(self.reports.len() * 2 + 1);
        match &self.taken {
            Taken::Whole => parts.push(&self.reports[0].payload.body),
            Taken::Head { form, head, .. } => {
                let items = &self.reports[0].payload.body[head.range.clone()];
                parts.extend([form.opening(), items, form.closing()]);
            }
            Taken::Items(form) => {
                for (nth, report) in self.reports.iter().enumerate() {
                    if let Contents::Items { rest, .. } = &report.contents {
                        parts.push(if nth == 0 { form.opening() } else { form.separator() });
                        parts.push(&report.payload.body[rest.range.clone()]);
                    }
                }
                parts.push(form.closing());
            }
        }
        Body { length: parts.iter().map(|part| part.len()).sum(), parts, at: 0 }
    }
}

/// Bytes of several reports, one after the other, where they lie.
#[derive(Debug)]
pub struct Body<'a> {
    parts: Vec<&'a [u8]>,
    at: usize,
    length: usize,
}

impl Body<'_> {
    /// Of the whole, read or not.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether none of it was read.
    pub fn is_untouched(&self) -> bool {
        self.parts.iter().map(|part| part.len()).sum::<usize>() == self.length
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while let Some(part) = self.parts.get_mut(self.at) {
            read += part.read(&mut buffer[read..])?;
            if !part.is_empty() {
                break;
            }
            self.at += 1;
        }
        Ok(read)
    }
}
