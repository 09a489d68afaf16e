//! What a receiver of OTLP did not keep of what it took: its answer may hold a partial success
//! ("OTLP Specification", Partial Success).

use std::str;

use crate::encoding::Encoding;
use crate::items::skip_string;
use crate::protobuf::{Malformed, Value, next_field};

/// How many items it rejected, by its whole answer in this encoding; of one that makes no sense, none.
pub fn rejected(encoding: Encoding, answer: &[u8]) -> u64 {
    match encoding {
        Encoding::Protobuf => rejected_in_message(answer).ok().flatten(),
        Encoding::Json => rejected_in_object(answer),
    }
    .unwrap_or_default()
}

/// `ExportTraceServiceResponse` and its siblings: the first field is the partial success, and of that
/// the first is the number. A message that comes in pieces is all of them, and of a number that comes
/// again the last counts ("Encoding", protobuf.dev).
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
    // A negative number is written as one that is too large for the type.
    Ok(count.filter(|it| i64::try_from(*it).is_ok()))
}

/// The value of the member that tells it, by whichever of the names, and wherever it stands. Both ways
/// to write a name are right (protobuf.dev, "JSON format").
fn rejected_in_object(answer: &[u8]) -> Option<u64> {
    const SPANS: [&[u8]; 2] = [b"rejectedSpans\"", b"rejected_spans\""];
    const POINTS: [&[u8]; 2] = [b"rejectedDataPoints\"", b"rejected_data_points\""];
    const RECORDS: [&[u8]; 2] = [b"rejectedLogRecords\"", b"rejected_log_records\""];
    let mut rest = answer.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'"' {
            continue;
        }
        let mut names = SPANS.iter().chain(&POINTS).chain(&RECORDS);
        let is_it = names.any(|name| rest.as_slice().starts_with(name));
        skip_string(&mut rest);
        let value = rest.as_slice().trim_ascii_start().strip_prefix(b":").filter(|_| is_it);
        if let Some(count) = value.and_then(number) {
            return Some(count);
        }
    }
    None
}

/// Numbers of 64 bits are strings, and may be numbers too (protobuf.dev, "JSON format").
fn number(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii_start();
    let digits = value.strip_prefix(b"\"").unwrap_or(value);
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    if !matches!(digits[end], b'"' | b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t') {
        return None;
    }
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
    fn a_message_that_quotes_one_is_none() {
        let quoting = r#"{"partialSuccess":{"errorMessage":"\"rejectedSpans\":3, rejected"}}"#;
        assert_eq!(rejected(Encoding::Json, quoting.as_bytes()), 0);
        let both = r#"{"partialSuccess" : {"errorMessage" : "rejected" , "rejectedSpans" : 2 } }"#;
        assert_eq!(rejected(Encoding::Json, both.as_bytes()), 2);
    }

    #[test]
    fn what_is_no_number_and_what_is_called_otherwise_is_passed_over() {
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
    fn a_message_in_pieces_is_all_of_them_and_one_that_is_cut_is_none() {
        let pieces = b"\x0a\x02\x08\x03\x0a\x03\x12\x01x";
        assert_eq!(rejected(Encoding::Protobuf, pieces), 3);
        let again = b"\x0a\x02\x08\x03\x0a\x02\x08\x05";
        assert_eq!(rejected(Encoding::Protobuf, again), 5);
        assert_eq!(rejected(Encoding::Protobuf, &pieces[..5]), 0);
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
