//! The records about the start of an environment, by an init or from a snapshot.

use serde::Serialize;

use crate::telemetry::vocabulary::{InitializationType, Outcome, Phase, Span, Took, Tracing};

/// The function and its environment. For a restore, this is the whole first record.
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
    /// Only for an init.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_arn: Option<String>,
    /// The log stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// In bytes, as in AWS's code. Its documentation shows megabytes.
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

/// The end of a restore in the runtime, and with metrics the restore's report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreDone {
    #[serde(flatten)]
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Took>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
}
