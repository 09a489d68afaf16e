//! Reads a request's body into memory that was paid for first, or past it.
//!
//! Invariant: a body is read to its end whatever becomes of it, here or by [`skip`]. tiny_http
//! reads what is left when a request is dropped, and allocates all of that length at once to do so;
//! and a connection closed with unread bytes is reset, which agents turn into errors of the
//! function.

use std::io::{self, Read};

use tiny_http::Request;

use crate::budget::{Budget, Permit};

/// The longest told length that is read at all, in bytes. When a body ends early, tiny_http
/// allocates the length that is missing, zeroed and untouched; above what the machine can map that
/// aborts the process. The smallest function has 128 MB.
pub const TOLD_LENGTH_MAX: usize = 128_000_000;

/// What a chunked body is read by, at first, in bytes; doubled as it grows.
const CHUNKED_STEP: usize = 8 * 1024;

/// A body, and the permit for it and for `overhead` bytes that the caller keeps with it.
pub fn read(request: &mut Request, budget: &Budget, overhead: usize) -> Result<Body, Unread> {
    match Framing::of(request) {
        Framing::None => {
            let permit = budget.take(overhead).ok_or(Unread::Full)?;
            Ok(Body { bytes: Vec::new(), permit })
        }
        Framing::Told(length) => read_told(request, budget, length, overhead),
        Framing::Chunked => read_chunked(request, budget, overhead),
        Framing::Malformed(why) => Err(Unread::Malformed(why)),
    }
}

/// Reads what is left of a body without keeping it. False if the body must not be read, see
/// [`TOLD_LENGTH_MAX`]: then the request must not be dropped either.
#[must_use]
pub fn skip(request: &mut Request) -> bool {
    if request.body_length().is_some_and(|length| length > TOLD_LENGTH_MAX) {
        return false;
    }
    let mut buffer = [0; 4096];
    let reader = request.as_reader();
    loop {
        match reader.read(&mut buffer) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return true,
        }
    }
}

#[derive(Debug)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub permit: Permit,
}

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub enum Unread {
    /// There is no room now.
    Full,
    /// There never is room for so much.
    TooLarge,
    Malformed(&'static str),
}

/// How a request says where its body ends.
#[derive(Debug, PartialEq, Eq)]
enum Framing {
    None,
    Told(usize),
    Chunked,
    Malformed(&'static str),
}

impl Framing {
    fn of(request: &Request) -> Self {
        let values = |name: &'static str| {
            request
                .headers()
                .iter()
                .filter(move |it| it.field.equiv(name))
                .map(|it| it.value.as_str())
        };
        if values("Transfer-Encoding").next().is_some() {
            // tiny_http takes any transfer encoding for chunked, and ignores a length beside it
            // (RFC 9112, 6.3).
            return Self::Chunked;
        }
        let mut lengths = values("Content-Length").map(str::trim);
        let Some(first) = lengths.next() else { return Self::None };
        match request.body_length() {
            Some(_) if lengths.any(|it| it != first) => {
                Self::Malformed("content-length values that differ")
            }
            Some(length) => Self::Told(length),
            None => Self::Malformed("a content-length that is not a number of bytes"),
        }
    }
}

fn read_told(
    request: &mut Request,
    budget: &Budget,
    length: usize,
    overhead: usize,
) -> Result<Body, Unread> {
    let cost = length.saturating_add(overhead);
    if cost > budget.size() {
        return Err(Unread::TooLarge);
    }
    let permit = budget.take(cost).ok_or(Unread::Full)?;
    let mut bytes = Vec::with_capacity(length);
    // A failed read is a body cut short too: the client is gone, or reset the connection.
    let end = request.as_reader().take(length as u64).read_to_end(&mut bytes);
    match end {
        Ok(read) if read == length => Ok(Body { bytes, permit }),
        _ => Err(Unread::Malformed("a body that ended before its content-length")),
    }
}

fn read_chunked(request: &mut Request, budget: &Budget, overhead: usize) -> Result<Body, Unread> {
    let mut permit = budget.take(overhead).ok_or(Unread::Full)?;
    let mut bytes = Vec::new();
    let mut step = CHUNKED_STEP;
    loop {
        if overhead + bytes.len() >= budget.size() {
            return Err(Unread::TooLarge);
        }
        let step_now = step.min(budget.size() - overhead - bytes.len());
        if !permit.grow(step_now) {
            return Err(Unread::Full);
        }
        bytes.reserve_exact(step_now);
        match request.as_reader().take(step_now as u64).read_to_end(&mut bytes) {
            Ok(read) if read < step_now => break,
            Ok(_) => step = bytes.len(),
            Err(_) => return Err(Unread::Malformed("chunks that make no sense or end early")),
        }
    }
    bytes.shrink_to_fit();
    permit.shrink_to(overhead + bytes.len());
    Ok(Body { bytes, permit })
}

/// Whether a JSON array or object ends where the bytes end. tiny_http reports a chunked body that
/// was cut short inside a chunk as one that ended well; a proper beginning of a JSON array or
/// object never closes its outermost bracket, so this tells the two apart without parsing.
pub fn is_whole_json(bytes: &[u8]) -> bool {
    let mut depth = 0_usize;
    let mut bytes = bytes.trim_ascii().iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                // To the end of the string: an escaped byte never ends it.
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => _ = bytes.next(),
                        _ => {}
                    }
                }
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth == 1 => return bytes.len() == 0,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_http::TestRequest;

    fn request(headers: &[(&str, &str)], body: &'static str) -> Request {
        let mut request = TestRequest::new().with_body(body);
        for (name, value) in headers {
            let header = tiny_http::Header::from_bytes(*name, *value).unwrap();
            request = request.with_header(header);
        }
        request.into()
    }

    #[test]
    fn a_whole_document_is_told_from_each_of_its_beginnings() {
        let documents = [
            r#"[{"a":"]}\"[\\"},[1,2,"é"],{}]"#,
            r#" {"a":{"b":[]},"c":"}"} "#,
            "[]",
            "{}",
            "[[],[]]",
        ];
        for document in documents {
            assert!(is_whole_json(document.as_bytes()), "{document}");
            let end = document.trim_end().len();
            for cut in 0..end {
                assert!(!is_whole_json(&document.as_bytes()[..cut]), "{document} cut at {cut}");
            }
            assert!(!is_whole_json(format!("{document}[").as_bytes()), "{document} and more");
        }
    }

    #[test]
    fn a_permit_covers_the_body_and_its_overhead_and_nothing_more() {
        let budget = Budget::of(100);
        let body = read(&mut request(&[], "0123456789"), &budget, 7).unwrap();
        assert_eq!((body.bytes.as_slice(), budget.held()), (&b"0123456789"[..], 17));
        drop(body);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn what_does_not_fit_now_is_told_from_what_never_fits() {
        let budget = Budget::of(15);
        let unread = |overhead| read(&mut request(&[], "0123456789"), &budget, overhead).err();
        assert_eq!(unread(5), None);
        assert_eq!(unread(6), Some(Unread::TooLarge));
        let held = budget.take(1);
        assert_eq!(unread(5), Some(Unread::Full));
        drop(held);
        assert_eq!(unread(5), None);
    }
}
