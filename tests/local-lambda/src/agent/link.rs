//! A connection to an HTTP server, for one request after the other.

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

    /// Whether the connection can take another request. The server must neither forbid that nor have closed.
    pub fn is_reusable(&mut self) -> bool {
        self.open && self.messages.stream().socket().is_quiet()
    }

    pub fn set_patience(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.messages.stream().socket().set_patience(patience)
    }

    /// Sends each part in a separate write, and reads the response.
    pub fn exchange(&mut self, parts: &[&[u8]]) -> io::Result<Response> {
        // After a failure, bytes of this exchange may remain on the connection.
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
