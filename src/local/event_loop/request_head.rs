//! Parses the head of a request: its end, its headers, and what follows for the body and the connection.

use std::mem::MaybeUninit;

use httparse::{Error, Status};

use crate::local::event_loop::framing::{Framing, FramingError};
use crate::local::head::{Head, Header};
use crate::local::response::Rejection;
use crate::payload::ledger::Refusal;

/// Size limit of a head, in bytes. A longer one is answered with 431, and the connection closes.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Limit of lines in a head. One with more is answered with 431, and the connection closes.
pub const HEAD_LINES_MAX: usize = 100;

/// Memory for the lines of one head.
pub type Lines<'a> = [MaybeUninit<Header<'a>>; HEAD_LINES_MAX];

pub fn lines<'a>() -> Lines<'a> {
    [const { MaybeUninit::uninit() }; HEAD_LINES_MAX]
}

/// A complete head.
#[derive(Debug)]
pub struct RequestHead<'a> {
    pub head: Head<'a>,
    pub traits: Traits,
    /// Its size, in bytes.
    pub length: usize,
}

/// The parts of a head that concern the body and the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    pub framing: Framing,
    pub persistence: Persistence,
    /// Whether the client waits for 100 (Continue) before it sends the body (RFC 9110, 10.1.1).
    pub expects_continue: bool,
    /// Whether the response has no body, as it answers HEAD.
    pub is_head: bool,
}

/// What happens to the connection after the response (RFC 9112, 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    Persistent,
    /// It stays open, and the response says so, because the client speaks HTTP/1.0.
    KeepAlive,
    Close,
}

impl Traits {
    /// For bytes that are no request: the connection closes.
    pub const UNKNOWN: Self = Self {
        framing: Framing::Length(0),
        persistence: Persistence::Close,
        expects_continue: false,
        is_head: false,
    };
}

impl<'a> RequestHead<'a> {
    /// Parses the head at the start of `bytes`. `None` if it is incomplete.
    ///
    /// # Errors
    /// The bytes are no head, or a head whose body cannot be found.
    pub fn parse(bytes: &'a [u8], lines: &'a mut Lines<'a>) -> Result<Option<Self>, Rejection> {
        let within = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        let mut request = httparse::Request::new(&mut []);
        let status = request.parse_with_uninit_headers(within, lines).map_err(rejection_of)?;
        let length = match status {
            Status::Complete(length) => length,
            Status::Partial if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
            Status::Partial => return Err(too_long("a head of more than 32 KiB")),
        };
        let method = request.method.unwrap_or_default();
        let target = request.path.unwrap_or_default();
        let head = Head { method, target, headers: request.headers };
        let framing = Framing::of(&head).map_err(rejection_of_framing)?;
        let is_old = request.version == Some(0);
        let traits = Traits {
            framing,
            persistence: Persistence::of(&head, is_old),
            expects_continue: !is_old && has_token(&head, "Expect", "100-continue"),
            is_head: method == "HEAD",
        };
        Ok(Some(Self { head, traits, length }))
    }
}

impl Persistence {
    fn of(head: &Head, is_old: bool) -> Self {
        // With both, the two ends may disagree about where the request ends (RFC 9112, 6.1).
        let is_ambiguous = head.has("Transfer-Encoding") && (is_old || head.has("Content-Length"));
        if is_ambiguous || has_token(head, "Connection", "close") {
            Self::Close
        } else if !is_old {
            Self::Persistent
        } else if has_token(head, "Connection", "keep-alive") {
            Self::KeepAlive
        } else {
            Self::Close
        }
    }
}

/// Whether a list in a header has this member.
fn has_token(head: &Head, name: &'static str, token: &str) -> bool {
    head.members(name).any(|it| it.eq_ignore_ascii_case(token.as_bytes()))
}

fn rejection_of(error: Error) -> Rejection {
    match error {
        Error::TooManyHeaders => too_long("a head of more than 100 lines"),
        Error::Version => malformed("a request that is not of HTTP/1.1"),
        _ => malformed("bytes that are no request of HTTP"),
    }
}

fn rejection_of_framing(error: FramingError) -> Rejection {
    match error {
        FramingError::UnknownCoding => malformed("a transfer encoding other than chunked"),
        FramingError::Length => malformed("a content-length that is not a number of bytes"),
        FramingError::LengthsDiffer => malformed("content-length values that differ"),
    }
}

fn too_long(why: &'static str) -> Rejection {
    malformed(why).with_status("431 Request Header Fields Too Large")
}

fn malformed(why: &'static str) -> Rejection {
    Rejection::new(Refusal::Malformed, why)
}
