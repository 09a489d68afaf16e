//! The two protocols that are relayed, each from a port of its own to a remote of its own, and what
//! they differ in.

use ureq::http::StatusCode;

use crate::items::Most;
use crate::payload::Route;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// That of Thundra's and Catchpoint's agents.
    Thundra,
    /// OTLP over HTTP ("OTLP Specification 1.9", opentelemetry.io).
    Otlp,
}

impl Dialect {
    pub fn routes(self) -> &'static [Route] {
        match self {
            Self::Thundra => &Route::THUNDRA,
            Self::Otlp => &Route::OTLP,
        }
    }

    /// The route of a path without trailing slash.
    pub fn route(self, path: &str) -> Option<Route> {
        let below_base = match self {
            Self::Thundra => path.strip_prefix("/v1").unwrap_or(path),
            Self::Otlp => path,
        };
        self.routes().iter().copied().find(|route| route.path() == below_base)
    }

    /// How its remote is called in the log.
    pub fn remote(self) -> &'static str {
        match self {
            Self::Thundra => "the remote",
            Self::Otlp => "the otlp remote",
        }
    }

    /// What its remote takes in one request.
    pub fn most(self) -> Most {
        match self {
            Self::Thundra => Most::THUNDRA,
            Self::Otlp => Most::OTLP,
        }
    }

    /// Whether a request that got this answer may be sent again.
    pub fn is_transient(self, status: StatusCode) -> bool {
        match self {
            Self::Thundra => matches!(status.as_u16(), 408 | 425 | 429 | 500..=599),
            // "All other 4xx or 5xx response status codes MUST NOT be retried."
            Self::Otlp => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }

    /// Whether a refusal of several reports may be over one of them, so that the others are sent again
    /// without it. The remote has taken none of them.
    pub fn may_blame_one(self, status: StatusCode) -> bool {
        match self {
            Self::Thundra => true,
            Self::Otlp => matches!(status.as_u16(), 400 | 413 | 422),
        }
    }
}
