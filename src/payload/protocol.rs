//! The two relayed protocols, and their differences. Each has its own local port and its own remotes.

use ureq::http::StatusCode;

use crate::payload::limits::RequestLimits;
use crate::payload::route::Route;

/// Default port of OTLP over HTTP ("OpenTelemetry Protocol Exporter", opentelemetry.io).
pub const OTLP_HTTP_PORT: u16 = 4318;

/// Default port of OTLP over gRPC. The extension neither takes nor sends gRPC.
pub const OTLP_GRPC_PORT: u16 = 4317;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The protocol of Thundra's and Catchpoint's agents.
    Thundra,
    /// OTLP over HTTP ("OTLP Specification 1.9", opentelemetry.io).
    Otlp,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Thundra => "Thundra",
            Self::Otlp => "OTLP",
        }
    }

    pub fn routes(self) -> &'static [Route] {
        match self {
            Self::Thundra => &Route::THUNDRA,
            Self::Otlp => &Route::OTLP,
        }
    }

    /// The route of a path. The path has no trailing slash.
    pub fn route(self, path: &str) -> Option<Route> {
        let below_base = match self {
            Self::Thundra => path.strip_prefix("/v1").unwrap_or(path),
            Self::Otlp => path,
        };
        self.routes().iter().copied().find(|route| route.path() == below_base)
    }

    /// The limits of one request to a remote.
    pub fn limits(self) -> RequestLimits {
        match self {
            Self::Thundra => RequestLimits::THUNDRA,
            Self::Otlp => RequestLimits::OTLP,
        }
    }

    /// Whether a request with this status in its response may be retried.
    pub fn is_transient(self, status: StatusCode) -> bool {
        match self {
            Self::Thundra => matches!(status.as_u16(), 408 | 425 | 429 | 500..=599),
            // "All other 4xx or 5xx response status codes MUST NOT be retried."
            Self::Otlp => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }
}
