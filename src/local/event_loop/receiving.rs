//! The body of one request while it is received.

use crate::local::body::{self, PaidBody, ReadError, UNKEPT_MAX};
use crate::local::event_loop::framing::{Framing, Piece};
use crate::local::event_loop::request_head::Traits;
use crate::local::response::Response;

/// A request whose body is received.
#[derive(Debug)]
pub struct Receiving<R> {
    pub traits: Traits,
    rest: Framing,
    /// How many bytes of the body may follow that are not kept.
    unkept_max: usize,
    body: Body<R>,
}

/// What becomes of a body.
#[derive(Debug)]
enum Body<R> {
    /// The request gets it, or the reason why it is not kept.
    Awaited(R, Result<PaidBody, ReadError>),
    /// The head has decided the response.
    Ignored(Response),
}

/// What a request has got.
#[derive(Debug)]
pub enum Ended<R> {
    Awaited(R, Result<body::Body, ReadError>),
    Ignored(Response),
}

impl<R> Receiving<R> {
    /// Begins a body for a request, or only the reason why it is not kept.
    pub fn awaited(traits: Traits, request: R, kept: Result<PaidBody, ReadError>) -> Self {
        Self::of(traits, Body::Awaited(request, kept))
    }

    /// Begins a body that nobody needs.
    pub fn ignored(traits: Traits, response: Response) -> Self {
        Self::of(traits, Body::Ignored(response))
    }

    fn of(traits: Traits, body: Body<R>) -> Self {
        Self { traits, rest: traits.framing, unkept_max: UNKEPT_MAX, body }
    }

    /// Takes bytes of the body from the input. True at its end.
    ///
    /// # Errors
    /// The end cannot be found, or is too far away.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<bool, ReadError> {
        loop {
            match self.rest.next(input)? {
                Piece::Bytes(bytes) => self.take(bytes),
                Piece::Missing => return Ok(false),
                Piece::End => return Ok(true),
            }
            if self.is_too_long() {
                return Err(ReadError::TooLarge);
            }
        }
    }

    /// Ends the body, also early because of an error.
    pub fn end(self, error: Option<ReadError>) -> Ended<R> {
        match self.body {
            Body::Ignored(response) => Ended::Ignored(response),
            Body::Awaited(request, kept) => {
                let body = kept.and_then(|it| error.map_or_else(|| Ok(it.finish()), Err));
                Ended::Awaited(request, body)
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let left = self.rest.left_max().saturating_add(bytes.len());
        if let Body::Awaited(_, kept) = &mut self.body {
            if let Ok(body) = kept {
                match body.push(bytes, left) {
                    Ok(()) => return,
                    Err(error) => *kept = Err(error),
                }
            }
        }
        self.unkept_max = self.unkept_max.saturating_sub(bytes.len());
    }

    pub fn is_kept(&self) -> bool {
        matches!(self.body, Body::Awaited(_, Ok(_)))
    }

    /// Whether more bytes follow than are read without being kept.
    pub fn is_too_long(&self) -> bool {
        let left = self.rest.length().map_or(1, |it| usize::try_from(it).unwrap_or(usize::MAX));
        !self.is_kept() && left > self.unkept_max
    }
}
