//! The formats of bodies that can be merged or split.

use crate::payload::encoding::Encoding;
use crate::payload::route::{Headers, Route};
use crate::payload::signal::Signal;

/// A body's format: the bytes before, between and after its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// A JSON array of items.
    JsonArray,
    /// An OTLP request in JSON: an object with one member, an array of items.
    OtlpJson(Signal),
    /// An OTLP request in protobuf: a message with one repeated field. Concatenated messages are a merged
    /// message ("Encoding", protobuf.dev).
    OtlpProtobuf,
}

impl BodyFormat {
    /// The format of a body from this route with these headers. `None` for a body that is sent unchanged: a
    /// composite, a compressed body, or one of unknown type.
    pub fn of(route: Route, headers: &Headers) -> Option<Self> {
        if headers.content_encoding.is_some() {
            return None;
        }
        match (route, headers.encoding()) {
            (Route::MonitoringData, _) => Some(Self::JsonArray),
            (Route::Otlp(_), Some(Encoding::Protobuf)) => Some(Self::OtlpProtobuf),
            (Route::Otlp(signal), Some(Encoding::Json)) => Some(Self::OtlpJson(signal)),
            (Route::CompositeMonitoringData, _) | (Route::Otlp(_), None) => None,
        }
    }

    /// The name of the only member, if a body is a JSON object.
    pub fn member(self) -> Option<&'static str> {
        match self {
            Self::OtlpJson(signal) => Some(signal.json_member()),
            Self::JsonArray | Self::OtlpProtobuf => None,
        }
    }

    pub fn opening(self) -> &'static [u8] {
        match self {
            Self::JsonArray => b"[",
            Self::OtlpJson(signal) => signal.json_opening().as_bytes(),
            Self::OtlpProtobuf => b"",
        }
    }

    pub fn separator(self) -> &'static [u8] {
        match self {
            Self::JsonArray | Self::OtlpJson(_) => b",",
            Self::OtlpProtobuf => b"",
        }
    }

    pub fn closing(self) -> &'static [u8] {
        match self {
            Self::JsonArray => b"]",
            Self::OtlpJson(_) => b"]}",
            Self::OtlpProtobuf => b"",
        }
    }

    /// The length of a body with this many bytes of items.
    pub fn length(self, items: usize) -> usize {
        self.opening().len() + items + self.closing().len()
    }
}
