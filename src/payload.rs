//! One report of an agent on its way to the remote: where it goes, what it says about itself, its
//! bytes, and what holding them costs.

use std::time::Instant;

use ureq::http::HeaderValue;

use crate::budget::Permit;
use crate::ledger::{Entry, Outcome};

/// An accepted report. Its bytes stay in memory exactly as long as it does.
#[derive(Debug)]
#[must_use = "dropping a payload counts it as failed"]
pub struct Payload {
    pub route: Route,
    pub headers: Headers,
    pub body: Vec<u8>,
    /// When it was accepted.
    pub came: Instant,
    pub permit: Permit,
    pub entry: Entry,
}

impl Payload {
    /// Whether the two can be told in one request.
    pub fn goes_with(&self, other: &Self) -> bool {
        self.route == other.route && self.headers == other.headers
    }

    pub fn settle(self, outcome: Outcome) {
        self.entry.settle(outcome);
    }
}

/// The two things agents report to. The remote has the same two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A JSON array of items.
    MonitoringData,
    /// One JSON object that holds items and what they have in common.
    CompositeMonitoringData,
}

impl Route {
    /// The path below the base URL, at both collectors.
    pub fn path(self) -> &'static str {
        match self {
            Self::MonitoringData => "/monitoring-data",
            Self::CompositeMonitoringData => "/composite-monitoring-data",
        }
    }
}

/// What travels on of an agent's request headers: these and no others, so that nothing a local
/// client sends can add to the outgoing request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    pub authorization: Option<HeaderValue>,
    pub content_type: Option<HeaderValue>,
    pub content_encoding: Option<HeaderValue>,
}

impl Headers {
    /// Bytes held by the values.
    pub fn size(&self) -> usize {
        let Self { authorization, content_type, content_encoding } = self;
        [authorization, content_type, content_encoding]
            .into_iter()
            .flatten()
            .map(HeaderValue::len)
            .sum()
    }
}
