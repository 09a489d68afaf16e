//! What was asked of the platform's APIs.

use std::time::Instant;

use crate::event_type::EventType;
use crate::http::{self, Headers, Request};

/// One request to the API, refused ones included.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub headers: Headers,
    pub body: Vec<u8>,
    /// When the whole request had arrived.
    pub at: Instant,
    /// Connections count from 0, in the order of acceptance.
    pub connection: usize,
    /// `None` for a next that waits for its event.
    pub status: Option<u16>,
}

/// A register that was accepted.
#[derive(Debug, Clone)]
pub struct Registration {
    pub name: String,
    pub events: Vec<EventType>,
    pub at: Instant,
    pub headers: Headers,
}

impl Call {
    pub(crate) fn new(
        request: Request,
        at: Instant,
        connection: usize,
        status: Option<u16>,
    ) -> Self {
        let Request { method, target: path, headers, body } = request;
        Self { method, path, headers, body, at, connection, status }
    }

    /// The first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        http::header(&self.headers, name)
    }
}
