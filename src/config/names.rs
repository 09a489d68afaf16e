//! The names of variables. Finds misspelt ones, which would otherwise have no effect and no line in the log.

use super::otlp;
use super::reading::Reading;

/// Prefix of this extension's own variables.
const OURS: &str = "THUNDRA_EXTENSION_";

/// `false`: the extension registers and polls, but relays nothing.
pub const ENABLED: &str = "THUNDRA_EXTENSION_ENABLED";
/// Base URL of the remote collector, including `/v1`.
pub const COLLECTOR_URL: &str = "THUNDRA_EXTENSION_COLLECTOR_URL";
/// When reports are sent.
pub const FLUSH: &str = "THUNDRA_EXTENSION_FLUSH";
/// Memory limit of all reports together, such as `4MiB`.
pub const BUFFER: &str = "THUNDRA_EXTENSION_BUFFER";
/// Port of the local collector. Agents use 3333 only.
pub const PORT: &str = "THUNDRA_EXTENSION_PORT";
/// The least severe level that is logged.
pub const LOG_LEVEL: &str = "THUNDRA_EXTENSION_LOG_LEVEL";
/// Proxy for connections to the remotes.
pub const PROXY: &str = "THUNDRA_EXTENSION_PROXY";
/// PEM file of trusted roots, in addition to the compiled-in ones.
pub const SSL_CERT_FILE: &str = "SSL_CERT_FILE";
/// `true`: any certificate is accepted, for test collectors.
pub const TRUST_ALL_CERTIFICATES: &str = "THUNDRA_EXTENSION_TRUST_ALL_CERTIFICATES";

const KNOWN: [&[&str]; 3] = [&OTHERS, &otlp::VARIABLES, OF_TESTS];

/// All variables that are not for OTLP. Only the wrapper reads the last two.
const OTHERS: [&str; 10] = [
    ENABLED,
    COLLECTOR_URL,
    FLUSH,
    BUFFER,
    PORT,
    LOG_LEVEL,
    PROXY,
    TRUST_ALL_CERTIFICATES,
    "THUNDRA_EXTENSION_WRAPPER_OPTIONS",
    "THUNDRA_EXTENSION_NEXT_WRAPPER",
];

/// Variables that only builds for tests read.
#[cfg(feature = "faults")]
const OF_TESTS: &[&str] = &["THUNDRA_EXTENSION_PANIC_AT"];
#[cfg(not(feature = "faults"))]
const OF_TESTS: &[&str] = &[];

/// Other endings of names, each with the variable that the user probably meant.
const ENDS: [(&str, &str); 4] = [
    ("_DEBUG", LOG_LEVEL),
    ("_API_KEY", "THUNDRA_APIKEY"),
    ("_APIKEY", "THUNDRA_APIKEY"),
    ("_OTLP_API_KEY", otlp::HEADERS),
];

/// Prefixes of names that are meant for this extension. The agents' own names continue differently after the
/// vendor's name.
const NEARLY_OURS: [&str; 2] = ["THUNDRA_EXT", "CATCHPOINT_EXT"];

/// Whether a variable is meant for this extension. Its name may be misspelt.
pub fn is_nearly_ours(name: &str) -> bool {
    let begins = |it: &&str| name.get(..it.len()).is_some_and(|its| its.eq_ignore_ascii_case(it));
    NEARLY_OURS.iter().any(begins)
}

/// The protocol that a misspelt variable was meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misspelt {
    Thundra,
    Otlp,
}

impl Reading<'_> {
    /// Reports each unknown name that looks like one of ours. If such a name was meant for Thundra or OTLP,
    /// returns the protocol of the first one.
    pub fn misspelt(&mut self) -> Option<Misspelt> {
        let mut misspelt = None;
        for (name, _) in self.environment.find(&NEARLY_OURS, "") {
            if !KNOWN.iter().any(|known| known.iter().any(|it| it.eq_ignore_ascii_case(name))) {
                misspelt = misspelt.or(self.explain(name));
            }
        }
        misspelt
    }

    #[cold]
    fn explain(&mut self, name: &str) -> Option<Misspelt> {
        let nearest = nearest(name);
        let hint = match nearest {
            Some(known) => format!("did you mean {known}?"),
            None => "the README of thundra-lambda-extension lists the names".to_owned(),
        };
        self.complain(format!(
            "{name} is not a variable of this extension, and is ignored; {hint}"
        ));
        match nearest? {
            COLLECTOR_URL | PORT => Some(Misspelt::Thundra),
            known if otlp::VARIABLES.contains(&known) => Some(Misspelt::Otlp),
            _ => None,
        }
    }
}

