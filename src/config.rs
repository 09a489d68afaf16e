//! Reads the [`Environment`] into a [`Config`], by a pure function.
//!
//! Invariant: no value is fatal. Each bad value becomes a [`Problem`]. It names the variable, its value (unless
//! that may be a secret), and the value in use instead. All problems are logged at once.

pub mod environment;
mod headers;
mod names;
mod otlp;
mod reading;
mod sdk;
pub mod start_lines;
mod thundra;
mod urls;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use ureq::Proxy;

use self::names::{
    BUFFER, ENABLED, FLUSH, LOG_LEVEL, Misspelt, PORT, PROXY, SSL_CERT_FILE, TRUST_ALL_CERTIFICATES,
};
use self::reading::Reading;
use self::thundra::AGENTS;
use self::urls::with_region;
use crate::config::environment::Environment;
use crate::config::values::PORT_DEFAULT;
use crate::local::no_remote::NoRemote;
use crate::logging::Format;
use crate::net::url::{Url, bypasses_proxy};
use crate::payload::protocol::{OTLP_GRPC_PORT, OTLP_HTTP_PORT, Protocol};
use crate::payload::route::Route;
use crate::relay::flush::Strategy;
use crate::remote::destination::{Destination, Endpoints};

pub use self::reading::Problem;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// Memory of the smallest function, in bytes ("Lambda quotas"). It is assumed if the size is unknown.
const FUNCTION_MEMORY_MIN: usize = 128 * MIB;
/// Divisor: by default, the buffer is the function's memory divided by this.
const BUFFER_SHARE: usize = 32;
/// Limits of the default buffer, in bytes.
const BUFFER_DEFAULT_RANGE: (usize, usize) = (MIB, 16 * MIB);
/// Limits of a configured buffer, in bytes. One report must fit. A small function must keep most of its memory.
const BUFFER_RANGE: (usize, usize) = (64 * KIB, 64 * MIB);

/// The longest configurable period: the limit of an invocation's duration ("Lambda quotas"). With a longer
/// period, reports would be sent at SHUTDOWN only.
const FLUSH_PERIOD_MAX: Duration = Duration::from_secs(15 * 60);

#[derive(Debug)]
pub struct Config {
    pub is_enabled: bool,
    /// Host and port of the Extensions API. `None` outside of Lambda.
    pub runtime_api: Option<String>,
    /// Whether the function runs on Managed Instances. There, an extension may register for SHUTDOWN only.
    pub is_managed_instances: bool,
    pub port: u16,
    pub flush: Strategy,
    /// Memory limit of all reports, in bytes.
    pub buffer: usize,
    /// The configured remotes: Thundra's first, then those for OTLP.
    pub destinations: Vec<Destination>,
    /// The kinds of reports without a remote, with the line to log at their first report.
    pub no_remote: Vec<NoRemote>,
    /// The port for OTLP, if anything is configured for OTLP.
    otlp_port: Option<u16>,
    /// The ports to open at start, each with its protocol.
    pub ports: Vec<(u16, Protocol)>,
    /// Ports to open at the first invocation, if they are still free. The user configured nothing for these
    /// protocols, so another extension may use the ports.
    pub late_ports: Vec<(u16, Protocol)>,
    pub log_level: LevelFilter,
    pub log_format: Format,
}

impl Config {
    pub fn from(environment: &Environment) -> (Self, Vec<Problem>) {
        let mut reading = Reading { environment, problems: Vec::new() };
        let misspelt = reading.misspelt();
        let has_thundra = reading.has_thundra() || misspelt == Some(Misspelt::Thundra);
        let has_otlp = reading.has_otlp() || misspelt == Some(Misspelt::Otlp);
        let (flush, port) = (reading.flush(), reading.port());
        let (is_enabled, buffer) = (reading.boolean(ENABLED, true), reading.buffer());
        let mut config = Self {
            is_enabled,
            runtime_api: environment.get("AWS_LAMBDA_RUNTIME_API").map(ToOwned::to_owned),
            is_managed_instances: environment.get("AWS_LAMBDA_INITIALIZATION_TYPE")
                == Some("lambda-managed-instances"),
            port,
            flush,
            buffer,
            destinations: Vec::new(),
            no_remote: Vec::new(),
            otlp_port: if has_otlp { reading.otlp_port(port) } else { None },
            ports: Vec::new(),
            late_ports: Vec::new(),
            log_level: reading.log_level(),
            log_format: match environment.get("AWS_LAMBDA_LOG_FORMAT") {
                Some(format) if format.eq_ignore_ascii_case("json") => Format::Json,
                _ => Format::Text,
            },
        };
        config.find_remotes(&mut reading, has_otlp);
        config.find_ports(has_thundra, has_otlp);
        if config.otlp_port.is_some() {
            let otlps: Vec<u16> = config.otlp_ports().collect();
            reading.sdk(&otlps, is_enabled);
        }
        if !config.is_enabled {
            config.switch_off();
        }
        (config, reading.problems)
    }

