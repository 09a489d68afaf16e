//! HTTP/1.1 messages as values, and writing them.

use std::io::Write;

pub type Headers = Vec<(String, String)>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// A server's answer. The body is complete and without chunk framing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

impl Response {
    /// The first header with this name, in any case of letters.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

pub fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// A response as bytes. It gets a Content-Length, unless the headers frame the body themselves.
pub fn render(status: u16, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let framing = ["Content-Length", "Transfer-Encoding"];
    let framed = framing.iter().any(|name| header(headers, name).is_some());
    let length = (!framed && !is_bodiless(status))
        .then(|| ("Content-Length".to_owned(), body.len().to_string()));
    let mut bytes = format!("HTTP/1.1 {status} {}\r\n", reason(status)).into_bytes();
    for (name, value) in headers.iter().chain(&length) {
        write!(bytes, "{name}: {value}\r\n").expect("memory takes all bytes");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// Whether a response with this status has no body, whatever its head declares.
pub fn is_bodiless(status: u16) -> bool {
    status < 200 || status == 204 || status == 304
}

/// The name of a status code in Go's net/http, which AWS's daemon uses.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        410 => "Gone",
        413 => "Request Entity Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, headers: &[(&str, &str)], body: &str, expected: &str) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let headers: Headers = headers.iter().map(owned).collect();
        let rendered = render(status, &headers, body.as_bytes());
        assert_eq!(String::from_utf8_lossy(&rendered), expected);
    }

    #[test]
    fn a_response_has_a_content_length_unless_another_framing_is_set() {
        check(200, &[("A", "b")], "{}", "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\n{}");
        let lie = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}";
        check(200, &[("content-length", "9")], "{}", lie);
        check(204, &[], "", "HTTP/1.1 204 Status\r\n\r\n");
    }
}
