//! The extension under test, and the settings that scenarios need.

use std::path::PathBuf;
use std::time::Duration;

use super::speech::Speech;
use super::verdict::Obstacle;
use crate::limits::TimeLimits;
use crate::port::free_port;
use crate::remote::Remote;
use crate::setup::Setup;
use crate::tls::{Authority, Identity};

/// Stands for the port of the local server in a variable's value.
const PORT: &str = "{port}";
/// Stands for the base URL of the remote, without a trailing slash, in a variable's value.
const REMOTE: &str = "{remote}";
/// Stands for a PEM file with the certificate of an authority, in a variable's value.
const AUTHORITY: &str = "{ca}";

/// All placeholders.
const PLACEHOLDERS: [&str; 3] = [PORT, REMOTE, AUTHORITY];

#[derive(Debug, Clone)]
pub struct Subject {
    pub binary: PathBuf,
    /// Names and values. In a value `{port}` stands for a free port. `{remote}` stands for
    /// `http://127.0.0.1:PORT` of a collector, or `https://localhost:PORT` in a scenario about TLS. `{ca}`
    /// stands for a PEM file with that collector's authority.
    pub variables: Vec<(String, String)>,
    /// The port for reports, if no variable can set it.
    pub fixed_port: Option<u16>,
    /// The protocol of its agents. Of the scenarios of the kind relay, only those named `malformed-…` support a
    /// protocol other than arrays. Attacks support both.
    pub speech: Speech,
    /// How long some scenarios keep a `next` waiting.
    pub next_held: Duration,
}

/// Just longer than a minute, which is a usual limit of HTTP clients.
pub const NEXT_HELD: Duration = Duration::from_secs(61);

/// Lambda's limits, but with time for an init on a busy machine. Scenarios about an init's time use
/// Lambda's limits.
pub const PATIENT: TimeLimits = TimeLimits { init: Duration::from_secs(60), ..TimeLimits::LAMBDA };

/// One copy of the subject, with its own port and remote.
pub struct Prepared {
    pub setup: Setup,
    /// The port of its local server. `None` if it has none for agents.
    pub port: Option<u16>,
    pub far: Far,
}

/// The subject's peers outside of the environment.
pub struct Far {
    pub remote: Remote,
    /// The authority that the subject may be configured to trust. Its file is removed with it.
    authority: Option<Authority>,
}

/// The certificate that a remote presents.
#[derive(Clone, Copy)]
pub enum Certificate {
    /// It comes from the trusted authority, for the remote's name.
    Right,
    OfAnotherAuthority,
    ForAnotherName,
    Expired,
    SelfSigned,
}

/// A name that the remote never has.
const ANOTHER_NAME: &str = "elsewhere.test";

