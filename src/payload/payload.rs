//! A report on its way to a remote: its route, headers, bytes, and the permit for its bytes.

use std::sync::Arc;
use std::time::Instant;

use crate::payload::format::BodyFormat;
use crate::payload::ledger::{Account, Entry, Outcome};
use crate::payload::quota::Permit;
use crate::payload::route::{Headers, Route};

/// An accepted report for one remote.
#[derive(Debug)]
#[must_use = "dropping a payload counts it as failed"]
pub struct Payload {
    route: Route,
    headers: Headers,
    /// Payloads for several remotes share the bytes. Each payload has a permit for their full size.
    bytes: Arc<Vec<u8>>,
    received_at: Instant,
    permit: Permit,
    entry: Entry,
}

impl Payload {
    /// A report that counts as accepted from now on.
    pub fn accept(
        (route, headers): (Route, Headers),
        bytes: Arc<Vec<u8>>,
        permit: Permit,
        account: &Account,
        received_at: Instant,
    ) -> Self {
        Self { route, headers, bytes, received_at, permit, entry: account.accept() }
    }

    pub fn route(&self) -> Route {
        self.route
    }

    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The body's format, if the report can be merged or split.
    pub fn format(&self) -> Option<BodyFormat> {
        BodyFormat::of(self.route, &self.headers)
    }

    pub fn body(&self) -> &[u8] {
        &self.bytes
    }

    /// When the report was accepted.
    pub fn received_at(&self) -> Instant {
        self.received_at
    }

    /// How many bytes of the quota the report uses.
    pub fn cost(&self) -> usize {
        self.permit.bytes()
    }

    pub fn account(&self) -> &Account {
        self.entry.account()
    }

    /// Whether both reports may be merged into one request.
    pub fn goes_with(&self, other: &Self) -> bool {
        self.route == other.route && self.headers == other.headers
    }

    pub fn settle(self, outcome: Outcome) {
        self.entry.settle(outcome);
    }
}
