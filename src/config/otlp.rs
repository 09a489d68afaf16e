//! Reads the remotes for OTLP and the local port for OTLP.

use super::reading::Reading;
use super::urls::{Bad, elsewhere};
use crate::config::values;
use crate::local::no_remote::NoRemote;
use crate::net::url::Url;
use crate::payload::protocol::{OTLP_GRPC_PORT, OTLP_HTTP_PORT, Protocol};
use crate::payload::route::Route;
use crate::payload::signal::Signal;
use crate::remote::destination::{Destination, Endpoint, Endpoints};

/// Base URL of the remote for OTLP.
const ENDPOINT: &str = "THUNDRA_EXTENSION_OTLP_ENDPOINT";
/// The complete URL for traces.
const TRACES_ENDPOINT: &str = "THUNDRA_EXTENSION_OTLP_TRACES_ENDPOINT";
/// The complete URL for metrics.
const METRICS_ENDPOINT: &str = "THUNDRA_EXTENSION_OTLP_METRICS_ENDPOINT";
/// The complete URL for logs.
const LOGS_ENDPOINT: &str = "THUNDRA_EXTENSION_OTLP_LOGS_ENDPOINT";
/// Headers of each request, such as the key.
pub const HEADERS: &str = "THUNDRA_EXTENSION_OTLP_HEADERS";
/// Headers of requests with traces, in place of [`HEADERS`].
const TRACES_HEADERS: &str = "THUNDRA_EXTENSION_OTLP_TRACES_HEADERS";
/// Headers of requests with metrics, in place of [`HEADERS`].
const METRICS_HEADERS: &str = "THUNDRA_EXTENSION_OTLP_METRICS_HEADERS";
/// Headers of requests with logs, in place of [`HEADERS`].
const LOGS_HEADERS: &str = "THUNDRA_EXTENSION_OTLP_LOGS_HEADERS";
/// Port of the local receiver.
const PORT: &str = "THUNDRA_EXTENSION_OTLP_PORT";

/// All variables for OTLP, in the order of the README's table.
pub const VARIABLES: [&str; 9] = [
    ENDPOINT,
    TRACES_ENDPOINT,
    METRICS_ENDPOINT,
    LOGS_ENDPOINT,
    HEADERS,
    TRACES_HEADERS,
    METRICS_HEADERS,
    LOGS_HEADERS,
    PORT,
];

/// Prefix of all variables for OTLP, even if the rest of the name is misspelt.
const PREFIX: &str = "THUNDRA_EXTENSION_OTLP";

/// Endings that a base URL has by mistake, the longer ones first. They are cut off, because the extension
/// appends the path itself.
const APPENDED: [&str; 4] = ["/v1/traces", "/v1/metrics", "/v1/logs", "/v1"];

/// The variables of one signal.
pub struct Variables {
    pub signal: Signal,
    pub endpoint: &'static str,
    pub headers: &'static str,
}

const SIGNAL_VARIABLES: [Variables; 3] = [
    Variables { signal: Signal::Traces, endpoint: TRACES_ENDPOINT, headers: TRACES_HEADERS },
    Variables { signal: Signal::Metrics, endpoint: METRICS_ENDPOINT, headers: METRICS_HEADERS },
    Variables { signal: Signal::Logs, endpoint: LOGS_ENDPOINT, headers: LOGS_HEADERS },
];

/// The missing remote of OTLP, if no variable for OTLP is set.
pub fn no_remote() -> NoRemote {
    NoRemote::without(ENDPOINT, &Route::OTLP, "the exports of an OpenTelemetry SDK")
}

