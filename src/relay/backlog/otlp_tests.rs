//! Compares merged OTLP requests with a library's view of them.

use std::fmt::Debug;

use local_lambda::opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use local_lambda::opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use local_lambda::opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use local_lambda::opentelemetry_proto::tonic::common::v1::any_value::Value;
use local_lambda::opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue,
};
use local_lambda::opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use local_lambda::opentelemetry_proto::tonic::metrics::v1::metric::Data;
use local_lambda::opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use local_lambda::opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use local_lambda::opentelemetry_proto::tonic::resource::v1::Resource;
use local_lambda::opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use local_lambda::prost::Message;
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::HeaderValue;

use super::tests::Desk;
use crate::payload::encoding::Encoding;
use crate::payload::limits::RequestLimits;
use crate::payload::route::{Headers, Route};
use crate::payload::signal::Signal;

/// An OTLP request. Its only field is a list.
trait Request: Message + Default + Serialize + DeserializeOwned + Clone + PartialEq {
    type Part: Clone + Debug + PartialEq;
    const SIGNAL: Signal;
    fn of(parts: Vec<Self::Part>) -> Self;
    fn parts(self) -> Vec<Self::Part>;
}

macro_rules! request {
    ($request:ident, $field:ident, $part:ident, $signal:ident) => {
        impl Request for $request {
            type Part = $part;
            const SIGNAL: Signal = Signal::$signal;
            fn of($field: Vec<$part>) -> Self {
                Self { $field }
            }
            fn parts(self) -> Vec<$part> {
                self.$field
            }
        }
    };
}
request!(ExportTraceServiceRequest, resource_spans, ResourceSpans, Traces);
request!(ExportMetricsServiceRequest, resource_metrics, ResourceMetrics, Metrics);
request!(ExportLogsServiceRequest, resource_logs, ResourceLogs, Logs);

/// Any text, including brackets and quotes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), Just(r#"]},{"[\"#.to_owned())]
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let value = prop_oneof![
        text().prop_map(Value::StringValue),
        any::<i64>().prop_map(Value::IntValue),
        any::<bool>().prop_map(Value::BoolValue),
    ];
    let attribute = (text(), value)
        .prop_map(|(key, value)| KeyValue { key, value: Some(AnyValue { value: Some(value) }) });
    vec(attribute, 0..3)
}

fn resource() -> impl Strategy<Value = Option<Resource>> {
    let some = attributes().prop_map(|attributes| Resource { attributes, ..Resource::default() });
    proptest::option::of(some)
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    text().prop_map(|name| Some(InstrumentationScope { name, ..InstrumentationScope::default() }))
}

