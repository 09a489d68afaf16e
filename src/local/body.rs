//! Reads a request's body. A worker takes a permit first, or reads the body without keeping it.
//!
//! Invariant: each body is read to its end, even if it is refused. Otherwise tiny_http reads the rest when
//! the request is dropped, and allocates the whole missing length for that. Also, a connection that closes
//! with unread bytes is reset, and agents turn that into errors of the function. Exceptions: a body that must
//! not be read at all ([`is_readable`]), and a chunked one beyond [`CHUNKED_BYTES_MAX`].

use std::io::{self, Read};

use tiny_http::Request;

use crate::local::request::{is_upgrade, values};
use crate::payload::quota::{Permit, Quota};

/// The longest declared length of a body that is read, in bytes. Beyond it, the connection is abandoned. If a
/// body ends early, tiny_http allocates the missing length as untouched memory. If the machine cannot map
/// that much, the process aborts. The smallest function has 128 MB.
const CONTENT_LENGTH_MAX: usize = 128_000_000;

/// How many bytes of a chunked body are read. Beyond it the answer is 400, and the connection closes.
/// Otherwise an endless body would occupy a worker for ever. The limit is the same as for a body with a
/// length.
const CHUNKED_BYTES_MAX: u64 = CONTENT_LENGTH_MAX as u64;

/// The least step of reading a body, in bytes. A step is as large as the bytes read so far, if that is more.
/// So a stalled client uses at most this much of the quota, or twice the bytes that it has sent.
const STEP: usize = 16 * 1024;

/// The longest body that tiny_http reads before it hands the request over, in bytes.
const READ_AHEAD_MAX: usize = 1024;

/// A body, and the permit for it and for the caller's `overhead`.
#[derive(Debug)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub permit: Permit,
}

/// The content of a well-formed body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Empty,
    Items,
}

/// Why a body was not kept.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The buffer has no room now.
    Full,
    /// The body is larger than one report may be.
    TooLarge,
    Malformed(&'static str),
}

/// Reads a body. `overhead` is the number of bytes that the caller keeps in addition to the body.
pub fn read(request: &mut Request, quota: &Quota, overhead: usize) -> Result<Body, ReadError> {
    let framing = Framing::of(request);
    let mut reader = framing.reader(request);
    let limit = quota.report_max();
    let body = match framing {
        Framing::ContentLength(length) if length.saturating_add(overhead) > limit => {
            Err(ReadError::TooLarge)
        }
        Framing::Malformed(why) => Err(ReadError::Malformed(why)),
        Framing::ContentLength(_) | Framing::Chunked => {
            read_paid(&mut reader, quota, overhead, limit)
        }
    };
    match body {
        Err(ReadError::Malformed(_)) => read_past(&mut reader),
        _ => framing.read_to_end(&mut reader)?,
    }
    match (framing, body) {
        (Framing::ContentLength(length), Ok(body)) if body.bytes.len() < length => {
            Err(ReadError::Malformed("a body that ended before its content-length"))
        }
        (_, body) => body,
    }
}

/// Reads a body without keeping it.
///
/// # Errors
/// The body does not end within [`CHUNKED_BYTES_MAX`].
pub fn skip(request: &mut Request) -> Result<(), ReadError> {
    let framing = Framing::of(request);
    framing.read_to_end(&mut framing.reader(request))
}

/// Whether the body may be read. A request with an unreadable body must not be dropped: see
/// [`CONTENT_LENGTH_MAX`].
pub fn is_readable(request: &Request) -> bool {
    request.body_length().is_none_or(|length| length <= CONTENT_LENGTH_MAX)
}

/// Whether reading the body never waits for the client, because the body is empty or tiny_http has already
/// read it.
pub fn is_read_ahead(request: &Request) -> bool {
    let has = |name| values(request, name).next().is_some();
    let is_short = request.body_length().is_none_or(|length| length <= READ_AHEAD_MAX);
    is_short && !has("Transfer-Encoding") && !has("Expect") && !is_upgrade(request)
}

/// How a request declares the end of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    ContentLength(usize),
    Chunked,
    /// The end of the body is unknown, so the next request cannot be found.
    Malformed(&'static str),
}

