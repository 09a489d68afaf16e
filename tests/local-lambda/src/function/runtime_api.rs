//! A runtime's side of the Runtime API, version 2018-06-01.

use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::end::End;
use crate::agent::{Link, Sockets, Stream};
use crate::http::Response;

/// Time limit of an answer to a post, and of a connection attempt. Lambda answers both at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Waiting for an event has no limit, because the process is frozen meanwhile.
const NO_LIMIT: Option<Duration> = None;

pub struct RuntimeApi {
    authority: String,
    sockets: Arc<Sockets>,
    link: Option<Link>,
}

pub struct Event {
    pub request_id: String,
    pub deadline: Instant,
    pub body: Vec<u8>,
}

/// The error of a handler or of an init.
pub struct Failed {
    pub kind: String,
    pub message: String,
}

impl RuntimeApi {
    pub fn new(authority: &str, sockets: Arc<Sockets>) -> Self {
        Self { authority: authority.to_owned(), sockets, link: None }
    }

    pub fn next(&mut self) -> Result<Event, End> {
        let response = self.get("invocation/next")?;
        let header = |name| {
            let missing = || End::Refused(format!("an event comes without {name}"));
            response.header(name).ok_or_else(missing)
        };
        let request_id = header("Lambda-Runtime-Aws-Request-Id")?.to_owned();
        let deadline = header("Lambda-Runtime-Deadline-Ms")?;
        let deadline = from_epoch(deadline)
            .ok_or_else(|| End::Refused(format!("a deadline of {deadline:?}")))?;
        Ok(Event { request_id, deadline, body: response.body })
    }

    /// Waits until a snapshot of this process is restored.
    pub fn restored(&mut self) -> Result<(), End> {
        self.get("restore/next").map(drop)
    }

    /// Posts the response.
    ///
    /// # Errors
    ///
    /// When Lambda no longer accepts responses. A response that is too large becomes an error of the function
    /// on Lambda's side, and one that is too late is ignored. All runtimes leave both to Lambda.
    pub fn respond(&mut self, request_id: &str, body: &str) -> Result<(), End> {
        match self.post(&format!("invocation/{request_id}/response"), "", body)? {
            410 | 413 => Ok(()),
            status => accepted("a response", status),
        }
    }

    pub fn fail(&mut self, request_id: &str, failed: &Failed) -> Result<(), End> {
        let path = format!("invocation/{request_id}/error");
        match self.post(&path, &failed.header(), &failed.body())? {
            410 => Ok(()),
            status => accepted("an error", status),
        }
    }

    pub fn fail_init(&mut self, failed: &Failed) -> Result<(), End> {
        let status = self.post("init/error", &failed.header(), &failed.body())?;
        accepted("an error of init", status)
    }

    fn get(&mut self, path: &str) -> Result<Response, End> {
        let head = self.head("GET", path, "");
        let response = self.call(NO_LIMIT, &format!("{head}\r\n"))?;
        match response.status {
            200 => Ok(response),
            status => Err(End::Refused(format!("{path} is answered {status}"))),
        }
    }

    fn post(&mut self, path: &str, header: &str, body: &str) -> Result<u16, End> {
        let framing =
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        let head = self.head("POST", path, header);
        let response = self.call(Some(ANSWER_WITHIN), &format!("{head}{framing}\r\n{body}"))?;
        Ok(response.status)
    }

    fn head(&self, method: &str, path: &str, header: &str) -> String {
        format!(
            "{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nHost: {}\r\n\
             User-Agent: local-lambda-function/{}\r\n{header}",
            self.authority,
            env!("CARGO_PKG_VERSION"),
        )
    }

    fn call(&mut self, limit: Option<Duration>, request: &str) -> Result<Response, End> {
        let mut link = match self.link.take().and_then(reusable) {
            Some(link) => link,
            None => self.connect().map_err(|error| {
                End::Unreachable(format!("cannot connect to {}: {error}", self.authority))
            })?,
        };
        let exchanged =
            link.set_patience(limit).and_then(|()| link.exchange(&[request.as_bytes()]));
        let response = exchanged.map_err(|error| End::Disconnected(error.to_string()))?;
        self.link = Some(link);
        Ok(response)
    }

    fn connect(&self) -> io::Result<Link> {
        let addresses: Vec<_> = self.authority.to_socket_addrs()?.collect();
        let socket = self.sockets.connect(&addresses, Some(ANSWER_WITHIN))?;
        Ok(Link::over(Stream::Plain(socket)))
    }
}

impl Failed {
    fn header(&self) -> String {
        format!("Lambda-Runtime-Function-Error-Type: {}\r\n", self.kind)
    }

    fn body(&self) -> String {
        json!({ "errorMessage": self.message, "errorType": self.kind, "stackTrace": [] })
            .to_string()
    }
}

fn reusable(mut link: Link) -> Option<Link> {
    link.is_reusable().then_some(link)
}

fn accepted(what: &str, status: u16) -> Result<(), End> {
    match status {
        202 => Ok(()),
        status => Err(End::Refused(format!("{what} is answered {status}"))),
    }
}

/// The instant of a deadline. It is in the past if the deadline is.
fn from_epoch(milliseconds: &str) -> Option<Instant> {
    let deadline = UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds.parse().ok()?))?;
    match deadline.duration_since(SystemTime::now()) {
        Ok(left) => Instant::now().checked_add(left),
        Err(past) => Instant::now().checked_sub(past.duration()),
    }
}
