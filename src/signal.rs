//! The three kinds of telemetry that OTLP carries.

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    /// Below the base URL, at both ends ("OTLP Specification", OTLP/HTTP Request).
    pub fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }

    /// What a request in JSON begins with before its items: the one member that there is of it.
    pub fn json_opening(self) -> &'static str {
        match self {
            Self::Traces => r#"{"resourceSpans":["#,
            Self::Metrics => r#"{"resourceMetrics":["#,
            Self::Logs => r#"{"resourceLogs":["#,
        }
    }

    /// The name of that member.
    pub fn json_member(self) -> &'static str {
        let opening = self.json_opening();
        &opening[r#"{""#.len()..opening.len() - r#"":["#.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_member_is_what_the_opening_opens() {
        let members = [Signal::Traces, Signal::Metrics, Signal::Logs].map(Signal::json_member);
        assert_eq!(members, ["resourceSpans", "resourceMetrics", "resourceLogs"]);
    }
}
