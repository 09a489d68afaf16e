//! What the remote collector does with a request, good and bad.

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
    /// No answer until the connection closes or the remote is dropped.
    Hang,
    /// The connection ends in a TCP reset.
    Reset,
    /// These bytes, whatever they are, and then an orderly close.
    HalfAnswer(Vec<u8>),
    /// The answer, once this time has passed.
    Delayed(Duration, Box<Answer>),
    /// The answer, a little at a time.
    Paced(Pace, Box<Answer>),
    /// So many of the answer's first bytes, and then this end.
    Cut(usize, End, Box<Answer>),
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self::Reply { status, headers: Vec::new(), body: Vec::new() }
    }

    /// # Panics
    ///
    /// When the answer is not made with [`Answer::status`]: only such a one has headers.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        match &mut self {
            Self::Reply { headers, .. } => headers.push((name.to_owned(), value.into())),
            other => panic!("{other:?} has no headers"),
        }
        self
    }

    /// # Panics
    ///
    /// When the answer is not made with [`Answer::status`]: only such a one has a body.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        match &mut self {
            Self::Reply { body, .. } => *body = bytes.into(),
            other => panic!("{other:?} has no body"),
        }
        self
    }

    /// Waits before answering; comes last.
    pub fn after(self, delay: Duration) -> Self {
        Self::Delayed(delay, Box::new(self))
    }

    /// Writes the answer a little at a time.
    pub fn at_pace(self, pace: Pace) -> Self {
        Self::Paced(pace, Box::new(self))
    }

    /// Writes only so many bytes, head included, and then ends the connection. Unlike
    /// [`Self::HalfAnswer`], this is an answer of its status that did not arrive: with a 2xx, the
    /// remote has accepted what the client can not know of.
    pub fn cut_after(self, bytes: usize, end: End) -> Self {
        Self::Cut(bytes, end, Box::new(self))
    }

    /// What Thundra's collector says to a report, and a receiver of OTLP to one in JSON.
    pub fn ok() -> Self {
        Self::status(200).header("Content-Type", "application/json").body("{}")
    }

    /// That this request is taken, as [`Self::accepting_unread`]; but OTLP that does not decode is
    /// answered 400.
    pub fn accepting(received: &Received) -> Self {
        match received.otlp() {
            Some((_, encoding)) if Request::of(received).is_none() => {
                let status = encoding.status("the request does not decode");
                Self::status(400).header("Content-Type", encoding.content_type()).body(status)
            }
            _ => Self::accepting_unread(received),
        }
    }

    /// That this request is taken, in the encoding that it has, whatever is in it: where reading would
    /// be measured.
    pub fn accepting_unread(received: &Received) -> Self {
        match received.encoding() {
            Some(Encoding::Protobuf) => {
                Self::status(200).header("Content-Type", Encoding::Protobuf.content_type())
            }
            Some(Encoding::Json) | None => Self::ok(),
        }
    }

    /// That this request is taken, but for so many of its spans, data points or log records. With
    /// none it is a warning.
    ///
    /// # Panics
    ///
    /// When the request is no OTLP.
    pub fn partial(received: &Received, rejected: i64, message: &str) -> Self {
        let Some((signal, encoding)) = received.otlp() else { panic!("no OTLP: {received}") };
        let body = Partial { rejected, message }.write(signal, encoding);
        Self::status(200).header("Content-Type", encoding.content_type()).body(body)
    }

    /// The status, if it is an answer with one.
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
