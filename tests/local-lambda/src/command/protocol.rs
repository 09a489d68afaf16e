//! What agents speak to an extension, and how it is told.

use local_lambda::agent::Family;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// That of Thundra's agents.
    Thundra,
    /// OTLP over HTTP, in Protobuf.
    Otlp,
}

/// How any extension learns its port and where to deliver. An extension that has other variables gets
/// those by `--env`.
const VARIABLES: [(&str, &str); 3] = [
    ("THUNDRA_EXTENSION_PORT", "{port}"),
    ("THUNDRA_EXTENSION_COLLECTOR_URL", "{remote}/v1"),
    ("SSL_CERT_FILE", "{ca}"),
];

/// The same for OTLP.
const OF_OTLP: [(&str, &str); 3] = [
    ("THUNDRA_EXTENSION_OTLP_PORT", "{port}"),
    ("THUNDRA_EXTENSION_OTLP_ENDPOINT", "{remote}"),
    ("SSL_CERT_FILE", "{ca}"),
];

impl Protocol {
    /// The agent in the function.
    pub fn family(self) -> Family {
        match self {
            Self::Thundra => Family::ThundraPython,
            Self::Otlp => Family::OtelPython,
        }
    }

    /// That of an agent of this family.
    pub fn of(family: Family) -> Self {
        if family.speaks_otlp() { Self::Otlp } else { Self::Thundra }
    }

    /// What an extension is told, with `{port}`, `{remote}` and `{ca}` in the values.
    pub fn variables(self) -> Vec<(String, String)> {
        let variables = if self == Self::Thundra { VARIABLES } else { OF_OTLP };
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    /// Whether this is a variable of all extensions.
    pub fn is_told_to_all(name: &str) -> bool {
        VARIABLES.iter().any(|(it, _)| *it == name)
    }
}
