//! Reads the requests of a connection, and answers them.

use std::mem;

use super::{Connection, Phase, Step};
use crate::local::body::{ReadError, UNKEPT_MAX};
use crate::local::endpoint::{Admission, Endpoint};
use crate::local::event_loop::framing::Framing;
use crate::local::event_loop::http2::{self, Frame, Http2};
use crate::local::event_loop::receiving::{Ended, Receiving};
use crate::local::event_loop::request_head::{self, Persistence, RequestHead, Traits};
use crate::local::response::{Rejection, Response};
use crate::payload::ledger::Refusal;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The first byte of a connection of TLS, the type of its first record (RFC 8446, 5.1).
const TLS: u8 = 0x16;

impl<E: Endpoint> Connection<E> {
    pub(super) fn read(&mut self, input: &mut &[u8]) -> Step<E::Deferred> {
        loop {
            let step = match &mut self.phase {
                Phase::Head => self.read_head(input),
                Phase::Body(_) => self.read_body(input),
                Phase::Http2(_) => self.read_frame(input),
                Phase::Lingers { unread_max } => {
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
        // A client may send an empty line after a body (RFC 9112, 2.2).
        let start = input.iter().position(|it| !b"\r\n".contains(it));
        *input = &input[start.unwrap_or(input.len())..];
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
        let mut lines = request_head::lines();
        let parsed = match RequestHead::parse(input, &mut lines) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Some(Step::Waits),
            Err(rejection) => return Some(self.refuse(&rejection)),
        };
        let RequestHead { head, traits, length } = parsed;
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
                let kept = self.endpoint.begin(&request, traits.framing.length());
                Receiving::awaited(traits, request, kept)
            }
        };
        if receiving.is_too_long() || is_expected && !receiving.is_kept() {
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
    pub(super) fn finish(
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
                self.deadline = None;
                Some(Step::Responded(None))
            }
        }
    }

    /// Answers bytes that are no request.
    pub(super) fn refuse(&mut self, rejection: &Rejection) -> Step<E::Deferred> {
        let response = self.endpoint.refuse(rejection).closing();
        self.respond(&response, Traits::UNKNOWN, UNKEPT_MAX);
        Step::Responded(None)
    }

    /// Writes the response. If the connection ends with it, at most `unread_max` further bytes are read.
    pub(super) fn respond(&mut self, response: &Response, traits: Traits, unread_max: usize) {
        let ends = response.is_last() || traits.persistence == Persistence::Close;
        let connection = match traits.persistence {
            _ if ends => Some("close"),
            Persistence::KeepAlive => Some("keep-alive"),
            Persistence::Persistent | Persistence::Close => None,
        };
        response.write(&mut self.output.bytes, !traits.is_head, connection);
        self.phase = if ends { Phase::Lingers { unread_max } } else { Phase::Head };
        self.deadline = None;
    }
}
