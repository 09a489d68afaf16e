//! The requests that the remote has recorded.

use std::fmt;
use std::time::Instant;

use crate::http;
use crate::items::Item;
use crate::moment::End;
use crate::otlp::{Encoding, Request, Signal};

/// A request that arrived completely. Its body is without chunk framing.
#[derive(Debug, Clone)]
pub struct Received {
    /// The request's number, from 0, in the order of first bytes.
    pub number: usize,
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection's number, from 0, in the order of acceptance.
    pub connection: usize,
    /// When the last byte of the head had arrived.
    pub head_at: Instant,
    /// When the last byte had arrived.
    pub at: Instant,
    /// The status of the answer, if the script's answer has one.
    pub status: Option<u16>,
    pub fate: Fate,
}

/// The fate of the answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is not written completely yet.
    Pending,
    /// It was written completely, and the client had not gone as far as is known.
    Answered,
    /// The client had gone before all was written.
    Undelivered,
    /// The script withheld it: a hang, a reset, or half of the answer.
    Withheld,
}

/// A request that did not arrive completely, or a connection that failed before any request, as in a handshake.
#[derive(Debug, Clone)]
pub struct CutShort {
    pub connection: usize,
    /// `None` before the first byte of a request.
    pub request: Option<usize>,
    /// `None` if not even the head arrived completely.
    pub head: Option<Head>,
    /// The part of the body that was read, with the framing if it is chunked.
    pub body: Vec<u8>,
    pub cause: Cause,
}

#[derive(Debug, Clone)]
pub struct Head {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    /// When its last byte had arrived.
    pub at: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The client closed, reset, or sent bytes that are neither HTTP nor TLS. The text describes which.
    Client(String),
    /// The test ordered the remote to end it.
    Remote(End),
}

#[derive(Default)]
pub struct Record {
    pub received: Vec<Received>,
    pub cut_short: Vec<CutShort>,
}

impl Received {
    /// The first header with this name, in any case of letters.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        http::header(&self.headers, name)
    }

    /// The items of the body ([`Item::of`]). Those of OTLP are its spans, data points or log records, also in a
    /// gzip body. OTLP that does not decode is one item, the whole body.
    #[must_use]
    pub fn items(&self) -> Vec<Item> {
        if !self.is_otlp() {
            return Item::of(&self.body);
        }
        match Request::of(self) {
            Some(request) => request.items().iter().map(Item::from).collect(),
            None => Item::whole(&self.body),
        }
    }

    /// Whether it is OTLP, by its path and Content-Type.
    #[must_use]
    pub fn is_otlp(&self) -> bool {
        self.otlp().is_some()
    }

    /// The signal and encoding of an OTLP request, by its path and Content-Type.
    pub(crate) fn otlp(&self) -> Option<(Signal, Encoding)> {
        Some((Signal::of(&self.path)?, self.encoding()?))
    }

    /// The encoding by the Content-Type. A request that is not OTLP may be JSON as well.
    pub(crate) fn encoding(&self) -> Option<Encoding> {
        Encoding::of(self.header("Content-Type")?)
    }

    /// Whether the remote accepts the request: its answer, delivered or not, is a 2xx.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

impl Record {
    pub fn settle(&mut self, number: usize, fate: Fate) {
        let received = self.received.iter_mut().rev().find(|it| it.number == number);
        received.expect("recorded before it is answered").fate = fate;
    }
}

impl fmt::Display for Received {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path, connection, body, fate, .. } = self;
        write!(out, "{method} {path} on {connection}, {} bytes, {fate:?}", body.len())
    }
}

impl fmt::Display for CutShort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Client(how) => write!(out, "connection {}: {how}", self.connection),
            Cause::Remote(end) => {
                write!(out, "connection {}: {end:?} as scripted", self.connection)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gzip;
    use crate::otlp::{self, span_names};

    fn received(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Received {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let now = Instant::now();
        Received {
            number: 0,
            method: "POST".to_owned(),
            path: path.to_owned(),
            headers: headers.iter().map(owned).collect(),
            body: body.to_vec(),
            connection: 0,
            head_at: now,
            at: now,
            status: None,
            fate: Fate::Pending,
        }
    }

    const JSON: (&str, &str) = ("content-type", "application/json");

    #[test]
    fn the_items_of_otlp_are_the_same_in_each_encoding_and_in_gzip() {
        for (signal, body) in [
            (Signal::Traces, otlp::traces as fn(&[&str], Encoding) -> Vec<u8>),
            (Signal::Metrics, otlp::metrics),
            (Signal::Logs, otlp::logs),
        ] {
            let expected = received(signal.path(), &[JSON], &body(&["1", "2"], Encoding::Json));
            assert_eq!(expected.items().len(), 2, "{signal:?}");
            let protobuf = body(&["1", "2"], Encoding::Protobuf);
            let content_type = ("Content-Type", Encoding::Protobuf.content_type());
            let plain = received(signal.path(), &[content_type], &protobuf);
            assert_eq!(plain.items(), expected.items());
            let packed = [content_type, ("Content-Encoding", "gzip")];
            let packed = received(signal.path(), &packed, &gzip::pack(&protobuf));
            assert_eq!(packed.items(), expected.items());
        }
    }

    #[test]
    fn otlp_that_does_not_decode_is_one_item_as_it_came() {
        let check = |headers: &[_], body: &[u8]| {
            assert_eq!(received("/v1/traces", headers, body).items(), [Item::from(body)]);
        };
        check(&[JSON], b"[1,2]");
        check(&[JSON, ("Content-Encoding", "gzip")], b"{\"resourceSpans\":[]}");
        check(&[JSON, ("Content-Encoding", "br")], b"{\"resourceSpans\":[]}");
        check(&[("Content-Type", "application/x-protobuf")], b"[1,2]");
    }

    #[test]
    fn what_is_no_otlp_has_the_items_of_its_body() {
        for (path, headers) in [("/v1/monitoring-data", [JSON].as_slice()), ("/v1/traces", &[])] {
            assert_eq!(received(path, headers, b"[1,2]").items(), Item::of(b"[1,2]"));
        }
    }

    #[test]
    fn the_names_of_spans_are_as_they_were_given() {
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let content_type = ("Content-Type", encoding.content_type());
            let body = otlp::traces(&["1", "{\"a\": 2}"], encoding);
            let received = received("/v1/traces", &[content_type], &body);
            assert_eq!(span_names(&received), ["1", "{\"a\": 2}"]);
        }
    }
}
