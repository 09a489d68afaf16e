//! Reads the remote of Thundra's and Catchpoint's agents. There is no default remote: if the vendor's domain
//! lapsed, its next owner would get all users' reports and keys.

use ureq::http::HeaderValue;
use ureq::http::header::AUTHORIZATION;

use super::names::{COLLECTOR_URL, PORT, is_nearly_ours};
use super::reading::Reading;
use super::urls::{Bad, elsewhere};
use crate::local::no_remote::NoRemote;
use crate::net::url::Url;
use crate::payload::route::Route;
use crate::remote::destination::Headers;

/// Prefixes of the agents' own variables. The extension reads some of those.
pub const AGENTS: [&str; 2] = ["THUNDRA_", "CATCHPOINT_"];

/// Endings that a base URL has by mistake. They are cut off, because the extension appends them itself.
const APPENDED: [&str; 2] = ["/composite-monitoring-data", "/monitoring-data"];

const API_KEYS: [&str; 2] = ["THUNDRA_APIKEY", "CATCHPOINT_APIKEY"];

const WHAT: &str = "the reports of a Thundra or Catchpoint agent";
const OTHER_USED: &str = "another one of the agents' is used, if there is one";
const REFUSED: &str = "reports of Thundra's and Catchpoint's agents are refused and lost";

impl Reading<'_> {
    /// Whether a variable for an agent is set: one of the agent's or one of ours.
    pub fn has_thundra(&self) -> bool {
        self.environment.find(&AGENTS, "").iter().any(|(name, _)| !is_nearly_ours(name))
            || [COLLECTOR_URL, PORT].iter().any(|name| self.environment.get(name).is_some())
    }

    /// The base URL of the remote. It must not be one of the ports `own` of this machine. A bad URL is not
    /// replaced by the agents' URL, because a key could go to the wrong host.
    pub fn collector_url(&mut self, own: &[u16]) -> Result<Url, Option<NoRemote>> {
        match self.base(COLLECTOR_URL, &APPENDED, own, REFUSED) {
            Ok(Some(url)) => Ok(url),
            Ok(None) => self.agents_url(own),
            Err(Bad) => Err(None),
        }
    }

    /// The base URL that the agents would use themselves.
    fn agents_url(&mut self, own: &[u16]) -> Result<Url, Option<NoRemote>> {
        let mut is_bad = false;
        for (name, held) in self.environment.find(&AGENTS, "_REPORT_REST_BASEURL") {
            // Agents without a setting for a local collector (Go) have the URL of this extension's first port.
            let [thundras, others @ ..] = own else { break };
            let parse = |held: &str| elsewhere(Url::base(held)?, others);
            match self.url_of(name, held, &parse, OTHER_USED) {
                Ok(Some(url)) if url.is_local(*thundras) => {}
                Ok(Some(url)) => return Ok(url),
                Ok(None) => {}
                Err(Bad) => is_bad = true,
            }
        }
        Err((!is_bad).then(|| NoRemote::without(COLLECTOR_URL, &Route::THUNDRA, WHAT)))
    }

    /// The headers for reports of agents that bring no key of their own, and the variable that sets them.
    pub fn agents_key(&mut self) -> (Headers, &'static str) {
        let parse = |key: &str| {
            let mut value = HeaderValue::from_str(&format!("ApiKey {key}")).ok()?;
            value.set_sensitive(true);
            value.to_str().is_ok().then_some(value)
        };
        let expected = "a key that fits into a header";
        let [first, second] = API_KEYS;
        let instead = format!("the key of each request, or else {second},");
        let mut key = (self.secret(first, &parse, expected, &instead), first);
        if key.0.is_none() {
            let other = self.secret(second, &parse, expected, "the key of each request");
            key = if other.is_some() { (other, second) } else { key };
        }
        (key.0.map(|value| (AUTHORIZATION, value)).into_iter().collect(), key.1)
    }
}
