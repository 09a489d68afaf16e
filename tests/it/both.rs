//! An extension with a remote of each protocol.

use local_lambda::agent::Response;
use local_lambda::{Remote, free_port};

use crate::dialect::Dialect::{self, Otlp, Thundra};
use crate::trial::{ARRAY, Trial};

pub struct Both {
    /// Of Thundra's.
    pub trial: Trial,
    pub otlps: Remote,
    otlp_port: u16,
}

impl Both {
    pub fn with(environment: &[(&str, &str)]) -> Self {
        Self::started_by(|own| Trial::with(&[own, environment].concat()))
    }

    /// Whoever starts it has to set these variables.
    pub fn started_by(start: impl FnOnce(&[(&str, &str)]) -> Trial) -> Self {
        let (otlps, otlp_port) = (Remote::start(), free_port());
        let (url, port) = (otlps.origin(), otlp_port.to_string());
        let trial = start(&[(Otlp.url_variable(), &url), (Otlp.port_variable(), &port)]);
        Self { trial, otlps, otlp_port }
    }

    pub fn remote(&self, dialect: Dialect) -> &Remote {
        match dialect {
            Thundra => &self.trial.remote,
            Otlp => &self.otlps,
        }
    }

    pub fn post(&self, dialect: Dialect, body: &str) -> Response {
        let port = if dialect == Otlp { self.otlp_port } else { self.trial.port };
        dialect.report(ARRAY, body).post(port)
    }

    #[track_caller]
    pub fn report(&self, dialect: Dialect, body: &str) {
        assert_eq!(self.post(dialect, body).status, 200, "{}", self.trial.health());
    }
}
