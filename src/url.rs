//! The URL of a remote, and which proxies it is exempt from.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr};

use ureq::http::Uri;

/// An `http` or `https` URL with a host, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(Uri);

impl Url {
    /// One that routes are appended to, without a trailing slash. `None` for anything else: a query
    /// would swallow the route.
    pub fn base(text: &str) -> Option<Self> {
        Self::whole(text.trim_end_matches('/')).filter(|it| it.0.query().is_none())
    }

    /// One that is used as it is. `None` for anything else: credentials in it would have to be kept
    /// out of the log.
    pub fn whole(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let authority = uri.authority()?;
        let port = authority.as_str().strip_prefix(authority.host())?;
        let has_good_port = port.is_empty() || authority.port_u16().is_some();
        let host = authority.host();
        // A number that is no address is one all the same to the resolver: 127.1 is this machine.
        let is_number = host.bytes().all(|it| it.is_ascii_digit() || it == b'.');
        let has_good_host = !is_number || host.parse::<Ipv4Addr>().is_ok();
        (is_http && has_good_port && has_good_host).then_some(Self(uri))
    }

    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.to_string().trim_end_matches('/'))
    }

    /// Whether both are reached by the same connection.
    pub fn has_origin_of(&self, other: &Self) -> bool {
        self.is_https() == other.is_https()
            && self.host().eq_ignore_ascii_case(other.host())
            && self.port() == other.port()
    }

    /// Whether it is a collector on this machine's `port`.
    pub fn is_local(&self, port: u16) -> bool {
        let host = self.host();
        let is_loopback = host.eq_ignore_ascii_case("localhost")
            || host.parse().is_ok_and(|address: IpAddr| {
                let address = address.to_canonical();
                address.is_loopback() || address.is_unspecified()
            });
        is_loopback && self.port() == port
    }

    /// Without the brackets of an IPv6 address.
    fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_matches(['[', ']'])
    }

    fn port(&self) -> u16 {
        port_of(&self.0)
    }
}

/// The port of an `http` or `https` URL, told or not.
pub fn port_of(uri: &Uri) -> u16 {
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    uri.port_u16().unwrap_or(default)
}

impl Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether the entries of a `NO_PROXY` list exempt `remote`: `*`, a host, a domain with all below
/// it, each with or without a port. Networks in CIDR form match nothing.
pub fn bypasses_proxy(remote: &Url, list: &str) -> bool {
    let host = remote.host().to_ascii_lowercase();
    list.split(',').map(|it| it.trim().to_ascii_lowercase()).any(|entry| {
        let with_port =
            entry.rsplit_once(':').filter(|(name, _)| !name.contains(':') || name.ends_with(']'));
        let (name, port) = match with_port {
            Some((name, port)) => (name, port.parse().ok()),
            None => (entry.as_str(), Some(remote.port())),
        };
        let name = name.trim_start_matches("*.").trim_start_matches('.').trim_matches(['[', ']']);
        let is_below = || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
        port == Some(remote.port())
            && !name.is_empty()
            && (name == "*" || name == host || is_below())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_urls_are_base_urls() {
        for url in ["http://a", "https://a.b:8443/v1", "http://[::1]:3333/v1", "HTTPS://a/v1"] {
            assert!(Url::base(url).is_some(), "{url}");
        }
        for url in [
            "",
            "a",
            "ftp://a",
            "http://",
            "http:///v1",
            "https://u:p@a",
            "http://a?b",
            "http://a b",
            "/v1",
            "http://a:99999",
            "http://127.1",
            "http://2130706433:3333/v1",
        ] {
            assert_eq!(Url::base(url), None, "{url}");
        }
    }

    #[test]
    fn routes_are_appended_with_exactly_one_slash() {
        for (base, joined) in [
            ("http://a/v1", "http://a/v1/monitoring-data"),
            ("http://a/v1//", "http://a/v1/monitoring-data"),
            ("http://a:1", "http://a:1/monitoring-data"),
        ] {
            assert_eq!(Url::base(base).unwrap().join("/monitoring-data"), joined);
        }
    }

    #[test]
    fn this_machine_on_the_same_port_is_local() {
        for url in [
            "http://localhost:3333/v1",
            "http://LOCALHOST:3333",
            "http://127.0.0.1:3333",
            "http://127.1.2.3:3333",
            "http://[::1]:3333/v1",
            "http://[::ffff:127.0.0.1]:3333/v1",
        ] {
            assert!(Url::base(url).unwrap().is_local(3333), "{url}");
        }
        for url in [
            "http://localhost:3334/v1",
            "http://localhost",
            "http://10.0.0.1:3333",
            "https://a:3333",
        ] {
            assert!(!Url::base(url).unwrap().is_local(3333), "{url}");
        }
    }

    #[track_caller]
    fn check(url: &str, lists: &[&str], bypasses: bool) {
        for list in lists {
            assert_eq!(bypasses_proxy(&Url::base(url).unwrap(), list), bypasses, "{url} {list:?}");
        }
    }

    #[test]
    fn no_proxy_exempts_hosts_domains_and_ports() {
        let exempt = [
            "*",
            "a.example.com",
            "A.Example.COM",
            "example.com",
            ".example.com",
            "*.example.com",
            "x, example.com",
            "a.example.com:443",
        ];
        check("https://a.example.com/v1", &exempt, true);
        let others = [
            "",
            ",",
            "b.example.com",
            "ample.com",
            "a.example.com:80",
            "a.example.com.b",
            "169.254.0.0/16",
        ];
        check("https://a.example.com/v1", &others, false);
        check("http://[::1]:8080", &["::1", "[::1]", "[::1]:8080"], true);
        check("http://127.0.0.1:8080", &["127.0.0.1", "127.0.0.1:8080"], true);
        check("http://127.0.0.1:8080", &["127.0.0.1:80", "::1", "127.0.0.2"], false);
    }
}
