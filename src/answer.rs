//! What the local collector says to an agent.

use std::borrow::Cow;
use std::io::Write;

use serde::Serialize;
use tiny_http::{Method, Request, Response, StatusCode};

use crate::ledger::Refusal;
use crate::logging;
use crate::request::is_last;

/// An answer with a JSON body, ready to be sent.
#[derive(Debug)]
pub struct Answer {
    status: &'static str,
    allow: Option<&'static str>,
    /// Whether the client is to close the connection: where its next request starts is unknown.
    is_last: bool,
    body: Cow<'static, str>,
}

impl Answer {
    /// Exactly 200: Node's agent counts nothing else as success.
    pub const ACCEPTED: Self =
        Self { status: "200 OK", allow: None, is_last: false, body: Cow::Borrowed("{}") };

    pub fn ok(body: &impl Serialize) -> Self {
        Self { body: json(body).into(), ..Self::ACCEPTED }
    }

    pub fn refused(refusal: Refusal, why: &str) -> Self {
        let status = match refusal {
            Refusal::Full => "429 Too Many Requests",
            Refusal::TooLarge => "413 Content Too Large",
            Refusal::Malformed => "400 Bad Request",
            Refusal::UnknownPath => "404 Not Found",
            Refusal::WrongMethod => "405 Method Not Allowed",
        };
        let is_last = refusal == Refusal::Malformed;
        let body = json(&ErrorBody { error: why }).into();
        Self { status, allow: None, is_last, body }
    }

    pub fn wrong_method(allowed: &'static str) -> Self {
        let why = format!("this path takes {allowed}");
        Self { allow: Some(allowed), ..Self::refused(Refusal::WrongMethod, &why) }
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
        let Self { status, allow, is_last: is_own_last, body } = self;
        let allow = allow.map(|it| format!("Allow: {it}\r\n")).unwrap_or_default();
        let is_last = *is_own_last || is_last(request);
        let close = if is_last { "Connection: close\r\n" } else { "" };
        let length = body.len();
        let body = if *request.method() == Method::Head { "" } else { body };
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             {allow}{close}\r\n{body}"
        )
        .into_bytes()
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("names, texts and numbers serialise")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_http::{Header, TestRequest};

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
            &Answer::wrong_method("POST"),
            TestRequest::new(),
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: application/json\r\nContent-Length: 32\r\n\
             Allow: POST\r\n\r\n{\"error\":\"this path takes POST\"}",
        );
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
