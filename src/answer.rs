//! What the local collector says to an agent.

use std::borrow::Cow;
use std::io::Write;

use serde::Serialize;
use tiny_http::{Method, Request, Response, StatusCode};

use crate::encoding::Encoding;
use crate::ledger::Refusal;
use crate::logging;
use crate::request::is_last;

/// An answer, ready to be sent.
#[derive(Debug)]
pub struct Answer {
    status: &'static str,
    allow: Option<&'static str>,
    /// Whether the client is to close the connection: where its next request starts is unknown.
    is_last: bool,
    encoding: Encoding,
    body: Cow<'static, [u8]>,
}

/// How an agent is to be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Thundra,
    /// In the encoding of the request ("OTLP Specification", OTLP/HTTP Response).
    Otlp(Encoding),
}

impl Answer {
    /// Exactly 200: Node's agent counts nothing else as success.
    pub const ACCEPTED: Self = Self {
        status: "200 OK",
        allow: None,
        is_last: false,
        encoding: Encoding::Json,
        body: Cow::Borrowed(b"{}"),
    };

    /// A message of OTLP without a field is that of a whole success.
    pub fn accepted(manner: Manner) -> Self {
        match manner {
            Manner::Thundra | Manner::Otlp(Encoding::Json) => Self::ACCEPTED,
            Manner::Otlp(Encoding::Protobuf) => {
                Self { encoding: Encoding::Protobuf, body: Cow::Borrowed(b""), ..Self::ACCEPTED }
            }
        }
    }

    pub fn ok(body: &impl Serialize) -> Self {
        Self { body: json(body).into(), ..Self::ACCEPTED }
    }

    pub fn refused(refusal: Refusal, why: &str, manner: Manner) -> Self {
        let status = match refusal {
            Refusal::Full if manner == Manner::Thundra => "429 Too Many Requests",
            // Not 429: exporters try that again, in the flush at the end of the invocation, for up to
            // 10 s; with a Retry-After some give up at once, and others sleep as long as it says.
            Refusal::Full | Refusal::TooLarge => "413 Content Too Large",
            Refusal::Malformed => "400 Bad Request",
            Refusal::UnknownPath | Refusal::NoRemote => "404 Not Found",
            Refusal::WrongMethod => "405 Method Not Allowed",
            Refusal::UnknownMediaType => "415 Unsupported Media Type",
        };
        let is_last = refusal == Refusal::Malformed;
        let (encoding, body) = match manner {
            Manner::Thundra => (Encoding::Json, json(&ErrorBody { error: why })),
            Manner::Otlp(Encoding::Json) => (Encoding::Json, json(&Status { message: why })),
            Manner::Otlp(Encoding::Protobuf) => (Encoding::Protobuf, status_message(why)),
        };
        Self { status, allow: None, is_last, encoding, body: body.into() }
    }

    /// With the method that would have been right.
    pub fn allowing(self, method: &'static str) -> Self {
        Self { allow: Some(method), ..self }
    }

    /// Sends the answer to a request whose body was read to its end. A client that is gone gets
    /// nothing, and that is no error.
    pub fn send(self, request: Request) {
        let bytes = self.to_bytes(&request);
        // Written here, in one piece: tiny_http's own responses add a date, which costs more than
        // the rest of the answer.
        let mut writer = request.into_writer();
        let sent = writer.write_all(&bytes).and_then(|()| writer.flush());
        if let Err(error) = sent {
            logging::debug!("cannot answer an agent: {error}");
        }
    }

