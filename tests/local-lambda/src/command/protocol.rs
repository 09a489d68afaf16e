//! The protocols between agents and extensions, and the variables that configure them.

use local_lambda::agent::Family;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The protocol of Thundra's agents.
    Thundra,
    /// OTLP over HTTP, in Protobuf.
    Otlp,
}

/// The variables that give this repository's extension its port and its remote. Another extension gets its own
/// variables by `--env`.
const VARIABLES: [(&str, &str); 3] = [
    ("THUNDRA_EXTENSION_PORT", "{port}"),
    ("THUNDRA_EXTENSION_COLLECTOR_URL", "{remote}/v1"),
    ("SSL_CERT_FILE", "{ca}"),
];

/// The same variables for OTLP.
const OF_OTLP: [(&str, &str); 3] = [
    ("THUNDRA_EXTENSION_OTLP_PORT", "{port}"),
    ("THUNDRA_EXTENSION_OTLP_ENDPOINT", "{remote}"),
    ("SSL_CERT_FILE", "{ca}"),
];

impl Protocol {
    /// The family of the agent in the function.
    pub fn family(self) -> Family {
        match self {
            Self::Thundra => Family::ThundraPython,
            Self::Otlp => Family::OtelPython,
        }
    }

    /// The protocol of this family's agents.
    pub fn of(family: Family) -> Self {
        if family.speaks_otlp() { Self::Otlp } else { Self::Thundra }
    }

    /// The variables of an extension. Their values contain `{port}`, `{remote}` and `{ca}`.
    pub fn variables(self) -> Vec<(String, String)> {
        let variables = if self == Self::Thundra { VARIABLES } else { OF_OTLP };
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    /// Whether all extensions get this variable.
    pub fn is_told_to_all(name: &str) -> bool {
        VARIABLES.iter().any(|(it, _)| *it == name)
    }
}
