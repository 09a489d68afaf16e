//! A report as an agent frames it, and reading it at the remote.
//!
//! Tests write reports as Thundra's agents do. In OTLP, each item of an array becomes a span with the item's
//! text as its name, separate from the others. A composite becomes one too, but compressed, so that it is not
//! merged either.

use local_lambda::agent::{self, Response};
use local_lambda::otlp::{self, Encoding, Signal};
use local_lambda::{Received, gzip};
use serde_json::value::RawValue;

use crate::support::fixture::{ARRAY, text};

pub struct Report {
    path: String,
    headers: String,
    pub body: Vec<u8>,
}

impl Report {
    pub fn thundra(path: &str, body: &str) -> Self {
        let headers = "Content-Type: application/json\r\n".to_owned();
        Self { path: path.to_owned(), headers, body: body.into() }
    }

    pub fn otlp(path: &str, body: &str) -> Self {
        if path != ARRAY {
            return Self::of(Signal::Traces, Encoding::Protobuf, span(body)).packed();
        }
        let items: Vec<&RawValue> = serde_json::from_str(body).unwrap();
        let spans: Vec<_> = items.iter().map(|item| span(item.get())).collect();
        Self::of(Signal::Traces, Encoding::Protobuf, spans.concat())
    }

    /// An OTLP report with this body.
    pub fn of(signal: Signal, encoding: Encoding, body: Vec<u8>) -> Self {
        let headers = format!("Content-Type: {}\r\n", encoding.content_type());
        Self { path: signal.path().to_owned(), headers, body }
    }

    /// The same report in gzip.
    pub fn packed(self) -> Self {
        let headers = format!("{}Content-Encoding: gzip\r\n", self.headers);
        Self { headers, body: gzip::pack(&self.body), ..self }
    }

    /// Sends the report as the Python agent does, on a new connection.
    pub fn post(&self, port: u16) -> Response {
        let headers = "Connection: close\r\nAuthorization: ApiKey test-key\r\n";
        agent::request(port, &self.request(headers))
    }

    /// The whole request, with these headers in addition to the usual ones.
    pub fn request(&self, headers: &str) -> Vec<u8> {
        [self.head(headers).as_bytes(), &self.body].concat()
    }

    /// The whole request, with the body in one chunk.
    pub fn chunked(&self) -> Vec<u8> {
        let chunk = [format!("{:x}\r\n", self.body.len()).as_bytes(), &self.body].concat();
        let head = self.framed("Transfer-Encoding: chunked\r\n");
        [head.as_bytes(), &chunk, b"\r\n0\r\n\r\n"].concat()
    }

    pub fn head(&self, headers: &str) -> String {
        self.framed(&format!("{headers}Content-Length: {}\r\n", self.body.len()))
    }

    /// The head with this framing header.
    pub fn framed(&self, framing: &str) -> String {
        let Self { path, headers, .. } = self;
        format!("POST {path} HTTP/1.1\r\nHost: a\r\n{headers}{framing}\r\n")
    }
}

/// A request with one span of this name.
fn span(name: &str) -> Vec<u8> {
    otlp::traces(&[name], Encoding::Protobuf)
}

/// A received report as a test writes it.
#[track_caller]
pub fn text_of(received: &Received) -> String {
    if !received.is_otlp() {
        return text(&received.body).to_owned();
    }
    let items = otlp::span_names(received).join(",");
    if received.header("Content-Encoding").is_some() { items } else { format!("[{items}]") }
}

/// The items of a received report as a test writes them.
pub fn items_of(received: &Received) -> Vec<String> {
    if received.is_otlp() {
        return otlp::span_names(received);
    }
    received.items().iter().map(ToString::to_string).collect()
}
