//! Checks an OTLP request without parsing its items: whether a receiver can understand it ("OTLP
//! Specification", OTLP/HTTP Request).

use std::borrow::Cow;

use crate::local::body::Content;
use crate::local::head::Head;
use crate::local::response::Rejection;
use crate::payload::encoding::Encoding;
use crate::payload::json_scan;
use crate::payload::ledger::Refusal;
use crate::payload::protobuf::is_message;
use crate::payload::route::Headers;
use crate::payload::signal::Signal;

/// The start of each gzip member (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The codings of a body, as one list in the order in which they were applied. `None` for a plain body.
/// `identity` is dropped, because it is no coding and would prevent merging (RFC 9110, 8.4.1).
pub fn codings<'a>(head: &Head<'a>) -> Option<Cow<'a, [u8]>> {
    let mut codings: Option<Cow<[u8]>> = None;
    let all = head.members("Content-Encoding");
    for coding in all.filter(|it| !it.eq_ignore_ascii_case(b"identity")) {
        codings = Some(match codings {
            None => coding.into(),
            Some(before) => [&before, &b", "[..], coding].concat().into(),
        });
    }
    codings
}

/// Checks the headers and the body of an OTLP request. `may_be_cut` is true if the body may be incomplete.
///
/// # Errors
/// The content type or encoding is unknown, or the body does not match it.
pub fn inspect(
    signal: Signal,
    headers: &Headers,
    body: &[u8],
    may_be_cut: bool,
) -> Result<Content, Rejection> {
    let unknown = |why| Err(Rejection::new(Refusal::UnknownMediaType, why));
    let Some(encoding) = headers.encoding() else {
        return unknown("the content type is neither application/x-protobuf nor application/json");
    };
    let why = if let Some(codings) = &headers.content_encoding {
        // Any coding passes: only the remote knows which ones it can decode.
        if !codings.as_bytes().iter().all(|it| is_of_a_list(*it)) {
            return unknown("the content encoding is not a list of codings");
        }
        let is_cut = !body.is_empty() && is_gzip(codings.as_bytes()) && !body.starts_with(&GZIP);
        is_cut.then_some("a body that is not gzip")
    } else if encoding == Encoding::Protobuf {
        (!is_message(body)).then_some("a body that is no message of protobuf, or not a whole one")
    } else {
        let is_object = json_scan::is_object(body) && (!may_be_cut || json_scan::is_whole(body));
        (!is_object).then_some("a body that is no JSON object, or not a whole one")
    };
    if let Some(why) = why {
        return Err(Rejection::new(Refusal::Malformed, why));
    }
    let is_json = encoding == Encoding::Json && headers.content_encoding.is_none();
    let is_nothing = body.is_empty() || is_json && json_scan::is_empty_object(signal, body);
    Ok(if is_nothing { Content::Empty } else { Content::Items })
}

/// Whether a list of codings may contain this byte: in a token or between two tokens (RFC 9110, 5.6).
fn is_of_a_list(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, ".contains(&byte)
}

/// Whether the last coding is gzip. The last one is the outermost (RFC 9110, 8.4.1.3).
fn is_gzip(codings: &[u8]) -> bool {
    let last = codings.rsplit(|it| *it == b',').next().unwrap_or_default().trim_ascii();
    last.eq_ignore_ascii_case(b"gzip") || last.eq_ignore_ascii_case(b"x-gzip")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::head::Header;
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

    /// The content of a request, or its refusal.
    fn checked(
        content_type: &'static str,
        coding: Option<&'static str>,
        body: &[u8],
        may_be_cut: bool,
    ) -> Result<Content, Refusal> {
        let headers = headers(content_type, coding);
        inspect(Signal::Traces, &headers, body, may_be_cut).map_err(|it| it.refusal)
    }

    #[test]
    fn each_encoding_is_accepted_with_each_coding() {
        let gzip = Some("GZIP");
        for (content_type, coding, body) in [
            (PROTOBUF, None, b"\x0a\x01x".as_slice()),
            (PROTOBUF, gzip, b"\x1f\x8b\x08"),
            (JSON, None, br#" {"resourceSpans":[{}]} "#),
            (JSON, gzip, b"\x1f\x8b\x08"),
            (PROTOBUF, Some("x-GZIP"), b"\x1f\x8b\x08"),
            (PROTOBUF, Some("zstd"), b"\x28\xb5\x2f\xfd"),
            (JSON, Some("deflate"), b"\x78\x9c"),
            (JSON, Some("br"), b"\x0b"),
            (PROTOBUF, Some("zstd, gzip"), b"\x1f\x8b\x08"),
            (PROTOBUF, Some("gzip,zstd"), b"\x28\xb5\x2f\xfd"),
        ] {
            for may_be_cut in [false, true] {
                assert_eq!(checked(content_type, coding, body, may_be_cut), Ok(Content::Items));
            }
        }
    }

    #[test]
    fn several_codings_become_one_list_without_identity() {
        for (values, list) in [
            (&[] as &[&'static str], None),
            (&[""], None),
            (&["Identity", " , "], None),
            (&["gzip"], Some("gzip")),
            (&["GZIP "], Some("GZIP")),
            (&["zstd,identity", "gzip"], Some("zstd, gzip")),
        ] {
            let header =
                |it: &&'static str| Header { name: "content-encoding", value: it.as_bytes() };
            let headers: Vec<Header> = values.iter().map(header).collect();
            let all = codings(&Head { method: "POST", target: "/", headers: &headers });
            assert_eq!(all.as_deref(), list.map(str::as_bytes), "{values:?}");
        }
    }

    #[test]
    fn a_body_without_items_is_recognised_as_empty() {
        for (content_type, body) in
            [(PROTOBUF, ""), (JSON, "{}"), (JSON, " { } "), (JSON, "{ \"resourceSpans\" : [ ] }\n")]
        {
            assert_eq!(
                checked(content_type, None, body.as_bytes(), true),
                Ok(Content::Empty),
                "{body}"
            );
        }
        assert_eq!(checked(PROTOBUF, Some("gzip"), b"", false), Ok(Content::Empty));
        assert_eq!(checked(JSON, None, br#"{"resourceLogs":[]}"#, false), Ok(Content::Items));
        assert_eq!(
            checked(JSON, Some("snappy"), b"{}", false),
            Ok(Content::Items),
            "the extension does not decode it"
        );
    }

    #[test]
    fn any_other_content_type_or_coding_is_an_unknown_media_type() {
        for (content_type, coding) in [
            ("text/plain", None),
            ("application/grpc", None),
            (PROTOBUF, Some("zstd;q=1")),
            (JSON, Some("\"gzip\"")),
        ] {
            assert_eq!(checked(content_type, coding, b"", false), Err(Refusal::UnknownMediaType));
        }
        let none = inspect(Signal::Logs, &Headers::default(), b"", false);
        assert_eq!(none.map_err(|it| it.refusal), Err(Refusal::UnknownMediaType));
    }

    #[test]
    fn a_truncated_body_or_one_of_another_format_is_malformed() {
        for (content_type, coding, body, may_be_cut) in [
            (PROTOBUF, None, b"\x0a\x02x".as_slice(), false),
            (PROTOBUF, None, b"{}", false),
            (PROTOBUF, Some("gzip"), b"\x0a\x01x", false),
            (PROTOBUF, Some("X-Gzip"), b"\x0a\x01x", false),
            (PROTOBUF, Some("zstd ,gzip"), b"\x28\xb5\x2f\xfd", false),
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
