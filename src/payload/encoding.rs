//! The two encodings of OTLP over HTTP.

/// The encoding of an OTLP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    /// The encoding of a `Content-Type`. Its parameters are ignored ("OTLP Specification", OTLP/HTTP).
    pub fn of(content_type: &str) -> Option<Self> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        [Self::Protobuf, Self::Json]
            .into_iter()
            .find(|it| media_type.eq_ignore_ascii_case(it.media_type()))
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_media_types_are_encodings_in_any_case_and_with_any_parameters() {
        for (content_type, encoding) in [
            ("application/x-protobuf", Some(Encoding::Protobuf)),
            ("application/json", Some(Encoding::Json)),
            ("Application/JSON; charset=utf-8", Some(Encoding::Json)),
            ("application/x-protobuf ;x", Some(Encoding::Protobuf)),
            ("", None),
            ("application/protobuf", None),
            ("application/jsonx", None),
            ("text/plain", None),
        ] {
            assert_eq!(Encoding::of(content_type), encoding, "{content_type}");
        }
    }
}
