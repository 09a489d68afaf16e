//! The extension under test, and what has to be known to put it into a situation.

use std::path::PathBuf;

use crate::port::free_port;
use crate::remote::Remote;
use crate::setup::Setup;

/// Stands for the port of the local server in a variable's value.
const PORT: &str = "{port}";
/// Stands for the base URL of the remote, without a trailing slash, in a variable's value.
const REMOTE: &str = "{remote}";

#[derive(Debug, Clone)]
pub struct Subject {
    pub binary: PathBuf,
    /// Names and values; in a value `{port}` stands for a free port, and `{remote}` for
    /// `http://127.0.0.1:PORT` of a collector double.
    pub variables: Vec<(String, String)>,
    /// Where agents report to it, when that can't be chosen by a variable.
    pub fixed_port: Option<u16>,
}

/// One copy of the subject, with a port and a remote of its own.
pub struct Cast {
    pub setup: Setup,
    /// Of its local server; `None` if it has none that agents could report to.
    pub port: Option<u16>,
    pub remote: Remote,
}

impl Subject {
    /// Whether it takes reports from agents and delivers them to a remote that can be chosen.
    #[must_use]
    pub fn relays(&self) -> bool {
        let mentions = |what: &str| self.variables.iter().any(|(_, value)| value.contains(what));
        mentions(REMOTE) && (mentions(PORT) || self.fixed_port.is_some())
    }

    /// The name of its file, and so of the extension.
    #[must_use]
    pub fn name(&self) -> String {
        self.binary.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(crate) fn cast(&self, remote: Remote) -> Cast {
        let port = self.fixed_port.unwrap_or_else(free_port);
        let setup = self.variables.iter().fold(
            Setup::new().extension(&self.binary),
            |setup, (name, value)| {
                let value = value.replace(PORT, &port.to_string());
                setup.env(name, &value.replace(REMOTE, &remote.origin()))
            },
        );
        Cast { setup, port: self.relays().then_some(port), remote }
    }
}
