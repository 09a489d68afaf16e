//! A report as an agent frames it, and what the remote has of it.
//!
//! Tests write reports as Thundra's agents do. In OTLP each item of an array is a span with its text as
//! the name, and apart from the others, as they are in an array; and so is a composite, packed, so that
//! it is not merged either.

use sandbox::agent::{self, Response};
use sandbox::otlp::{self, Encoding};
use sandbox::{Received, gzip};
use serde_json::value::RawValue;

use crate::trial::{ARRAY, text};

const TRACES: &str = "/v1/traces";

pub struct Report {
    path: String,
    headers: &'static str,
    pub body: Vec<u8>,
}

impl Report {
    pub fn thundra(path: &str, body: &str) -> Self {
        let headers = "Content-Type: application/json\r\n";
        Self { path: path.to_owned(), headers, body: body.into() }
    }

    pub fn otlp(path: &str, body: &str) -> Self {
        let (headers, body) = if path == ARRAY {
            let items: Vec<&RawValue> = serde_json::from_str(body).unwrap();
            let spans = items.iter().flat_map(|item| span(item.get())).collect();
            ("Content-Type: application/x-protobuf\r\n", spans)
        } else {
            let headers = "Content-Type: application/x-protobuf\r\nContent-Encoding: gzip\r\n";
            (headers, gzip::pack(&span(body)))
        };
        Self { path: TRACES.to_owned(), headers, body }
    }

    /// Sent as the Python agent does, on a fresh connection.
    pub fn post(&self, port: u16) -> Response {
        let headers = "Connection: close\r\nAuthorization: ApiKey test-key\r\n";
        agent::request(port, &self.request(headers))
    }

    /// The whole of it, with these headers beside the usual ones.
    pub fn request(&self, headers: &str) -> Vec<u8> {
        [self.head(headers).as_bytes(), &self.body].concat()
    }

    pub fn head(&self, headers: &str) -> String {
        let Self { path, headers: own, body } = self;
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: a\r\n{own}{headers}Content-Length: {length}\r\n\r\n")
    }
}

/// A request with one span of this name.
fn span(name: &str) -> Vec<u8> {
    otlp::traces(&[name], Encoding::Protobuf)
}

/// The report as a test writes it.
#[track_caller]
pub fn told(received: &Received) -> String {
    if !is_otlp(received) {
        return text(&received.body).to_owned();
    }
    let items = otlp::span_names(received).join(",");
    if received.header("Content-Encoding").is_some() { items } else { format!("[{items}]") }
}

/// Its items as a test writes them.
pub fn items_of(received: &Received) -> Vec<String> {
    if is_otlp(received) {
        return otlp::span_names(received);
    }
    received.items().iter().map(ToString::to_string).collect()
}

/// The remote may have it below a path of its own.
fn is_otlp(received: &Received) -> bool {
    received.path.ends_with(TRACES)
}
