//! What goes into one request, without a copy: the bytes of several reports, one after the other,
//! where they lie.

use std::io::{self, Read};

use super::{Contents, Report};
use crate::items::Run;
use crate::payload::{Headers, Route};

/// What goes into one request.
#[derive(Debug)]
#[must_use = "dropping a batch counts its reports as failed"]
pub struct Batch {
    /// At least one; all of one route, with the same headers.
    pub(super) reports: Vec<Report>,
    pub(super) taken: Taken,
}

/// What of its reports is in a batch.
#[derive(Debug)]
pub(super) enum Taken {
    /// The one there is, as it came.
    Whole,
    /// The items that are left of each, in one array.
    Items,
    /// Of the one there is the first items, in an array of their own.
    Head { head: Run, rest: Run },
}

impl Batch {
    pub(super) fn verbatim(report: Report) -> Self {
        Self { reports: vec![report], taken: Taken::Whole }
    }

    pub fn route(&self) -> Route {
        self.reports[0].payload.route
    }

    pub fn headers(&self) -> &Headers {
        &self.reports[0].payload.headers
    }

    pub fn reports(&self) -> usize {
        self.reports.len()
    }

    /// Whether it failed before, and was put apart for it.
    pub fn is_apart(&self) -> bool {
        self.reports[0].is_apart
    }

    /// Whether it could go in smaller requests.
    pub fn is_divisible(&mut self) -> bool {
        match &self.taken {
            Taken::Head { head, .. } => head.items > 1,
            Taken::Items | Taken::Whole => {
                let runs = self.reports.iter_mut().map(|it| it.open().map_or(1, |run| run.items));
                runs.sum::<usize>() > 1
            }
        }
    }

    /// The request's body, to be read once.
    pub fn body(&self) -> Body<'_> {
        let mut parts: Vec<&[u8]> = Vec::with_capacity(self.reports.len() * 2 + 1);
        match &self.taken {
            Taken::Whole => parts.push(&self.reports[0].payload.body),
            Taken::Head { head, .. } => {
                parts.extend([b"[", &self.reports[0].payload.body[head.range.clone()], b"]"]);
            }
            Taken::Items => {
                for (nth, report) in self.reports.iter().enumerate() {
                    if let Contents::Items { rest, .. } = &report.contents {
                        parts.push(if nth == 0 { b"[" } else { b"," });
                        parts.push(&report.payload.body[rest.range.clone()]);
                    }
                }
                parts.push(b"]");
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
