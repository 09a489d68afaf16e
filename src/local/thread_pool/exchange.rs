//! One exchange on a tiny_http connection: the collector gets the head, then the body, and its response is sent.

use std::io::Write;

use tiny_http::{Method, Request, StatusCode};

use crate::local::body::ReadError;
use crate::local::collector::Collector;
use crate::local::endpoint::Admission;
use crate::local::head::{Head, Header};
use crate::local::response::Response;
use crate::local::thread_pool::body;
use crate::local::thread_pool::request::is_last;
use crate::logging;
use crate::payload::protocol::Protocol;

/// Reads a request to the port of this protocol, and answers it.
pub fn serve(collector: &Collector, mut request: Request, protocol: Protocol) {
    let is_readable = body::is_readable(&request);
    let headers: Vec<Header> = request.headers().iter().map(header_of).collect();
    let (method, target) = (request.method().as_str(), request.url());
    let admission = collector.admit(&Head { method, target, headers: &headers }, protocol);
    drop(headers);
    let response = match admission {
        Admission::Answered(response) if is_readable => match body::skip(&mut request) {
            Ok(()) => response,
            Err(_) => response.closing(),
        },
        Admission::Answered(response) => response,
        Admission::Awaited(report) if is_readable => {
            let body = body::read(&mut request, report.quota(), report.overhead());
            // Only a chunked body may be incomplete without an error.
            report.finish(body, request.body_length().is_none())
        }
        Admission::Awaited(report) => report.finish(Err(ReadError::TooLarge), false),
    };
    if is_readable {
        send(&response, request);
    } else {
        send_and_abandon(response, request);
    }
}

/// Sends the response to a request whose body was read to its end. A client that has gone is no error.
pub fn send(response: &Response, request: Request) {
    let bytes = to_bytes(response, &request);
    // Written directly and in one piece. tiny_http's own responses add a date, which costs more than the
    // rest of the response.
    write(&mut request.into_writer(), &bytes);
}

/// Sends the response and abandons the connection, because the body must not be read. Neither the
/// connection nor the request may be dropped (see `body::is_readable`). Until the process ends,
/// both stay in memory, and keep two descriptors and one of tiny_http's threads.
fn send_and_abandon(response: Response, request: Request) {
    let bytes = to_bytes(&response.closing(), &request);
    // Only an upgrade returns the writer without dropping the body. The response to an upgrade has no
    // length, so an interim response is sent before the real one. Clients skip interim responses (RFC
    // 9110, 15.2).
    let mut stream = request.upgrade("none", tiny_http::Response::empty(StatusCode(100)));
    write(&mut stream, &bytes);
    std::mem::forget(stream);
}

fn header_of(header: &tiny_http::Header) -> Header<'_> {
    Header { name: header.field.as_str().as_str(), value: header.value.as_bytes() }
}

fn to_bytes(response: &Response, request: &Request) -> Vec<u8> {
    let is_last = response.is_last() || is_last(request);
    let has_body = *request.method() != Method::Head;
    let mut bytes = Vec::new();
    response.write(&mut bytes, has_body, is_last.then_some("close"));
    bytes
}

fn write(client: &mut dyn Write, bytes: &[u8]) {
    if let Err(error) = client.write_all(bytes).and_then(|()| client.flush()) {
        logging::debug!("cannot answer an agent: {error}; the agent gets no answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_http::{Header, TestRequest};

    #[test]
    fn the_last_response_on_a_connection_announces_the_close_and_head_gets_no_body() {
        let close = Header::from_bytes("connection", "Close").unwrap();
        let request = TestRequest::new().with_header(close).with_method(Method::Head).into();
        let bytes = to_bytes(&Response::ACCEPTED, &request);
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
        );
    }
}
