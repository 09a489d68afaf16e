//! The URL of a remote, and which proxies it is exempt from.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr};

use ureq::http::Uri;

/// The longest part of a path that the log shows, in bytes. A longer part is hidden, because it may be a
/// key: a UUID has 36 bytes. The longest part of Thundra's own paths has 25.
const PATH_NAME_MAX: usize = 32;

/// The longest part of a path with a digit that the log shows, in bytes. Keys contain digits, few names do.
const PATH_NAME_WITH_DIGIT_MAX: usize = 15;

/// The log shows this in place of a secret.
pub const HIDDEN: &str = "***";

/// An `http` or `https` URL with a host, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(Uri);

/// Why the extension sends nothing to a text as a URL. The message quotes nothing of the text, except one
/// character, because the text may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Scheme,
    Credentials,
    Query,
    Port,
    Host,
    Character(char),
    /// The text contains a placeholder other than `{region}`.
    Placeholder,
    /// The text contains `http://` or `https://` twice.
    Schemes,
    /// The URL is a port of this extension.
    Own,
    /// The text contains `{region}`, and the region is unknown.
    Region,
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match *self {
            Self::Character(it) => return write!(f, "it holds {it:?}, which a URL cannot hold"),
            Self::Scheme => "it does not start with http:// or https://",
            Self::Credentials => "it holds a user name or a password (the part before the @)",
            Self::Query => "it holds a query (the part from the ? on), where a path is appended",
            Self::Port => "its port is not a number from 1 to 65535",
            Self::Host => "it holds no host name, or an IP address that is not complete",
            Self::Placeholder => "it holds {, } or $, but nothing is put in except for {region}",
            Self::Schemes => "it holds http:// or https:// twice",
            Self::Own => "it is the port of this extension itself",
            Self::Region => "it holds {region}, but AWS_REGION holds no name of a region",
        })
    }
}

impl Url {
    /// Parses a URL to which routes are appended, and removes its trailing slashes.
    ///
    /// # Errors
    /// As [`Self::whole`], and if the URL has a query: an appended route would become a part of the query.
    pub fn base(text: &str) -> Result<Self, Fault> {
        let url = Self::whole(text.trim_end_matches('/'))?;
        if url.0.query().is_some() { Err(Fault::Query) } else { Ok(url) }
    }

    /// Parses a URL that is used unchanged.
    ///
    /// # Errors
    /// The text is no URL, or has credentials, which could end up in the log.
    pub fn whole(text: &str) -> Result<Self, Fault> {
        let scheme = |it: &str| {
            let (scheme, _) = it.split_once("://")?;
            let is_http = |known: &&str| scheme.eq_ignore_ascii_case(known);
            ["http", "https"].iter().any(is_http).then(|| scheme.len() + "://".len())
        };
        let begin = scheme(text).ok_or(Fault::Scheme)?;
        if scheme(&text[begin..]).is_some() {
            return Err(Fault::Schemes);
        }
        // A # ends the authority. A password's part before the # would be parsed as the host, and logged.
        if text.split_once('#').is_some_and(|(_, rest)| rest.contains('@')) {
            return Err(Fault::Credentials);
        }
        let uri: Uri = percent_encoded(text).parse().map_err(|_| Fault::of(text))?;
        let authority = uri.authority().ok_or(Fault::Host)?;
        let host = authority.host();
        if text.contains(['{', '}']) || host.contains('$') {
            return Err(Fault::Placeholder);
        }
        let port = authority.as_str().strip_prefix(host).ok_or(Fault::Credentials)?;
        if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(Fault::Port);
        }
        // An incomplete address is refused, because the resolver would complete it: 127.1 is this machine.
        let is_number = host.bytes().all(|it| it.is_ascii_digit() || it == b'.');
        if is_number && host.parse::<Ipv4Addr>().is_err() {
            return Err(Fault::Host);
        }
        Ok(Self(uri))
    }

    /// Whether `text`, from which this URL was parsed, has no path. A parsed URL always has one, `/`.
    pub fn is_without_path(&self, text: &str) -> bool {
        self.0.path() == "/" && !text.ends_with('/') && self.0.query().is_none()
    }

    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// This URL with `path` appended.
    pub fn below(&self, path: &str) -> Self {
        let url = format!("{}{path}", self.to_string().trim_end_matches('/'));
        Self::whole(&url).expect("a path after a base without a query is a URL")
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        origin_of(&self.0)
    }

    /// The URL as the log may show it: without its query, and with [`HIDDEN`] for parts of its path that may
    /// be keys.
    pub fn shown(&self) -> String {
        [self.origin(), shown_path(self.0.path())].concat()
    }

    /// Adds the parts of the URL that the log must not show.
    pub fn add_secrets<'a>(&'a self, secrets: &mut Vec<&'a str>) {
        secrets.extend(self.0.query());
        secrets.extend(self.0.path().split('/').filter(|part| may_be_key(part)));
    }

    /// Whether one connection serves both URLs: scheme, host and port are equal.
    pub fn has_origin_of(&self, other: &Self) -> bool {
        self.is_https() == other.is_https()
            && self.host().eq_ignore_ascii_case(other.host())
            && self.port() == other.port()
    }

    /// Whether the URL is this port of this machine.
    pub fn is_local(&self, port: u16) -> bool {
        self.is_loopback() && self.port() == port
    }

    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host.eq_ignore_ascii_case("localhost")
            || host.parse().is_ok_and(|address: IpAddr| {
                let address = address.to_canonical();
                address.is_loopback() || address.is_unspecified()
            })
    }

    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// The host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_matches(['[', ']'])
    }

    pub fn port(&self) -> u16 {
        port_of(&self.0)
    }
}

