//! The head of a request as bytes: where it ends, and what it says about its connection.

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

/// A whole head.
#[derive(Debug)]
pub struct Message<'a> {
    pub head: Head<'a>,
    pub traits: Traits,
    /// Its size, in bytes.
    pub length: usize,
}

/// What a head says about its body and its connection.
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
    Stays,
    /// It stays, and a client of HTTP/1.0 is told so.
    StaysIfTold,
    Ends,
}

impl Traits {
    /// Of bytes that are no request: the connection ends.
    pub const UNKNOWN: Self = Self {
        framing: Framing::Length(0),
        persistence: Persistence::Ends,
        expects_continue: false,
        is_head: false,
    };
}

impl<'a> Message<'a> {
    /// Parses the head at the start of `bytes`. `None` if it is incomplete.
    ///
    /// # Errors
    /// The bytes are no head, or a head whose body cannot be found.
    pub fn parse(bytes: &'a [u8], lines: &'a mut Lines<'a>) -> Result<Option<Self>, Rejection> {
        let mut request = httparse::Request::new(&mut []);
        let status = request.parse_with_uninit_headers(bytes, lines).map_err(rejection_of)?;
        let length = match status {
            Status::Complete(length) if length <= HEAD_BYTES_MAX => length,
            Status::Partial if bytes.len() <= HEAD_BYTES_MAX => return Ok(None),
            _ => return Err(too_long("a head of more than 32 KiB")),
        };
        let method = request.method.unwrap_or_default();
        let target = request.path.unwrap_or_default();
        let head = Head { method, target, headers: request.headers };
        let framing = Framing::of(&head).map_err(rejection_of_framing)?;
        let traits = Traits {
            framing,
            persistence: Persistence::of(&head, request.version == Some(0)),
            expects_continue: has_token(&head, "Expect", "100-continue"),
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
            Self::Ends
        } else if !is_old {
            Self::Stays
        } else if has_token(head, "Connection", "keep-alive") {
            Self::StaysIfTold
        } else {
            Self::Ends
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
        Error::Version => malformed("a request that is not of HTTP/1.1")
            .with_status("505 HTTP Version Not Supported"),
        _ => malformed("bytes that are no request of HTTP"),
    }
}

fn rejection_of_framing(error: FramingError) -> Rejection {
    match error {
        FramingError::UnknownCoding => {
            malformed("a transfer encoding other than chunked").with_status("501 Not Implemented")
        }
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
