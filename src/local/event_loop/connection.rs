//! One connection of HTTP/1.1: a state machine from received bytes to responses. Pure: it has no socket, and
//! the time is an argument.
//!
//! Invariants, checked by the property test below:
//! * Any cut of the received bytes gives the same requests.
//! * One response is unsent at a time, so a client that reads no responses is read no further.
//! * A deadline is set while a request is in hand, and otherwise none.
//! * A refused body is read to its end. Otherwise the connection would be reset, and the client would lose the
//!   response.

use std::mem;
use std::time::Duration;

use crate::local::body::{ENDED_EARLY, PaidBody, ReadError, UNKEPT_MAX};
use crate::local::endpoint::{Admission, Endpoint};
use crate::local::event_loop::framing::Framing;
use crate::local::event_loop::http2::{self, Frame, Http2};
use crate::local::event_loop::message::{self, Message, Persistence, Traits};
use crate::local::event_loop::receiving::{Ended, Receiving};
use crate::local::event_loop::running::Running;
use crate::local::response::{Rejection, Response};
use crate::payload::ledger::Refusal;

/// Time limit of a whole head, of the next bytes of a body, of the next bytes of a response that the client
/// takes, and of a refused client's rest. Then the client is answered if it can be, and the connection closes.
const PATIENCE: Duration = Duration::from_secs(10);

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The first byte of a connection of TLS, the type of its first record (RFC 8446, 5.1).
const TLS: u8 = 0x16;

/// A connection to a port with this endpoint.
#[derive(Debug)]
pub struct Connection<E: Endpoint> {
    endpoint: E,
    phase: Phase<E::Request>,
    /// Received bytes that wait for more of them, or for the response before them.
    pending: Vec<u8>,
    output: Output,
    /// `None` without a request in hand.
    deadline: Option<Running>,
}

#[derive(Debug)]
enum Phase<R> {
    /// Between two requests, or inside a head.
    Head,
    Body(Receiving<R>),
    Http2(Http2),
    /// No further request is read. The rest of the client's bytes is read, up to this many.
    Ends {
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
        let output = Output::default();
        Self { endpoint, phase: Phase::Head, pending: Vec::new(), output, deadline: None }
    }

    pub fn endpoint(&self) -> &E {
        &self.endpoint
    }

    /// Whether no request is in hand, so that the connection may be closed.
    pub fn is_idle(&self) -> bool {
        self.deadline.is_none()
    }

    pub fn deadline(&self) -> Option<Running> {
        self.deadline
    }

    pub fn need(&self) -> Need {
        match self.phase {
            _ if !self.output.is_empty() => Need::Write,
            Phase::Ends { unread_max: 0 } => Need::Close,
            Phase::Ends { .. } => Need::ReadWithoutWriting,
            _ => Need::Read,
        }
    }

    /// The bytes to send.
    pub fn output(&self) -> &[u8] {
        &self.output.bytes[self.output.sent..]
    }

    /// The system has taken this many bytes of the output.
    pub fn sent(&mut self, count: usize, now: Running) {
        self.output.sent += count;
        if count > 0 && self.output.is_empty() {
            self.output.bytes.clear();
            self.output.sent = 0;
            self.deadline = None;
        }
        self.set_deadline(now, count > 0);
    }

