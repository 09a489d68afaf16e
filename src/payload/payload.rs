//! A report on its way to a remote: its route, headers, bytes, and the permits for its bytes.

use std::sync::Arc;
use std::time::Instant;

use crate::payload::budget::Permit;
use crate::payload::format::BodyFormat;
use crate::payload::ledger::{Entry, Outcome};
use crate::payload::route::{Headers, Route};

/// An accepted report for one remote.
#[derive(Debug)]
#[must_use = "dropping a payload counts it as failed"]
pub struct Payload {
    pub route: Route,
    pub headers: Headers,
    pub stored: Arc<Stored>,
    /// When the report was accepted.
    pub received_at: Instant,
    pub of_quota: Permit,
    pub entry: Entry,
}

/// The bytes of a report and their permit. Payloads for several remotes may share them. The bytes stay in
/// memory until the last of those payloads is dropped.
#[derive(Debug)]
pub struct Stored {
    bytes: Vec<u8>,
    _permit: Permit,
}

impl Stored {
    pub fn new(bytes: Vec<u8>, permit: Permit) -> Self {
        Self { bytes, _permit: permit }
    }
}

impl Payload {
    /// The body's format, if the report can be merged or split.
    pub fn form(&self) -> Option<BodyFormat> {
        BodyFormat::of(self.route, &self.headers)
    }

    pub fn body(&self) -> &[u8] {
        &self.stored.bytes
    }

    /// How many bytes of the quota the report uses.
    pub fn cost(&self) -> usize {
        self.of_quota.bytes()
    }

    /// Whether both reports may be merged into one request.
    pub fn goes_with(&self, other: &Self) -> bool {
        self.route == other.route && self.headers == other.headers
    }

    pub fn settle(self, outcome: Outcome) {
        self.entry.settle(outcome);
    }
}
