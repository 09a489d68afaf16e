//! Posts the same report over and over, on one connection.

use std::io;
use std::time::{Duration, Instant};

use sandbox::agent::{Connection, Response};

/// Of a report, as large as those of a small function with tracing.
const REPORT_BYTES: usize = 3_000;

pub struct Agent {
    connection: Connection,
    request: Vec<u8>,
    port: u16,
}

impl Agent {
    /// `None` where nobody listens, or a report is not taken there.
    pub fn at(port: u16) -> Option<Self> {
        let start = r#"[{"type":"Span","data":{"className":"benchmark","tags":{"padding":""#;
        let end = r#""}}}]"#;
        let padding = "x".repeat(REPORT_BYTES - start.len() - end.len());
        let request = format!(
            "POST /v1/monitoring-data HTTP/1.1\r\nHost: localhost:{port}\r\n\
             Content-Type: application/json\r\nAuthorization: ApiKey some-key\r\n\
             Content-Length: {REPORT_BYTES}\r\n\r\n{start}{padding}{end}"
        );
        let connection = Connection::try_open(port).ok()?;
        let mut agent = Self { connection, request: request.into_bytes(), port };
        agent.post().ok().map(|_| agent)
    }

    /// How long the answer took. Where the server has closed the connection meanwhile, it is posted on
    /// a new one.
    ///
    /// # Errors
    ///
    /// When there is none, or it is no success.
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
