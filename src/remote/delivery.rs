//! The outcome of an attempt to send a request.

use std::time::Duration;

use ureq::http::StatusCode;

use crate::payload::ledger::Loss;

/// The outcome of one attempt.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Delivery {
    /// The remote accepted the request, except this many items.
    Delivered { rejected_items: u64 },
    /// The remote did not accept the request. A retry may succeed.
    Failed(Failure),
    /// The remote refused the request for good.
    Dropped(Loss, StatusCode),
}

/// Why an attempt failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub why: String,
    pub is_answered: bool,
    /// The pause that the remote requested.
    pub after: Option<Duration>,
    /// Whether a report of this request may be a poison message: the remote received at least a part of the
    /// request, and may have failed because of it.
    pub may_be_poison: bool,
}