impl Fault {
    /// The likeliest fault of a text that does not parse.
    fn of(text: &str) -> Self {
        let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        let after_host = authority.rsplit_once(':').map(|(_, port)| port);
        if authority.contains('@') {
            Self::Credentials
        } else if authority.is_empty() {
            Self::Host
        } else if after_host.is_some_and(|port| port.bytes().all(|it| it.is_ascii_alphanumeric())) {
            Self::Port
        } else if text.contains(['{', '}']) {
            Self::Placeholder
        } else {
            let is_none = |it: &char| !it.is_ascii_graphic() || "\"<>\\^`|".contains(*it);
            text.chars().find(is_none).map_or(Self::Host, Self::Character)
        }
    }
}

/// Percent-encodes each byte beyond ASCII, because servers disagree about raw ones (RFC 3986, 2.5). A
/// host does not parse with a percent sign, so a name beyond ASCII is still no URL.
fn percent_encoded(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return text.into();
    }
    let encoded = |byte: u8| {
        if byte.is_ascii() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(encoded).collect::<String>().into()
}

/// A path as the log may show it: with [`HIDDEN`] for parts that may be keys.
pub fn shown_path(path: &str) -> String {
    let shown = |part| if may_be_key(part) { HIDDEN } else { part };
    let parts: Vec<&str> = path.split('/').map(shown).collect();
    parts.join("/")
}

/// Whether this part of a path may be a key. Some vendors expect their key in the path. Such keys are longer
/// than the names in paths.
fn may_be_key(part: &str) -> bool {
    let has_digit = part.bytes().any(|it| it.is_ascii_digit());
    part.len() > if has_digit { PATH_NAME_WITH_DIGIT_MAX } else { PATH_NAME_MAX }
}

/// Scheme, host and port of an `http` or `https` URL, without credentials.
pub fn origin_of(uri: &Uri) -> String {
    let (scheme, host) = (uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default());
    format!("{scheme}://{host}:{}", port_of(uri))
}

/// The port of an `http` or `https` URL, or the scheme's default port.
pub fn port_of(uri: &Uri) -> u16 {
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    uri.port_u16().unwrap_or(default)
}