    /// Sends the answer and gives up the connection, for a body that must not be read: neither it
    /// nor the request may be dropped (see `body::TOLD_LENGTH_MAX`), so both stay open and in
    /// memory, and with them two descriptors and one of tiny_http's threads, until the process
    /// ends.
    pub fn send_and_abandon(mut self, request: Request) {
        self.is_last = true;
        let bytes = self.to_bytes(&request);
        // Only an upgrade hands out the writer without dropping the body. An interim response goes
        // before the real one, since that of an upgrade has no length; clients skip it (RFC 9110,
        // 15.2).
        let mut stream = request.upgrade("none", Response::empty(StatusCode(100)));
        if let Err(error) = stream.write_all(&bytes).and_then(|()| stream.flush()) {
            logging::debug!("cannot answer an agent: {error}");
        }
        std::mem::forget(stream);
    }

    fn to_bytes(&self, request: &Request) -> Vec<u8> {
        let Self { status, allow, is_last: is_own_last, encoding, body } = self;
        let allow = allow.map(|it| format!("Allow: {it}\r\n")).unwrap_or_default();
        let is_last = *is_own_last || is_last(request);
        let close = if is_last { "Connection: close\r\n" } else { "" };
        let (media_type, length) = (encoding.media_type(), body.len());
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\
             {allow}{close}\r\n"
        );
        let mut bytes = head.into_bytes();
        if *request.method() != Method::Head {
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

/// `google.rpc.Status`, of which OTLP has use for the message only.
#[derive(Serialize)]
struct Status<'a> {
    message: &'a str,
}

/// A [`Status`] in protobuf: the message is field 2, and has a length.
fn status_message(message: &str) -> Vec<u8> {
    const MESSAGE: u8 = 2 << 3 | 2;
    // Longer than any that there is, and short enough for a length of one byte.
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
    use sandbox::prost::Message;
    use tiny_http::{Header, TestRequest};

    /// `google/rpc/status.proto`.
    #[derive(Message)]
    #[prost(prost_path = "::sandbox::prost")]
    struct RpcStatus {
        #[prost(string, tag = "2")]
        message: String,
    }

    #[track_caller]
    fn check(answer: &Answer, request: TestRequest, bytes: &str) {
        assert_eq!(String::from_utf8(answer.to_bytes(&request.into())).unwrap(), bytes);
    }

    #[test]
    fn answers_are_json_with_a_length() {
        check(
            &Answer::ACCEPTED,
            TestRequest::new(),
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        );
        check(
            &Answer::refused(Refusal::WrongMethod, "no", Manner::Thundra).allowing("POST"),
            TestRequest::new(),
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\
             Allow: POST\r\n\r\n{\"error\":\"no\"}",
        );
    }

    #[test]
    fn answers_of_otlp_are_in_the_encoding_of_the_request() {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        check(&Answer::accepted(Manner::Otlp(Encoding::Protobuf)), TestRequest::new(), head);
        for refusal in Refusal::ALL {
            let answer = Answer::refused(refusal, "no", Manner::Otlp(Encoding::Protobuf));
            let status = RpcStatus::decode(&*answer.body).unwrap();
            assert_eq!(status.message, "no");
            let answer = Answer::refused(refusal, "no", Manner::Otlp(Encoding::Json));
            assert_eq!(&*answer.body, br#"{"message":"no"}"#);
        }
    }

    /// "OTLP Specification", OTLP/HTTP Response, Retryable Response Codes.
    #[test]
    fn no_refusal_has_an_exporter_of_otlp_try_again_within_the_invocation() {
        for refusal in Refusal::ALL {
            let status = |manner| Answer::refused(refusal, "no", manner).status;
            let is_retried =
                |status: &str| ["429", "502", "503", "504"].iter().any(|it| status.starts_with(it));
            assert!(!is_retried(status(Manner::Otlp(Encoding::Json))), "{refusal:?}");
            assert_eq!(is_retried(status(Manner::Thundra)), refusal == Refusal::Full);
        }
    }

    #[test]
    fn the_last_answer_on_a_connection_says_so_and_head_gets_no_body() {
        let close = Header::from_bytes("connection", "Close").unwrap();
        check(
            &Answer::ACCEPTED,
            TestRequest::new().with_header(close).with_method(Method::Head),
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n",
        );
    }
}
