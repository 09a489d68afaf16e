//! How a body holds its items, where it is such that it may be merged with others, or cut.

use crate::encoding::Encoding;
use crate::payload::{Headers, Route};
use crate::signal::Signal;

/// What stands before, between and behind the items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A JSON array of them.
    Array,
    /// A JSON object with one member, an array of them: a request of OTLP.
    Member(Signal),
    /// A message whose one field repeats: such a request in protobuf, where to concatenate is to merge
    /// ("Encoding", protobuf.dev).
    Message,
}

impl Form {
    /// That of a body which comes by this route. `None` for what goes as it is: a composite, and what
    /// is encoded.
    pub fn of(route: Route, headers: &Headers) -> Option<Self> {
        if headers.content_encoding.is_some() {
            return None;
        }
        match (route, headers.encoding()) {
            (Route::MonitoringData, _) => Some(Self::Array),
            (Route::Otlp(_), Some(Encoding::Protobuf)) => Some(Self::Message),
            (Route::Otlp(signal), Some(Encoding::Json)) => Some(Self::Member(signal)),
            (Route::CompositeMonitoringData, _) | (Route::Otlp(_), None) => None,
        }
    }

    /// The name of the one member, where it is an object.
    pub fn member(self) -> Option<&'static str> {
        match self {
            Self::Member(signal) => Some(signal.json_member()),
            Self::Array | Self::Message => None,
        }
    }

    pub fn opening(self) -> &'static [u8] {
        match self {
            Self::Array => b"[",
            Self::Member(signal) => signal.json_opening().as_bytes(),
            Self::Message => b"",
        }
    }

    pub fn separator(self) -> &'static [u8] {
        match self {
            Self::Array | Self::Member(_) => b",",
            Self::Message => b"",
        }
    }

    pub fn closing(self) -> &'static [u8] {
        match self {
            Self::Array => b"]",
            Self::Member(_) => b"]}",
            Self::Message => b"",
        }
    }

    /// Of a body that holds so many bytes of items.
    pub fn length(self, items: usize) -> usize {
        self.opening().len() + items + self.closing().len()
    }
}