impl Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether an entry of a `NO_PROXY` list exempts `remote`. An entry is `*`, a host, or a domain with all its
/// subdomains, each with or without a port. Networks in CIDR form match nothing.
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
            assert!(Url::base(url).is_ok(), "{url}");
        }
        for (url, fault) in [
            ("", Fault::Scheme),
            ("a", Fault::Scheme),
            ("a.b:4318/v1", Fault::Scheme),
            ("ftp://a", Fault::Scheme),
            ("//a", Fault::Scheme),
            ("/v1", Fault::Scheme),
            ("http:/a", Fault::Scheme),
            ("http://", Fault::Scheme),
            ("http://?", Fault::Host),
            ("http:///v1", Fault::Host),
            ("http://:80/v1", Fault::Host),
            ("https://u:p@a", Fault::Credentials),
            ("https://u@a:99999", Fault::Credentials),
            ("http://a?b", Fault::Query),
            ("https://u:1#p@a", Fault::Credentials),
            ("http://a b", Fault::Character(' ')),
            ("http://a/<key>", Fault::Character('<')),
            ("http://a/\u{1}", Fault::Character('\u{1}')),
            ("http://é", Fault::Character('é')),
            ("https://http://a", Fault::Schemes),
            ("http://HTTPS://a:1/v1", Fault::Schemes),
            ("https://{REGION}.a/v1", Fault::Placeholder),
            ("https://${AWS_REGION}.a/v1", Fault::Placeholder),
            ("https://$AWS_REGION.a/v1", Fault::Placeholder),
            ("https://a/{REGION}/v1", Fault::Placeholder),
            ("http://a:99999", Fault::Port),
            ("http://a:port/v1", Fault::Port),
            ("http://a:0", Fault::Port),
            ("http://127.1", Fault::Host),
            ("http://2130706433:3333/v1", Fault::Host),
        ] {
            assert_eq!(Url::base(url), Err(fault), "{url}");
        }
    }

    #[test]
    fn an_origin_has_neither_path_nor_query() {
        for (url, origin) in [
            ("https://a.b/s3cret?s3cret", "https://a.b:443"),
            ("HTTP://a/", "http://a:80"),
            ("http://[::1]:4318/v1", "http://[::1]:4318"),
        ] {
            assert_eq!(Url::whole(url).unwrap().origin(), origin);
        }
    }

    #[test]
    fn a_slash_at_the_end_is_a_path() {
        for (text, expected) in
            [("http://a", true), ("http://a/", false), ("http://a/b", false), ("http://a?b", false)]
        {
            assert_eq!(Url::whole(text).unwrap().is_without_path(text), expected, "{text}");
        }
    }

    #[test]
    fn routes_are_appended_with_exactly_one_slash() {
        for (base, joined) in [
            ("http://a/v1", "http://a/v1/monitoring-data"),
            ("http://a/v1//", "http://a/v1/monitoring-data"),
            ("http://a:1", "http://a:1/monitoring-data"),
        ] {
            assert_eq!(Url::base(base).unwrap().below("/monitoring-data").to_string(), joined);
        }
    }

    #[test]
    fn a_path_beyond_ascii_is_percent_encoded() {
        for (url, encoded) in [
            ("http://a/täxt", "http://a/t%C3%A4xt"),
            ("http://a/%C3%A4/€?k=ü", "http://a/%C3%A4/%E2%82%AC?k=%C3%BC"),
            ("http://[::1]:1/😀", "http://[::1]:1/%F0%9F%98%80"),
        ] {
            assert_eq!(Url::whole(url).unwrap().to_string(), encoded);
        }
        for url in ["http://ä/v1", "https://exämple.com", "http://a:８０/v1", "hättp://a"] {
            assert!(Url::whole(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_log_shows_a_url_without_its_query_and_with_its_port() {
        for (url, shown) in [
            ("http://a", "http://a:80/"),
            ("HTTPS://a.b/v1/traces?key=secret", "https://a.b:443/v1/traces"),
            ("http://[::1]:3333/v1?", "http://[::1]:3333/v1"),
            ("https://a:8443/%41?a=/b", "https://a:8443/%41"),
            ("https://a/in/0123456789abcdef0123456789abcdef0/v1", "https://a:443/in/***/v1"),
            ("https://a/v1/input/0123456789abcdef0123456789abcdef", "https://a:443/v1/input/***"),
            ("https://a/ABCDEFGHIJKLMNO1/b", "https://a:443/***/b"),
            ("https://a/ABCDEFGHIJKLMN1/b", "https://a:443/ABCDEFGHIJKLMN1/b"),
            ("http://a/v1/composite-monitoring-data", "http://a:80/v1/composite-monitoring-data"),
        ] {
            assert_eq!(Url::whole(url).unwrap().shown(), shown);
        }
        let proxy = "http://user:secret@proxy:3128/path?x".parse().unwrap();
        assert_eq!(origin_of(&proxy), "http://proxy:3128");
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
