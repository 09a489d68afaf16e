//! The built-in function on the local Lambda. Its agent reports to the extension.

use std::io;
use std::time::Duration;

use local_lambda::agent::Connection;
use local_lambda::conformance::filled_in;
use local_lambda::{Invocation, Lambda, Remote, Setup, Status, User, free_port};

use super::contender::Contender;
use super::samples::Samples;
use super::size::Size;
use crate::command::code::built_in;

/// The function's timeout. It is long, so that a delay by an extension is measured whole.
const TIMEOUT: Duration = Duration::from_secs(30);

pub struct Fixture {
    pub remote: Remote,
    pub lambda: Lambda,
    name: String,
    port: u16,
}

impl Fixture {
    /// # Errors
    ///
    /// When the local Lambda cannot start, or init fails.
    pub fn start(contender: &Contender, size: Size, remote: Remote) -> io::Result<Self> {
        let port = free_port();
        let to_port = vec!["--port".to_owned(), port.to_string()];
        let agent = built_in(contender.protocol.family(), to_port)?;
        let setup = size.of(Setup::new().runtime(agent).timeout(TIMEOUT).user(User::Own));
        let setup = match &contender.path {
            Some(path) => setup.extension(path),
            None => setup,
        };
        let variables = contender.sending_at_once();
        let variables = filled_in(&variables, port, &remote.origin(), None);
        let setup = variables.fold(setup, |setup, (name, value)| setup.env(name, &value));
        let lambda = setup.start()?;
        let fixture = Self { remote, lambda, name: contender.name.clone(), port };
        if fixture.lambda.wait_for_init() { Ok(fixture) } else { Err(fixture.failed("init")) }
    }

    /// Whether the extension listens. It must not be frozen, or it would not answer.
    pub fn takes_reports(&self) -> bool {
        Connection::try_open(self.port).is_ok()
    }

    /// Notes the limits of the size that this machine cannot provide.
    pub fn notes(&self, samples: &mut Samples) {
        self.lambda.notes().iter().for_each(|note| samples.note(note));
    }

    /// # Errors
    ///
    /// When the invocation fails.
    pub fn invoke(&self, event: &str) -> io::Result<Invocation> {
        let invocation = self.lambda.invoke(event);
        match invocation.status {
            Status::Success => Ok(invocation),
            _ => Err(self.failed("an invocation")),
        }
    }

    fn failed(&self, what: &str) -> io::Error {
        let lines: Vec<String> = self.lambda.timeline().iter().map(ToString::to_string).collect();
        io::Error::other(format!("{what} fails beside {}:\n{}", self.name, lines.join("\n")))
    }
}
