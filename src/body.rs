//! Reads a request's body into memory that was paid for first, or past it.
//!
//! Invariant: a body is read to its end whatever becomes of it, unless it must not be read at all
//! ([`is_readable`]). tiny_http reads what is left when a request is dropped, and allocates all of
//! that length at once to do so; and a connection closed with unread bytes is reset, which agents
//! turn into errors of the function.

use std::io::{self, Read};

use tiny_http::Request;

use crate::budget::{Budget, Permit};
use crate::items::skip_string;
use crate::request::{is_upgrade, values};
use crate::share::Share;

/// The longest told length that is read at all, in bytes. When a body ends early, tiny_http
/// allocates the length that is missing, zeroed and untouched; above what the machine can map that
/// aborts the process. The smallest function has 128 MB.
const TOLD_LENGTH_MAX: usize = 128_000_000;

/// What a body is read by, in bytes; as much as was read already, if that is more. So a client that
/// stalls holds at most this much of the budget, or twice what it has sent.
const STEP: usize = 16 * 1024;

/// The longest body that tiny_http reads before it hands the request over, in bytes.
const READ_AHEAD_MAX: usize = 1024;

/// What of the buffer one report may take: others need room while it is read and sent.
const SHARE: (usize, usize) = (3, 4);

#[derive(Debug)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub permit: Permit,
}

/// Where the bytes of a body have room.
#[derive(Clone, Copy, Debug)]
pub struct Room<'a> {
    pub budget: &'a Budget,
    /// What of it they may take.
    pub share: Option<&'a Share>,
}

impl Room<'_> {
    /// What one report may take, in bytes.
    fn most(self) -> usize {
        let (part, whole) = SHARE;
        let of_buffer = self.budget.size() / whole * part;
        self.share.map_or(of_buffer, |share| of_buffer.min(share.bytes()))
    }
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

/// A body, and the permit for it and for `overhead` bytes that the caller keeps with it.
pub fn read(request: &mut Request, room: Room, overhead: usize) -> Result<Body, Unread> {
    let framing = Framing::of(request);
    let mut reader = framing.reader(request);
    let most = room.most();
    let body = match framing {
        Framing::Told(length) if length.saturating_add(overhead) > most => Err(Unread::TooLarge),
        Framing::Malformed(why) => Err(Unread::Malformed(why)),
        Framing::Told(_) | Framing::Chunked => read_paid(&mut reader, room, overhead, most),
    };
    read_past(&mut reader);
    match (framing, body) {
        (Framing::Told(length), Ok(body)) if body.bytes.len() < length => {
            Err(Unread::Malformed("a body that ended before its content-length"))
        }
        (_, body) => body,
    }
}

/// Reads past a body without keeping it.
pub fn skip(request: &mut Request) {
    read_past(&mut Framing::of(request).reader(request));
}

/// Whether the body may be read. If not, the request must not be dropped either: see
/// [`TOLD_LENGTH_MAX`].
pub fn is_readable(request: &Request) -> bool {
    request.body_length().is_none_or(|length| length <= TOLD_LENGTH_MAX)
}

/// Whether reading the body can't wait for the client, because there is none, or because tiny_http
/// has read it already.
pub fn is_read_ahead(request: &Request) -> bool {
    let has = |name| values(request, name).next().is_some();
    let is_short = request.body_length().is_none_or(|length| length <= READ_AHEAD_MAX);
    is_short && !has("Transfer-Encoding") && !has("Expect") && !is_upgrade(request)
}

/// How a request says where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Told(usize),
    Chunked,
    /// What there is can't be told from the next request.
    Malformed(&'static str),
}

impl Framing {
    fn of(request: &Request) -> Self {
        if values(request, "Transfer-Encoding").next().is_some() {
            // tiny_http takes any transfer encoding for chunked, and ignores a length beside it
            // (RFC 9112, 6.3).
            return if is_upgrade(request) {
                Self::Malformed("a chunked body on a connection that is to be upgraded")
            } else {
                Self::Chunked
            };
        }
        let mut lengths = values(request, "Content-Length").map(str::trim);
        let Some(first) = lengths.next() else { return Self::Told(0) };
        match request.body_length() {
            Some(_) if lengths.any(|it| it != first) => {
                Self::Malformed("content-length values that differ")
            }
            Some(length) => Self::Told(length),
            None => Self::Malformed("a content-length that is not a number of bytes"),
        }
    }

    /// What is left of the body, and nothing that follows it.
    fn reader(self, request: &mut Request) -> io::Take<&mut dyn Read> {
        let told = request.body_length().unwrap_or(0) as u64;
        let limit = if self == Self::Chunked { u64::MAX } else { told };
        request.as_reader().take(limit)
    }
}

/// `most` is what the body and its overhead may take, in bytes.
fn read_paid(
    reader: &mut io::Take<&mut dyn Read>,
    room: Room,
    overhead: usize,
    most: usize,
) -> Result<Body, Unread> {
    if overhead > most {
        return Err(Unread::TooLarge);
    }
    let mut permit = room.budget.take_of(room.share, overhead).ok_or(Unread::Full)?;
    let mut bytes = Vec::new();
    while reader.limit() > 0 {
        let left = usize::try_from(reader.limit()).unwrap_or(usize::MAX);
        let room = most.saturating_sub(overhead + bytes.len());
        if room == 0 {
            // Only a chunked body gets here, its length being unknown: it may end just now.
            return match reader.read(&mut [0]) {
                Ok(0) => Ok(Body { bytes, permit }),
                Ok(_) => Err(Unread::TooLarge),
                Err(_) => Err(broken(reader)),
            };
        }
        let longest = STEP.max(bytes.len()).min(room).min(left);
        let paid = [longest, longest.min(STEP)].into_iter().find(|&step| permit.grow(step));
        let step = paid.ok_or(Unread::Full)?;
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

/// After a failed read nothing more is read: the client is gone, or where its chunks go on is
/// unknown.
fn broken(reader: &mut io::Take<&mut dyn Read>) -> Unread {
    reader.set_limit(0);
    Unread::Malformed("a body that makes no sense or ends early")
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

/// Whether a JSON array or object ends where the bytes end. tiny_http reports a chunked body that
/// was cut short inside a chunk as one that ended well; a proper beginning of a JSON array or
/// object never closes its outermost bracket, so this tells the two apart without parsing.
pub fn is_whole_json(bytes: &[u8]) -> bool {
    let mut depth = 0_usize;
    let mut bytes = bytes.trim_ascii().iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
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
        let body = read(&mut request(&[], "0123456789"), Room { budget: &budget, share: None }, 7)
            .unwrap();
        assert_eq!((body.bytes.as_slice(), budget.held()), (&b"0123456789"[..], 17));
        drop(body);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn what_does_not_fit_now_is_told_from_what_never_fits() {
        let budget = Budget::of(20);
        let room = Room { budget: &budget, share: None };
        let unread = |overhead| read(&mut request(&[], "0123456789"), room, overhead).err();
        assert_eq!(unread(5), None);
        assert_eq!(unread(6), Some(Unread::TooLarge));
        let held = budget.take(6);
        assert_eq!(unread(5), Some(Unread::Full));
        drop(held);
        assert_eq!(unread(5), None);
    }
}
