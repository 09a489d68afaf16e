//! One connection of HTTP/1.1: a state machine from received bytes to responses. Pure: it has no socket, and
//! the time is an argument.
//!
//! Invariants:
//! * Any cut of the received bytes gives the same requests. Property tests check that.
//! * One response is unsent at a time, so a client that reads no responses is read no further.
//! * A deadline is set except between two requests.
//! * A refused body is read to its end. Otherwise the connection would be reset, and the client would lose the
//!   response.

mod requests;

use std::mem;
use std::time::Duration;

use crate::local::body::{ENDED_EARLY, ReadError};
use crate::local::endpoint::Endpoint;
use crate::local::event_loop::http2::Http2;
use crate::local::event_loop::receiving::Receiving;
use crate::local::event_loop::request_head::Traits;
use crate::local::event_loop::running_time::RunningTime;
use crate::local::response::{Rejection, Response, ResponseFormat};
use crate::payload::ledger::Refusal;

/// Time limit of a whole head, of the next bytes of a body, of the next bytes of a response that the client
/// takes, and of a refused client's rest. Then the client is answered if it can be, and the connection closes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a port with this endpoint.
#[derive(Debug)]
pub struct Connection<E: Endpoint> {
    endpoint: E,
    phase: Phase<E::Request>,
    /// Received bytes that wait for more of them, or for the response before them.
    pending: Vec<u8>,
    output: Output,
    /// `None` between two requests.
    deadline: Option<RunningTime>,
    /// Whether a step is being taken. It stays true after a panic in a step.
    is_in_step: bool,
}

/// What the client loses if its connection is closed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// It is between two requests.
    Nothing,
    /// It has sent a part of a head, or bytes that are refused anyway.
    Bytes,
    /// A request that may still be accepted, or its response.
    Request,
}

#[derive(Debug)]
enum Phase<R> {
    /// Between two requests, or inside a head.
    Head,
    Body(Receiving<R>),
    Http2(Http2),
    /// No further request is read. The client's bytes are read and dropped, up to this many, so that it gets the
    /// last response (RFC 9112, 9.6).
    Lingers {
        unread_max: usize,
    },
}

/// Bytes for the client.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    sent: usize,
}

/// The result of a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<D> {
    /// All input is used. The next step needs more, or the client to take the output.
    Waits,
    /// A response is in the output. After it is sent, there may be deferred work, and then the next step.
    Responded(Option<D>),
}

/// What a connection needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The client must take the output.
    Write,
    Read,
    /// No further byte will be sent, but the client's bytes must still be read.
    ReadWithoutWriting,
    Close,
}

impl<E: Endpoint> Connection<E> {
    pub fn new(endpoint: E) -> Self {
        Self {
            endpoint,
            phase: Phase::Head,
            pending: Vec::new(),
            output: Output::default(),
            deadline: None,
            is_in_step: false,
        }
    }

    pub fn endpoint(&self) -> &E {
        &self.endpoint
    }

    pub fn cost(&self) -> Cost {
        match self.phase {
            _ if self.deadline.is_none() => Cost::Nothing,
            Phase::Body(ref receiving) if receiving.is_kept() => Cost::Request,
            _ if !self.output.is_empty() => Cost::Request,
            _ => Cost::Bytes,
        }
    }

    pub fn deadline(&self) -> Option<RunningTime> {
        self.deadline
    }

    pub fn need(&self) -> Need {
        match self.phase {
            _ if !self.output.is_empty() => Need::Write,
            Phase::Lingers { unread_max: 0 } => Need::Close,
            Phase::Lingers { .. } => Need::ReadWithoutWriting,
            _ => Need::Read,
        }
    }

    /// Sends the output of a step, and takes further steps as long as the client takes all output. `send` returns
    /// how many bytes the system has taken, or `None` if it takes none now.
    ///
    /// # Errors
    /// Those of `send`.
    pub fn go_on<X>(
        &mut self,
        mut step: Step<E::Deferred>,
        input: &mut &[u8],
        now: RunningTime,
        mut send: impl FnMut(&[u8]) -> Result<Option<usize>, X>,
    ) -> Result<(), X> {
        loop {
            while !self.output.is_empty() {
                match send(&self.output.bytes[self.output.sent..])? {
                    Some(count) => self.sent(count, now),
                    None => break,
                }
            }
            let Step::Responded(deferred) = step else { return Ok(()) };
            if let Some(deferred) = deferred {
                self.endpoint.go_on(deferred);
            }
            if !self.output.is_empty() {
                self.pending.extend_from_slice(mem::take(input));
                return Ok(());
            }
            step = self.step(input, now);
        }
    }

