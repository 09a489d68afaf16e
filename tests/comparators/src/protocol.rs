//! The protocols that `async` relays. Each has its own port and its own sender.

use std::env;

use hyper::body::Bytes;
use hyper::header::HeaderValue;

#[derive(Clone, Copy)]
pub enum Protocol {
    Thundra,
    Otlp,
}

impl Protocol {
    pub fn port(self) -> u16 {
        let (name, default) = match self {
            Self::Thundra => ("THUNDRA_EXTENSION_PORT", 3333),
            Self::Otlp => ("THUNDRA_EXTENSION_OTLP_PORT", 4318),
        };
        env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(default)
    }

    /// The base URL of the remote. The agents' paths without `/v1` are appended to it.
    pub fn base(self) -> Option<String> {
        match self {
            Self::Thundra => env::var("THUNDRA_EXTENSION_COLLECTOR_URL").ok(),
            Self::Otlp => Some(env::var("THUNDRA_EXTENSION_OTLP_ENDPOINT").ok()? + "/v1"),
        }
    }

    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Thundra => "application/json",
            Self::Otlp => "application/x-protobuf",
        })
    }

    /// The answer to an accepted report.
    pub fn thanks(self) -> &'static str {
        match self {
            Self::Thundra => "{}",
            Self::Otlp => "",
        }
    }

    pub fn merged(self, bodies: &[Bytes]) -> Vec<u8> {
        match self {
            Self::Thundra => array_of(bodies),
            // Messages of one type are merged in this way, with any content.
            Self::Otlp => bodies.concat(),
        }
    }
}

/// One array with the items of all bodies. Each body must be an array.
fn array_of(bodies: &[Bytes]) -> Vec<u8> {
    let mut array = vec![b'['];
    for body in bodies {
        let items = body.trim_ascii();
        let items = items.strip_prefix(b"[").and_then(|it| it.strip_suffix(b"]")).unwrap_or(items);
        if array.len() > 1 && !items.is_empty() {
            array.push(b',');
        }
        array.extend_from_slice(items);
    }
    array.push(b']');
    array
}