impl Reading<'_> {
    pub fn has_otlp(&self) -> bool {
        !self.environment.find(&[PREFIX], "").is_empty()
    }

    /// The local port for OTLP, which must differ from `thundras`. It is opened even without a usable remote,
    /// to refuse exports. An SDK would retry a closed port for up to 10 s, in the flush of each invocation.
    pub fn otlp_port(&mut self, thundras: u16) -> Option<u16> {
        let parse = |held: &str| values::port(held).filter(|port| *port != thundras);
        let expected = "a port from 1 to 65535 other than THUNDRA_EXTENSION_PORT";
        let port = self.value(PORT, &parse, expected, "4318").unwrap_or(OTLP_HTTP_PORT);
        if port == thundras {
            self.complain(format!(
                "{PORT} is needed, as THUNDRA_EXTENSION_PORT holds {port}; no port for OTLP is opened"
            ));
            return None;
        }
        Some(port)
    }

    /// The destinations for OTLP, and the signals without one. Each origin has its own destination, because a
    /// failing one must not delay another.
    /// `cold` places this code apart, so that a start without OTLP does not load it from the file.
    #[cold]
    pub fn otlp(&mut self, own: &[u16], port: u16) -> (Vec<Destination>, Vec<NoRemote>) {
        let (mut destinations, mut no_remote) = (Vec::new(), Vec::new());
        let then = "signals without an endpoint of their own are refused and lost";
        let base = self.base(ENDPOINT, &APPENDED, own, then);
        let base = base.as_ref().map(Option::as_ref).map_err(|bad| *bad);
        if let Ok(Some(url)) = base {
            self.mind_port_of_grpc(ENDPOINT, url);
        }
        let urls = SIGNAL_VARIABLES.each_ref().map(|it| self.signals_url(it, base, own));
        if urls.iter().all(|it| matches!(it, Ok(None))) {
            self.complain(format!(
                "cannot forward the exports of an OpenTelemetry SDK to port {port}: {ENDPOINT} is not set; they \
                 are refused and lost"
            ));
            return (destinations, no_remote);
        }
        let mut endpoints = Vec::new();
        for (signal, url) in SIGNAL_VARIABLES.iter().zip(urls) {
            match url {
                Ok(Some(url)) => endpoints.push((signal, url)),
                Ok(None) => no_remote.push(signal.no_remote()),
                Err(Bad) => {} // the problem is already reported
            }
        }
        let headers = self.headers_of_each(&endpoints, base);
        for ((signal, url), (headers_variable, headers)) in endpoints.into_iter().zip(headers) {
            let route = Route::Otlp(signal.signal);
            let endpoint = Endpoint { route, url, headers, headers_variable };
            self.add(endpoint, &mut destinations);
        }
        (destinations, no_remote)
    }

    fn add(&mut self, endpoint: Endpoint, destinations: &mut Vec<Destination>) {
        let is_its = |it: &&mut Destination| {
            it.protocol == Protocol::Otlp && it.endpoints.any().has_origin_of(&endpoint.url)
        };
        if let Some(known) = destinations.iter_mut().find(is_its) {
            known.endpoints.0.push(endpoint);
        } else {
            let endpoints = Endpoints(vec![endpoint]);
            destinations.push(self.destination(Protocol::Otlp, endpoints));
        }
    }

    /// The signal's own URL, or else its path below the base URL.
    fn signals_url(
        &mut self,
        variables: &Variables,
        base: Result<Option<&Url>, Bad>,
        own: &[u16],
    ) -> Result<Option<Url>, Bad> {
        let (name, path) = (variables.endpoint, variables.signal.path());
        let parse = |held: &str| elsewhere(Url::whole(held)?, own);
        let Some(url) = self.url(name, &parse, "this signal is refused and lost")? else {
            return Ok(base?.map(|base| base.below(path)));
        };
        self.mind_port_of_grpc(name, &url);
        if self.held(name).is_some_and(|held| url.is_without_path(held)) {
            self.complain(format!(
                "{name} has no path, so that requests go to /; most receivers expect them at {path}"
            ));
        }
        Ok(Some(url))
    }

    fn mind_port_of_grpc(&mut self, name: &str, url: &Url) {
        if url.port() == OTLP_GRPC_PORT {
            self.complain(format!(
                "{name} holds port 4317, where most receivers expect gRPC; this extension sends OTLP over \
                 HTTP, which most take at port 4318"
            ));
        }
    }
}