    fn sent(&mut self, count: usize, now: RunningTime) {
        self.output.sent += count;
        if self.output.is_empty() {
            self.output.bytes.clear();
            self.output.sent = 0;
            // Only a request extends the deadline of a client of HTTP/2, because it can cause output without one.
            if !matches!(self.phase, Phase::Http2(_)) {
                self.deadline = None;
            }
        }
        self.set_deadline(now);
    }

    /// Reads from the input until a response is in the output, or the input ends. All output must have been sent.
    pub fn step(&mut self, input: &mut &[u8], now: RunningTime) -> Step<E::Deferred> {
        self.is_in_step = true;
        let step = if self.pending.is_empty() {
            self.read(input)
        } else {
            let mut all = mem::take(&mut self.pending);
            all.extend_from_slice(mem::take(input));
            let mut rest = all.as_slice();
            let step = self.read(&mut rest);
            let used = all.len() - rest.len();
            if used < all.len() {
                all.drain(..used);
                self.pending = all;
            }
            step
        };
        if matches!(step, Step::Waits) {
            self.pending.extend_from_slice(mem::take(input));
        }
        self.set_deadline(now);
        self.is_in_step = false;
        step
    }

    /// Ends the connection after a panic, with a response if a request has none.
    pub fn fail(&mut self, now: RunningTime) {
        if self.is_in_step && self.output.is_empty() {
            let rejection = Rejection::new(Refusal::Failed, "an internal error");
            let response = Response::refused(&rejection, ResponseFormat::Thundra);
            self.respond(&response.closing(), Traits::UNKNOWN, 0);
        }
        self.phase = Phase::Lingers { unread_max: 0 };
        self.set_deadline(now);
    }

    /// The client sends no further bytes.
    pub fn end(&mut self, now: RunningTime) -> Step<E::Deferred> {
        self.stop("a head that ended early", ENDED_EARLY, now)
    }

    /// The deadline is over.
    pub fn expire(&mut self, now: RunningTime) -> Step<E::Deferred> {
        if !self.output.is_empty() {
            self.output = Output::default();
            self.phase = Phase::Lingers { unread_max: 0 };
            return Step::Waits;
        }
        self.stop("a head that took more than 10 s", "a body that stopped for 10 s", now)
    }

    fn stop(
        &mut self,
        no_head: &'static str,
        no_body: &'static str,
        now: RunningTime,
    ) -> Step<E::Deferred> {
        let step = match mem::replace(&mut self.phase, Phase::Lingers { unread_max: 0 }) {
            Phase::Head if !self.pending.is_empty() => {
                self.refuse(&Rejection::new(Refusal::Malformed, no_head))
            }
            Phase::Body(body) => self.finish(body, Some(ReadError::Malformed(no_body))),
            Phase::Http2(http2) => {
                http2.go_away(&mut self.output.bytes);
                Step::Waits
            }
            Phase::Head | Phase::Lingers { .. } => Step::Waits,
        };
        self.phase = Phase::Lingers { unread_max: 0 };
        self.pending = Vec::new();
        self.set_deadline(now);
        step
    }

    fn set_deadline(&mut self, now: RunningTime) {
        let has_output = !self.output.is_empty();
        let (is_between, restarts) = match self.phase {
            Phase::Head => (!has_output && self.pending.is_empty(), has_output),
            Phase::Body(_) => (false, true),
            Phase::Lingers { .. } => (false, has_output),
            Phase::Http2(_) => (false, false),
        };
        self.deadline = match self.deadline {
            _ if is_between => None,
            Some(deadline) if !restarts => Some(deadline),
            _ => Some(now + PATIENCE),
        };
    }
}

impl Output {
    fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }
}

#[cfg(test)]
mod tests;
