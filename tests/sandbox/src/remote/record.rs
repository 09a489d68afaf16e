//! What the remote has seen.

use std::fmt;
use std::time::Instant;

use crate::http;
use crate::moment::End;

/// A request that arrived whole; the body is free of chunk framing.
#[derive(Debug, Clone)]
pub struct Received {
    /// Requests count from 0, in the order of their first bytes.
    pub number: usize,
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Connections count from 0, in the order of acceptance.
    pub connection: usize,
    /// When the last byte of the head had arrived.
    pub head_at: Instant,
    /// When the last byte had arrived.
    pub at: Instant,
    /// What it is answered, if the script has an answer with a status for it.
    pub status: Option<u16>,
    pub fate: Fate,
}

/// What became of the answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It waits to be written, or is being written.
    Pending,
    /// It was written whole, and nothing says that the client was gone.
    Answered,
    /// The client had gone, or went before all was written.
    Undelivered,
    /// The script kept it back: a hang, a reset, half an answer.
    Withheld,
}

/// A request that did not arrive whole, or a connection that failed before any, as in a handshake.
#[derive(Debug, Clone)]
pub struct CutShort {
    pub connection: usize,
    /// `None` before the first byte of a request.
    pub request: Option<usize>,
    /// `None` when not even this was whole.
    pub head: Option<Head>,
    /// What was read of the body, with the framing if it is chunked.
    pub body: Vec<u8>,
    pub cause: Cause,
}

#[derive(Debug, Clone)]
pub struct Head {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    /// When its last byte had arrived.
    pub at: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The client closed, reset, or sent what is not HTTP or TLS; in words.
    Client(String),
    /// The test told the remote to.
    Remote(End),
}

#[derive(Default)]
pub struct Record {
    pub received: Vec<Received>,
    pub cut_short: Vec<CutShort>,
}

impl Received {
    /// The first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        http::header(&self.headers, name)
    }

    /// Whether the remote takes it: its answer, delivered or not, has a 2xx.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

impl Record {
    pub fn settle(&mut self, number: usize, fate: Fate) {
        let received = self.received.iter_mut().rev().find(|it| it.number == number);
        received.expect("recorded before it is answered").fate = fate;
    }
}

impl fmt::Display for Received {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path, connection, body, fate, .. } = self;
        write!(out, "{method} {path} on {connection}, {} bytes, {fate:?}", body.len())
    }
}

impl fmt::Display for CutShort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Client(how) => write!(out, "connection {}: {how}", self.connection),
            Cause::Remote(end) => write!(out, "connection {}: {end:?} as told", self.connection),
        }
    }
}