    /// The ports that take OTLP.
    fn otlp_ports(&self) -> impl Iterator<Item = u16> {
        let all = self.ports.iter().chain(&self.late_ports);
        all.filter(|(_, protocol)| *protocol == Protocol::Otlp).map(|(port, _)| *port)
    }

    fn find_remotes(&mut self, reading: &mut Reading, has_otlp: bool) {
        let own: Vec<u16> = [Some(self.port), self.otlp_port].into_iter().flatten().collect();
        let (headers, variable) = reading.agents_key();
        match reading.collector_url(&own) {
            Ok(url) => {
                let endpoints = Endpoints::below(&url, &Route::THUNDRA, &headers, variable);
                self.destinations.push(reading.destination(Protocol::Thundra, endpoints));
            }
            Err(no_remote) => self.no_remote.extend(no_remote),
        }
        if let Some(port) = self.otlp_port {
            let (destinations, no_remote) = reading.otlp(&own, port);
            self.destinations.extend(destinations);
            self.no_remote.extend(no_remote);
        } else if self.is_enabled && !has_otlp {
            self.no_remote.push(otlp::no_remote());
        }
    }

    /// Configures no remote and no buffer. The ports for OTLP stay, to refuse exports.
    fn switch_off(&mut self) {
        self.destinations.clear();
        self.buffer = 0;
        self.no_remote = vec![otlp::no_remote().switched_off(ENABLED)];
    }

    /// Chooses the ports. OTLP's is opened first, because a user with a remote for OTLP has an SDK rather than
    /// an agent of Thundra's.
    fn find_ports(&mut self, has_thundra: bool, has_otlp: bool) {
        self.ports.extend(self.otlp_port.map(|port| (port, Protocol::Otlp)));
        // An SDK retries a closed port for seconds, in each invocation. So the default port of SDKs is open
        // even if another port is configured, or if the extension is disabled.
        if self.is_free(OTLP_HTTP_PORT) {
            self.late_ports.push((OTLP_HTTP_PORT, Protocol::Otlp));
        }
        let thundras = self.is_enabled.then_some((self.port, Protocol::Thundra));
        // Thundra's agents do not retry a closed port. If only OTLP is configured, Thundra's port would cost
        // threads and help nobody.
        if has_thundra {
            self.ports.extend(thundras);
        } else if !has_otlp {
            self.late_ports.extend(thundras);
        }
        // An SDK that exports over gRPC waits for seconds, too. There it learns that this is in vain.
        let has_http = self.otlp_ports().any(|port| port == OTLP_HTTP_PORT);
        if has_http && self.is_free(OTLP_GRPC_PORT) {
            self.late_ports.push((OTLP_GRPC_PORT, Protocol::Otlp));
        }
    }

    /// Whether neither this extension nor a remote uses this port. A remote may be a collector in this
    /// execution environment that opens the port later.
    fn is_free(&self, port: u16) -> bool {
        let mut remotes = self.destinations.iter().map(|it| it.endpoints.any());
        ![self.port, self.otlp_port.unwrap_or_default()].contains(&port)
            && !remotes.any(|it| it.is_local(port))
    }
}

