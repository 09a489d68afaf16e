//! Reads the body of a request of tiny_http, with a permit or without keeping it.
//!
//! Invariant: each body is read to its end, even if it is refused. Otherwise tiny_http reads the rest when
//! the request is dropped, and allocates the whole missing length for that. Also, a connection that closes
//! with unread bytes is reset, and agents turn that into errors of the function. Exceptions: a body that must
//! not be read at all ([`is_readable`]), and a chunked one beyond [`CHUNKED_BYTES_MAX`].

use std::io::{self, Read};

use tiny_http::Request;

use crate::local::body::{Body, ENDED_EARLY, PaidBody, ReadError, UNKEPT_MAX};
use crate::local::thread_pool::request::{is_upgrade, values};
use crate::payload::quota::Quota;

/// How many bytes of a chunked body are read. Beyond it the answer is 400, and the connection closes.
/// Otherwise an endless body would occupy a worker for ever.
const CHUNKED_BYTES_MAX: u64 = UNKEPT_MAX as u64;

/// The longest body that tiny_http reads before it hands the request over, in bytes.
const READ_AHEAD_MAX: usize = 1024;

/// Reads a body. `overhead` is the number of bytes that the caller keeps in addition to the body.
pub fn read(request: &mut Request, quota: &Quota, overhead: usize) -> Result<Body, ReadError> {
    let framing = Framing::of(request);
    let mut reader = framing.reader(request);
    let body = match framing {
        Framing::Malformed(why) => Err(ReadError::Malformed(why)),
        Framing::ContentLength(length) => PaidBody::begin(quota, overhead, Some(length as u64)),
        Framing::Chunked => PaidBody::begin(quota, overhead, None),
    };
    let body = body.and_then(|mut body| {
        read_paid(&mut reader, &mut body)?;
        Ok(body.finish())
    });
    match body {
        Err(ReadError::Malformed(_)) => read_past(&mut reader),
        _ => framing.read_to_end(&mut reader)?,
    }
    match (framing, body) {
        (Framing::ContentLength(length), Ok(body)) if body.bytes.len() < length => {
            Err(ReadError::Malformed(ENDED_EARLY))
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

/// Whether the body may be read. A request with an unreadable body must not be dropped. If a body ends early,
/// tiny_http allocates the missing length as untouched memory. If the machine cannot map that much, the process
/// aborts. The smallest function has 128 MB.
pub fn is_readable(request: &Request) -> bool {
    request.body_length().is_none_or(|length| length <= UNKEPT_MAX)
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

/// Reads a body step by step, and grows its permit before each step.
fn read_paid(reader: &mut io::Take<&mut dyn Read>, body: &mut PaidBody) -> Result<(), ReadError> {
    while reader.limit() > 0 {
        let step = body.grow(usize::try_from(reader.limit()).unwrap_or(usize::MAX))?;
        if step == 0 {
            // Only a chunked body reaches this, because its length is unknown. It may end exactly here.
            return match reader.read(&mut [0]) {
                Ok(0) => Ok(()),
                Ok(_) => Err(ReadError::TooLarge),
                Err(_) => Err(broken(reader)),
            };
        }
        match reader.take(step as u64).read_to_end(body.bytes()) {
            Ok(read) if read < step => break,
            Ok(_) => {}
            Err(_) => return Err(broken(reader)),
        }
    }
    Ok(())
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
