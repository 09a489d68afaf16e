//! The records of platform events, field by field as AWS names them; what is `None` or empty is
//! left out.

use std::time::Duration;

use serde::Serialize;

use crate::event_type::EventType;
use crate::telemetry::event::Category;
use crate::telemetry::term::{
    ExtensionState, InitializationType, Outcome, Phase, Span, SubscriptionState, Took, Tracing,
};
use crate::telemetry::unit;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitStart {
    pub initialization_type: InitializationType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_version_arn: Option<String>,
    pub function_name: String,
    pub function_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_arn: Option<String>,
    /// The log stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// In bytes, as AWS's code sends it; its docs show megabytes.
    #[serde(rename = "instanceMaxMemory", skip_serializing_if = "Option::is_none")]
    pub instance_max_memory_bytes: Option<u64>,
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitReport {
    pub initialization_type: InitializationType,
    pub metrics: Took,
    pub phase: Phase,
    #[serde(flatten)]
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Extension {
    pub name: String,
    #[serde(flatten)]
    pub state: ExtensionState,
    /// What it registered for.
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
pub struct Start {
    pub request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Of Managed Instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
}

/// Not sent on Managed Instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeDone {
    pub request_id: String,
    #[serde(flatten)]
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<RuntimeDoneMetrics>,
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub request_id: String,
    #[serde(flatten)]
    pub outcome: Outcome,
    pub metrics: ReportMetrics,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
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
    /// Sent as whole milliseconds, rounded up.
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreStart {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_version_arn: Option<String>,
    pub function_name: String,
    pub function_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// In bytes, as in [`InitStart`].
    #[serde(rename = "instanceMaxMemory", skip_serializing_if = "Option::is_none")]
    pub instance_max_memory_bytes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreRuntimeDone {
    #[serde(flatten)]
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    #[serde(flatten)]
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Took>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
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
mod tests {
    use super::*;
    use crate::telemetry::event::{Event, Lines};
    use crate::telemetry::term::{ErrorType, SpanName};
    use std::time::UNIX_EPOCH;

    #[track_caller]
    fn check(event: &Event, type_and_record: &str) {
        let rendered = String::from_utf8(event.render(UNIX_EPOCH, Lines::AsStrings)).unwrap();
        let expected = format!(r#"{{"time":"1970-01-01T00:00:00.000Z",{type_and_record}}}"#);
        assert_eq!(rendered, expected);
    }

    const MS: Duration = Duration::from_millis(1);

    fn spans(name: SpanName) -> Vec<Span> {
        vec![Span { name, start: UNIX_EPOCH + MS, duration: Duration::from_micros(969) }]
    }

    fn tracing() -> Tracing {
        Tracing { span_id: Some("s".to_owned()), value: "Root=1".to_owned() }
    }

    #[test]
    fn an_init_is_told_in_three_events() {
        check(
            &Event::InitStart(InitStart {
                initialization_type: InitializationType::LambdaManagedInstances,
                runtime_version: Some("python:3.13.v1".to_owned()),
                runtime_version_arn: Some("arn:runtime".to_owned()),
                function_name: "f".to_owned(),
                function_version: "$LATEST".to_owned(),
                function_arn: Some("arn:f".to_owned()),
                instance_id: Some("stream".to_owned()),
                instance_max_memory_bytes: Some(3_154_116_608),
                phase: Phase::Init,
                tracing: Some(tracing()),
            }),
            r#""type":"platform.initStart","record":{"initializationType":"lambda-managed-instances","runtimeVersion":"python:3.13.v1","runtimeVersionArn":"arn:runtime","functionName":"f","functionVersion":"$LATEST","functionArn":"arn:f","instanceId":"stream","instanceMaxMemory":3154116608,"phase":"init","tracing":{"type":"X-Amzn-Trace-Id","spanId":"s","value":"Root=1"}}"#,
        );
        check(
            &Event::InitRuntimeDone(InitRuntimeDone {
                initialization_type: InitializationType::ProvisionedConcurrency,
                outcome: Outcome::Error(ErrorType::new("Runtime.ExitError")),
                phase: Phase::Invoke,
                spans: Vec::new(),
                tracing: None,
            }),
            r#""type":"platform.initRuntimeDone","record":{"initializationType":"provisioned-concurrency","status":"error","errorType":"Runtime.ExitError","phase":"invoke"}"#,
        );
        check(
            &Event::InitReport(InitReport {
                initialization_type: InitializationType::OnDemand,
                metrics: Took { duration: Duration::from_micros(101_541) },
                phase: Phase::SnapStart,
                outcome: Outcome::Success,
                spans: Vec::new(),
                tracing: None,
            }),
            r#""type":"platform.initReport","record":{"initializationType":"on-demand","metrics":{"durationMs":101.541},"phase":"snap-start","status":"success"}"#,
        );
    }

    #[test]
    fn an_invocation_is_told_in_three_events() {
        check(
            &Event::Start(Start {
                request_id: "1".to_owned(),
                version: Some("$LATEST".to_owned()),
                function_arn: None,
                tracing: None,
                tenant_id: Some("t".to_owned()),
            }),
            r#""type":"platform.start","record":{"requestId":"1","version":"$LATEST","tenantId":"t"}"#,
        );
        check(
            &Event::RuntimeDone(RuntimeDone {
                request_id: "1".to_owned(),
                outcome: Outcome::Success,
                metrics: Some(RuntimeDoneMetrics {
                    duration: Duration::from_micros(1_212),
                    produced_bytes: Some(7),
                }),
                tracing: Some(tracing()),
                spans: spans(SpanName::ResponseLatency),
                tenant_id: None,
            }),
            r#""type":"platform.runtimeDone","record":{"requestId":"1","status":"success","metrics":{"durationMs":1.212,"producedBytes":7},"tracing":{"type":"X-Amzn-Trace-Id","spanId":"s","value":"Root=1"},"spans":[{"name":"responseLatency","start":"1970-01-01T00:00:00.001Z","durationMs":0.969}]}"#,
        );
        check(
            &Event::Report(Report {
                request_id: "1".to_owned(),
                outcome: Outcome::Timeout(ErrorType::new("Sandbox.Timeout")),
                metrics: ReportMetrics::OnDemand(Billing {
                    duration: Duration::from_micros(2_000_001),
                    billed_duration: Duration::from_micros(2_000_001),
                    memory_size_mb: 128,
                    max_memory_used_mb: 40,
                    init_duration: Some(Duration::from_micros(90_500)),
                    restore_duration: None,
                }),
                tracing: None,
                spans: spans(SpanName::ExtensionOverhead),
                tenant_id: None,
            }),
            r#""type":"platform.report","record":{"requestId":"1","status":"timeout","errorType":"Sandbox.Timeout","metrics":{"durationMs":2000.001,"billedDurationMs":2001,"memorySizeMB":128,"maxMemoryUsedMB":40,"initDurationMs":90.5},"spans":[{"name":"extensionOverhead","start":"1970-01-01T00:00:00.001Z","durationMs":0.969}]}"#,
        );
    }

    #[test]
    fn managed_instances_report_a_duration_only() {
        check(
            &Event::Report(Report {
                request_id: "1".to_owned(),
                outcome: Outcome::Failure(ErrorType::new("Runtime.ExitError")),
                metrics: ReportMetrics::ManagedInstances(Took { duration: MS }),
                tracing: None,
                spans: Vec::new(),
                tenant_id: None,
            }),
            r#""type":"platform.report","record":{"requestId":"1","status":"failure","errorType":"Runtime.ExitError","metrics":{"durationMs":1.0}}"#,
        );
    }

    #[test]
    fn a_restore_is_told_in_three_events() {
        check(
            &Event::RestoreStart(RestoreStart {
                runtime_version: None,
                runtime_version_arn: None,
                function_name: "f".to_owned(),
                function_version: "1".to_owned(),
                instance_id: None,
                instance_max_memory_bytes: None,
            }),
            r#""type":"platform.restoreStart","record":{"functionName":"f","functionVersion":"1"}"#,
        );
        check(
            &Event::RestoreRuntimeDone(RestoreRuntimeDone {
                outcome: Outcome::Success,
                spans: spans(SpanName::RuntimeOverhead),
            }),
            r#""type":"platform.restoreRuntimeDone","record":{"status":"success","spans":[{"name":"runtimeOverhead","start":"1970-01-01T00:00:00.001Z","durationMs":0.969}]}"#,
        );
        check(
            &Event::RestoreReport(RestoreReport {
                outcome: Outcome::Success,
                metrics: Some(Took { duration: MS }),
                spans: Vec::new(),
            }),
            r#""type":"platform.restoreReport","record":{"status":"success","metrics":{"durationMs":1.0}}"#,
        );
    }

    #[test]
    fn extensions_and_subscriptions_are_told_by_name() {
        check(
            &Event::Extension(Extension {
                name: "e".to_owned(),
                state: ExtensionState::Ready,
                events: vec![EventType::Shutdown],
            }),
            r#""type":"platform.extension","record":{"name":"e","state":"Ready","events":["SHUTDOWN"]}"#,
        );
        check(
            &Event::Extension(Extension {
                name: "e".to_owned(),
                state: ExtensionState::LaunchError(ErrorType::new("Extension.LaunchError")),
                events: Vec::new(),
            }),
            r#""type":"platform.extension","record":{"name":"e","state":"LaunchError","errorType":"Extension.LaunchError","events":[]}"#,
        );
        check(
            &Event::TelemetrySubscription(TelemetrySubscription {
                name: "e".to_owned(),
                state: SubscriptionState::Subscribed,
                types: vec![Category::Platform, Category::Function, Category::Extension],
            }),
            r#""type":"platform.telemetrySubscription","record":{"name":"e","state":"Subscribed","types":["platform","function","extension"]}"#,
        );
    }

    #[test]
    fn what_was_lost_is_counted() {
        check(
            &Event::LogsDropped(Dropped {
                dropped_bytes: 549,
                dropped_records: 3,
                reason: "why".to_owned(),
            }),
            r#""type":"platform.logsDropped","record":{"droppedBytes":549,"droppedRecords":3,"reason":"why"}"#,
        );
    }
}
