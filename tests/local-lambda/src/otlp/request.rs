//! An OTLP request for one of the signals.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use super::message::{all_json, data_points, is_whole, json, log_records, spans};
use super::{Encoding, Signal};
use crate::gzip;
use crate::remote::Received;

#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
    Logs(ExportLogsServiceRequest),
}

impl Request {
    /// `None` if the request is no OTLP, or cannot be decoded.
    pub fn of(received: &Received) -> Option<Self> {
        let (signal, encoding) = received.otlp()?;
        match received.header("Content-Encoding") {
            None => Self::read(signal, encoding, &received.body),
            Some(coding) if coding.eq_ignore_ascii_case("gzip") => {
                Self::read(signal, encoding, &gzip::unpack(&received.body).ok()?)
            }
            Some(_) => None,
        }
    }

    /// Decodes a body. `None` if any part of it cannot be decoded.
    pub fn read(signal: Signal, encoding: Encoding, body: &[u8]) -> Option<Self> {
        let is_all = |it: &_| encoding == Encoding::Protobuf || is_whole(it);
        match signal {
            Signal::Traces => encoding.read(body).map(Self::Traces),
            Signal::Metrics => encoding.read(body).filter(is_all).map(Self::Metrics),
            Signal::Logs => encoding.read(body).map(Self::Logs),
        }
    }

    pub fn write(&self, encoding: Encoding) -> Vec<u8> {
        match self {
            Self::Traces(traces) => encoding.write(traces),
            Self::Metrics(metrics) => encoding.write(metrics),
            Self::Logs(logs) => encoding.write(logs),
        }
    }

    /// The spans, data points or log records as JSON, in order.
    pub fn items(&self) -> Vec<String> {
        match self {
            Self::Traces(traces) => spans(traces).map(json).collect(),
            Self::Metrics(metrics) => data_points(metrics),
            Self::Logs(logs) => log_records(logs).map(json).collect(),
        }
    }

    /// Each resource as JSON, with everything below it, in order.
    pub fn resources(&self) -> Vec<String> {
        match self {
            Self::Traces(traces) => all_json(&traces.resource_spans),
            Self::Metrics(metrics) => all_json(&metrics.resource_metrics),
            Self::Logs(logs) => all_json(&logs.resource_logs),
        }
    }

    pub fn traces(names: &[&str]) -> Self {
        let span = |name: &&str| Span { name: (*name).to_owned(), ..Span::default() };
        let scope = ScopeSpans { spans: names.iter().map(span).collect(), ..ScopeSpans::default() };
        let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
        Self::Traces(ExportTraceServiceRequest { resource_spans: vec![resource] })
    }

    pub fn metrics(names: &[&str]) -> Self {
        let gauge = |(value, name): (i64, &&str)| {
            let value = Some(Value::AsInt(value));
            let point = NumberDataPoint { value, ..NumberDataPoint::default() };
            let data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
            Metric { name: (*name).to_owned(), data, ..Metric::default() }
        };
        let metrics = (0..).zip(names).map(gauge).collect();
        let scope = ScopeMetrics { metrics, ..ScopeMetrics::default() };
        let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
        Self::Metrics(ExportMetricsServiceRequest { resource_metrics: vec![resource] })
    }

    pub fn logs(bodies: &[&str]) -> Self {
        let record = |body: &&str| {
            let value = Some(any_value::Value::StringValue((*body).to_owned()));
            LogRecord { body: Some(AnyValue { value }), ..LogRecord::default() }
        };
        let log_records = bodies.iter().map(record).collect();
        let scope = ScopeLogs { log_records, ..ScopeLogs::default() };
        let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
        Self::Logs(ExportLogsServiceRequest { resource_logs: vec![resource] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Encoding; 2] = [Encoding::Protobuf, Encoding::Json];

    #[test]
    fn what_was_written_is_read_again_in_both_encodings() {
        let names = ["1", "\"2\""];
        for encoding in BOTH {
            for (signal, request) in [
                (Signal::Traces, Request::traces(&names)),
                (Signal::Metrics, Request::metrics(&names)),
                (Signal::Logs, Request::logs(&names)),
            ] {
                let body = request.write(encoding);
                let read = Request::read(signal, encoding, &body).expect("what was written");
                assert_eq!(read, request, "{encoding:?}");
                assert_eq!(read.items().len(), 2);
            }
        }
    }

    #[test]
    fn items_are_the_library_s_json_of_what_is_told() {
        let spans = Request::traces(&["1"]).items();
        assert_eq!(spans, [json(&Span { name: "1".to_owned(), ..Span::default() })]);
        let points = Request::metrics(&["1"]).items();
        assert!(points[0].starts_with(r#"{"metric":"1","point":{"#), "{points:?}");
        assert!(points[0].ends_with(r#""asInt":0}}"#), "{points:?}");
        let records = Request::logs(&["1"]).items();
        assert!(records[0].contains(r#""body":{"stringValue":"1"}"#), "{records:?}");
    }

    #[test]
    fn equal_points_of_two_metrics_are_two_items() {
        assert_ne!(Request::metrics(&["1"]).items(), Request::metrics(&["2"]).items());
    }

    #[test]
    fn the_list_of_resources_may_be_left_out() {
        for encoding in BOTH {
            let nothing = if encoding == Encoding::Json { "{ }" } else { "" };
            for signal in Signal::ALL {
                let request = Request::read(signal, encoding, nothing.as_bytes());
                assert_eq!(request.expect("an empty request").resources(), [""; 0]);
            }
        }
    }

    /// The library's JSON does not support all of Protobuf's JSON mapping.
    #[test]
    fn metrics_of_which_the_library_would_read_but_a_part_are_no_request() {
        for data in [
            r#""histogram":{"dataPoints":[{"count":"1","bucketCounts":["1"]}]}"#,
            r#""gauge":{"dataPoints":[{"asInt":"1"}]}"#,
            r#""sum":{"dataPoints":[{"asInt":"1"}]}"#,
        ] {
            let body = format!(
                r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"a",{data}}}]}}]}}]}}"#
            );
            let read = Request::read(Signal::Metrics, Encoding::Json, body.as_bytes());
            assert_eq!(read, None, "{data}");
        }
    }

    #[test]
    fn what_does_not_decode_is_no_request() {
        for encoding in BOTH {
            for signal in Signal::ALL {
                assert_eq!(Request::read(signal, encoding, b"[1,2]"), None);
            }
        }
    }
}
