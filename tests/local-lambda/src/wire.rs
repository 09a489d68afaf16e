//! How an answer of the platform is put on the wire. Lambda promises HTTP/1.1 and nothing more: a
//! client that only understands what AWS's daemon happens to write breaks when it changes.

use crate::connection::Outgoing;
use crate::http::{self, Headers};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wire {
    /// The body in chunks, of a few bytes each, instead of a `Content-Length`.
    pub chunked: bool,
    pub header_case: HeaderCase,
    /// Each byte in a write, and so mostly in a segment, of its own.
    pub bytewise: bool,
    /// A header and, in an object, a field that no client knows, as a later version of the API may
    /// add them. Events of the runtime stay as they are: they are the caller's.
    pub additions: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HeaderCase {
    #[default]
    Canonical,
    Lower,
    Upper,
}

const CHUNK_BYTES: usize = 7;

impl Wire {
    pub(crate) fn render(self, status: u16, mut headers: Headers, body: &[u8]) -> Outgoing {
        let length_is_told = http::header(&headers, "Content-Length").is_some();
        let body = if length_is_told && !self.chunked {
            body.to_vec()
        } else {
            headers.retain(|(name, _)| name != "Content-Length");
            headers.push(("Transfer-Encoding".to_owned(), "chunked".to_owned()));
            chunks(body, if self.chunked { CHUNK_BYTES } else { body.len() })
        };
        for (name, _) in &mut headers {
            match self.header_case {
                HeaderCase::Canonical => {}
                HeaderCase::Lower => name.make_ascii_lowercase(),
                HeaderCase::Upper => name.make_ascii_uppercase(),
            }
        }
        let bytes = http::render(status, &headers, &body);
        if self.bytewise { Outgoing::Bytewise(bytes) } else { Outgoing::Whole(bytes) }
    }
}

fn chunks(body: &[u8], of_bytes: usize) -> Vec<u8> {
    let mut chunked = Vec::with_capacity(body.len() * 2);
    for chunk in body.chunks(of_bytes.max(1)) {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    chunked
}