impl Framing {
    fn of(request: &Request) -> Self {
        if values(request, "Transfer-Encoding").next().is_some() {
            // tiny_http treats any transfer encoding as chunked, and ignores a length in addition to it (RFC
            // 9112, 6.3).
            return if is_upgrade(request) {
                Self::Malformed("a chunked body on a connection that is to be upgraded")
            } else {
                Self::Chunked
            };
        }
        let mut lengths = values(request, "Content-Length").map(str::trim);
        let Some(first) = lengths.next() else { return Self::ContentLength(0) };
        match request.body_length() {
            Some(_) if lengths.any(|it| it != first) => {
                Self::Malformed("content-length values that differ")
            }
            Some(length) => Self::ContentLength(length),
            None => Self::Malformed("a content-length that is not a number of bytes"),
        }
    }

    /// A reader of the rest of the body. It does not read further requests.
    fn reader(self, request: &mut Request) -> io::Take<&mut dyn Read> {
        let declared = request.body_length().unwrap_or(0) as u64;
        let limit = if self == Self::Chunked { CHUNKED_BYTES_MAX } else { declared };
        request.as_reader().take(limit)
    }

    fn read_to_end(self, reader: &mut io::Take<&mut dyn Read>) -> Result<(), ReadError> {
        read_past(reader);
        if self == Self::Chunked && reader.limit() == 0 {
            return Err(ReadError::Malformed("a chunked body that does not end within 128 MB"));
        }
        Ok(())
    }
}

/// Reads a body step by step, and grows its permit before each step. `limit` is for the body and its overhead, in
/// bytes.
fn read_paid(
    reader: &mut io::Take<&mut dyn Read>,
    quota: &Quota,
    overhead: usize,
    limit: usize,
) -> Result<Body, ReadError> {
    if overhead > limit {
        return Err(ReadError::TooLarge);
    }
    let mut permit = quota.take(overhead).ok_or(ReadError::Full)?;
    let mut bytes = Vec::new();
    while reader.limit() > 0 {
        let left = usize::try_from(reader.limit()).unwrap_or(usize::MAX);
        let allowed = limit.saturating_sub(overhead + bytes.len());
        if allowed == 0 {
            // Only a chunked body reaches this, because its length is unknown. It may end exactly here.
            return match reader.read(&mut [0]) {
                Ok(0) => Ok(Body { bytes, permit }),
                Ok(_) => Err(ReadError::TooLarge),
                Err(_) => Err(broken(reader)),
            };
        }
        let longest = STEP.max(bytes.len()).min(allowed).min(left);
        let paid = [longest, longest.min(STEP)].into_iter().find(|&step| permit.grow(step));
        let step = paid.ok_or(ReadError::Full)?;
        bytes.reserve_exact(step);
        match reader.take(step as u64).read_to_end(&mut bytes) {
            Ok(read) if read < step => break,
            Ok(_) => {}
            Err(_) => return Err(broken(reader)),
        }
    }
    bytes.shrink_to_fit();
    permit.shrink_to(overhead + bytes.len());
    Ok(Body { bytes, permit })
}

/// Stops reading after an error, because the client has gone, or the start of the next chunk is unknown.
fn broken(reader: &mut io::Take<&mut dyn Read>) -> ReadError {
    reader.set_limit(0);
    ReadError::Malformed("a body that makes no sense or ends early")
}

fn read_past(reader: &mut impl Read) {
    let mut buffer = [0; 4096];
    loop {
        match reader.read(&mut buffer) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
        }
    }
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
    fn a_permit_covers_the_body_and_its_overhead_and_nothing_more() {
        let quota = Quota::of(100);
        let body = read(&mut request(&[], "0123456789"), &quota, 7).unwrap();
        assert_eq!((body.bytes.as_slice(), quota.held()), (&b"0123456789"[..], 17));
        drop(body);
        assert_eq!(quota.held(), 0);
    }

    #[test]
    fn a_body_that_never_fits_is_too_large_and_one_that_does_not_fit_now_is_not() {
        let quota = Quota::of(20);
        let unread = |overhead| read(&mut request(&[], "0123456789"), &quota, overhead).err();
        assert_eq!(unread(5), None);
        assert_eq!(unread(6), Some(ReadError::TooLarge));
        let held = quota.take(6);
        assert_eq!(unread(5), Some(ReadError::Full));
        drop(held);
        assert_eq!(unread(5), None);
    }
}
