//! The address of a remote, its configured headers, and the settings of connections to it.

use std::path::PathBuf;

use ureq::Proxy;
use ureq::http::{HeaderName, HeaderValue};

use crate::net::url::{Url, origin_of};
use crate::payload::protocol::Protocol;
use crate::payload::route::Route;

#[derive(Debug)]
pub struct Destination {
    pub protocol: Protocol,
    pub endpoints: Endpoints,
    pub proxy: Option<Proxy>,
    pub extra_roots: Option<PathBuf>,
    pub trust_all_certificates: bool,
}

/// The endpoints of one origin, at least one.
#[derive(Debug)]
pub struct Endpoints(pub Vec<Endpoint>);

/// The URL and headers for reports of one route.
#[derive(Debug)]
pub struct Endpoint {
    pub route: Route,
    pub url: Url,
    /// Headers of each request, except those that its reports already have.
    pub headers: Headers,
    /// The variable that sets these headers.
    pub headers_variable: &'static str,
}

pub type Headers = Vec<(HeaderName, HeaderValue)>;

impl Endpoints {
    /// An endpoint below this base URL for each route. `headers_variable` is the variable that sets `headers`.
    pub fn below(
        base: &Url,
        routes: &[Route],
        headers: &Headers,
        headers_variable: &'static str,
    ) -> Self {
        let endpoint = |route: &Route| Endpoint {
            route: *route,
            url: base.below(route.path()),
            headers: headers.clone(),
            headers_variable,
        };
        Self(routes.iter().map(endpoint).collect())
    }

    /// The URL of one endpoint. All have the same origin.
    pub fn any(&self) -> &Url {
        &self.0[0].url
    }
}

impl Destination {
    /// The routes of this remote.
    pub fn routes(&self) -> Vec<Route> {
        self.endpoints.0.iter().map(|it| it.route).collect()
    }

    /// The remote's name in the log: scheme, host and port.
    pub fn name(&self) -> String {
        self.endpoints.any().origin()
    }

    /// The URL of one of its routes, as the log may show it.
    pub fn shown(&self, route: Route) -> String {
        self.endpoint(route).map_or_else(|| self.name(), |it| it.url.shown())
    }

    /// Whether a proxy can answer instead of the remote. That needs plain http, where a proxy can read the
    /// request.
    pub fn may_be_answered_by_proxy(&self) -> bool {
        self.proxy.is_some() && !self.is_https()
    }

    pub fn is_https(&self) -> bool {
        self.endpoints.any().is_https()
    }

    /// The name in the log of the proxy to this remote.
    pub fn proxy_name(&self) -> Option<String> {
        self.proxy.as_ref().map(|it| origin_of(it.uri()))
    }

    /// The parts of its URLs that the log must not show.
    pub fn secrets(&self) -> Vec<&str> {
        let mut secrets = Vec::new();
        self.endpoints.0.iter().for_each(|it| it.url.add_secrets(&mut secrets));
        secrets
    }

    /// The URL of a route. `None` if this remote does not have the route.
    pub fn url(&self, route: Route) -> Option<String> {
        Some(self.endpoint(route)?.url.to_string())
    }

    /// The headers that are configured for this route.
    pub fn headers(&self, route: Route) -> &[(HeaderName, HeaderValue)] {
        self.endpoint(route).map_or(&[], |it| &it.headers)
    }

    /// The variable that sets the headers of this route.
    pub fn headers_variable(&self, route: Route) -> &'static str {
        self.endpoint(route).map_or("", |it| it.headers_variable)
    }

    fn endpoint(&self, route: Route) -> Option<&Endpoint> {
        self.endpoints.0.iter().find(|it| it.route == route)
    }
}
