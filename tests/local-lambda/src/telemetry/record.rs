//! The records of platform events, with AWS's names of the fields. Fields that are `None` or empty are omitted.

use serde::Serialize;

use crate::event_type::EventType;
use crate::telemetry::event::Category;
use crate::telemetry::vocabulary::{ExtensionState, SubscriptionState};

mod init;
mod invocation;

pub use init::{InitReport, InitRuntimeDone, InitStart, Instance, RestoreDone};
pub use invocation::{Billing, Report, ReportMetrics, RuntimeDone, RuntimeDoneMetrics, Start};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Extension {
    pub name: String,
    #[serde(flatten)]
    pub state: ExtensionState,
    /// The events for which it registered.
    pub events: Vec<EventType>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TelemetrySubscription {
    pub name: String,
    pub state: SubscriptionState,
    pub types: Vec<Category>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are AWS's")]
pub struct Dropped {
    pub dropped_bytes: usize,
    pub dropped_records: usize,
    pub reason: String,
}

#[cfg(test)]
mod tests;
