//! The protocol of the subject's agents.

use crate::agent::Family;
use crate::otlp::{self, Encoding, Request, Signal};

use super::relay::ARRAYS;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speech {
    /// The arrays of Thundra's and Catchpoint's agents.
    #[default]
    Arrays,
    /// OTLP, as from OpenTelemetry's SDKs. Raw requests are JSON, so that they are text in both protocols.
    Otlp,
}

impl Speech {
    pub(crate) fn family(self) -> Family {
        match self {
            Self::Arrays => Family::CatchpointPython,
            Self::Otlp => Family::OtelPython,
        }
    }

    /// The path of reports.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Arrays => ARRAYS,
            Self::Otlp => Signal::Traces.path(),
        }
    }

    /// A report without an item.
    pub(crate) fn nothing(self) -> &'static str {
        match self {
            Self::Arrays => "[]",
            Self::Otlp => "{}",
        }
    }

    /// A report with one item that contains this JSON, and the item in the form that the remote receives.
    pub(crate) fn report(self, told: &str) -> (String, String) {
        match self {
            Self::Arrays => (format!("[{told}]"), told.to_owned()),
            Self::Otlp => {
                let body = otlp::traces(&[told], Encoding::Json);
                let body = String::from_utf8(body).expect("JSON is text");
                (body, Request::traces(&[told]).items().concat())
            }
        }
    }

    /// A body of this many bytes, which the extension may accept if possible.
    pub(crate) fn sized(self, bytes: usize) -> String {
        match self {
            Self::Otlp if bytes >= 2 => format!("{{{}}}", " ".repeat(bytes - 2)),
            _ => "x".repeat(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_the_requested_size() {
        for speech in [Speech::Arrays, Speech::Otlp] {
            assert_eq!([0, 1, 2, 100].map(|it| speech.sized(it).len()), [0, 1, 2, 100]);
        }
    }

    #[test]
    fn an_item_is_the_one_that_the_remote_reads_from_its_report() {
        let (body, item) = Speech::Otlp.report(r#"{"a":1}"#);
        let request = Request::read(Signal::Traces, Encoding::Json, body.as_bytes());
        assert_eq!(request.expect("a request").items(), [item]);
        assert_eq!(Speech::Arrays.report("1"), ("[1]".to_owned(), "1".to_owned()));
    }
}