impl Variables {
    /// The missing remote of this signal, if another signal has one.
    fn no_remote(&self) -> NoRemote {
        const ALL: &[Route] = &Route::OTLP;
        let nth = self.signal as usize;
        NoRemote::without(self.endpoint, &ALL[nth..=nth], self.signal.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::environment::Environment;

    const BASE: (&str, &str) = (ENDPOINT, "http://a/x/");

    /// The port and the destinations for OTLP, and the reported problems.
    fn read(variables: &[(&str, &str)]) -> (Option<u16>, Vec<Destination>, Vec<String>) {
        let (config, problems) = Config::from(&Environment::of(variables));
        let destinations =
            config.destinations.into_iter().filter(|it| it.protocol == Protocol::Otlp).collect();
        (config.otlp_port, destinations, problems.iter().map(ToString::to_string).collect())
    }

    /// The URL of each signal at each destination. The variables must cause no problem.
    fn urls(variables: &[(&str, &str)]) -> Vec<[Option<String>; 3]> {
        let (port, destinations, problems) = read(variables);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(port, Some(4318));
        destinations.iter().map(|it| Route::OTLP.map(|route| it.url(route))).collect()
    }

    fn texts(urls: [&str; 3]) -> [Option<String>; 3] {
        urls.map(|it| (!it.is_empty()).then(|| it.to_owned()))
    }

    #[test]
    fn paths_are_appended_to_a_base_url_and_complete_urls_stay_unchanged() {
        let below = ["http://a/x/v1/traces", "http://a/x/v1/metrics", "http://a/x/v1/logs"];
        assert_eq!(urls(&[BASE]), [texts(below)]);
        let own = (TRACES_ENDPOINT, "http://a/in?k=v");
        assert_eq!(urls(&[BASE, own]), [texts(["http://a/in?k=v", below[1], below[2]])]);
        assert_eq!(urls(&[own]), [texts(["http://a/in?k=v", "", ""])]);
        assert_eq!(
            urls(&[(ENDPOINT, "http://a:4318")])[0][2].as_deref(),
            Some("http://a:4318/v1/logs")
        );
    }

    #[test]
    fn each_origin_has_its_own_destination() {
        let metrics = (METRICS_ENDPOINT, "https://a/x/v1/metrics");
        let logs = (LOGS_ENDPOINT, "https://a:443/logs");
        let expected = [
            texts(["http://a/x/v1/traces", "", ""]),
            texts(["", "https://a/x/v1/metrics", "https://a:443/logs"]),
        ];
        assert_eq!(urls(&[BASE, metrics, logs]), expected);
    }

    #[test]
    fn headers_are_parsed_as_sdks_parse_theirs() {
        let (_, destinations, problems) = read(&[
            BASE,
            (HEADERS, " Api-Key = a%2Cb%3d c ,x-empty=,x-two=1,X-TWO=2%25,authorization=Bearer t,"),
        ]);
        assert_eq!(problems, Vec::<String>::new());
        let headers = destinations[0].headers(Route::OTLP[0]);
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
    fn a_bad_header_is_left_out_alone_and_never_logged() {
        for (wrong, why) in [
            ("s3cret", "it holds no ="),
            ("s3 cret=a", "is no name of a header"),
            ("a=s3cret%0d", "its value holds"),
            ("a=s3cret%4", "its value holds"),
            ("=s3cret", "is no name of a header"),
            ("content-length=7", "the extension itself sets this header"),
        ] {
            let (_, destinations, problems) = read(&[BASE, (HEADERS, &format!("a=1,{wrong},b=2"))]);
            assert_eq!(destinations[0].headers(Route::OTLP[0]).len(), 2, "{wrong}");
            let [problem] = problems.as_slice() else { panic!("{problems:?}") };
            assert!(problem.contains("entry 2 of") && problem.contains(why), "{problem}");
            assert!(!problem.contains("s3"), "{problem}");
        }
    }

    /// The URL of each signal, its headers as `name=value`, and the reported problems.
    fn routed(variables: &[(&str, &str)]) -> ([(String, String); 3], Vec<String>) {
        let (_, destinations, problems) = read(variables);
        let routed = Route::OTLP.map(|route| {
            let at = destinations.iter().find(|it| it.routes().contains(&route));
            let headers = at.map_or(&[][..], |it| it.headers(route)).iter();
            let headers: Vec<String> = headers
                .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
                .collect();
            (at.and_then(|it| it.url(route)).unwrap_or_default(), headers.join(","))
        });
        (routed, problems)
    }

    /// Variables, the expected headers of each signal, and the expected number of problems.
    type Case<'a> = (&'a [(&'a str, &'a str)], [&'a str; 3], usize);

    #[test]
    fn headers_go_only_to_the_host_that_they_are_meant_for() {
        let [all, base] = [(HEADERS, "key=all"), (ENDPOINT, "http://a")];
        let [traces, same] =
            ["http://b/v1/traces", "http://a:80/in"].map(|url| (TRACES_ENDPOINT, url));
        let [logs, logs_too] =
            ["http://c/v1/logs", "http://b/logs"].map(|url| (LOGS_ENDPOINT, url));
        let own = (TRACES_HEADERS, "x=traces");
        let cases: &[Case] = &[
            (&[all, base], ["key=all"; 3], 0),
            (&[all, base, same], ["key=all"; 3], 0),
            (&[all, base, own], ["x=traces", "key=all", "key=all"], 0),
            (&[all, base, traces], ["", "key=all", "key=all"], 1),
            (&[all, base, traces, own], ["x=traces", "key=all", "key=all"], 0),
            (&[all, base, traces, logs], ["", "key=all", ""], 2),
            (&[all, traces], ["key=all", "", ""], 0),
            (&[all, traces, logs_too], ["key=all", "", "key=all"], 0),
            (&[all, traces, logs], ["", "", ""], 2),
            (&[all, traces, logs, own], ["x=traces", "", ""], 1),
            (&[all, traces, (ENDPOINT, "bad")], ["", "", ""], 2),
            (&[base, own], ["x=traces", "", ""], 0),
        ];
        for (variables, expected, lines) in cases {
            let (routed, problems) = routed(variables);
            assert_eq!(&routed.each_ref().map(|(_, it)| it.as_str()), expected, "{variables:?}");
            assert_eq!(problems.len(), *lines, "{problems:?}");
        }
        let (_, problems) = routed(&[all, base, logs]);
        let line = "THUNDRA_EXTENSION_OTLP_HEADERS is not sent to http://c:80, which only \
                    THUNDRA_EXTENSION_OTLP_LOGS_ENDPOINT names; headers for it belong in \
                    THUNDRA_EXTENSION_OTLP_LOGS_HEADERS";
        assert_eq!(problems, [line]);
    }

    #[test]
    fn an_obvious_mistake_is_corrected_and_reported() {
        for (variable, url, part) in [
            ((ENDPOINT, "'http://a'"), "http://a/v1/traces", "quotation marks"),
            ((ENDPOINT, "http://a/x/v1"), "http://a/x/v1/traces", "ends in /v1,"),
            ((ENDPOINT, "http://a/v1/"), "http://a/v1/traces", "ends in /v1,"),
            ((ENDPOINT, "http://a/v1/traces"), "http://a/v1/traces", "ends in /v1/traces,"),
            ((ENDPOINT, "http://a/v1/logs/"), "http://a/v1/traces", "ends in /v1/logs,"),
            ((ENDPOINT, "http://a:4317"), "http://a:4317/v1/traces", "expect gRPC"),
            ((TRACES_ENDPOINT, "http://a:4317/x"), "http://a:4317/x", "expect gRPC"),
            ((TRACES_ENDPOINT, "http://a"), "http://a/", "has no path"),
        ] {
            let (routed, problems) = routed(&[variable]);
            assert_eq!(routed[0].0, url);
            let [problem] = &problems[..] else { panic!("{problems:?}") };
            assert!(problem.starts_with(variable.0) && problem.contains(part), "{problem}");
        }
        assert_eq!(routed(&[(TRACES_ENDPOINT, "http://a/")]).1, Vec::<String>::new());
        for (list, sent, lines) in [
            ("\"a=1,b=2\"", "a=1,b=2", 1),
            ("a=\"1\",b='2'", "a=1,b=2", 2),
            ("a: 1", "a=1", 1),
            ("a=1;b=2", "a=1,b=2", 1),
            ("authorization: Basic YTpi==", "authorization=Basic YTpi==", 1),
            ("a=1:2;3", "a=1:2;3", 0),
        ] {
            let (routed, problems) = routed(&[BASE, (HEADERS, list)]);
            assert_eq!(
                (routed[0].1.as_str(), problems.len()),
                (sent, lines),
                "{list} {problems:?}"
            );
        }
    }

    #[test]
    fn a_bad_endpoint_is_reported_and_its_signal_is_not_sent() {
        for bad in ["", "a", "ftp://a", "https://u:s3cret@a", "http://localhost:4318/v1/traces"] {
            let (routed, problems) =
                routed(&[BASE, (TRACES_ENDPOINT, bad), (TRACES_HEADERS, "a=s3cret")]);
            let url = if bad.is_empty() { "http://a/x/v1/traces" } else { "" };
            assert_eq!((&*routed[0].0, &*routed[1].0), (url, "http://a/x/v1/metrics"), "{bad}");
            assert_eq!(problems.len(), usize::from(!bad.is_empty()), "{bad} {problems:?}");
            assert!(!problems.concat().contains("s3cret"), "{problems:?}");
        }
    }

    #[test]
    fn without_a_remote_one_line_names_the_variable_and_the_port_refuses_exports() {
        let lines = |variables: &[(&str, &str)]| {
            let (config, problems) = Config::from(&Environment::of(variables));
            let later = config.no_remote.iter().filter(|it| it.is_of(&Route::OTLP));
            let later: Vec<&str> = later.map(NoRemote::variable).collect();
            let at_start: Vec<String> = problems.iter().map(ToString::to_string).collect();
            (config.otlp_port, at_start, later)
        };
        let (port, at_start, later) = lines(&[]);
        assert_eq!((port, at_start.len(), later), (None, 0, vec![ENDPOINT]));
        for (variable, port) in [((HEADERS, "key=s3cret"), 4318), ((PORT, "5000"), 5000)] {
            let (opened, at_start, later) = lines(&[variable]);
            let line = format!(
                "cannot forward the exports of an OpenTelemetry SDK to port {port}: {ENDPOINT} is not set; they are refused and lost"
            );
            assert_eq!((opened, at_start, later), (Some(port), vec![line], vec![]));
        }
        for bad in ["http://a?s3cret", "http://localhost:4318", "http://localhost:3333", "a"] {
            let (port, at_start, later) = lines(&[(ENDPOINT, bad)]);
            assert_eq!((port, at_start.len(), later), (Some(4318), 1, vec![]), "{at_start:?}");
            assert!(
                at_start[0].contains(ENDPOINT) && !at_start[0].contains("s3cret"),
                "{at_start:?}"
            );
        }
        let (_, at_start, later) = lines(&[(TRACES_ENDPOINT, "http://a/b")]);
        assert_eq!((at_start.len(), later), (0, vec![METRICS_ENDPOINT, LOGS_ENDPOINT]));
        let (_, at_start, later) = lines(&[(ENDPOINT, "a"), (LOGS_ENDPOINT, "http://a/b")]);
        assert_eq!((at_start.len(), later.len()), (1, 0));
    }

    #[test]
    fn each_signal_has_its_route_and_its_name() {
        for (variables, name) in SIGNAL_VARIABLES.iter().zip(["traces", "metrics", "logs"]) {
            let no_remote = variables.no_remote();
            for route in Route::OTLP {
                let is_its = route == Route::Otlp(variables.signal);
                assert_eq!(no_remote.is_of(&[route]), is_its, "{route:?}");
            }
            assert_eq!(variables.signal.name(), name);
        }
    }

    #[test]
    fn the_port_is_the_sdks_default_unless_it_is_configured() {
        let port = |variables: &[(&str, &str)]| {
            let (port, _, problems) = read(&[&[BASE], variables].concat());
            (port.unwrap(), problems.len())
        };
        assert_eq!(port(&[]), (4318, 0));
        assert_eq!(port(&[(PORT, "5000")]), (5000, 0));
        assert_eq!(port(&[(PORT, "3333")]), (4318, 1), "Thundra's port");
        assert_eq!(port(&[(PORT, "0")]), (4318, 1));
        for taken in [[].as_slice(), &[(PORT, "4318")]] {
            let (port, destinations, problems) =
                read(&[&[BASE, ("THUNDRA_EXTENSION_PORT", "4318")], taken].concat());
            assert!(port.is_none() && destinations.is_empty() && !problems.is_empty());
        }
    }
}
