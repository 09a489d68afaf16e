//! The answers of the remote collector, good and bad.

use std::time::Duration;

use crate::moment::End;
use crate::otlp::{Encoding, Partial, Request};
use crate::pace::Pace;
use crate::remote::Received;

#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    Reply {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// Sends no answer until the connection closes or the remote is dropped.
    Hang,
    /// Resets the TCP connection.
    Reset,
    /// Sends these bytes, whatever they are, and closes in order.
    HalfAnswer(Vec<u8>),
    /// Sends this answer after this time.
    Delayed(Duration, Box<Answer>),
    /// Sends this answer a few bytes at a time.
    Paced(Pace, Box<Answer>),
    /// Sends only this many of the answer's first bytes, and then ends the connection in this way.
    Cut(usize, End, Box<Answer>),
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self::Reply { status, headers: Vec::new(), body: Vec::new() }
    }

    /// # Panics
    ///
    /// When the answer does not come from [`Answer::status`]. Other answers have no headers.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        match &mut self {
            Self::Reply { headers, .. } => headers.push((name.to_owned(), value.into())),
            other => panic!("{other:?} has no headers"),
        }
        self
    }

    /// # Panics
    ///
    /// When the answer does not come from [`Answer::status`]. Other answers have no body.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        match &mut self {
            Self::Reply { body, .. } => *body = bytes.into(),
            other => panic!("{other:?} has no body"),
        }
        self
    }

    /// Waits before the answer. Must be called last.
    pub fn after(self, delay: Duration) -> Self {
        Self::Delayed(delay, Box::new(self))
    }

    /// Writes the answer a few bytes at a time.
    pub fn at_pace(self, pace: Pace) -> Self {
        Self::Paced(pace, Box::new(self))
    }

    /// Writes only this many bytes, head included, and then ends the connection. Unlike [`Self::HalfAnswer`],
    /// the answer still counts with its status. With a 2xx, the remote has accepted the report, and the client
    /// cannot know that.
    pub fn cut_after(self, bytes: usize, end: End) -> Self {
        Self::Cut(bytes, end, Box::new(self))
    }

    /// The answer of Thundra's collector to a report, and of an OTLP receiver to a request in JSON.
    pub fn ok() -> Self {
        Self::status(200).header("Content-Type", "application/json").body("{}")
    }

    /// Accepts the request as [`Self::accepting_unread`] does, but answers 400 to OTLP that does not decode.
    pub fn accepting(received: &Received) -> Self {
        match received.otlp() {
            Some((_, encoding)) if Request::of(received).is_none() => {
                let status = encoding.status("the request does not decode");
                Self::status(400).header("Content-Type", encoding.content_type()).body(status)
            }
            _ => Self::accepting_unread(received),
        }
    }

    /// Accepts the request without decoding it, in the request's encoding. Benchmarks use this, so that they do
    /// not measure the decoding.
    pub fn accepting_unread(received: &Received) -> Self {
        match received.encoding() {
            Some(Encoding::Protobuf) => {
                Self::status(200).header("Content-Type", Encoding::Protobuf.content_type())
            }
            Some(Encoding::Json) | None => Self::ok(),
        }
    }

    /// Accepts the request, but rejects this number of its spans, data points or log records. With 0, the
    /// message is a warning.
    ///
    /// # Panics
    ///
    /// When the request is no OTLP.
    pub fn partial(received: &Received, rejected: i64, message: &str) -> Self {
        let Some((signal, encoding)) = received.otlp() else { panic!("no OTLP: {received}") };
        let body = Partial { rejected, message }.write(signal, encoding);
        Self::status(200).header("Content-Type", encoding.content_type()).body(body)
    }

    /// The status code, if the answer has one.
    pub(crate) fn status_code(&self) -> Option<u16> {
        match self {
            Self::Reply { status, .. } => Some(*status),
            Self::Delayed(_, answer) | Self::Paced(_, answer) | Self::Cut(_, _, answer) => {
                answer.status_code()
            }
            Self::Hang | Self::Reset | Self::HalfAnswer(_) => None,
        }
    }
}
