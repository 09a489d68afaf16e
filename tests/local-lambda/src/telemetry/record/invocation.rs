//! The records about an invocation, from its start to its report.

use std::time::Duration;

use serde::Serialize;

use crate::telemetry::unit;
use crate::telemetry::vocabulary::{Outcome, Span, Took, Tracing};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    pub request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Only on Managed Instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
}

/// Not sent on Managed Instances.
pub type RuntimeDone = Done<RuntimeDoneMetrics>;

pub type Report = Done<ReportMetrics>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Done<M> {
    pub request_id: String,
    #[serde(flatten)]
    pub outcome: Outcome,
    pub metrics: M,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeDoneMetrics {
    #[serde(rename = "durationMs", serialize_with = "unit::ms")]
    pub duration: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub produced_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ReportMetrics {
    OnDemand(Billing),
    ManagedInstances(Took),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Billing {
    #[serde(rename = "durationMs", serialize_with = "unit::ms")]
    pub duration: Duration,
    /// Sent in whole milliseconds, rounded up.
    #[serde(rename = "billedDurationMs", serialize_with = "unit::whole_ms")]
    pub billed_duration: Duration,
    #[serde(rename = "memorySizeMB")]
    pub memory_size_mb: u32,
    #[serde(rename = "maxMemoryUsedMB")]
    pub max_memory_used_mb: u32,
    #[serde(
        rename = "initDurationMs",
        serialize_with = "unit::some_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub init_duration: Option<Duration>,
    #[serde(
        rename = "restoreDurationMs",
        serialize_with = "unit::some_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub restore_duration: Option<Duration>,
}
