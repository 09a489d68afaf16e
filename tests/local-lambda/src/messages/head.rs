//! The head of a message, and the framing of the body that it declares.

use std::io;

use crate::http::{Headers, header};

const HEADERS_MAX: usize = 100;

/// How the end of the body is found.
pub enum Framing {
    Length(usize),
    Chunked,
    Unsaid,
}

impl Framing {
    pub fn of(headers: &[(String, String)]) -> io::Result<Self> {
        let length = header(headers, "Content-Length");
        let chunked = header(headers, "Transfer-Encoding");
        match (length, chunked) {
            (None, None) => Ok(Self::Unsaid),
            (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => Ok(Self::Chunked),
            (Some(length), None) => match length.parse() {
                Ok(length) => Ok(Self::Length(length)),
                Err(_) => Err(broken(format!("Content-Length: {length}"))),
            },
            framing => Err(broken(format!("Content-Length and Transfer-Encoding {framing:?}"))),
        }
    }
}

/// The length of the head and its contents. `None` while the head is incomplete.
pub type Parsed<H> = io::Result<Option<(usize, H)>>;

pub fn parse_request(bytes: &[u8]) -> Parsed<(String, String, Headers)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = request.parse(bytes).map_err(|e| bad(bytes, e))?
    else {
        return Ok(None);
    };
    let method = request.method.unwrap_or_default().to_owned();
    let target = request.path.unwrap_or_default().to_owned();
    Ok(Some((length, (method, target, owned(request.headers)))))
}

pub fn parse_response(bytes: &[u8]) -> Parsed<(u16, Headers)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes).map_err(|e| bad(bytes, e))?
    else {
        return Ok(None);
    };
    Ok(Some((length, (response.code.unwrap_or_default(), owned(response.headers)))))
}

fn owned(headers: &[httparse::Header<'_>]) -> Headers {
    let text = |value| String::from_utf8_lossy(value).into_owned();
    headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect()
}

fn bad(bytes: &[u8], error: httparse::Error) -> io::Error {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
    broken(format!("not HTTP ({error}): {start:?}"))
}

pub fn broken(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
