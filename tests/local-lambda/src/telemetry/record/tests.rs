use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::event_type::EventType;
use crate::telemetry::event::{Event, Lines};
use crate::telemetry::vocabulary::{
    ErrorType, InitializationType, Outcome, Phase, Span, SpanName, Took, Tracing,
};

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
            instance: Instance {
                runtime_version: Some("python:3.13.v1".to_owned()),
                runtime_version_arn: Some("arn:runtime".to_owned()),
                function_name: "f".to_owned(),
                function_version: "$LATEST".to_owned(),
                function_arn: Some("arn:f".to_owned()),
                instance_id: Some("stream".to_owned()),
                instance_max_memory_bytes: Some(3_154_116_608),
            },
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
        }),
        r#""type":"platform.initRuntimeDone","record":{"initializationType":"provisioned-concurrency","status":"error","errorType":"Runtime.ExitError","phase":"invoke"}"#,
    );
    check(
        &Event::InitReport(InitReport {
            initialization_type: InitializationType::OnDemand,
            metrics: Took { duration: Duration::from_micros(101_541) },
            phase: Phase::SnapStart,
            outcome: Outcome::Success,
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
            metrics: RuntimeDoneMetrics {
                duration: Duration::from_micros(1_212),
                produced_bytes: Some(7),
            },
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
        &Event::RestoreStart(Instance {
            runtime_version: None,
            runtime_version_arn: None,
            function_name: "f".to_owned(),
            function_version: "1".to_owned(),
            function_arn: None,
            instance_id: None,
            instance_max_memory_bytes: None,
        }),
        r#""type":"platform.restoreStart","record":{"functionName":"f","functionVersion":"1"}"#,
    );
    check(
        &Event::RestoreRuntimeDone(RestoreDone {
            outcome: Outcome::Success,
            metrics: None,
            spans: spans(SpanName::RuntimeOverhead),
        }),
        r#""type":"platform.restoreRuntimeDone","record":{"status":"success","spans":[{"name":"runtimeOverhead","start":"1970-01-01T00:00:00.001Z","durationMs":0.969}]}"#,
    );
    check(
        &Event::RestoreReport(RestoreDone {
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
