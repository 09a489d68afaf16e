//! The encodings of OTLP messages.

use prost::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// The encoding for a Content-Type, which may have parameters.
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let is_it = |it: &Self| it.content_type().eq_ignore_ascii_case(media_type);
        [Self::Protobuf, Self::Json].into_iter().find(is_it)
    }

    pub(super) fn write<M: Message + Serialize>(self, message: &M) -> Vec<u8> {
        match self {
            Self::Protobuf => message.encode_to_vec(),
            Self::Json => serde_json::to_vec(message).expect("messages of OTLP serialise"),
        }
    }

    /// A `google.rpc.Status` with this message of less than 128 bytes, as in a receiver's refusal.
    pub(crate) fn status(self, message: &str) -> Vec<u8> {
        const MESSAGE: u8 = 2 << 3 | 2;
        match self {
            Self::Protobuf => {
                let length = u8::try_from(message.len()).expect("less than 128 bytes");
                [&[MESSAGE, length], message.as_bytes()].concat()
            }
            Self::Json => serde_json::json!({ "message": message }).to_string().into_bytes(),
        }
    }

    /// Decodes a message. `None` if the bytes are no such message.
    pub(super) fn read<M: Message + Default + DeserializeOwned>(self, bytes: &[u8]) -> Option<M> {
        match self {
            Self::Protobuf => M::decode(bytes).ok(),
            Self::Json => match serde_json::from_slice(bytes) {
                Ok(message) => Some(message),
                // The library requires the list, which the sender may omit if it is empty.
                Err(_) => serde_json::from_slice(bytes).ok().map(|Empty {}| M::default()),
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_tells_the_encoding_whatever_its_case_and_parameters() {
        assert_eq!(Encoding::of("application/x-protobuf"), Some(Encoding::Protobuf));
        assert_eq!(Encoding::of("Application/JSON; charset=utf-8"), Some(Encoding::Json));
        assert_eq!(Encoding::of("application/protobuf"), None);
    }
}
