//! What the remote collector does with a request, good and bad.

use std::time::Duration;

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

    /// What Thundra's collector says to a report.
    pub fn ok() -> Self {
        Self::status(200).header("Content-Type", "application/json").body("{}")
    }
}