    /// Reads from the input until a response is in the output, or the input ends.
    pub fn step(&mut self, input: &mut &[u8], now: Running) -> Step<E::Deferred> {
        let step = if !self.output.is_empty() {
            Step::Waits
        } else if self.pending.is_empty() {
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
        self.set_deadline(now, true);
        step
    }

    /// The client sends no further bytes.
    pub fn end(&mut self, now: Running) -> Step<E::Deferred> {
        self.stop("a head that ended early", ENDED_EARLY, now)
    }

    /// The deadline is over.
    pub fn expire(&mut self, now: Running) -> Step<E::Deferred> {
        if !self.output.is_empty() {
            self.output = Output::default();
            self.phase = Phase::Ends { unread_max: 0 };
            return Step::Waits;
        }
        self.stop("a head that took more than 10 s", "a body that stopped for 10 s", now)
    }

    fn stop(
        &mut self,
        no_head: &'static str,
        no_body: &'static str,
        now: Running,
    ) -> Step<E::Deferred> {
        let step = match mem::replace(&mut self.phase, Phase::Ends { unread_max: 0 }) {
            Phase::Head if !self.pending.is_empty() => {
                let rejection = Rejection::new(Refusal::Malformed, no_head);
                self.refuse(&rejection.with_status("408 Request Timeout"))
            }
            Phase::Body(body) => self.finish(body, Some(ReadError::Malformed(no_body))),
            Phase::Head | Phase::Http2(_) | Phase::Ends { .. } => Step::Waits,
        };
        self.phase = Phase::Ends { unread_max: 0 };
        self.pending = Vec::new();
        self.set_deadline(now, true);
        step
    }

    fn read(&mut self, input: &mut &[u8]) -> Step<E::Deferred> {
        loop {
            let step = match &mut self.phase {
                Phase::Head => self.read_head(input),
                Phase::Body(_) => self.read_body(input),
                Phase::Http2(_) => self.read_frame(input),
                Phase::Ends { unread_max } => {
                    *unread_max = unread_max.saturating_sub(input.len());
                    *input = &[];
                    Some(Step::Waits)
                }
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// `None` if the head was read and its body follows.
    fn read_head(&mut self, input: &mut &[u8]) -> Option<Step<E::Deferred>> {
        match input.first() {
            None => return Some(Step::Waits),
            Some(&TLS) => {
                return Some(self.refuse(&Rejection::new(Refusal::Tls, "this port speaks no TLS")));
            }
            Some(_) => {}
        }
        match http2::is_preface(input) {
            None => return Some(Step::Waits),
            Some(true) => {
                self.phase = Phase::Http2(Http2::begin(input, &mut self.output.bytes));
                return None;
            }
            Some(false) => {}
        }
        let mut lines = message::lines();
        let message = match Message::parse(input, &mut lines) {
            Ok(Some(message)) => message,
            Ok(None) => return Some(Step::Waits),
            Err(rejection) => return Some(self.refuse(&rejection)),
        };
        let Message { head, traits, length } = message;
        let admission = self.endpoint.admit(&head);
        *input = &input[length..];
        self.begin_body(traits, admission, input.is_empty())
    }

    /// Begins the body of a request. `is_awaited` is true if none of it has arrived.
    fn begin_body(
        &mut self,
        traits: Traits,
        admission: Admission<E::Request>,
        is_awaited: bool,
    ) -> Option<Step<E::Deferred>> {
        let has_body = traits.framing != Framing::Length(0);
        let is_expected = is_awaited && has_body && traits.expects_continue;
        let receiving = match admission {
            Admission::Answered(response) if is_expected => {
                // The client sends no body after a final response.
                self.respond(&response.closing(), traits, UNKEPT_MAX);
                return Some(Step::Responded(None));
            }
            Admission::Answered(response) => Receiving::ignored(traits, response),
            Admission::Awaited(request) => {
                let (quota, overhead) = self.endpoint.room(&request);
                let kept = PaidBody::begin(quota, overhead, traits.framing.length());
                Receiving::awaited(traits, request, kept)
            }
        };
        if receiving.is_too_long() {
            return Some(self.finish(receiving, Some(ReadError::TooLarge)));
        }
        if is_expected {
            self.output.bytes.extend_from_slice(CONTINUE);
        }
        self.phase = Phase::Body(receiving);
        None
    }

    fn read_body(&mut self, input: &mut &[u8]) -> Option<Step<E::Deferred>> {
        let Phase::Body(mut receiving) = mem::replace(&mut self.phase, Phase::Head) else {
            return None;
        };
        match receiving.read(input) {
            Ok(false) => {
                self.phase = Phase::Body(receiving);
                Some(Step::Waits)
            }
            Ok(true) => Some(self.finish(receiving, None)),
            Err(error) => Some(self.finish(receiving, Some(error))),
        }
    }

    /// Answers a request whose body has ended, or ends here because of an error.
    fn finish(
        &mut self,
        receiving: Receiving<E::Request>,
        error: Option<ReadError>,
    ) -> Step<E::Deferred> {
        let traits = receiving.traits;
        let (response, deferred) = match receiving.end(error) {
            Ended::Ignored(response) => (response, None),
            Ended::Awaited(request, body) => self.endpoint.finish(request, body),
        };
        let (response, unread_max) = match error {
            Some(_) => (response.closing(), UNKEPT_MAX),
            None => (response, 0),
        };
        self.respond(&response, traits, unread_max);
        Step::Responded(deferred)
    }

    fn read_frame(&mut self, input: &mut &[u8]) -> Option<Step<E::Deferred>> {
        let Phase::Http2(http2) = &mut self.phase else { return None };
        match http2.next(input) {
            Frame::Missing => Some(Step::Waits),
            Frame::Settings => {
                http2::acknowledge(&mut self.output.bytes);
                None
            }
            Frame::Request(stream) => {
                let rejection = Rejection::new(Refusal::Http2, "this port speaks no HTTP/2");
                drop(self.endpoint.refuse(&rejection)); // the response is not one of HTTP/1.1
                http2::refuse(stream, &mut self.output.bytes);
                self.phase = Phase::Ends { unread_max: UNKEPT_MAX };
                Some(Step::Responded(None))
            }
        }
    }

    /// Answers bytes that are no request.
    fn refuse(&mut self, rejection: &Rejection) -> Step<E::Deferred> {
        let response = self.endpoint.refuse(rejection).closing();
        self.respond(&response, Traits::UNKNOWN, UNKEPT_MAX);
        Step::Responded(None)
    }

    /// Writes the response. If the connection ends with it, at most `unread_max` further bytes are read.
    fn respond(&mut self, response: &Response, traits: Traits, unread_max: usize) {
        let ends = response.is_last() || traits.persistence == Persistence::Ends;
        let connection = match traits.persistence {
            _ if ends => Some("close"),
            Persistence::StaysIfTold => Some("keep-alive"),
            Persistence::Stays | Persistence::Ends => None,
        };
        response.write(&mut self.output.bytes, !traits.is_head, connection);
        self.phase = if ends { Phase::Ends { unread_max } } else { Phase::Head };
        self.deadline = None;
    }

    fn set_deadline(&mut self, now: Running, is_progress: bool) {
        let has_output = !self.output.is_empty();
        let is_idle = !has_output && self.pending.is_empty() && matches!(self.phase, Phase::Head);
        let restarts = is_progress && (has_output || matches!(self.phase, Phase::Body(_)));
        self.deadline = match self.deadline {
            _ if is_idle => None,
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