impl Reading<'_> {
    fn flush(&mut self) -> Strategy {
        let expected = "default, continuously, periodically,<ms> with 1 to 900000 ms, or end";
        self.value(FLUSH, &parse_flush, expected, "default").unwrap_or(Strategy::Default)
    }

    fn port(&mut self) -> u16 {
        self.value(PORT, &values::port, "a port from 1 to 65535", "3333").unwrap_or(PORT_DEFAULT)
    }

    fn buffer(&mut self) -> usize {
        let memory = self.environment.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE");
        let memory = memory.and_then(|megabytes| megabytes.parse::<usize>().ok()?.checked_mul(MIB));
        let (min, max) = BUFFER_DEFAULT_RANGE;
        let default = (memory.unwrap_or(FUNCTION_MEMORY_MIN) / BUFFER_SHARE).clamp(min, max);
        let instead = format!("{}KiB", default / KIB);
        let expected = "a size from 64KiB to 64MiB such as 512KiB or 4MiB";
        self.value(BUFFER, &parse_buffer, expected, &instead).unwrap_or(default)
    }

    /// A destination for endpoints of one origin. Proxy and certificate settings are the same for all remotes.
    fn destination(&mut self, protocol: Protocol, endpoints: Endpoints) -> Destination {
        Destination {
            protocol,
            proxy: self.proxy(endpoints.any()),
            endpoints,
            extra_roots: self.held(SSL_CERT_FILE).map(PathBuf::from),
            trust_all_certificates: self.boolean(TRUST_ALL_CERTIFICATES, false),
        }
    }

    fn proxy(&mut self, remote: &Url) -> Option<Proxy> {
        let name = if remote.is_https() { "HTTPS_PROXY" } else { "HTTP_PROXY" };
        if let Some(proxy) = self.proxy_of(PROXY, &format!("{name}, if set,")) {
            return Some(proxy);
        }
        let exempt = self.environment.get("NO_PROXY");
        if exempt.is_some_and(|list| bypasses_proxy(remote, list)) {
            return None;
        }
        self.proxy_of(name, "no proxy")
    }

    fn proxy_of(&mut self, name: &str, instead: &str) -> Option<Proxy> {
        let environment = self.environment;
        let parse = |held: &str| parse_proxy(&with_region(environment, held).ok()?);
        let mut expected =
            "an http or https URL of a proxy (write #, / and ? in a password percent-encoded)"
                .to_owned();
        let held = environment.get(name)?;
        if let Err(fault) = with_region(environment, held) {
            expected = format!("{expected}: {fault}");
        }
        self.secret(name, &parse, &expected, instead)
    }

    fn log_level(&mut self) -> LevelFilter {
        let expected = "error, warn, info, debug, trace or off";
        let instead = "the agents' …_DEBUG_ENABLE, or else Lambda's own level,";
        if let Some(level) = self.value(LOG_LEVEL, &parse_level, expected, instead) {
            return level;
        }
        let debugs = self.environment.find(&AGENTS, "_DEBUG_ENABLE");
        if debugs.iter().any(|(_, held)| values::boolean(held) == Some(true)) {
            return LevelFilter::Debug;
        }
        self.value("AWS_LAMBDA_LOG_LEVEL", &parse_level, expected, "warn")
            .unwrap_or(LevelFilter::Warn)
    }
}

fn parse_flush(held: &str) -> Option<Strategy> {
    let held = held.to_ascii_lowercase();
    match held.as_str() {
        "default" => Some(Strategy::Default),
        "continuously" => Some(Strategy::Continuously),
        "end" => Some(Strategy::End),
        _ => {
            let ms = held.strip_prefix("periodically")?.trim_start().strip_prefix(',')?;
            let period = Duration::from_millis(ms.trim().parse().ok()?);
            let is_sensible = !period.is_zero() && period <= FLUSH_PERIOD_MAX;
            is_sensible.then_some(Strategy::Periodically(period))
        }
    }
}

fn parse_buffer(held: &str) -> Option<usize> {
    let unit_at = held.find(|it: char| !it.is_ascii_digit())?;
    let unit = match held[unit_at..].trim_start().to_ascii_lowercase().as_str() {
        "kib" => KIB,
        "mib" => MIB,
        _ => return None,
    };
    let bytes = held[..unit_at].parse::<usize>().ok()?.checked_mul(unit)?;
    (BUFFER_RANGE.0..=BUFFER_RANGE.1).contains(&bytes).then_some(bytes)
}

/// Parses a proxy's URL more strictly than ureq. ureq accepts other schemes, and then uses no proxy. In a
/// password, ureq reads #, / or ? as the end of the host. It would then look up and log the password's start.
fn parse_proxy(held: &str) -> Option<Proxy> {
    let (_, behind) = held.split_once("://").unwrap_or(("", held));
    if behind.split_once(['#', '/', '?']).is_some_and(|(_, rest)| rest.contains('@')) {
        return None;
    }
    let proxy = Proxy::new(held).ok()?;
    let scheme = proxy.uri().scheme_str()?;
    ["http", "https"].contains(&scheme).then_some(proxy)
}

