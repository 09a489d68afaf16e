//! What `async` relays, each from a port of its own by a sender of its own.

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

    /// The URL below which paths are those of agents, but for their `/v1`.
    pub fn base(self) -> Option<String> {
        match self {
            Self::Thundra => Some(env::var("THUNDRA_EXTENSION_COLLECTOR_URL").unwrap_or_default()),
            Self::Otlp => Some(env::var("THUNDRA_EXTENSION_OTLP_ENDPOINT").ok()? + "/v1"),
        }
    }

    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Thundra => "application/json",
            Self::Otlp => "application/x-protobuf",
        })
    }

    /// What says that a report is taken.
    pub fn thanks(self) -> &'static str {
        match self {
            Self::Thundra => "{}",
            Self::Otlp => "",
        }
    }

    pub fn merged(self, bodies: &[Bytes]) -> Vec<u8> {
        match self {
            Self::Thundra => array_of(bodies),
            // So messages of one type are merged, whatever is in them.
            Self::Otlp => bodies.concat(),
        }
    }
}

/// One array of the items of all; each body is taken for an array.
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
