//! Selects the headers of a report that are forwarded.

use ureq::http::HeaderValue;

use crate::local::body::ReadError;
use crate::local::collector::otlp;
use crate::local::head::Head;
use crate::local::response::Rejection;
use crate::payload::route::{Headers, Route};
use crate::remote::client::USER_AGENT;

/// The longest value of a forwarded header, in bytes. A request with a longer one is refused with 400. ureq
/// cannot send a line of more than 16 KiB, so each attempt would fail. A key has some dozen bytes.
const HEADER_VALUE_MAX: usize = 8 * 1024;

/// The headers that are forwarded with a report.
///
/// # Errors
/// A value cannot be forwarded, or the request comes from this extension itself.
pub fn forwarded(head: &Head, route: Route) -> Result<Headers, Rejection> {
    if head.values("User-Agent").any(|it| it == USER_AGENT.as_bytes()) {
        return Err(ReadError::Malformed("this extension is its own remote").into());
    }
    let value = |name: &str| head.values(name).next().map(header_value).transpose();
    let mut authorization = value("Authorization")?;
    if let Some(key) = &mut authorization {
        key.set_sensitive(true);
    }
    let content_type = value("Content-Type")?;
    let authorization = authorization.filter(|it| !it.is_empty());
    let content_encoding = if route.signal().is_some() {
        let codings = otlp::codings(head);
        codings.map(|it| header_value(&it)).transpose()?
    } else {
        value("Content-Encoding")?
    };
    Ok(Headers { authorization, content_type, content_encoding })
}

/// Values that nearly all requests have. They need no memory of their own.
const USUAL: [&str; 3] = ["application/x-protobuf", "application/json", "gzip"];

fn header_value(value: &[u8]) -> Result<HeaderValue, Rejection> {
    if let Some(usual) = USUAL.iter().find(|it| it.as_bytes() == value) {
        return Ok(HeaderValue::from_static(usual));
    }
    if value.len() > HEADER_VALUE_MAX {
        return Err(ReadError::Malformed("a header of more than 8 KiB").into());
    }
    // ureq sends these headers only if they are ASCII, so each attempt would fail.
    let ascii = HeaderValue::from_bytes(value).ok().filter(|_| value.is_ascii());
    ascii.ok_or(ReadError::Malformed("a forwarded header with bytes beyond ASCII").into())
}
