//! Where a remote is, and how to get there.

use std::path::PathBuf;

use ureq::Proxy;
use ureq::http::{HeaderName, HeaderValue};

use crate::dialect::Dialect;
use crate::payload::Route;
use crate::url::Url;

#[derive(Debug)]
pub struct Destination {
    pub dialect: Dialect,
    pub endpoints: Endpoints,
    /// What each request has beside what its reports bring along, unless they bring the same.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub proxy: Option<Proxy>,
    pub extra_roots: Option<PathBuf>,
    pub trust_all_certificates: bool,
}

/// What is posted where.
#[derive(Debug)]
pub enum Endpoints {
    /// Everything, each route below this base URL.
    Below(Url),
    /// These routes, each to a URL of its own.
    Each(Vec<(Route, Url)>),
}

impl Endpoints {
    /// One of them; there is at least one.
    pub fn any(&self) -> &Url {
        match self {
            Self::Below(url) => url,
            Self::Each(urls) => &urls[0].1,
        }
    }
}

impl Destination {
    /// What it takes.
    pub fn routes(&self) -> Vec<Route> {
        match &self.endpoints {
            Endpoints::Below(_) => self.dialect.routes().to_vec(),
            Endpoints::Each(urls) => urls.iter().map(|(route, _)| *route).collect(),
        }
    }

    /// `None` for what it does not take.
    pub fn url(&self, route: Route) -> Option<String> {
        match &self.endpoints {
            Endpoints::Below(base) => Some(base.join(route.path())),
            Endpoints::Each(urls) => {
                let (_, url) = urls.iter().find(|(it, _)| *it == route)?;
                Some(url.to_string())
            }
        }
    }
}
