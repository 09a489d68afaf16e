//! The local collector's responses to agents.

use std::borrow::Cow;
use std::io::Write;

use serde::Serialize;

use crate::payload::encoding::Encoding;
use crate::payload::ledger::Refusal;

/// A response that is ready to send.
#[derive(Debug)]
pub struct Response {
    status: &'static str,
    allow: Option<&'static str>,
    /// Whether the client must close the connection, because the start of its next request is unknown.
    is_last: bool,
    encoding: Encoding,
    body: Cow<'static, [u8]>,
}

/// Why a request is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The count to which the request adds.
    pub refusal: Refusal,
    /// The text for the client.
    pub reason: &'static str,
    /// `None` for the usual status of the refusal.
    status: Option<&'static str>,
}

impl Rejection {
    pub fn new(refusal: Refusal, reason: &'static str) -> Self {
        Self { refusal, reason, status: None }
    }

    /// Replaces the status of the response.
    pub fn with_status(self, status: &'static str) -> Self {
        Self { status: Some(status), ..self }
    }
}

/// The format of responses to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFormat {
    Thundra,
    /// OTLP, in the encoding of the request ("OTLP Specification", OTLP/HTTP Response).
    Otlp(Encoding),
}

impl Response {
    /// The status is exactly 200, because the agent for Node.js counts only 200 as success.
    pub const ACCEPTED: Self = Self {
        status: "200 OK",
        allow: None,
        is_last: false,
        encoding: Encoding::Json,
        body: Cow::Borrowed(b"{}"),
    };

    /// The response to an accepted report. An OTLP message without fields is a complete success.
    pub fn accepted(format: ResponseFormat) -> Self {
        match format {
            ResponseFormat::Thundra | ResponseFormat::Otlp(Encoding::Json) => Self::ACCEPTED,
            ResponseFormat::Otlp(Encoding::Protobuf) => {
                Self { encoding: Encoding::Protobuf, body: Cow::Borrowed(b""), ..Self::ACCEPTED }
            }
        }
    }

    pub fn ok(body: &impl Serialize) -> Self {
        Self { body: json(body).into(), ..Self::ACCEPTED }
    }

    pub fn refused(rejection: &Rejection, format: ResponseFormat) -> Self {
        let Rejection { refusal, reason: why, status } = *rejection;
        let status = status.unwrap_or_else(|| status_of(refusal, format));
        let is_last = refusal == Refusal::Malformed;
        let (encoding, body) = match format {
            ResponseFormat::Thundra => (Encoding::Json, json(&ErrorBody { error: why })),
            ResponseFormat::Otlp(Encoding::Json) => {
                (Encoding::Json, json(&Status { message: why }))
            }
            ResponseFormat::Otlp(Encoding::Protobuf) => (Encoding::Protobuf, status_message(why)),
        };
        Self { status, allow: None, is_last, encoding, body: body.into() }
    }

    /// Adds the method that the path accepts.
    pub fn allowing(self, method: &'static str) -> Self {
        Self { allow: Some(method), ..self }
    }

    /// Makes the client close the connection.
    pub fn closing(self) -> Self {
        Self { is_last: true, ..self }
    }

    /// Whether the client must close the connection.
    pub fn is_last(&self) -> bool {
        self.is_last
    }

    /// Appends the response as HTTP/1.1. `has_body` is false in the response to HEAD. `connection` is the value
    /// of the header with that name.
    pub fn write(&self, to: &mut Vec<u8>, has_body: bool, connection: Option<&str>) {
        let Self { status, allow, encoding, body, .. } = self;
        let fields = [
            ("HTTP/1.1 ", Some(*status)),
            ("\r\nContent-Type: ", Some(encoding.media_type())),
            ("\r\nAllow: ", *allow),
            ("\r\nConnection: ", connection),
        ];
        for (name, value) in fields {
            let Some(value) = value else { continue };
            to.extend_from_slice(name.as_bytes());
            to.extend_from_slice(value.as_bytes());
        }
        let length = body.len();
        // Memory takes any number of bytes.
        let _ = write!(to, "\r\nContent-Length: {length}\r\n\r\n");
        if has_body {
            to.extend_from_slice(body);
        }
    }
}

