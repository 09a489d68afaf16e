//! One connection, from its first byte to its end.

use std::io::{self, Read};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::http::Request;
use crate::messages::Messages;
use crate::moment::{End, Stage};
use crate::remote::Shared;
use crate::remote::answering;
use crate::remote::channel::Channel;
use crate::remote::connections::Line;
use crate::remote::reading::Reading;
use crate::remote::record::{Cause, Fate, Received};

/// How long bytes are read after an early close. Without that, the client would get a reset.
const LINGERS: Duration = Duration::from_secs(1);
/// The length of a hang, which ends when the connection is ordered to end. It is longer than any test.
const EVER: Duration = Duration::from_secs(24 * 3600);

struct Conversation<'a> {
    messages: Messages<Reading<'a, Channel<'a>>>,
    line: Line<'a>,
    shared: &'a Shared,
    answered: usize,
}

/// Serves the connection to its end. Returns whether the caller must close or reset it.
pub fn talk(line: Line<'_>, shared: &Shared) -> End {
    let reading = Reading::new(Channel::new(line, shared), line, shared);
    let mut conversation =
        Conversation { messages: Messages::new(reading), line, shared, answered: 0 };
    let refusal = shared.script.rules().refusal.and_then(|refuse| refuse(line.number));
    let end = match refusal.or(line.order()) {
        Some(end) => Ending { end, is_early: true },
        None => conversation.run(),
    };
    conversation.finish(end)
}

/// The way in which the connection ends.
struct Ending {
    end: End,
    /// Whether the client may still be sending.
    is_early: bool,
}

impl Conversation<'_> {
    fn run(&mut self) -> Ending {
        loop {
            let request = match self.request() {
                Ok(request) => request,
                Err(ending) => return ending,
            };
            if let Some(end) = self.respond(request) {
                return Ending { end, is_early: false };
            }
        }
    }

    fn request(&mut self) -> Result<Request, Ending> {
        let keep_alive = self.shared.script.rules().keep_alive;
        if keep_alive.requests.is_some_and(|most| self.answered >= most) {
            return Err(Ending { end: End::Close, is_early: false });
        }
        let timeout = self.line.stream.set_read_timeout(keep_alive.idle);
        timeout.expect("an option of every TCP socket, above zero");
        let unread = self.messages.unread().to_vec();
        let begun = self.messages.stream().next_request(&unread);
        let read = match begun {
            Ok(()) => self.messages.request(),
            Err(_) => Ok(None),
        };
        match read {
            Ok(Some(request)) => Ok(request),
            Ok(None) => Err(self.ending(None)),
            Err(error) => Err(self.ending(Some(error))),
        }
    }

    /// The end of a connection without a further request.
    fn ending(&mut self, error: Option<io::Error>) -> Ending {
        let order = self.line.order();
        let reading = self.messages.stream();
        let told = reading.end().or(order);
        let has_begun = reading.has_begun();
        let cause = match (told, error) {
            (Some(end), _) if has_begun => Some(Cause::Remote(end)),
            (Some(_), _) | (None, None) => None,
            // The time limit of an idle connection is reached.
            (None, Some(error)) if error.kind() == io::ErrorKind::WouldBlock => None,
            (None, Some(error)) => Some(Cause::Client(error.to_string())),
        };
        if let Some(cause) = cause {
            let cut_short = reading.cut_short(cause);
            self.shared.record.update(|record| record.cut_short.push(cut_short));
        }
        Ending { end: told.unwrap_or(End::Close), is_early: told.is_some() && has_begun }
    }

    /// Answers a request. Returns the end of the connection, or `None` if it can take the next request.
    fn respond(&mut self, request: Request) -> Option<End> {
        let asks_to_close =
            request.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let received = self.received(request);
        let number = received.number;
        // Decided before the request is recorded, because a test that sees the request may change the script.
        let answer = (self.shared.script.rules().answer)(&received);
        let status = answer.status_code();
        self.shared.record.update(|record| {
            record.received.push(Received { status, ..received });
        });
        let (fate, end) = match self.messages.stream().reach(Stage::Whole) {
            Ok(()) => answering::carry_out(answer, self.line, &mut self.messages.stream().stream),
            Err(end) => (Fate::Withheld, Some(end)),
        };
        self.shared.record.update(|record| record.settle(number, fate));
        self.answered += 1;
        let asked = self.messages.stream().reach(Stage::Answered).err();
        asked.or(end).or(self.line.order()).or(asks_to_close.then_some(End::Close))
    }

    fn received(&mut self, request: Request) -> Received {
        let at = Instant::now();
        let begun = self.messages.stream().request();
        let (number, head_at) = begun.expect("a request that was read whole has begun");
        Received {
            number,
            method: request.method,
            path: request.target,
            headers: request.headers,
            body: request.body,
            connection: self.line.number,
            head_at,
            at,
            status: None,
            fate: Fate::Pending,
        }
    }

    /// Does all steps before the close or reset, which it returns.
    fn finish(&mut self, Ending { end, is_early }: Ending) -> End {
        let early_answer = self.shared.script.rules().early_answer;
        if let Some(answer) =
            early_answer.filter(|_| is_early && self.messages.stream().has_begun())
        {
            let channel = &mut self.messages.stream().stream;
            let (_fate, _end) = answering::carry_out(answer(), self.line, channel);
        }
        let end = if end == End::Hang { self.hang(is_early) } else { end };
        if end == End::Close {
            self.messages.stream().stream.say_goodbye();
            if is_early {
                // This fails if the client has gone, and then there is nothing to read.
                let _ = self.line.stream.shutdown(Shutdown::Write);
                self.drain(LINGERS);
            }
        }
        end
    }

    fn hang(&self, is_early: bool) -> End {
        if is_early {
            self.line.pause(EVER);
        } else {
            // Nothing arrives, but this notices when the client closes.
            self.drain(EVER);
        }
        self.line.order().unwrap_or(End::Close)
    }

    /// Reads and discards bytes until the client closes or the time is over.
    fn drain(&self, within: Duration) {
        let mut stream = self.line.stream;
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.line.order().is_some() {
                return;
            }
            stream.set_read_timeout(Some(left)).expect("a timeout above zero");
            if !stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {
                return;
            }
        }
    }
}
