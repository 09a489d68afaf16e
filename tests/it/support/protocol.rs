//! The two protocols, so that a test for both is written once.
//!
//! A test runs with both protocols only where they differ: in merging and splitting reports, in the meaning of
//! a status, and in the form of refusals and counts. The local server, the connection to the remote and the
//! time of sending are the same, so their tests run with one protocol.

use local_lambda::agent::{Agent, Family};
use local_lambda::conformance::{Speech, Subject};
use local_lambda::function::Function;
use local_lambda::opentelemetry_proto::tonic::trace::v1::Span;
use local_lambda::{Answer, Platform, Remote, Runtime, Setup};

use crate::support::fixture::{ARRAY, COMPOSITE, Fixture, binary};
use crate::support::report::Report;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The protocol of Thundra's and Catchpoint's agents.
    Thundra,
    /// OTLP over HTTP.
    Otlp,
}

impl Protocol {
    pub fn other(self) -> Self {
        match self {
            Self::Thundra => Self::Otlp,
            Self::Otlp => Self::Thundra,
        }
    }

    /// A fixture with a remote that accepts everything except OTLP that does not decode.
    pub fn start(self) -> Fixture {
        self.start_with(&[])
    }

    /// As [`Self::start`], with these variables set.
    pub fn start_with(self, environment: &[(&str, &str)]) -> Fixture {
        self.start_on(Platform::start(), Remote::start(), environment)
    }

    /// Starts the extension, and waits until it polls for its first event.
    pub fn start_on(
        self,
        platform: Platform,
        remote: Remote,
        environment: &[(&str, &str)],
    ) -> Fixture {
        Fixture::of(self, platform, remote, environment)
    }

    /// A local Lambda with the extension, and a function whose agent reports to it at this port. The extension
    /// forwards to this URL.
    pub fn lambda(self, url: &str, port: u16) -> Setup {
        let family = match self {
            Self::Thundra => Family::CatchpointPython,
            Self::Otlp => Family::OtelPython,
        };
        self.lambda_of(url, port, move || Agent::local(family, port))
    }

    /// As [`Self::lambda`], with an agent that `agent` makes.
    pub fn lambda_of(
        self,
        url: &str,
        port: u16,
        agent: impl Fn() -> Agent + Send + Sync + 'static,
    ) -> Setup {
        let runtime = Runtime::function(move || Function::of(agent()));
        let setup = Setup::new().extension(binary()).runtime(runtime);
        let variables = self.environment(port, url);
        let setup = variables.iter().fold(setup, |setup, (name, value)| setup.env(name, value));
        setup.env("THUNDRA_EXTENSION_LOG_LEVEL", "info")
    }

    /// The variables for the port and the remote. The other protocol is not configured.
    pub fn environment(self, port: u16, url: &str) -> [(&'static str, String); 2] {
        [(self.port_variable(), port.to_string()), (self.url_variable(), url.to_owned())]
    }

    /// The extension as the subject of the conformance suite and its attacks, with these additional variables.
    pub fn subject(self, variables: &[(&str, &str)]) -> Subject {
        let remote = if self == Self::Thundra { "{remote}/v1" } else { "{remote}" };
        let own = [(self.port_variable(), "{port}"), (self.url_variable(), remote)];
        let speech = match self {
            Self::Thundra => Speech::Arrays,
            Self::Otlp => Speech::Otlp,
        };
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables = own.iter().chain(variables).map(owned).collect();
        Subject { variables, speech, ..Subject::new(binary()) }
    }

    pub fn port_variable(self) -> &'static str {
        match self {
            Self::Thundra => "THUNDRA_EXTENSION_PORT",
            Self::Otlp => "THUNDRA_EXTENSION_OTLP_PORT",
        }
    }

    pub fn url_variable(self) -> &'static str {
        match self {
            Self::Thundra => "THUNDRA_EXTENSION_COLLECTOR_URL",
            Self::Otlp => "THUNDRA_EXTENSION_OTLP_ENDPOINT",
        }
    }

    /// The base URL of a remote, to which the extension appends its paths.
    pub fn url(self, remote: &Remote) -> String {
        self.url_at(&remote.origin())
    }

    /// As [`Self::url`], for a remote with this scheme, host and port.
    pub fn url_at(self, origin: &str) -> String {
        match self {
            Self::Thundra => format!("{origin}/v1"),
            Self::Otlp => origin.to_owned(),
        }
    }

    /// This protocol's path for the same kind of report.
    pub fn path(self, thundras: &str) -> &str {
        match self {
            Self::Thundra => thundras,
            Self::Otlp if [ARRAY, COMPOSITE].contains(&thundras) => "/v1/traces",
            Self::Otlp => panic!("no path of a report: {thundras}"),
        }
    }

    /// The same report in this protocol.
    pub fn report(self, path: &str, body: &str) -> Report {
        match self {
            Self::Thundra => Report::thundra(path, body),
            Self::Otlp => Report::otlp(path, body),
        }
    }

    /// The item in the form of [`local_lambda::Item`].
    pub fn item(self, text: &str) -> String {
        match self {
            Self::Thundra => text.to_owned(),
            Self::Otlp => {
                let span = Span { name: text.to_owned(), ..Span::default() };
                serde_json::to_string(&span).unwrap()
            }
        }
    }

    /// The URL of arrays in the form of the log.
    pub fn place(self, remote: &Remote) -> String {
        match self {
            Self::Thundra => format!("{}/monitoring-data", remote.base_url()),
            Self::Otlp => format!("{}/v1/traces", remote.origin()),
        }
    }

    /// The protocol's name in the log and in `/health`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Thundra => "Thundra",
            Self::Otlp => "OTLP",
        }
    }

    /// The name of its account in `/health`.
    pub fn account(self) -> &'static str {
        match self {
            Self::Thundra => "reports",
            Self::Otlp => "otlp",
        }
    }

    /// The status of the refusal while the buffer is full.
    pub fn full(self) -> u16 {
        match self {
            Self::Thundra => 429,
            Self::Otlp => 413,
        }
    }

    /// A status after which the extension tries again.
    pub fn failure(self) -> u16 {
        match self {
            Self::Thundra => 500,
            Self::Otlp => 504,
        }
    }

    /// All kinds of answers after which the extension tries again.
    pub fn failures(self) -> [Answer; 4] {
        let statuses = [502, 503, self.failure()].map(Answer::status);
        let [bad_gateway, unavailable, own] = statuses;
        [Answer::Reset, bad_gateway, unavailable, own]
    }
}
