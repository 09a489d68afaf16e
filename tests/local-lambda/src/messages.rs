//! Reads HTTP/1.1 messages from a byte stream. It only finds their ends, and accepts anything that can be read.
//! The tests judge the contents.

mod head;

use std::io::{self, Read};

use crate::http::{Request, Response, is_bodiless};
use head::{Framing, Parsed, broken, parse_response};

pub use head::parse_request;

/// Limit of a head, above the limits of AWS's daemon and of common servers. A larger head never ends.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Limit of a body, larger than any body of a test. A longer declared length is the sender's error.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Splits a byte stream into messages. The bytes after a message stay for the next call.
pub struct Messages<S> {
    stream: S,
    unread: Vec<u8>,
}

impl<S: Read> Messages<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The bytes after the last message that were already read.
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// The bytes after the last message, for a caller that expects no more messages.
    pub fn into_unread(self) -> Vec<u8> {
        self.unread
    }

    /// The next request. `None` when the client closed between two requests.
    pub fn request(&mut self) -> io::Result<Option<Request>> {
        if self.unread.is_empty() {
            match self.fill() {
                Ok(0) => return Ok(None),
                // Nothing was cut off. The client ended with unread bytes in its socket, or without TLS's close
                // message.
                Err(error) if is_end(&error) => return Ok(None),
                filled => filled?,
            };
        }
        let (method, target, headers) = self.head(parse_request)?;
        let body = match Framing::of(&headers)? {
            Framing::Length(length) => self.take(length)?,
            Framing::Chunked => self.chunks()?,
            Framing::Unsaid => Vec::new(),
        };
        Ok(Some(Request { method, target, headers, body }))
    }

    /// The next response to a request that is neither HEAD nor CONNECT.
    pub fn response(&mut self) -> io::Result<Response> {
        let (status, headers) = self.head(parse_response)?;
        let body = match Framing::of(&headers)? {
            _ if is_bodiless(status) => Vec::new(),
            Framing::Length(length) => self.take(length)?,
            Framing::Chunked => self.chunks()?,
            Framing::Unsaid => self.rest()?,
        };
        Ok(Response { status, headers, body })
    }

    fn head<H>(&mut self, parse: fn(&[u8]) -> Parsed<H>) -> io::Result<H> {
        loop {
            if let Some((length, head)) = parse(&self.unread)? {
                self.unread.drain(..length);
                return Ok(head);
            }
            if self.unread.len() > HEAD_BYTES_MAX {
                return Err(broken(format!("a head of more than {HEAD_BYTES_MAX} bytes")));
            }
            self.fill_or_fail("in the head")?;
        }
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| broken(format!("a chunk of size {line:?}")))?;
            if size == 0 {
                break;
            }
            if size > BODY_BYTES_MAX - body.len() {
                return Err(broken(format!("chunks of more than {BODY_BYTES_MAX} bytes")));
            }
            body.append(&mut self.take(size)?);
            if !self.line()?.is_empty() {
                return Err(broken("a chunk longer than its size".to_owned()));
            }
        }
        while !self.line()?.is_empty() {} // trailers
        Ok(body)
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.unread[..end]).into_owned();
                self.unread.drain(..end + 2);
                return Ok(line);
            }
            if self.unread.len() > HEAD_BYTES_MAX {
                return Err(broken(format!("a line of more than {HEAD_BYTES_MAX} bytes")));
            }
            self.fill_or_fail("between chunks")?;
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > BODY_BYTES_MAX {
            return Err(broken(format!("a body of {length} bytes")));
        }
        while self.unread.len() < length {
            let seen = self.unread.len();
            self.fill_or_fail(&format!("after {seen} of {length} bytes of the body"))?;
        }
        let rest = self.unread.split_off(length);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.unread.len() < BODY_BYTES_MAX && self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.unread))
    }

    fn fill_or_fail(&mut self, place: &str) -> io::Result<()> {
        match self.fill()? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("closed {place}"))),
            _ => Ok(()),
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let count = loop {
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.unread.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bodies of all requests in these bytes, or the error.
    fn bodies(mut bytes: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let mut messages = Messages::new(&mut bytes);
        let next = || messages.request().map(|it| it.map(|it| it.body)).transpose();
        std::iter::from_fn(next).collect()
    }

    #[track_caller]
    fn check_error(bytes: &[u8], expected: &str) {
        assert_eq!(bodies(bytes).unwrap_err().to_string(), expected);
    }

    #[test]
    fn pipelined_requests_are_told_apart_by_their_framing() {
        let bytes = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nabGET / HTTP/1.1\r\n\r\n\
                      POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nc\r\n0\r\n\r\n";
        let expected: [&[u8]; 3] = [b"ab", b"", b"c"];
        assert_eq!(bodies(bytes).unwrap(), expected);
    }

    #[test]
    fn a_request_cut_short_names_the_place() {
        check_error(b"POST / HTTP/1.1\r\nA: b\r\n", "closed in the head");
        let half = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na";
        check_error(half, "closed after 1 of 3 bytes of the body");
        let half = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
        check_error(half, "closed between chunks");
    }

    #[test]
    fn ambiguous_framing_is_an_error() {
        check_error(b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "Content-Length: -1");
        check_error(
            b"GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
            "a body of 99999999999 bytes",
        );
        check_error(
            b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
            "a chunk longer than its size",
        );
        check_error(
            b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "a chunk of size \"xyz\"",
        );
    }

    #[test]
    fn what_is_not_http_is_shown() {
        check_error(b"\x16\x03\x01", "not HTTP (invalid token): \"\\u{16}\\u{3}\\u{1}\"");
    }

    #[test]
    fn a_response_without_framing_ends_with_the_connection() {
        let mut bytes: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest";
        let mut messages = Messages::new(&mut bytes);
        assert_eq!(messages.response().unwrap().status, 100);
        assert_eq!(messages.response().unwrap().body, b"rest");
    }
}
