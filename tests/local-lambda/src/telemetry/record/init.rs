//! How an environment comes to be, by an init or from a snapshot.

use serde::Serialize;

use crate::telemetry::vocabulary::{InitializationType, Outcome, Phase, Span, Took, Tracing};

/// What runs where; the whole record of a restore that begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are AWS's")]
pub struct Instance {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_version_arn: Option<String>,
    pub function_name: String,
    pub function_version: String,
    /// Of an init only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_arn: Option<String>,
    /// The log stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// In bytes, as AWS's code sends it; its docs show megabytes.
    #[serde(rename = "instanceMaxMemory", skip_serializing_if = "Option::is_none")]
    pub instance_max_memory_bytes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitStart {
    pub initialization_type: InitializationType,
    #[serde(flatten)]
    pub instance: Instance,
    pub phase: Phase,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitRuntimeDone {
    pub initialization_type: InitializationType,
    #[serde(flatten)]
    pub outcome: Outcome,
    pub phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitReport {
    pub initialization_type: InitializationType,
    pub metrics: Took,
    pub phase: Phase,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The runtime's end of a restore, and with metrics the report of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreDone {
    #[serde(flatten)]
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Took>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
}
