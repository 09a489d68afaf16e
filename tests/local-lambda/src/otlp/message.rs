//! The contents of OTLP messages, below resources and scopes.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, metric::Data};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde::Serialize;

pub fn spans(traces: &ExportTraceServiceRequest) -> impl Iterator<Item = &Span> {
    let scopes = traces.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| &scope.spans)
}

pub fn log_records(logs: &ExportLogsServiceRequest) -> impl Iterator<Item = &LogRecord> {
    let scopes = logs.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
    scopes.flat_map(|scope| &scope.log_records)
}

/// The points of all metrics as JSON, each with the name of its metric. Without the name, equal points of two
/// metrics would be the same item.
pub fn data_points(metrics: &ExportMetricsServiceRequest) -> Vec<String> {
    let named = self::metrics(metrics).flat_map(|metric| {
        let name = json(&metric.name);
        let points = metric.data.as_ref().map(points).unwrap_or_default();
        points.into_iter().map(move |point| format!(r#"{{"metric":{name},"point":{point}}}"#))
    });
    named.collect()
}

/// The points of one metric. Each kind of metric has another type of points.
fn points(data: &Data) -> Vec<String> {
    match data {
        Data::Gauge(gauge) => all_json(&gauge.data_points),
        Data::Sum(sum) => all_json(&sum.data_points),
        Data::Histogram(histogram) => all_json(&histogram.data_points),
        Data::ExponentialHistogram(histogram) => all_json(&histogram.data_points),
        Data::Summary(summary) => all_json(&summary.data_points),
    }
}

/// Whether the library has decoded all of the JSON. It silently drops points that it does not support, such as
/// a histogram with its counts as strings.
pub fn is_whole(metrics: &ExportMetricsServiceRequest) -> bool {
    let has_value = |it: &NumberDataPoint| it.value.is_some();
    self::metrics(metrics).all(|metric| match &metric.data {
        None => false,
        Some(Data::Gauge(gauge)) => gauge.data_points.iter().all(has_value),
        Some(Data::Sum(sum)) => sum.data_points.iter().all(has_value),
        Some(Data::Histogram(_) | Data::ExponentialHistogram(_) | Data::Summary(_)) => true,
    })
}

fn metrics(metrics: &ExportMetricsServiceRequest) -> impl Iterator<Item = &Metric> {
    let scopes = metrics.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    scopes.flat_map(|scope| &scope.metrics)
}

/// The library's JSON of a message. Equal messages have equal texts.
pub fn json(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("messages of OTLP serialise")
}

pub fn all_json(messages: &[impl Serialize]) -> Vec<String> {
    messages.iter().map(json).collect()
}
