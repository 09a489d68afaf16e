//! The recorded calls of the platform's APIs.

use std::time::Instant;

use crate::event_type::EventType;
use crate::http::{self, Headers, Request};

/// One request to an API. Refused requests are recorded too.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub headers: Headers,
    pub body: Vec<u8>,
    /// The time at which the whole request had arrived.
    pub at: Instant,
    /// The connection's number, from 0, in the order of acceptance.
    pub connection: usize,
    /// The status of the answer. `None` while a `next` waits for its event.
    pub status: Option<u16>,
}

/// An accepted registration.
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

    /// The first header with this name, in any case of letters.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        http::header(&self.headers, name)
    }
}
