//! The remote for OTLP, if there is one.

use std::borrow::Cow;

use ureq::http::HeaderValue;
use ureq::http::header::{self, HeaderName};

use super::{Problem, Reading};
use crate::destination::{Destination, Endpoints};
use crate::dialect::Dialect;
use crate::parsing;
use crate::payload::Route;
use crate::signal::Signal;
use crate::url::Url;

/// Base URL of the remote for OTLP.
const ENDPOINT: &str = "THUNDRA_EXTENSION_OTLP_ENDPOINT";
/// The whole URL for traces.
const TRACES_ENDPOINT: &str = "THUNDRA_EXTENSION_OTLP_TRACES_ENDPOINT";
/// The whole URL for metrics.
const METRICS_ENDPOINT: &str = "THUNDRA_EXTENSION_OTLP_METRICS_ENDPOINT";
/// The whole URL for logs.
const LOGS_ENDPOINT: &str = "THUNDRA_EXTENSION_OTLP_LOGS_ENDPOINT";
const ENDPOINTS: [&str; 4] = [ENDPOINT, TRACES_ENDPOINT, METRICS_ENDPOINT, LOGS_ENDPOINT];
/// Headers of each request to it, such as the key.
const HEADERS: &str = "THUNDRA_EXTENSION_OTLP_HEADERS";
/// Port of the local receiver.
const PORT: &str = "THUNDRA_EXTENSION_OTLP_PORT";

/// In the order of the README's table.
pub(super) const VARIABLES: [&str; 6] =
    [ENDPOINT, TRACES_ENDPOINT, METRICS_ENDPOINT, LOGS_ENDPOINT, HEADERS, PORT];

/// Where SDKs export to unless told otherwise ("OpenTelemetry Protocol Exporter", opentelemetry.io).
const PORT_DEFAULT: u16 = 4318;

/// What the request itself decides on, or would break by.
const NOT_CONFIGURABLE: [HeaderName; 11] = [
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
];

impl Reading<'_> {
    /// Adds the destinations for OTLP, one for each origin, as one that fails must not hold up another,
    /// and gives the local port, which is not that of Thundra's agents. `None` if nothing asks for it.
    /// An exporter of OTLP that meets a closed port tries again for up to 10 s, in the flush of each
    /// invocation; so where OTLP is asked for and no remote is good, the port is there to refuse.
    pub(super) fn otlp(
        &mut self,
        thundras_port: u16,
        destinations: &mut Vec<Destination>,
    ) -> Option<u16> {
        if VARIABLES.iter().any(|name| self.environment.get(name).is_some()) {
            self.otlp_of_any(thundras_port, destinations)
        } else {
            None
        }
    }

    /// As [`Self::otlp`], where any of its variables is set. Apart from it, so that who has none does not read
    /// it from the file at start.
    #[cold]
    fn otlp_of_any(
        &mut self,
        thundras_port: u16,
        destinations: &mut Vec<Destination>,
    ) -> Option<u16> {
        let parse = |held: &str| parsing::port(held).filter(|port| *port != thundras_port);
        let expected = "a port from 1 to 65535 other than THUNDRA_EXTENSION_PORT";
        let port = self.value(PORT, &parse, expected, "4318").unwrap_or(PORT_DEFAULT);
        let urls = self.urls([port, thundras_port]);
        if urls.is_empty() {
            // Another receiver is to have it, by who has mistaken this variable for that of the SDK.
            let is_anothers = self.names_port(port);
            let then = if is_anothers { "no port for OTLP is opened" } else { "OTLP is refused" };
            self.complain(Problem(format!("there is no remote for OTLP that can be used; {then}")));
            if is_anothers {
                return None;
            }
        }
        if port == thundras_port {
            self.complain(Problem(format!(
                "{PORT} is needed, as THUNDRA_EXTENSION_PORT holds {port}; no port for OTLP is opened"
            )));
            return None;
        }
        let headers = self.headers();
        for (route, url) in urls {
            let of_its_origin = destinations.iter_mut().find_map(|it| match &mut it.endpoints {
                Endpoints::Each(urls) if urls[0].1.has_origin_of(&url) => Some(urls),
                _ => None,
            });
            if let Some(urls) = of_its_origin {
                urls.push((route, url));
                continue;
            }
            let endpoints = Endpoints::Each(vec![(route, url)]);
            destinations.push(self.destination_of(Dialect::Otlp, endpoints, headers.clone()));
        }
        Some(port)
    }

    /// Whether an endpoint is this port of this machine.
    fn names_port(&self, port: u16) -> bool {
        let held = ENDPOINTS.iter().filter_map(|name| self.environment.get(name));
        held.filter_map(Url::base).any(|url| url.is_local(port))
    }

    /// That of each signal which has one.
    fn urls(&mut self, own: [u16; 2]) -> Vec<(Route, Url)> {
        let is_elsewhere = |url: &Url| !own.iter().any(|port| url.is_local(*port));
        let expected = "an http or https URL of a receiver other than this one";
        let parse_base = |held: &str| Url::base(held).filter(is_elsewhere);
        let base = self.secret(ENDPOINT, &parse_base, expected, "one for a signal, if set,");
        let parse = |held: &str| Url::whole(held).filter(is_elsewhere);
        let signals = [
            (TRACES_ENDPOINT, Signal::Traces),
            (METRICS_ENDPOINT, Signal::Metrics),
            (LOGS_ENDPOINT, Signal::Logs),
        ];
        let mut urls = Vec::new();
        for (name, signal) in signals {
            let own = self.secret(name, &parse, expected, "the one for all signals, if set,");
            let below = || Url::whole(&base.as_ref()?.join(signal.path()));
            urls.extend(own.or_else(below).map(|url| (Route::Otlp(signal), url)));
        }
        urls
    }

    /// `key1=value1,key2=value2`, percent-encoded ("OpenTelemetry Protocol Exporter", Specifying
    /// headers via environment variables). What is wrong in it is left out alone.
    fn headers(&mut self) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::new();
        let held = self.environment.get(HEADERS).unwrap_or_default();
        for (nth, pair) in held.split(',').enumerate().filter(|(_, pair)| !pair.trim().is_empty()) {
            match parse_header(pair) {
                Some((name, value)) => {
                    headers.retain(|(known, _)| *known != name);
                    headers.push((name, value));
                }
                None => self.complain(Problem(format!(
                    "{HEADERS} holds as number {} something that is not key=value, percent-encoded, \
                     for a header that may be chosen; the others are used",
                    nth + 1
                ))),
            }
        }
        headers
    }
}

