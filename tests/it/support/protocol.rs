//! The protocols that are relayed, so that a test of what holds for both is written once.
//!
//! A test runs with both only where they differ: how reports are merged and cut, what a status means, how
//! a refusal and the counts look. What they share runs with one: the local server, the connection to the
//! remote, and when a report is sent.

use local_lambda::agent::{Agent, Family};
use local_lambda::conformance::{Speech, Subject};
use local_lambda::function::Function;
use local_lambda::opentelemetry_proto::tonic::trace::v1::Span;
use local_lambda::{Answer, Platform, Remote, Runtime, Setup};

use crate::support::fixture::{ARRAY, COMPOSITE, Fixture, binary};
use crate::support::report::Report;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// That of Thundra's and Catchpoint's agents.
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

    /// A fixture with a remote that takes everything but OTLP that does not decode.
    pub fn start(self) -> Fixture {
        self.start_with(&[])
    }

    /// As [`Self::start`], with these variables set.
    pub fn start_with(self, environment: &[(&str, &str)]) -> Fixture {
        self.start_on(Platform::start(), Remote::start(), environment)
    }

    /// Started, and polling for its first event.
    pub fn start_on(
        self,
        platform: Platform,
        remote: Remote,
        environment: &[(&str, &str)],
    ) -> Fixture {
        Fixture::of(self, platform, remote, environment)
    }

    /// A local Lambda with the extension, and a function whose agent reports to it at this port; it
    /// forwards to this URL.
    pub fn lambda(self, url: &str, port: u16) -> Setup {
        let family = match self {
            Self::Thundra => Family::CatchpointPython,
            Self::Otlp => Family::OtelPython,
        };
        self.lambda_of(url, port, move || Agent::local(family, port))
    }

    /// As [`Self::lambda`], with an agent that is made so.
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

    /// Its port, and its remote. The other protocol is not configured.
    pub fn environment(self, port: u16, url: &str) -> [(&'static str, String); 2] {
        [(self.port_variable(), port.to_string()), (self.url_variable(), url.to_owned())]
    }

    /// The extension as the conformance suite and its attacks play with it, with these variables too.
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

    /// The base URL of a remote: the extension appends its paths to it.
    pub fn url(self, remote: &Remote) -> String {
        self.url_at(&remote.origin())
    }

    /// As [`Self::url`], of a remote with this scheme, host and port.
    pub fn url_at(self, origin: &str) -> String {
        match self {
            Self::Thundra => format!("{origin}/v1"),
            Self::Otlp => origin.to_owned(),
        }
    }

    /// Where it has what goes to this path of Thundra's.
    pub fn path(self, thundras: &str) -> &str {
        match self {
            Self::Thundra => thundras,
            Self::Otlp if [ARRAY, COMPOSITE].contains(&thundras) => "/v1/traces",
            Self::Otlp => panic!("no path of a report: {thundras}"),
        }
    }

    /// This report of Thundra's as it is told here.
    pub fn report(self, path: &str, body: &str) -> Report {
        match self {
            Self::Thundra => Report::thundra(path, body),
            Self::Otlp => Report::otlp(path, body),
        }
    }

    /// What [`local_lambda::Item`] makes of this item.
    pub fn item(self, text: &str) -> String {
        match self {
            Self::Thundra => text.to_owned(),
            Self::Otlp => {
                let span = Span { name: text.to_owned(), ..Span::default() };
                serde_json::to_string(&span).unwrap()
            }
        }
    }

    /// How the log names the URL that arrays are posted to.
    pub fn place(self, remote: &Remote) -> String {
        match self {
            Self::Thundra => format!("{}/monitoring-data", remote.base_url()),
            Self::Otlp => format!("{}/v1/traces", remote.origin()),
        }
    }

    /// How the log and `/health` call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Thundra => "Thundra",
            Self::Otlp => "OTLP",
        }
    }

    /// Its account in `/health`.
    pub fn account(self) -> &'static str {
        match self {
            Self::Thundra => "reports",
            Self::Otlp => "otlp",
        }
    }

    /// How a report is answered for which there is no room.
    pub fn full(self) -> u16 {
        match self {
            Self::Thundra => 429,
            Self::Otlp => 413,
        }
    }

    /// By which status a remote fails that may yet take what it was sent.
    pub fn failure(self) -> u16 {
        match self {
            Self::Thundra => 500,
            Self::Otlp => 504,
        }
    }

    /// The ways in which such a one fails.
    pub fn failures(self) -> [Answer; 4] {
        let statuses = [502, 503, self.failure()].map(Answer::status);
        let [bad_gateway, unavailable, own] = statuses;
        [Answer::Reset, bad_gateway, unavailable, own]
    }
}