/// The known name with the fewest edits from this name. More edits than half of the known name's bytes after
/// the prefix make another word. If all known names need more, the result is the one with the longest common
/// ending.
fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    let (mut fewest, mut nearest) = (usize::MAX, None);
    let (mut longest, mut same_end) = (0, None);
    let mut look_at_end = |end: &str, known| {
        if end.len() > longest && name.ends_with(end) {
            (longest, same_end) = (end.len(), Some(known));
        }
    };
    for (end, known) in ENDS {
        look_at_end(end, known);
    }
    for known in KNOWN.into_iter().flatten().copied() {
        look_at_end(&known[OURS.len() - 1..], known);
        let edits = edits(name.as_bytes(), known.as_bytes());
        if edits < fewest && edits <= (known.len() - OURS.len()) / 2 {
            (fewest, nearest) = (edits, Some(known));
        }
    }
    nearest.or(same_end)
}

/// The Levenshtein distance: how many bytes must be inserted, deleted or replaced.
fn edits(one: &[u8], other: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, byte) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, its) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(byte != its);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_that_the_user_meant() {
        for (written, meant) in [
            ("THUNDRA_EXTENSION_OTLP_ENDPONT", Some("THUNDRA_EXTENSION_OTLP_ENDPOINT")),
            ("THUNDRA_EXTENSION_OTLP_ENDPOINTS", Some("THUNDRA_EXTENSION_OTLP_ENDPOINT")),
            ("thundra_extension_oltp_endpoint", Some("THUNDRA_EXTENSION_OTLP_ENDPOINT")),
            ("THUNDRA_EXTENTION_OTLP_HEADERS", Some("THUNDRA_EXTENSION_OTLP_HEADERS")),
            ("THUNDRA_EXTENSION_OTLP_HEADER", Some("THUNDRA_EXTENSION_OTLP_HEADERS")),
            (
                "THUNDRA_EXTENSION_OTLP_TRACE_ENDPOINT",
                Some("THUNDRA_EXTENSION_OTLP_TRACES_ENDPOINT"),
            ),
            ("THUNDRA_EXTENSION_COLECTOR_URL", Some(COLLECTOR_URL)),
            ("THUNDRA_EXTENSION_COLLECTOR", Some(COLLECTOR_URL)),
            ("THUNDRA_EXTENSION_LOGLEVEL", Some(LOG_LEVEL)),
            ("THUNDRA_EXTENSION_ENABLE", Some(ENABLED)),
            ("THUNDRA_EXTENSION_TRUST_ALL_CERTS", Some(TRUST_ALL_CERTIFICATES)),
            ("THUNDRA_EXTENSION_HEADERS", Some("THUNDRA_EXTENSION_OTLP_HEADERS")),
            (
                "THUNDRA_EXTENSION_OTEL_EXPORTER_OTLP_HEADERS",
                Some("THUNDRA_EXTENSION_OTLP_HEADERS"),
            ),
            (
                "thundra_extension_exporter_otlp_traces_endpoint",
                Some("THUNDRA_EXTENSION_OTLP_TRACES_ENDPOINT"),
            ),
            ("THUNDRA_EXTENSION_EXPORTER_OTLP_ENDPOINT", Some("THUNDRA_EXTENSION_OTLP_ENDPOINT")),
            ("THUNDRA_EXTENSION_OTPL_PORT", Some("THUNDRA_EXTENSION_OTLP_PORT")),
            ("THUNDRA_EXTENSION_HTTPS_PROXY", Some(PROXY)),
            ("THUNDRA_EXTENSION_DEBUG", Some(LOG_LEVEL)),
            ("THUNDRA_EXTENSION_API_KEY", Some("THUNDRA_APIKEY")),
            ("THUNDRA_EXTENSION_OTLP_API_KEY", Some("THUNDRA_EXTENSION_OTLP_HEADERS")),
            ("THUNDRA_EXTENSION_TRANSPORT", None),
            ("THUNDRA_EXTENSION_COMPRESSION_DICTIONARY", None),
            ("THUNDRA_EXTENSION_", None),
        ] {
            assert_eq!(nearest(written), meant, "{written}");
        }
    }

    #[test]
    fn edits_are_the_levenshtein_distance() {
        for (one, other, count) in
            [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(edits(one.as_bytes(), other.as_bytes()), count);
            assert_eq!(edits(other.as_bytes(), one.as_bytes()), count);
        }
    }
}
