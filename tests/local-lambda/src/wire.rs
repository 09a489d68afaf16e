//! The bytes of an answer of the platform. Lambda promises HTTP/1.1 and nothing more. A client that accepts
//! only the form that AWS's daemon writes would break if the daemon changed.

use crate::connection::Outgoing;
use crate::http::{self, Headers};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wire {
    /// Sends the body in chunks of a few bytes, instead of with a `Content-Length`.
    pub chunked: bool,
    pub header_case: HeaderCase,
    /// Writes each byte separately, so that most bytes have their own segment.
    pub bytewise: bool,
    /// Adds a header, and a member in each object, that no client knows, as a later version of the API may.
    /// Events of the runtime stay unchanged, because they come from the caller.
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