fn parse_header(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    let name = HeaderName::from_bytes(&percent_decoded(name.trim())?).ok()?;
    let mut value = HeaderValue::from_bytes(&percent_decoded(value.trim())?).ok()?;
    value.set_sensitive(true);
    let is_sent = value.to_str().is_ok() && !NOT_CONFIGURABLE.contains(&name);
    is_sent.then_some((name, value))
}

/// `None` where a percent sign is not followed by two hexadecimal digits.
fn percent_decoded(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.contains('%') {
        return Some(text.as_bytes().into());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        bytes.push(match byte {
            b'%' => u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?,
            byte => byte,
        });
    }
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::environment::Environment;

    const BASE: (&str, &str) = (ENDPOINT, "http://a/x/");

    /// The port, and the destinations for OTLP.
    fn read(variables: &[(&str, &str)]) -> (Option<u16>, Vec<Destination>, Vec<String>) {
        let (config, problems) = Config::from(&Environment::of(variables));
        let destinations = config.destinations.into_iter().skip(1).collect();
        (config.otlp_port, destinations, problems.iter().map(ToString::to_string).collect())
    }

    /// The URL of each signal at each destination.
    fn urls(variables: &[(&str, &str)]) -> Vec<[Option<String>; 3]> {
        let (port, destinations, problems) = read(variables);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(port.is_some(), !variables.is_empty());
        destinations.iter().map(|it| Route::OTLP.map(|route| it.url(route))).collect()
    }

    fn texts(urls: [&str; 3]) -> [Option<String>; 3] {
        urls.map(|it| (!it.is_empty()).then(|| it.to_owned()))
    }

    #[test]
    fn paths_are_appended_to_the_base_and_whole_urls_are_used_as_they_are() {
        let below = ["http://a/x/v1/traces", "http://a/x/v1/metrics", "http://a/x/v1/logs"];
        assert_eq!(urls(&[BASE]), [texts(below)]);
        let own = (TRACES_ENDPOINT, "http://a/in?k=v");
        assert_eq!(urls(&[BASE, own]), [texts(["http://a/in?k=v", below[1], below[2]])]);
        assert_eq!(urls(&[own]), [texts(["http://a/in?k=v", "", ""])]);
        assert_eq!(urls(&[]), Vec::<[Option<String>; 3]>::new());
        assert_eq!(
            urls(&[(ENDPOINT, "http://a:4318")])[0][2].as_deref(),
            Some("http://a:4318/v1/logs")
        );
    }

    #[test]
    fn each_origin_is_a_destination() {
        let metrics = (METRICS_ENDPOINT, "https://a/x/v1/metrics");
        let logs = (LOGS_ENDPOINT, "https://a:443/logs");
        let expected = [
            texts(["http://a/x/v1/traces", "", ""]),
            texts(["", "https://a/x/v1/metrics", "https://a:443/logs"]),
        ];
        assert_eq!(urls(&[BASE, metrics, logs]), expected);
    }

    #[test]
    fn headers_are_read_as_the_sdks_read_theirs() {
        let (_, destinations, problems) = read(&[
            BASE,
            (HEADERS, " Api-Key = a%2Cb%3d c ,x-empty=,x-two=1,X-TWO=2%25,authorization=Bearer t,"),
        ]);
        assert_eq!(problems, Vec::<String>::new());
        let headers = &destinations[0].headers;
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let expected = [
            ("api-key", "a,b= c"),
            ("x-empty", ""),
            ("x-two", "2%"),
            ("authorization", "Bearer t"),
        ];
        assert_eq!(headers, expected);
    }

    #[test]
    fn what_is_no_header_is_left_out_alone_and_never_shown() {
        for wrong in
            ["s3cret", "s3 cret=a", "a=s3cret%0d", "a=s3cret%4", "=s3cret", "content-length=7"]
        {
            let (_, destinations, problems) = read(&[BASE, (HEADERS, &format!("a=1,{wrong},b=2"))]);
            assert_eq!(destinations[0].headers.len(), 2, "{wrong}");
            let [problem] = problems.as_slice() else { panic!("{problems:?}") };
            assert!(problem.contains("as number 2") && !problem.contains("s3"), "{problem}");
        }
    }

    #[test]
    fn a_bad_endpoint_is_a_problem_and_the_base_is_used_instead() {
        for bad in ["", "a", "ftp://a", "https://u:p@a", "http://localhost:4318/v1/traces"] {
            let (_, destinations, problems) = read(&[BASE, (TRACES_ENDPOINT, bad)]);
            let url = destinations[0].url(Route::OTLP[0]);
            assert_eq!(url.as_deref(), Some("http://a/x/v1/traces"));
            assert_eq!(problems.len(), usize::from(!bad.is_empty()), "{bad} {problems:?}");
        }
        let (port, destinations, problems) = read(&[(ENDPOINT, "http://a?s3cret")]);
        assert_eq!((port, destinations.len()), (Some(4318), 0), "it is there to refuse");
        assert!(problems[0].contains(ENDPOINT) && !problems[0].contains("s3cret"), "{problems:?}");
        for (forgetful, its_port) in [((HEADERS, "key=s3cret"), 4318), ((PORT, "5000"), 5000)] {
            let (port, _, problems) = read(&[forgetful]);
            let told = (port, problems.len());
            assert_eq!(told, (Some(its_port), 1), "who has forgotten the endpoint is told");
        }
        let thundras = ("THUNDRA_EXTENSION_PORT", "5000");
        let (_, destinations, problems) = read(&[thundras, (ENDPOINT, "http://localhost:5000")]);
        assert_eq!((destinations.len(), problems.len()), (0, 2), "it would post to itself");
        let another = read(&[(ENDPOINT, "http://localhost:4318"), (HEADERS, "a=b")]);
        assert_eq!((another.0, another.2.len()), (None, 2), "who listens there is left alone");
    }

    #[test]
    fn the_port_is_that_of_the_sdks_unless_it_is_told() {
        let port = |variables: &[(&str, &str)]| {
            let (port, _, problems) = read(&[&[BASE], variables].concat());
            (port.unwrap(), problems.len())
        };
        assert_eq!(port(&[]), (4318, 0));
        assert_eq!(port(&[(PORT, "5000")]), (5000, 0));
        assert_eq!(port(&[(PORT, "3333")]), (4318, 1), "that is the other one's");
        assert_eq!(port(&[(PORT, "0")]), (4318, 1));
        for taken in [[].as_slice(), &[(PORT, "4318")]] {
            let (port, destinations, problems) =
                read(&[&[BASE, ("THUNDRA_EXTENSION_PORT", "4318")], taken].concat());
            assert!(port.is_none() && destinations.is_empty() && !problems.is_empty());
        }
    }
}
