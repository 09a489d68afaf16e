//! An extension with a remote of each protocol.

use local_lambda::agent::Response;
use local_lambda::{Remote, free_port};

use crate::support::fixture::{ARRAY, Fixture};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};

pub struct TwoRemotes {
    /// The fixture with Thundra's remote.
    pub fixture: Fixture,
    pub otlps: Remote,
    otlp_port: u16,
}

impl TwoRemotes {
    pub fn with(environment: &[(&str, &str)]) -> Self {
        Self::started_by(|own| Fixture::with(&[own, environment].concat()))
    }

    /// `start` must set these variables.
    pub fn started_by(start: impl FnOnce(&[(&str, &str)]) -> Fixture) -> Self {
        let (otlps, otlp_port) = (Remote::start(), free_port());
        let (url, port) = (otlps.origin(), otlp_port.to_string());
        let fixture = start(&[(Otlp.url_variable(), &url), (Otlp.port_variable(), &port)]);
        Self { fixture, otlps, otlp_port }
    }

    pub fn remote(&self, protocol: Protocol) -> &Remote {
        match protocol {
            Thundra => &self.fixture.remote,
            Otlp => &self.otlps,
        }
    }

    pub fn post(&self, protocol: Protocol, body: &str) -> Response {
        let port = if protocol == Otlp { self.otlp_port } else { self.fixture.port };
        protocol.report(ARRAY, body).post(port)
    }

    #[track_caller]
    pub fn report(&self, protocol: Protocol, body: &str) {
        assert_eq!(self.post(protocol, body).status, 200, "{}", self.fixture.health());
    }
}
