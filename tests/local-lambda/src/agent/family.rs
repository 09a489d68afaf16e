//! The families of agents.

/// The agents that differ in the bytes they send, each in the version from which it was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Family {
    /// Thundra for Python 2.7.4: one composite, persistent connections, gives up after 5 s
    ThundraPython,
    /// Catchpoint for Python 3.0.10: as Thundra's, with arrays
    CatchpointPython,
    /// Thundra for Node.js 2.14.4: arrays in chunks, persistent connections, gives up after 3 s, tries once
    /// more after a reset
    Node,
    /// Thundra for Node.js up to 2.14.1, as of 2.13.65: all items in one composite
    NodeComposite,
    /// Thundra for Go v2: composites, a new connection for each, never gives up
    Go,
    /// OpenTelemetry for Python 1.45.2: OTLP in Protobuf, persistent connections, gives up after 10 s
    OtelPython,
    /// OpenTelemetry for Node.js, exporter 0.223.1: OTLP in JSON, in chunks, persistent connections, gives up
    /// after 10 s
    OtelNode,
}

impl Family {
    /// The default port on localhost of this family's agents.
    #[must_use]
    pub fn local_port(self) -> u16 {
        self.profile().local_port
    }

    /// Whether they belong to OpenTelemetry and report by OTLP.
    #[must_use]
    pub fn speaks_otlp(self) -> bool {
        matches!(self, Self::OtelPython | Self::OtelNode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_of_opentelemetry_and_of_thundra_have_different_ports() {
        assert_eq!([Family::Go, Family::ThundraPython].map(Family::local_port), [3333; 2]);
        assert_eq!([Family::OtelPython, Family::OtelNode].map(Family::local_port), [4318; 2]);
    }
}
