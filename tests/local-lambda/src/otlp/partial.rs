//! The answer of an OTLP receiver that accepts only a part of a request.

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use serde_json::json;

use super::{Encoding, Signal};

pub struct Partial<'a> {
    /// How many items it rejects, and why.
    pub rejected: i64,
    pub message: &'a str,
}

impl Partial<'_> {
    pub fn write(&self, signal: Signal, encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Protobuf => protobuf(signal, self.rejected, self.message.to_owned()),
            Encoding::Json => json(signal, self.rejected, self.message),
        }
    }
}

fn protobuf(signal: Signal, count: i64, error_message: String) -> Vec<u8> {
    match signal {
        Signal::Traces => {
            let partial = ExportTracePartialSuccess { rejected_spans: count, error_message };
            ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        }
        Signal::Metrics => {
            let partial =
                ExportMetricsPartialSuccess { rejected_data_points: count, error_message };
            ExportMetricsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        }
        Signal::Logs => {
            let partial = ExportLogsPartialSuccess { rejected_log_records: count, error_message };
            ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        }
    }
}

/// Not by the library, because it writes a count as a number. Protobuf's JSON has 64-bit numbers as strings.
fn json(signal: Signal, count: i64, message: &str) -> Vec<u8> {
    let rejected = match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Metrics => "rejectedDataPoints",
        Signal::Logs => "rejectedLogRecords",
    };
    let partial = json!({ rejected: count.to_string(), "errorMessage": message });
    json!({ "partialSuccess": partial }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(signal: Signal, encoding: Encoding, expected: &[u8]) {
        let written = Partial { rejected: 2, message: "why" }.write(signal, encoding);
        assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(expected));
    }

    #[test]
    fn a_partial_success_counts_what_its_signal_is_made_of() {
        for (signal, name) in [
            (Signal::Traces, "rejectedSpans"),
            (Signal::Metrics, "rejectedDataPoints"),
            (Signal::Logs, "rejectedLogRecords"),
        ] {
            check(signal, Encoding::Protobuf, b"\x0a\x07\x08\x02\x12\x03why");
            let json = format!(r#"{{"partialSuccess":{{"errorMessage":"why","{name}":"2"}}}}"#);
            check(signal, Encoding::Json, json.as_bytes());
        }
    }
}