impl Subject {
    /// Without variables and without a fixed port, for Thundra's agents.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let (variables, fixed_port, speech) = (Vec::new(), None, Speech::default());
        Self { binary: binary.into(), variables, fixed_port, speech, next_held: NEXT_HELD }
    }

    /// Whether it accepts reports from agents and forwards them to a configurable remote.
    #[must_use]
    pub fn relays(&self) -> bool {
        self.has_port() && self.mentions(REMOTE)
    }

    /// If only one of the port and the remote is configured, the missing one. The user probably forgot it.
    #[must_use]
    pub fn missing_half(&self) -> Option<&'static str> {
        match (self.has_port(), self.mentions(REMOTE)) {
            (true, false) => Some("no variable has {remote}"),
            (false, true) => Some("no variable has {port}, and there is no port of its own"),
            (true, true) | (false, false) => None,
        }
    }

    /// The first `{word}` in a variable that is no placeholder.
    #[must_use]
    pub fn unknown_placeholder(&self) -> Option<&str> {
        let words = self.variables.iter().flat_map(|(_, value)| words_in_braces(value));
        words.into_iter().find(|word| !PLACEHOLDERS.contains(word))
    }

    /// Whether a variable can name an authority to trust.
    #[must_use]
    pub fn takes_an_authority(&self) -> bool {
        self.mentions(AUTHORITY)
    }

    fn has_port(&self) -> bool {
        self.mentions(PORT) || self.fixed_port.is_some()
    }

    fn mentions(&self, placeholder: &str) -> bool {
        self.variables.iter().any(|(_, value)| value.contains(placeholder))
    }

    /// The extension's name, which is that of its file.
    #[must_use]
    pub fn name(&self) -> String {
        self.binary.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// A remote without TLS.
    pub(crate) fn plain(&self) -> Far {
        let authority = self.takes_an_authority().then(create_authority);
        Far { remote: Remote::start(), authority }
    }

    pub(crate) fn secure(certificate: Certificate) -> Far {
        let authority = create_authority();
        let remote = match certificate {
            Certificate::Right => Remote::start_tls(&authority),
            Certificate::OfAnotherAuthority => Remote::start_tls(&create_authority()),
            Certificate::ForAnotherName => Remote::start_tls_as(authority.issue(&[ANOTHER_NAME])),
            Certificate::Expired => Remote::start_tls_as(authority.issue_expired(&Remote::NAMES)),
            Certificate::SelfSigned => Remote::start_tls_as(Identity::self_signed(&Remote::NAMES)),
        };
        Far { remote, authority: Some(authority) }
    }

    pub(crate) fn prepare(&self, far: Far) -> Prepared {
        let port = self.fixed_port.unwrap_or_else(free_port);
        let setup = Setup::new().silent_on_panic().limits(PATIENT).extension(&self.binary);
        let setup =
            self.filled_in(port, &far).fold(setup, |setup, (name, value)| setup.env(name, &value));
        Prepared { setup, port: self.relays().then_some(port), far }
    }

    /// Adds another copy with this name and its own port and variables.
    pub(crate) fn copied(&self, setup: Setup, name: &str, far: &Far) -> Setup {
        let setup = setup.extension_named(&self.binary, name);
        let variables = self.filled_in(free_port(), far);
        variables.fold(setup, |setup, (name, value)| setup.extension_env(name, Some(value.into())))
    }

    fn filled_in(&self, port: u16, far: &Far) -> impl Iterator<Item = (&str, String)> {
        filled_in(&self.variables, port, &far.remote.origin(), far.authority.as_ref())
    }
}

/// The variables, with values for `{port}`, `{remote}` and `{ca}`. Without an authority, `{ca}` becomes empty.
pub fn filled_in<'a>(
    variables: &'a [(String, String)],
    port: u16,
    remote: &str,
    authority: Option<&Authority>,
) -> impl Iterator<Item = (&'a str, String)> + use<'a> {
    let authority = authority.map(|it| it.pem_file().to_string_lossy().into_owned());
    let (port, remote) = (port.to_string(), remote.to_owned());
    let authority = authority.unwrap_or_default();
    variables.iter().map(move |(name, value)| {
        let value = value.replace(PORT, &port).replace(REMOTE, &remote);
        (name.as_str(), value.replace(AUTHORITY, &authority))
    })
}

fn create_authority() -> Authority {
    Authority::create().unwrap_or_else(|error| Obstacle::not_started(&error))
}

/// The words with their braces. A word has only letters, digits, `-` and `_`, so braces of JSON do not count.
fn words_in_braces(value: &str) -> impl Iterator<Item = &str> {
    let is_of_a_word = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
    value.match_indices('{').filter_map(move |(start, _)| {
        let length = value[start..].find('}')?;
        let word = &value[start + 1..start + length];
        let is_word = !word.is_empty() && word.chars().all(is_of_a_word);
        is_word.then(|| &value[start..=start + length])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(value: &str) -> Subject {
        Subject { variables: vec![("NAME".to_owned(), value.to_owned())], ..Subject::new("x") }
    }

    #[test]
    fn an_unknown_placeholder_is_refused() {
        for value in ["", "{port}", "{remote}/v1", "{", "}{", "{}", r#"{"a": {"b": 1}}"#, "a{1,2}"]
        {
            assert_eq!(subject(value).unknown_placeholder(), None, "{value}");
        }
        for (value, word) in
            [("{remot}", "{remot}"), ("a{port}{Port}b", "{Port}"), ("{{x-y}", "{x-y}")]
        {
            assert_eq!(subject(value).unknown_placeholder(), Some(word));
        }
    }

    #[test]
    fn a_relay_without_its_port_or_remote_is_refused() {
        assert!(subject("{port}").missing_half().is_some_and(|it| it.contains("{remote}")));
        assert!(subject("{remote}").missing_half().is_some_and(|it| it.contains("{port}")));
        assert_eq!(subject("{port} {remote}").missing_half(), None);
        assert_eq!(subject("").missing_half(), None);
        let fixed = Subject { fixed_port: Some(1), ..subject("{remote}") };
        assert_eq!(fixed.missing_half(), None);
    }
}