fn parse_level(held: &str) -> Option<LevelFilter> {
    match held.to_ascii_lowercase().as_str() {
        "fatal" => Some(LevelFilter::Error), // one of Lambda's own levels
        level => level.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;
    use crate::config::names::COLLECTOR_URL;

    type Ports = Vec<(u16, Protocol)>;

    /// Variables and the expected result.
    type Case<'a, T> = (&'a [(&'a str, &'a str)], T);

    fn read(variables: &[(&str, &str)]) -> (Config, Vec<String>) {
        let (config, problems) = Config::from(&Environment::of(variables));
        (config, problems.iter().map(ToString::to_string).collect())
    }

    /// Checks what `show` returns for these variables, and that they cause no problem.
    #[track_caller]
    fn check<T: Clone + PartialEq + fmt::Debug>(
        show: fn(&Config) -> T,
        cases: &[(&[(&str, &str)], T)],
    ) {
        for (variables, expected) in cases {
            let (config, problems) = read(variables);
            assert_eq!((show(&config), problems), (expected.clone(), vec![]), "{variables:?}");
        }
    }

    #[test]
    fn the_buffer_is_a_part_of_the_functions_memory_unless_it_is_configured() {
        let memory = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE";
        check(
            |config| config.buffer,
            &[
                (&[], 4 * MIB),
                (&[(memory, "128")], 4 * MIB),
                (&[(memory, "512")], 16 * MIB),
                (&[(memory, "10240")], 16 * MIB),
                (&[(memory, "16")], MIB),
                (&[(memory, "many")], 4 * MIB),
                (&[(BUFFER, "512KiB")], 512 * KIB),
                (&[(BUFFER, "2 mib"), (memory, "128")], 2 * MIB),
            ],
        );
    }

    /// The base URL of Thundra's remote, and the variables that the lines for a missing one name.
    fn thundras(config: &Config) -> (Option<String>, Vec<&'static str>) {
        let remote = config.destinations.iter().find(|it| it.protocol == Protocol::Thundra);
        let url = remote.and_then(|it| it.url(Route::MonitoringData));
        let base = url.map(|it| it.strip_suffix("/monitoring-data").unwrap().to_owned());
        let lines = config.no_remote.iter().filter(|it| it.is_of(&Route::THUNDRA));
        (base, lines.map(NoRemote::variable).collect())
    }

    #[test]
    fn the_remote_is_the_configured_one_or_else_the_agents_and_never_another() {
        let agents = ("thundra_agent_lambda_report_rest_baseUrl", "http://agents/v1");
        let catchpoints = ("CATCHPOINT_REPORT_REST_BASEURL", "http://catchpoints/v1");
        let own = ("thundra_agent_report_rest_baseurl", "http://localhost:3333/v1");
        let region = ("AWS_REGION", "eu-west-1");
        let cases: &[Case<Option<&str>>] = &[
            (&[region, ("THUNDRA_APIKEY", "k")], None),
            (&[region, ("CATCHPOINT_APIKEY", "k")], None),
            (&[region, own, ("THUNDRA_APIKEY", "k")], None),
            (&[own, ("THUNDRA_REPORT_REST_BASEURL", "http://b/v1")], Some("http://b/v1")),
            (&[agents], Some("http://agents/v1")),
            (&[catchpoints], Some("http://catchpoints/v1")),
            (&[own, catchpoints], Some("http://catchpoints/v1")),
            (&[own, (PORT, "4444")], Some("http://localhost:3333/v1")),
            (&[(COLLECTOR_URL, "https://configured/v1/"), agents], Some("https://configured/v1")),
            (
                &[region, (COLLECTOR_URL, "https://{region}.a/{region}")],
                Some("https://eu-west-1.a/eu-west-1"),
            ),
        ];
        for (variables, expected) in cases {
            let (config, problems) = read(variables);
            let (url, lines) = thundras(&config);
            assert_eq!((url.as_deref(), problems), (*expected, vec![]), "{variables:?}");
            assert_eq!(lines.len(), usize::from(url.is_none()));
        }
    }

    #[test]
    fn an_agents_url_that_names_the_port_of_otlp_is_reported() {
        let name = "THUNDRA_AGENT_REPORT_REST_BASEURL";
        let otlp = ("THUNDRA_EXTENSION_OTLP_ENDPOINT", "http://b");
        let (config, problems) = read(&[otlp, (name, "http://localhost:4318/v1")]);
        assert_eq!(thundras(&config), (None, vec![]));
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        assert!(problem.starts_with(&format!("cannot use {name}: ")), "{problem}");
        assert!(problem.contains("the port of this extension itself"), "{problem}");
    }

    #[test]
    fn a_bad_url_is_never_replaced_and_its_line_names_the_fault() {
        let agents = ("THUNDRA_AGENT_REPORT_REST_BASEURL", "http://agents/v1");
        let otlp = ("THUNDRA_EXTENSION_OTLP_ENDPOINT", "http://b");
        for (url, region, why) in [
            ("s3cret", "a", "it does not start with http:// or https://"),
            ("https://u:s3cret@a/v1", "a", "a user name or a password"),
            ("https://a/v1?s3cret", "a", "a query"),
            ("http://localhost:3333/v1", "a", "the port of this extension itself"),
            ("http://127.0.0.1:4318/v1", "a", "the port of this extension itself"),
            ("https://{region}.a/v1", "", "AWS_REGION"),
            ("https://{region}.a/v1", "a.b", "AWS_REGION"),
            ("https://{region}.a/v1", "evil.com/#", "AWS_REGION"),
            ("https://{region}.a/v1", "-a", "AWS_REGION"),
            ("https://{region}.a/v1", &"a".repeat(64), "AWS_REGION"),
        ] {
            let (config, problems) =
                read(&[(COLLECTOR_URL, url), agents, otlp, ("AWS_REGION", region)]);
            assert_eq!(thundras(&config), (None, vec![]), "{url}");
            let [problem] = &problems[..] else { panic!("{problems:?}") };
            let begin = "cannot use THUNDRA_EXTENSION_COLLECTOR_URL: ";
            assert!(problem.starts_with(begin) && problem.contains(why), "{problem}");
            assert!(!problem.contains("s3cret"), "{problem}");
        }
    }

    #[test]
    fn an_obvious_mistake_is_corrected_and_reported() {
        for (held, url, line) in [
            (
                "\"http://a/v1\"",
                "http://a/v1",
                "holds quotation marks around its value; they are ignored",
            ),
            (
                "' http://a/v1/ '",
                "http://a/v1",
                "holds quotation marks around its value; they are ignored",
            ),
            ("http://a/v1/monitoring-data", "http://a/v1", "ends in /monitoring-data"),
            (
                "http://a/v1/composite-monitoring-data/",
                "http://a/v1",
                "ends in /composite-monitoring-data",
            ),
        ] {
            let (config, problems) = read(&[(COLLECTOR_URL, held)]);
            assert_eq!(thundras(&config), (Some(url.to_owned()), vec![]));
            let [problem] = &problems[..] else { panic!("{problems:?}") };
            assert!(problem.starts_with(COLLECTOR_URL) && problem.contains(line), "{problem}");
        }
        let (config, problems) = read(&[(FLUSH, "\"end\""), (ENABLED, "'false'"), (PORT, "\"\"")]);
        assert_eq!((config.flush, config.is_enabled, problems.len()), (Strategy::End, false, 3));
    }

    #[test]
    fn a_port_is_opened_at_start_if_any_variable_is_set_for_its_protocol() {
        let (thundra, otlp) = ((3333, Protocol::Thundra), (4318, Protocol::Otlp));
        let grpc = (4317, Protocol::Otlp);
        let (none, both) = (vec![], vec![otlp, thundra]);
        let all = vec![otlp, thundra, grpc];
        // The ports that are opened at start, and those that are opened later.
        let cases: &[Case<(Ports, Ports)>] = &[
            (&[], (none.clone(), all.clone())),
            (
                &[(FLUSH, "end"), (LOG_LEVEL, "info"), ("THUNDRA_EXTENSION_NEXT_WRAPPER", "a")],
                (none.clone(), all.clone()),
            ),
            (&[(ENABLED, "false")], (none.clone(), vec![otlp, grpc])),
            (&[("THUNDRA_EXTENTION_LOG_LEVEL", "info")], (none.clone(), all.clone())),
            (&[("catchpoint_extension_flush", "end")], (none.clone(), all.clone())),
            (&[("THUNDRA_APIKEY", "k")], (vec![thundra], vec![otlp, grpc])),
            (&[("catchpoint_report_rest_local", "true")], (vec![thundra], vec![otlp, grpc])),
            (&[(COLLECTOR_URL, "bad")], (vec![thundra], vec![otlp, grpc])),
            (&[(PORT, "1")], (vec![(1, Protocol::Thundra)], vec![otlp, grpc])),
            (&[(PORT, "4318")], (vec![(4318, Protocol::Thundra)], vec![])),
            (&[(PORT, "4317")], (vec![(4317, Protocol::Thundra)], vec![otlp])),
            (&[(COLLECTOR_URL, "http://localhost:4317/v1")], (vec![thundra], vec![otlp])),
            (&[(COLLECTOR_URL, "http://localhost:4318/v1")], (vec![thundra], vec![])),
            (&[("THUNDRA_APIKEY", "k"), (ENABLED, "false")], (vec![], vec![otlp, grpc])),
            (&[("THUNDRA_EXTENSION_COLECTOR_URL", "http://a")], (vec![thundra], vec![otlp, grpc])),
            (&[("THUNDRA_EXTENSION_OTLP_ENDPOINT", "http://a")], (vec![otlp], vec![grpc])),
            (
                &[("THUNDRA_EXTENSION_OTLP_PORT", "5")],
                (vec![(5, Protocol::Otlp)], vec![otlp, grpc]),
            ),
            (
                &[
                    ("THUNDRA_EXTENSION_OTLP_PORT", "5"),
                    ("THUNDRA_EXTENSION_OTLP_ENDPOINT", "http://localhost:4318"),
                ],
                (vec![(5, Protocol::Otlp)], vec![]),
            ),
            (
                &[("THUNDRA_EXTENSION_OTLP_ENDPOINT", "http://localhost:4318")],
                (vec![otlp], vec![grpc]),
            ),
            (&[("thundra_extension_otlp_endpont", "http://a")], (vec![otlp], vec![grpc])),
            (&[("THUNDRA_EXTENSION_OLTP_ENDPOINT", "http://a")], (vec![otlp], vec![grpc])),
            (&[("THUNDRA_EXTENSION_OTLP_WHATEVER", "a")], (vec![otlp], vec![grpc])),
            (
                &[("THUNDRA_EXTENSION_OTLP_PORT", "5"), (ENABLED, "false")],
                (vec![(5, Protocol::Otlp)], vec![otlp, grpc]),
            ),
            (
                &[("THUNDRA_EXTENSION_OTLP_HEADERS", "a=b"), ("THUNDRA_APIKEY", "k")],
                (both.clone(), vec![grpc]),
            ),
        ];
        for (variables, expected) in cases {
            let (config, _) = read(variables);
            assert_eq!((config.ports, config.late_ports), *expected, "{variables:?}");
        }
    }

    #[test]
    fn an_unknown_name_is_reported_in_one_line_with_the_nearest_known_name() {
        let agents = ("THUNDRA_AGENT_LAMBDA_HANDLER", "a");
        let (_, problems) = read(&[
            agents,
            ("THUNDRA_EXTENSION_ENABELD", "s3cret"),
            ("Thundra_Extension_X", "s3cret"),
        ]);
        assert_eq!(
            problems,
            [
                "THUNDRA_EXTENSION_ENABELD is not a variable of this extension, and is ignored; did you mean THUNDRA_EXTENSION_ENABLED?",
                "Thundra_Extension_X is not a variable of this extension, and is ignored; the README of thundra-lambda-extension lists the names",
            ]
        );
        let (_, problems) = read(&[
            ("THUNDRA_EXTENSION_WRAPPER_OPTIONS", "-v"),
            ("thundra_extension_next_wrapper", "a"),
        ]);
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn each_strategy_has_the_name_that_other_extensions_use() {
        let ms = |ms| Strategy::Periodically(Duration::from_millis(ms));
        check(
            |config| config.flush,
            &[
                (&[], Strategy::Default),
                (&[(FLUSH, "Default")], Strategy::Default),
                (&[(FLUSH, "continuously")], Strategy::Continuously),
                (&[(FLUSH, "end")], Strategy::End),
                (&[(FLUSH, "periodically,1")], ms(1)),
                (&[(FLUSH, "PERIODICALLY , 900000")], ms(900_000)),
            ],
        );
        for held in ["periodically", "periodically,", "periodically,0", "periodically,900001"] {
            assert_eq!(parse_flush(held), None, "{held}");
        }
    }

    #[test]
    fn the_proxy_is_ours_or_else_the_schemes_unless_the_remote_is_exempt() {
        let proxies = [("HTTPS_PROXY", "http://s:1"), ("http_proxy", "p:2")];
        let ([https, http], region) = (proxies, ("AWS_REGION", "eu-west-1"));
        let [plain, tls] = ["http://a.b/v1", "https://c.d/v1"].map(|url| (COLLECTOR_URL, url));
        let show = |config: &Config| {
            config.destinations[0].proxy.as_ref().map(|it| format!("{}:{}", it.host(), it.port()))
        };
        let is = |proxy: &str| Some(proxy.to_owned());
        check(
            show,
            &[
                (&[tls], None),
                (&[tls, https, http], is("s:1")),
                (&[https, http, plain], is("p:2")),
                (&[tls, http], None),
                (&[tls, https, ("no_proxy", "x,.d")], None),
                (&[tls, https, ("NO_PROXY", "x")], is("s:1")),
                (&[tls, https, ("NO_PROXY", "*"), (PROXY, "https://u:p@t:3")], is("t:3")),
                (&[tls, region, (PROXY, "http://p.{region}.a:4")], is("p.eu-west-1.a:4")),
            ],
        );
        for region in ["", "a.b", "a@b/"] {
            let (config, problems) =
                read(&[tls, https, ("AWS_REGION", region), (PROXY, "http://s3cret@{region}:4")]);
            assert_eq!(show(&config), is("s:1"), "the proxy that is used instead");
            assert_eq!(
                problems,
                [
                    "THUNDRA_EXTENSION_PROXY holds something that is not an http or https URL of a proxy (write #, / and ? in a password percent-encoded): it holds {region}, but AWS_REGION holds no name of a region; HTTPS_PROXY, if set, is used"
                ]
            );
        }
    }

    #[test]
    fn the_log_level_is_ours_or_else_the_agents_or_else_lambdas() {
        let lambda = ("AWS_LAMBDA_LOG_LEVEL", "FATAL");
        let agents = ("thundra_lambda_debug_enable", "True");
        check(
            |config| config.log_level,
            &[
                (&[], LevelFilter::Warn),
                (&[lambda], LevelFilter::Error),
                (&[lambda, agents], LevelFilter::Debug),
                (&[("CATCHPOINT_DEBUG_ENABLE", "false")], LevelFilter::Warn),
                (&[lambda, agents, (LOG_LEVEL, "Off")], LevelFilter::Off),
            ],
        );
    }

    #[test]
    fn names_and_values_match_in_any_case() {
        let url = ("thundra_extension_Collector_URL", "http://a");
        let trusts = |config: &Config| {
            config.destinations.first().is_some_and(|it| it.trust_all_certificates)
        };
        check(
            |config| (config.is_enabled, config.port),
            &[
                (&[url], (true, 3333)),
                (
                    &[url, ("thundra_extension_enabled", "FALSE"), ("Thundra_Extension_Port", "1")],
                    (false, 1),
                ),
            ],
        );
        let (config, problems) = read(&[url, (TRUST_ALL_CERTIFICATES, "1")]);
        assert_eq!((trusts(&config), problems), (true, vec![]));
        assert!(!trusts(&read(&[url]).0));
    }

    #[test]
    fn the_key_comes_from_either_vendors_variable() {
        let url = (COLLECTOR_URL, "http://a");
        let shown = |config: &Config| {
            let (remote, route) = (&config.destinations[0], Route::MonitoringData);
            let key = remote.headers(route).first().map(|(_, it)| it.to_str().unwrap().to_owned());
            (key, remote.headers_variable(route))
        };
        let is = |value: &str, variable| (Some(value.to_owned()), variable);
        check(
            shown,
            &[
                (&[url], (None, "THUNDRA_APIKEY")),
                (
                    &[url, ("thundra_apiKey", "k1"), ("CATCHPOINT_APIKEY", "k2")],
                    is("ApiKey k1", "THUNDRA_APIKEY"),
                ),
                (&[url, ("CATCHPOINT_APIKEY", "k2")], is("ApiKey k2", "CATCHPOINT_APIKEY")),
            ],
        );
    }

    #[test]
    fn all_bad_values_are_reported_at_once_with_their_replacement_and_no_secret() {
        let (config, problems) = read(&[
            (ENABLED, "maybe"),
            ("THUNDRA_AGENT_REPORT_REST_BASEURL", "s3cret"),
            ("CATCHPOINT_REPORT_REST_BASEURL", "https://host/v1"),
            (FLUSH, "hourly"),
            (BUFFER, "7 bananas"),
            (PORT, "0"),
            (LOG_LEVEL, "loud"),
            (PROXY, "socks5://user:s3cret@host"),
            (TRUST_ALL_CERTIFICATES, "perhaps"),
            ("THUNDRA_APIKEY", "s3\ncret"),
            ("CATCHPOINT_APIKEY", "s3crét"),
            ("AWS_LAMBDA_LOG_LEVEL", "LOUD"),
        ]);
        assert_eq!(
            problems,
            [
                "THUNDRA_EXTENSION_FLUSH holds \"hourly\", which is not default, continuously, periodically,<ms> with 1 to 900000 ms, or end; default is used",
                "THUNDRA_EXTENSION_PORT holds \"0\", which is not a port from 1 to 65535; 3333 is used",
                "THUNDRA_EXTENSION_ENABLED holds \"maybe\", which is not true or false; true is used",
                "THUNDRA_EXTENSION_BUFFER holds \"7 bananas\", which is not a size from 64KiB to 64MiB such as 512KiB or 4MiB; 4096KiB is used",
                "THUNDRA_EXTENSION_LOG_LEVEL holds \"loud\", which is not error, warn, info, debug, trace or off; the agents' …_DEBUG_ENABLE, or else Lambda's own level, is used",
                "AWS_LAMBDA_LOG_LEVEL holds \"LOUD\", which is not error, warn, info, debug, trace or off; warn is used",
                "THUNDRA_APIKEY holds something that is not a key that fits into a header; the key of each request, or else CATCHPOINT_APIKEY, is used",
                "CATCHPOINT_APIKEY holds something that is not a key that fits into a header; the key of each request is used",
                "cannot use THUNDRA_AGENT_REPORT_REST_BASEURL: it does not start with http:// or https://; another one of the agents' is used, if there is one",
                "THUNDRA_EXTENSION_PROXY holds something that is not an http or https URL of a proxy (write #, / and ? in a password percent-encoded); HTTPS_PROXY, if set, is used",
                "THUNDRA_EXTENSION_TRUST_ALL_CERTIFICATES holds \"perhaps\", which is not true or false; false is used",
            ]
        );
        assert!(config.is_enabled);
        assert_eq!((config.port, config.buffer), (3333, 4 * MIB));
    }

    #[test]
    fn malformed_buffers_and_proxies_are_refused() {
        for held in
            ["", "4", "4MB", "4.5MiB", "-1MiB", "MiB", "63KiB", "65MiB", "99999999999999999999MiB"]
        {
            assert_eq!(parse_buffer(held), None, "{held}");
        }
        for held in [
            "",
            "socks5://a:1",
            "ftp://a",
            "http://",
            "a b",
            "http://u:1#s3cret@a:1",
            "https://u:1/s3cret@a",
            "u:1?s3cret@a:1",
            "http://u#s3cret@a:1",
            "http://u:1\\s3cret@a:1",
        ] {
            assert!(parse_proxy(held).is_none(), "{held}");
        }
    }

    #[test]
    fn the_readmes_table_lists_exactly_these_variables() {
        let readme = include_str!("../README.md");
        let section = readme.split("\n## ").find(|it| it.starts_with("Configuration")).unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let listed: Vec<&str> = rows.map(|(name, _)| name).collect();
        let ours = [ENABLED, COLLECTOR_URL, FLUSH, BUFFER, PORT, LOG_LEVEL, PROXY];
        let of_both = [SSL_CERT_FILE, TRUST_ALL_CERTIFICATES];
        assert_eq!(listed, [&ours[..], &otlp::VARIABLES, &of_both].concat());
    }
}