fn status_of(refusal: Refusal, format: ResponseFormat) -> &'static str {
    match refusal {
        Refusal::Full if format == ResponseFormat::Thundra => "429 Too Many Requests",
        // Not 429, because SDKs retry it for up to 10 s, in the flush at the end of the invocation. With a
        // Retry-After, some give up at once, and others wait for that time.
        Refusal::Full | Refusal::TooLarge => "413 Content Too Large",
        Refusal::Malformed | Refusal::Tls => "400 Bad Request",
        Refusal::UnknownPath | Refusal::NoRemote => "404 Not Found",
        Refusal::WrongMethod => "405 Method Not Allowed",
        Refusal::UnknownMediaType => "415 Unsupported Media Type",
        Refusal::Http2 => "505 HTTP Version Not Supported",
        Refusal::Failed => "500 Internal Server Error",
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

/// `google.rpc.Status`. OTLP uses only its message.
#[derive(Serialize)]
struct Status<'a> {
    message: &'a str,
}

/// A [`Status`] in protobuf: field 2, the message, with its length.
fn status_message(message: &str) -> Vec<u8> {
    const MESSAGE: u8 = 2 << 3 | 2;
    // Longer than all existing messages, and short enough for a length of one byte.
    const BYTES_MAX: usize = 0x7f;
    let message = &message.as_bytes()[..message.len().min(BYTES_MAX)];
    [&[MESSAGE, message.len().to_le_bytes()[0]], message].concat()
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("names, texts and numbers serialise")
}

#[cfg(test)]
mod tests {
    use super::*;
    use local_lambda::prost::Message;

    /// From `google/rpc/status.proto`.
    #[derive(Message)]
    #[prost(prost_path = "::local_lambda::prost")]
    struct RpcStatus {
        #[prost(string, tag = "2")]
        message: String,
    }

    fn refused(refusal: Refusal, format: ResponseFormat) -> Response {
        Response::refused(&Rejection::new(refusal, "no"), format)
    }

    #[track_caller]
    fn check(response: &Response, bytes: &str) {
        let mut written = Vec::new();
        response.write(&mut written, true, None);
        assert_eq!(String::from_utf8(written).unwrap(), bytes);
    }

    #[test]
    fn responses_are_json_with_a_length() {
        check(
            &Response::ACCEPTED,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        );
        check(
            &refused(Refusal::WrongMethod, ResponseFormat::Thundra).allowing("POST"),
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: application/json\r\nAllow: POST\r\n\
             Content-Length: 14\r\n\r\n{\"error\":\"no\"}",
        );
    }

    #[test]
    fn otlp_responses_have_the_encoding_of_the_request() {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        check(&Response::accepted(ResponseFormat::Otlp(Encoding::Protobuf)), head);
        for refusal in Refusal::ALL {
            let response = refused(refusal, ResponseFormat::Otlp(Encoding::Protobuf));
            let status = RpcStatus::decode(&*response.body).unwrap();
            assert_eq!(status.message, "no");
            let response = refused(refusal, ResponseFormat::Otlp(Encoding::Json));
            assert_eq!(&*response.body, br#"{"message":"no"}"#);
        }
    }

    /// "OTLP Specification", OTLP/HTTP Response, Retryable Response Codes.
    #[test]
    fn no_refusal_makes_an_sdk_retry_within_the_invocation() {
        for refusal in Refusal::ALL {
            let status = |format| refused(refusal, format).status;
            let is_retried =
                |status: &str| ["429", "502", "503", "504"].iter().any(|it| status.starts_with(it));
            assert!(!is_retried(status(ResponseFormat::Otlp(Encoding::Json))), "{refusal:?}");
            assert_eq!(is_retried(status(ResponseFormat::Thundra)), refusal == Refusal::Full);
        }
    }
}
