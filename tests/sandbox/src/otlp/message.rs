//! What is in the messages of OTLP, below the resources and scopes that it is told of.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
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

/// The points of all metrics as JSON: each kind of metric has points of another type.
pub fn data_points(metrics: &ExportMetricsServiceRequest) -> Vec<String> {
    let scopes = metrics.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let data = scopes.flat_map(|scope| &scope.metrics).filter_map(|metric| metric.data.as_ref());
    let points = data.flat_map(|data| match data {
        Data::Gauge(gauge) => all_json(&gauge.data_points),
        Data::Sum(sum) => all_json(&sum.data_points),
        Data::Histogram(histogram) => all_json(&histogram.data_points),
        Data::ExponentialHistogram(histogram) => all_json(&histogram.data_points),
        Data::Summary(summary) => all_json(&summary.data_points),
    });
    points.collect()
}

/// As the library writes it: equal messages have equal texts.
pub fn json(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("messages of OTLP serialise")
}

fn all_json(messages: &[impl Serialize]) -> Vec<String> {
    messages.iter().map(json).collect()
}
