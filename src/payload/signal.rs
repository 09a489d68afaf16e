//! The three signals of OTLP.

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    /// The path below the base URL, at the local port and at the remote ("OTLP Specification", OTLP/HTTP
    /// Request).
    pub fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }

    pub fn name(self) -> &'static str {
        &self.path()["/v1/".len()..]
    }

    /// The start of a JSON request, up to its first item. The request is an object with one member, an array.
    pub fn json_opening(self) -> &'static str {
        match self {
            Self::Traces => r#"{"resourceSpans":["#,
            Self::Metrics => r#"{"resourceMetrics":["#,
            Self::Logs => r#"{"resourceLogs":["#,
        }
    }

    /// The name of the only member of a JSON request.
    pub fn json_member(self) -> &'static str {
        let opening = self.json_opening();
        &opening[r#"{""#.len()..opening.len() - r#"":["#.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_member_is_the_name_in_the_opening() {
        let members = [Signal::Traces, Signal::Metrics, Signal::Logs].map(Signal::json_member);
        assert_eq!(members, ["resourceSpans", "resourceMetrics", "resourceLogs"]);
    }
}