fn resource_spans() -> impl Strategy<Value = ResourceSpans> {
    let span = (text(), any::<[u8; 16]>(), any::<[u8; 8]>(), any::<u64>(), attributes()).prop_map(
        |(name, trace_id, span_id, end_time_unix_nano, attributes)| Span {
            name,
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            end_time_unix_nano,
            attributes,
            ..Span::default()
        },
    );
    (resource(), scope(), vec(span, 0..4)).prop_map(|(resource, scope, spans)| ResourceSpans {
        resource,
        scope_spans: vec![ScopeSpans { scope, spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    })
}

fn resource_metrics() -> impl Strategy<Value = ResourceMetrics> {
    let point = (any::<i64>(), attributes()).prop_map(|(value, attributes)| NumberDataPoint {
        value: Some(Number::AsInt(value)),
        attributes,
        ..NumberDataPoint::default()
    });
    let metric = (text(), vec(point, 0..3)).prop_map(|(name, data_points)| Metric {
        name,
        data: Some(Data::Sum(Sum { data_points, ..Sum::default() })),
        ..Metric::default()
    });
    (resource(), scope(), vec(metric, 0..3)).prop_map(|(resource, scope, metrics)| {
        ResourceMetrics {
            resource,
            scope_metrics: vec![ScopeMetrics { scope, metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }
    })
}

fn resource_logs() -> impl Strategy<Value = ResourceLogs> {
    let record = (any::<u64>(), text(), attributes()).prop_map(|(time, line, attributes)| {
        let body = Some(AnyValue { value: Some(Value::StringValue(line)) });
        LogRecord { time_unix_nano: time, body, attributes, ..LogRecord::default() }
    });
    (resource(), scope(), vec(record, 0..4)).prop_map(|(resource, scope, log_records)| {
        ResourceLogs {
            resource,
            scope_logs: vec![ScopeLogs { scope, log_records, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }
    })
}

/// Merges and splits requests with these parts by the limits. Compares the parts with those that are
/// sent, as the library reads them.
#[track_caller]
fn check<R: Request>(posted: &[Vec<R::Part>], limits: RequestLimits, encoding: Encoding) {
    let mut desk = Desk::new();
    let content_type = HeaderValue::from_static(encoding.media_type());
    let headers = Headers { content_type: Some(content_type), ..Headers::default() };
    for parts in posted {
        let request = R::of(parts.clone());
        let body = match encoding {
            Encoding::Protobuf => request.encode_to_vec(),
            Encoding::Json => serde_json::to_vec(&request).unwrap(),
        };
        desk.push_with(Route::Otlp(R::SIGNAL), headers.clone(), body);
    }
    let requests = desk.requests_in_bytes(limits);
    let decode = |body: &Vec<u8>| match encoding {
        Encoding::Protobuf => R::decode(body.as_slice()).unwrap(),
        Encoding::Json => serde_json::from_slice(body).unwrap(),
    };
    let sent: Vec<Vec<R::Part>> = requests.iter().map(|it| decode(it).parts()).collect();
    for (request, parts) in requests.iter().zip(&sent) {
        assert!(request.len() <= limits.bytes || parts.len() <= 1);
    }
    assert_eq!(sent.concat(), posted.concat());
    let whole: usize = posted.iter().filter(|it| !it.is_empty()).count();
    let (reports, bytes) = (limits.reports, requests.iter().map(Vec::len).sum::<usize>());
    // Parts that fit into one request are sent in one. Only empty requests are sent separately.
    if bytes <= limits.bytes && whole > 0 && whole <= reports {
        let full = sent.iter().filter(|parts| !parts.is_empty()).count();
        assert_eq!(full, 1, "{whole} reports of {bytes} bytes");
    }
}

fn limits() -> impl Strategy<Value = RequestLimits> {
    let bytes = prop_oneof![1_usize..2_000, Just(RequestLimits::OTLP.bytes)];
    (1_usize..10, bytes).prop_map(|(reports, bytes)| RequestLimits {
        reports,
        bytes,
        ..RequestLimits::OTLP
    })
}

fn encoding() -> impl Strategy<Value = Encoding> {
    prop_oneof![Just(Encoding::Protobuf), Just(Encoding::Json)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn merged_requests_of_traces_have_the_same_spans_in_order(
        posted in vec(vec(resource_spans(), 0..4), 1..6), limits in limits(), encoding in encoding(),
    ) {
        check::<ExportTraceServiceRequest>(&posted, limits, encoding);
    }

    #[test]
    fn merged_requests_of_metrics_have_the_same_points_in_order(
        posted in vec(vec(resource_metrics(), 0..4), 1..6), limits in limits(), encoding in encoding(),
    ) {
        check::<ExportMetricsServiceRequest>(&posted, limits, encoding);
    }

    #[test]
    fn merged_requests_of_logs_have_the_same_records_in_order(
        posted in vec(vec(resource_logs(), 0..4), 1..6), limits in limits(), encoding in encoding(),
    ) {
        check::<ExportLogsServiceRequest>(&posted, limits, encoding);
    }
}

/// The sent bodies, if two bodies arrive one after the other.
fn sent(
    content_type: &'static str,
    coding: Option<&'static str>,
    bodies: [&[u8]; 2],
) -> Vec<Vec<u8>> {
    let mut desk = Desk::new();
    for body in bodies {
        let headers = Headers {
            content_type: Some(HeaderValue::from_static(content_type)),
            content_encoding: coding.map(HeaderValue::from_static),
            ..Headers::default()
        };
        desk.push_with(Route::Otlp(Signal::Traces), headers, body.to_vec());
    }
    desk.requests_in_bytes(RequestLimits::OTLP)
}

#[test]
fn only_plain_requests_with_items_and_nothing_else_are_merged() {
    const PROTOBUF: &str = "application/x-protobuf";
    let (one, two) = (b"\x0a\x01x".as_slice(), b"\x0a\x01y".as_slice());
    assert_eq!(sent(PROTOBUF, None, [one, two]), [b"\x0a\x01x\x0a\x01y"]);
    assert_eq!(sent(PROTOBUF, Some("gzip"), [one, two]), [one, two]);
    for other in [b"\x12\x01x".as_slice(), b"\x0a\x01x\x10\x01", b"\x08\x01", b"\x0a\x02x"] {
        assert_eq!(sent(PROTOBUF, None, [one, other]), [one, other], "{other:x?}");
        assert_eq!(sent(PROTOBUF, None, [other, two]), [other, two], "{other:x?}");
    }
    let first = br#"{"resourceSpans":[{"a":1}]}"#.as_slice();
    let json = |body| sent("application/json", None, [first, body]);
    let merged = [br#"{"resourceSpans":[{"a":1},{"b": 2} , {}]}"#];
    assert_eq!(json(br#" { "resourceSpans" : [ {"b": 2} , {} ] } "#), merged);
    for other in [
        br#"{"resourceSpans":[{}],"more":1}"#.as_slice(),
        br#"{"more":1,"resourceSpans":[{}]}"#,
        br#"{"resourceSpans":[{}],"resourceSpans":[{}]}"#,
        br#"{"resourceLogs":[{}]}"#,
        br#"{"resourceSpans":{}}"#,
        br#"{"resourceSpans":[{}]} x"#,
        br#"{"resource_spans":[{}]}"#,
        b"{",
    ] {
        assert_eq!(json(other), [first, other], "a report that is sent alone stays unchanged");
    }
}
