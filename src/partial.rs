//! What a receiver of OTLP did not keep of what it took: its answer may hold a partial success
//! ("OTLP Specification", Partial Success).

use std::str;

use crate::encoding::Encoding;
use crate::items::skip_string;
use crate::protobuf::{Malformed, Value, next_field};

/// How many items it rejected, by its answer in this encoding; of one that makes no sense, none.
pub fn rejected(encoding: Encoding, answer: &[u8]) -> u64 {
    match encoding {
        Encoding::Protobuf => rejected_in_message(answer).ok().flatten(),
        Encoding::Json => rejected_in_object(answer),
    }
    .unwrap_or_default()
}

/// `ExportTraceServiceResponse` and its siblings: the first field is the partial success, and of that
/// the first is the number.
fn rejected_in_message(answer: &[u8]) -> Result<Option<u64>, Malformed> {
    let Some(Value::Bytes(partial)) = first_of(answer)? else { return Ok(None) };
    Ok(match first_of(partial)? {
        // A negative number is written as one that is too large for the type.
        Some(Value::Varint(count)) => Some(count).filter(|it| i64::try_from(*it).is_ok()),
        _ => None,
    })
}

/// The last field of number 1: that of several counts ("Encoding", protobuf.dev).
fn first_of(mut message: &[u8]) -> Result<Option<Value<'_>>, Malformed> {
    let mut found = None;
    while let Some(field) = next_field(&mut message)? {
        if field.number == 1 {
            found = Some(field.value);
        }
    }
    Ok(found)
}

/// The value of the member that tells it, by whichever of the three names, and wherever it stands: no
/// other begins with that word.
fn rejected_in_object(answer: &[u8]) -> Option<u64> {
    let mut rest = answer.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'"' {
            continue;
        }
        let is_it = rest.as_slice().starts_with(b"rejected");
        skip_string(&mut rest);
        let value = rest.as_slice().trim_ascii_start().strip_prefix(b":").filter(|_| is_it);
        if let Some(value) = value {
            return number(value);
        }
    }
    None
}

/// Numbers of 64 bits are strings, and may be numbers too (protobuf.dev, "JSON format").
fn number(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii_start();
    let digits = value.strip_prefix(b"\"").unwrap_or(value);
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let count: i64 = str::from_utf8(&digits[..end]).ok()?.parse().ok()?;
    u64::try_from(count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use sandbox::opentelemetry_proto::tonic::collector::logs::v1::{
        ExportLogsPartialSuccess, ExportLogsServiceResponse,
    };
    use sandbox::prost::Message;

    fn response(rejected_log_records: i64) -> ExportLogsServiceResponse {
        let error_message = "because".to_owned();
        let partial_success =
            Some(ExportLogsPartialSuccess { rejected_log_records, error_message });
        ExportLogsServiceResponse { partial_success }
    }

    #[test]
    fn a_partial_success_is_read_in_both_encodings() {
        for (count, rejected_items) in [(3, 3), (0, 0), (-1, 0), (i64::MAX, i64::MAX as u64)] {
            let answer = response(count).encode_to_vec();
            assert_eq!(rejected(Encoding::Protobuf, &answer), rejected_items);
        }
        for member in ["rejectedSpans", "rejectedDataPoints", "rejectedLogRecords"] {
            for number in ["3", r#""3""#] {
                let answer =
                    format!(r#"{{"partialSuccess":{{"errorMessage":"x","{member}":{number}}}}}"#);
                assert_eq!(rejected(Encoding::Json, answer.as_bytes()), 3, "{answer}");
            }
        }
    }

    #[test]
    fn a_message_that_quotes_one_is_none() {
        let quoting = r#"{"partialSuccess":{"errorMessage":"\"rejectedSpans\":3, rejected"}}"#;
        assert_eq!(rejected(Encoding::Json, quoting.as_bytes()), 0);
        let both = r#"{"partialSuccess" : {"errorMessage" : "rejected" , "rejectedSpans" : 2 } }"#;
        assert_eq!(rejected(Encoding::Json, both.as_bytes()), 2);
    }

    #[test]
    fn an_answer_without_one_or_without_sense_rejects_nothing() {
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
