//! A connection to an HTTP server that takes one request after the other.

use std::io::{self, Write};
use std::time::Duration;

use super::stream::Stream;
use crate::http::{Response, is_bodiless};
use crate::messages::Messages;

pub struct Link {
    messages: Messages<Stream>,
    /// Whether the last response left the connection open.
    open: bool,
}

impl Link {
    pub fn over(stream: Stream) -> Self {
        Self { messages: Messages::new(stream), open: true }
    }

    /// Whether another request may be sent: the server said and did nothing against it.
    pub fn is_reusable(&mut self) -> bool {
        self.open && self.messages.stream().socket().is_quiet()
    }

    pub fn set_patience(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.messages.stream().socket().set_patience(patience)
    }

    /// Sends the parts, each in a write of its own, and reads the response.
    pub fn exchange(&mut self, parts: &[&[u8]]) -> io::Result<Response> {
        // What breaks off within may leave bytes of this exchange behind.
        self.open = false;
        for part in parts {
            self.messages.stream().write_all(part)?;
        }
        self.messages.stream().flush()?;
        let response = self.messages.response()?;
        let closes =
            response.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let framed = ["Content-Length", "Transfer-Encoding"]
            .iter()
            .any(|name| response.header(name).is_some());
        self.open = !closes && (framed || is_bodiless(response.status));
        Ok(response)
    }
}
