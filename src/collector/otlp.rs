//! What shows of a request of OTLP at its ends, without a look inside: whether a receiver can know
//! what to make of it ("OTLP Specification", OTLP/HTTP Request).

use super::Refused;
use crate::body::is_whole_json;
use crate::encoding::Encoding;
use crate::ledger::Refusal;
use crate::payload::Headers;
use crate::protobuf::is_message;
use crate::signal::Signal;

/// What each member of a gzip file begins with (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Whether a request holds nothing. A chunked one `may_be_cut`, and is looked at from end to end.
pub fn check(
    signal: Signal,
    headers: &Headers,
    body: &[u8],
    may_be_cut: bool,
) -> Result<bool, Refused> {
    let unknown = |why| Err(Refused(Refusal::UnknownMediaType, why));
    let Some(encoding) = headers.encoding() else {
        return unknown("the content type is neither application/x-protobuf nor application/json");
    };
    let why = if let Some(coding) = &headers.content_encoding {
        if !coding.as_bytes().eq_ignore_ascii_case(b"gzip") {
            return unknown("the content encoding is not gzip");
        }
        (!body.is_empty() && !body.starts_with(&GZIP)).then_some("a body that is not gzip")
    } else if encoding == Encoding::Protobuf {
        (!is_message(body)).then_some("a body that is no message of protobuf, or not a whole one")
    } else {
        let is_object = is_object(body) && (!may_be_cut || is_whole_json(body));
        (!is_object).then_some("a body that is no JSON object, or not a whole one")
    };
    match why {
        Some(why) => Err(Refused(Refusal::Malformed, why)),
        None => Ok(body.is_empty() || encoding == Encoding::Json && is_empty_object(signal, body)),
    }
}

fn is_object(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    body.starts_with(b"{") && body.ends_with(b"}")
}

/// Without a member, or with an empty array as the one that there is.
fn is_empty_object(signal: Signal, body: &[u8]) -> bool {
    // Long enough for both, white space included; what is longer holds something.
    const BYTES_MAX: usize = 64;
    let opening = signal.json_opening().bytes().chain(*b"]}");
    let bare = || body.iter().copied().filter(|it| !it.is_ascii_whitespace());
    body.len() <= BYTES_MAX && (bare().eq(*b"{}") || bare().eq(opening))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::HeaderValue;

    const PROTOBUF: &str = "application/x-protobuf";
    const JSON: &str = "application/json; charset=utf-8";

    fn headers(content_type: &'static str, coding: Option<&'static str>) -> Headers {
        Headers {
            content_type: Some(HeaderValue::from_static(content_type)),
            content_encoding: coding.map(HeaderValue::from_static),
            ..Headers::default()
        }
    }

    /// How it is refused, or whether it holds nothing.
    fn checked(
        content_type: &'static str,
        coding: Option<&'static str>,
        body: &[u8],
        may_be_cut: bool,
    ) -> Result<bool, Refusal> {
        let headers = headers(content_type, coding);
        check(Signal::Traces, &headers, body, may_be_cut).map_err(|Refused(refusal, _)| refusal)
    }

    #[test]
    fn each_encoding_and_gzip_of_it_is_taken() {
        let gzip = Some("GZIP");
        for (content_type, coding, body) in [
            (PROTOBUF, None, b"\x0a\x01x".as_slice()),
            (PROTOBUF, gzip, b"\x1f\x8b\x08"),
            (JSON, None, br#" {"resourceSpans":[{}]} "#),
            (JSON, gzip, b"\x1f\x8b\x08"),
        ] {
            for may_be_cut in [false, true] {
                assert_eq!(checked(content_type, coding, body, may_be_cut), Ok(false));
            }
        }
    }

    #[test]
    fn what_holds_nothing_is_known() {
        for (content_type, body) in
            [(PROTOBUF, ""), (JSON, "{}"), (JSON, " { } "), (JSON, "{ \"resourceSpans\" : [ ] }\n")]
        {
            assert_eq!(checked(content_type, None, body.as_bytes(), true), Ok(true), "{body}");
        }
        assert_eq!(checked(PROTOBUF, Some("gzip"), b"", false), Ok(true));
        assert_eq!(checked(JSON, None, br#"{"resourceLogs":[]}"#, false), Ok(false));
    }

    #[test]
    fn what_is_written_or_encoded_otherwise_is_an_unknown_media_type() {
        for (content_type, coding) in [
            ("text/plain", None),
            ("application/grpc", None),
            (PROTOBUF, Some("zstd")),
            (JSON, Some("gzip, gzip")),
        ] {
            assert_eq!(checked(content_type, coding, b"", false), Err(Refusal::UnknownMediaType));
        }
        let none = check(Signal::Logs, &Headers::default(), b"", false);
        assert!(matches!(none, Err(Refused(Refusal::UnknownMediaType, _))));
    }

    #[test]
    fn what_is_cut_or_something_else_is_malformed() {
        for (content_type, coding, body, may_be_cut) in [
            (PROTOBUF, None, b"\x0a\x02x".as_slice(), false),
            (PROTOBUF, None, b"{}", false),
            (PROTOBUF, Some("gzip"), b"\x0a\x01x", false),
            (JSON, None, b"", false),
            (JSON, None, b"[]", false),
            (JSON, None, br#"{"resourceSpans":["#, false),
            (JSON, None, br#"{"resourceSpans":[{}"#, true),
        ] {
            let checked = checked(content_type, coding, body, may_be_cut);
            assert_eq!(checked, Err(Refusal::Malformed), "{body:?}");
        }
    }
}
