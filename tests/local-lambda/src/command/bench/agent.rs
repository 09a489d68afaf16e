//! Posts the same report again and again, on one connection.

use std::io;
use std::time::{Duration, Instant};

use local_lambda::agent::{Connection, Response};

use super::report;
use crate::command::protocol::Protocol;

pub struct Agent {
    connection: Connection,
    request: Vec<u8>,
    port: u16,
}

impl Agent {
    /// `None` if no server listens, or it refuses reports.
    pub fn at(port: u16, protocol: Protocol) -> Option<Self> {
        let connection = Connection::try_open(port).ok()?;
        let mut agent = Self { connection, request: report::request(protocol, port), port };
        agent.post().ok().map(|_| agent)
    }

    /// Posts the report and returns how long the answer took. If the server has closed the connection
    /// meanwhile, posts on a new one.
    ///
    /// # Errors
    ///
    /// When there is no answer, or no success.
    pub fn post(&mut self) -> io::Result<Duration> {
        let began = Instant::now();
        let answer = if let Ok(answer) = self.connection.exchange(&self.request) {
            answer
        } else {
            self.connection = Connection::try_open(self.port)?;
            self.connection.exchange(&self.request)?
        };
        let took = began.elapsed();
        match answer {
            Response { status: 200..=299, .. } => Ok(took),
            Response { status, .. } => {
                Err(io::Error::other(format!("a report was answered {status}")))
            }
        }
    }
}
