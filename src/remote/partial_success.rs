//! Reads how many items a receiver of OTLP rejected in a request that it accepted ("OTLP Specification",
//! Partial Success).

use serde_json::value::RawValue;

use crate::payload::encoding::Encoding;
use crate::payload::json::members;
use crate::payload::protobuf::{Malformed, Value, next_field};

/// The number of rejected items in a complete response with this encoding. Zero for an invalid response.
pub fn rejected(encoding: Encoding, answer: &[u8]) -> u64 {
    match encoding {
        Encoding::Protobuf => rejected_in_message(answer).ok().flatten(),
        Encoding::Json => rejected_in_object(answer),
    }
    .unwrap_or_default()
}

/// Reads `ExportTraceServiceResponse` and those of other signals. Field 1 is the partial success, and field 1
/// of that is the number. A repeated message is merged, and the last of repeated numbers counts ("Encoding",
/// protobuf.dev).
fn rejected_in_message(mut answer: &[u8]) -> Result<Option<u64>, Malformed> {
    let mut count = None;
    while let Some(field) = next_field(&mut answer)? {
        let (1, Value::Bytes(mut partial)) = (field.number, field.value) else { continue };
        while let Some(field) = next_field(&mut partial)? {
            if let (1, Value::Varint(number)) = (field.number, field.value) {
                count = Some(number);
            }
        }
    }
    // Protobuf encodes a negative number as one above `i64::MAX`.
    Ok(count.filter(|it| i64::try_from(*it).is_ok()))
}

/// Reads the number of rejected items from a JSON response. Both spellings of a name are valid (protobuf.dev, "JSON format").
fn rejected_in_object(answer: &[u8]) -> Option<u64> {
    const NAMES: [&str; 6] = [
        "rejectedSpans",
        "rejected_spans",
        "rejectedDataPoints",
        "rejected_data_points",
        "rejectedLogRecords",
        "rejected_log_records",
    ];
    let [lower_camel, snake] = members(answer, ["partialSuccess", "partial_success"]);
    let partial = lower_camel.or(snake)?;
    members(partial.get().as_bytes(), NAMES).into_iter().flatten().find_map(number)
}

/// Parses a 64-bit number. JSON may have it as a string or as a number (protobuf.dev, "JSON format").
fn number(value: &RawValue) -> Option<u64> {
    let count: i64 = value.get().trim_matches('"').parse().ok()?;
    u64::try_from(count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use local_lambda::opentelemetry_proto::tonic::collector::logs::v1::{
        ExportLogsPartialSuccess, ExportLogsServiceResponse,
    };
    use local_lambda::prost::Message;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn response(rejected_log_records: i64) -> ExportLogsServiceResponse {
        let error_message = "because".to_owned();
        let partial_success =
            Some(ExportLogsPartialSuccess { rejected_log_records, error_message });
        ExportLogsServiceResponse { partial_success }
    }

    #[test]
    fn a_partial_success_is_parsed_in_both_encodings() {
        for (count, rejected_items) in [(3, 3), (0, 0), (-1, 0), (i64::MAX, i64::MAX as u64)] {
            let answer = response(count).encode_to_vec();
            assert_eq!(rejected(Encoding::Protobuf, &answer), rejected_items);
        }
        let members =
            ["rejectedSpans", "rejected_spans", "rejectedDataPoints", "rejectedLogRecords"];
        for member in members {
            for number in ["3", r#""3""#] {
                let answer =
                    format!(r#"{{"partialSuccess":{{"errorMessage":"x","{member}":{number}}}}}"#);
                assert_eq!(rejected(Encoding::Json, answer.as_bytes()), 3, "{answer}");
            }
        }
    }

    #[test]
    fn a_message_that_quotes_a_partial_success_is_none() {
        let quoting = r#"{"partialSuccess":{"errorMessage":"\"rejectedSpans\":3, rejected"}}"#;
        assert_eq!(rejected(Encoding::Json, quoting.as_bytes()), 0);
        let both = r#"{"partialSuccess" : {"errorMessage" : "rejected" , "rejectedSpans" : 2 } }"#;
        assert_eq!(rejected(Encoding::Json, both.as_bytes()), 2);
    }

    #[test]
    fn members_with_other_names_or_without_a_number_are_ignored() {
        for (answer, expected) in [
            (r#"{"rejected_at":"2026-01-01","partialSuccess":{"rejectedSpans":"3"}}"#, 3),
            (r#"{"partialSuccess":{"rejectedSpans":null,"rejectedSpans":"3"}}"#, 3),
            (r#"{"partialSuccess":{"rejectedSpans":1e2}}"#, 0),
            (r#"{"partialSuccess":{"rejectedSpans":-3}}"#, 0),
            (r#"{"partialSuccess":{"rejectedSpans":"12"#, 0),
        ] {
            assert_eq!(rejected(Encoding::Json, answer.as_bytes()), expected, "{answer}");
        }
    }

    #[test]
    fn a_repeated_message_is_merged_and_a_truncated_one_is_ignored() {
        let pieces = b"\x0a\x02\x08\x03\x0a\x03\x12\x01x";
        assert_eq!(rejected(Encoding::Protobuf, pieces), 3);
        let again = b"\x0a\x02\x08\x03\x0a\x02\x08\x05";
        assert_eq!(rejected(Encoding::Protobuf, again), 5);
        assert_eq!(rejected(Encoding::Protobuf, &pieces[..5]), 0);
    }

    #[test]
    fn a_response_without_a_valid_partial_success_rejects_nothing() {
        let answers = [
            "",
            "{}",
            r#"{"partialSuccess":{}}"#,
            r#"{"partialSuccess":null}"#,
            "[]",
            "OK",
            "<html>",
        ];
        for answer in answers {
            for encoding in [Encoding::Protobuf, Encoding::Json] {
                assert_eq!(rejected(encoding, answer.as_bytes()), 0, "{answer}");
            }
        }
        let none = ExportLogsServiceResponse::default().encode_to_vec();
        assert_eq!(rejected(Encoding::Protobuf, &none), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = rejected(Encoding::Protobuf, &bytes);
            let _ = rejected(Encoding::Json, &bytes);
        }
    }
}
