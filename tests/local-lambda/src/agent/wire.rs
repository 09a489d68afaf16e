//! Recorded requests as patterns: the head, an empty line, the body, an Invocation and a Span. `$name` stands
//! for the parts that differ between requests. A Protobuf body is written here as its JSON.

use uuid::Uuid;

use crate::gzip;
use crate::otlp::{Encoding, Request, Signal};

#[derive(Clone, Copy)]
pub struct Wire {
    head: &'static str,
    body: &'static str,
    pub invocation: &'static str,
    pub span: &'static str,
}

/// The address of a request, for its head.
pub struct Destination<'a> {
    pub base: &'a str,
    pub authority: &'a str,
    pub resource: &'a str,
}

/// A request in the form in which it is sent.
pub struct Framed {
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

impl Wire {
    pub fn of(pattern: &'static str) -> Self {
        let (head, rest) = pattern.split_once("\n\n").expect("a head ends with an empty line");
        let mut lines = rest.lines();
        let mut line = || lines.next().expect("a body, an Invocation and a Span");
        Self { head, body: line(), invocation: line(), span: line() }
    }

    pub fn keeps_alive(&self) -> bool {
        self.head.contains("\nConnection: keep-alive")
    }

    /// Whether the head has a place for `Content-Encoding: gzip`.
    pub fn can_gzip(&self) -> bool {
        self.head.contains(CONTENT_ENCODING)
    }

    /// The body of one request, which contains the items byte for byte.
    pub fn body(&self, key: &str, items: &[String]) -> String {
        fill(self.body, |name| match name {
            "items" => Some(items.join(",")),
            "key" => Some(key.to_owned()),
            _ => None,
        })
    }

    /// The head for this body, and the body with the framing that the head declares.
    pub fn frame(&self, to: &Destination<'_>, key: &str, body: &str, gzip: bool) -> Framed {
        let body = self.encoded(body);
        let body = if gzip { gzip::pack(&body) } else { body };
        let head =
            if gzip { self.head.to_owned() } else { self.head.replace(CONTENT_ENCODING, "") };
        let head = fill(&head, |name| match name {
            "base" => Some(to.base.to_owned()),
            "authority" => Some(to.authority.to_owned()),
            "resource" => Some(to.resource.to_owned()),
            "key" => Some(key.to_owned()),
            "length" => Some(body.len().to_string()),
            _ => None,
        });
        let head = format!("{}\r\n\r\n", head.replace('\n', "\r\n"));
        let body = if self.head.ends_with("\nTransfer-Encoding: chunked") {
            // Node sends each write as one chunk, and zlib writes gzip's header separately.
            let (first, rest) = body.split_at(if gzip { GZIP_HEADER_BYTES } else { 0 });
            let chunks = [first, rest].into_iter().filter(|it| !it.is_empty());
            let chunk =
                |it: &[u8]| [format!("{:x}\r\n", it.len()).as_bytes(), it, b"\r\n"].concat();
            [chunks.map(chunk).collect::<Vec<_>>().concat(), b"0\r\n\r\n".to_vec()].concat()
        } else {
            body
        };
        Framed { head: head.into_bytes(), body }
    }

    /// The body's bytes in the head's format, before compression and chunks.
    pub fn encoded(&self, body: &str) -> Vec<u8> {
        if !self.head.contains("\ncontent-type: application/x-protobuf") {
            return body.as_bytes().to_vec();
        }
        let request = Request::read(Signal::Traces, Encoding::Json, body.as_bytes());
        request.unwrap_or_else(|| panic!("no spans of OTLP: {body}")).write(Encoding::Protobuf)
    }
}

/// The size of a gzip header without a name or a comment (RFC 1952).
const GZIP_HEADER_BYTES: usize = 10;

/// The only line of a head that is not in every request.
const CONTENT_ENCODING: &str = "\nContent-Encoding: gzip";

/// Replaces each `$name` that has a value, and each `$uuid` by a new one. `$LATEST` is no name, because names
/// are lower case.
pub fn fill(pattern: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(pattern.len());
    let mut parts = pattern.split('$');
    filled.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
        let end = part.find(|letter| !is_name(letter)).unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        let text = match name {
            "uuid" => Uuid::new_v4().to_string(),
            name => value(name).unwrap_or_else(|| format!("${name}")),
        };
        filled.push_str(&text);
        filled.push_str(rest);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_a_value_are_replaced() {
        let filled = fill("$a/[$LATEST]$b$a_b!", |name| match name {
            "a" => Some("$b".to_owned()),
            "a_b" => Some(String::new()),
            _ => None,
        });
        assert_eq!(filled, "$b/[$LATEST]$b!");
    }

    #[test]
    fn no_two_uuids_are_equal() {
        let filled = fill("$uuid $uuid", |_| None);
        let (first, second) = filled.split_once(' ').expect("two of them");
        assert_ne!(first, second);
        assert!(Uuid::parse_str(first).is_ok() && Uuid::parse_str(second).is_ok(), "{filled}");
    }

    #[test]
    fn nodes_compressed_body_is_two_chunks_and_its_plain_one_is_one() {
        let wire = Wire::of(include_str!("wire/otel-node.txt"));
        let to = Destination { base: "", authority: "", resource: "" };
        assert_eq!(wire.frame(&to, "", "plain", false).body, b"5\r\nplain\r\n0\r\n\r\n");
        let body = wire.frame(&to, "", "plain", true).body;
        let (first, rest) = body.split_at(5 + GZIP_HEADER_BYTES);
        assert!(first.starts_with(b"a\r\n\x1f\x8b") && first.ends_with(b"\r\n"), "{first:?}");
        let packed = gzip::pack(b"plain");
        let size = format!("{:x}\r\n", packed.len() - GZIP_HEADER_BYTES);
        let rest = rest.strip_prefix(size.as_bytes()).expect("the rest is one chunk");
        assert_eq!(rest, [&packed[GZIP_HEADER_BYTES..], b"\r\n0\r\n\r\n"].concat());
    }

    #[test]
    fn a_compressed_body_is_named_in_the_head_and_counted_as_it_is_sent() {
        let wire =
            Wire::of("POST / HTTP/1.1\nContent-Encoding: gzip\nContent-Length: $length\n\n\n\n\n");
        let to = Destination { base: "", authority: "", resource: "" };
        let Framed { head, body } = wire.frame(&to, "", "plain", false);
        assert_eq!(head, b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(body, b"plain");
        let Framed { head, body } = wire.frame(&to, "", "plain", true);
        let told = format!("\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n", body.len());
        assert!(String::from_utf8(head).unwrap().contains(&told), "{told:?}");
        assert_eq!(gzip::unpack(&body).unwrap(), b"plain");
    }
}
