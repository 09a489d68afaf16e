//! The terms that records share. Each type has AWS's words (AWS docs "Lambda Telemetry API `Event` schema
//! reference").

use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::telemetry::unit;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitializationType {
    OnDemand,
    ProvisionedConcurrency,
    SnapStart,
    LambdaManagedInstances,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Init,
    /// An init that is repeated within an invocation.
    Invoke,
    SnapStart,
}

/// Written as `status`, and as `errorType` unless it is a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Outcome {
    Success,
    /// The error that the function reported, such as `Function.Unknown`.
    Error(ErrorType),
    /// The failure that ended it, such as `Runtime.ExitError` or `Extension.Crash`.
    Failure(ErrorType),
    /// `Sandbox.Timeout`, or `Sandbox.Timedout` on Managed Instances.
    Timeout(ErrorType),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorType {
    pub error_type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    pub name: SpanName,
    #[serde(serialize_with = "unit::utc")]
    pub start: SystemTime,
    #[serde(rename = "durationMs", serialize_with = "unit::ms")]
    pub duration: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SpanName {
    ResponseLatency,
    ResponseDuration,
    RuntimeOverhead,
    /// Only in `platform.report`.
    ExtensionOverhead,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "X-Amzn-Trace-Id", rename_all = "camelCase")]
pub struct Tracing {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    pub value: String,
}

/// Written as `state`, and as `errorType` if it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state")]
pub enum ExtensionState {
    Started,
    Registered,
    Ready,
    Running,
    InitError(ErrorType),
    ExitError(ErrorType),
    Exited,
    LaunchError(ErrorType),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum SubscriptionState {
    Subscribed,
}

/// Metrics that are only a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Took {
    #[serde(rename = "durationMs", serialize_with = "unit::ms")]
    pub duration: Duration,
}

impl ErrorType {
    pub fn new(error_type: impl Into<String>) -> Self {
        Self { error_type: error_type.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;

    #[track_caller]
    fn check<T: Serialize + Debug>(terms: &[T], expected: &[&str]) {
        let written: Vec<_> = terms.iter().map(|it| serde_json::to_string(it).unwrap()).collect();
        assert_eq!(written, expected);
    }

    fn because() -> ErrorType {
        ErrorType::new("Sandbox.Failure")
    }

    #[test]
    fn every_kind_of_environment_and_phase_is_written_as_aws_does() {
        use InitializationType::{
            LambdaManagedInstances, OnDemand, ProvisionedConcurrency, SnapStart,
        };
        check(
            &[OnDemand, ProvisionedConcurrency, SnapStart, LambdaManagedInstances],
            &[
                "\"on-demand\"",
                "\"provisioned-concurrency\"",
                "\"snap-start\"",
                "\"lambda-managed-instances\"",
            ],
        );
        let phases = [Phase::Init, Phase::Invoke, Phase::SnapStart];
        check(&phases, &["\"init\"", "\"invoke\"", "\"snap-start\""]);
    }

    #[test]
    fn every_outcome_but_success_says_why() {
        use Outcome::{Error, Failure, Success, Timeout};
        check(
            &[Success, Error(because()), Failure(because()), Timeout(because())],
            &[
                r#"{"status":"success"}"#,
                r#"{"status":"error","errorType":"Sandbox.Failure"}"#,
                r#"{"status":"failure","errorType":"Sandbox.Failure"}"#,
                r#"{"status":"timeout","errorType":"Sandbox.Failure"}"#,
            ],
        );
    }

    #[test]
    fn every_state_of_an_extension_is_written_as_aws_does() {
        use ExtensionState::{
            ExitError, Exited, InitError, LaunchError, Ready, Registered, Running, Started,
        };
        let states = [Started, Registered, Ready, Running, Exited];
        check(
            &states,
            &["Started", "Registered", "Ready", "Running", "Exited"]
                .map(|state| format!(r#"{{"state":"{state}"}}"#))
                .each_ref()
                .map(String::as_str),
        );
        check(
            &[InitError(because()), ExitError(because()), LaunchError(because())],
            &["InitError", "ExitError", "LaunchError"]
                .map(|state| format!(r#"{{"state":"{state}","errorType":"Sandbox.Failure"}}"#))
                .each_ref()
                .map(String::as_str),
        );
    }

    #[test]
    fn every_span_is_written_as_aws_does() {
        use SpanName::{ExtensionOverhead, ResponseDuration, ResponseLatency, RuntimeOverhead};
        check(
            &[ResponseLatency, ResponseDuration, RuntimeOverhead, ExtensionOverhead],
            &[
                "\"responseLatency\"",
                "\"responseDuration\"",
                "\"runtimeOverhead\"",
                "\"extensionOverhead\"",
            ],
        );
    }
}
