//! The environment as a [`Config`]: a pure function of an [`Environment`].
//!
//! Invariant: no value is fatal. Each bad one becomes a [`Problem`] that names the variable, what
//! it held (unless that may be a secret) and what is used instead; all of them are reported at
//! once.

mod otlp;

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use ureq::Proxy;
use ureq::http::{HeaderName, HeaderValue};

use crate::destination::{Destination, Endpoints};
use crate::dialect::Dialect;
use crate::environment::Environment;
use crate::flush::Strategy;
use crate::logging::Format;
use crate::parsing::{self, PORT_DEFAULT};
use crate::url::{Url, bypasses_proxy};

/// `false`: register and poll, and relay nothing.
const ENABLED: &str = "THUNDRA_EXTENSION_ENABLED";
/// Base URL of the remote collector, including `/v1`.
const COLLECTOR_URL: &str = "THUNDRA_EXTENSION_COLLECTOR_URL";
/// When reports are sent.
const FLUSH: &str = "THUNDRA_EXTENSION_FLUSH";
/// How many bytes of reports are held at most.
const BUFFER: &str = "THUNDRA_EXTENSION_BUFFER";
/// Port of the local collector. Agents know 3333 and no other.
const PORT: &str = "THUNDRA_EXTENSION_PORT";
/// Least severe level that is logged.
const LOG_LEVEL: &str = "THUNDRA_EXTENSION_LOG_LEVEL";
/// Proxy for the way to the remote.
const PROXY: &str = "THUNDRA_EXTENSION_PROXY";
/// PEM file of roots to trust beside the compiled-in ones.
const SSL_CERT_FILE: &str = "SSL_CERT_FILE";
/// `true`: any certificate will do, for test collectors.
const TRUST_ALL_CERTIFICATES: &str = "THUNDRA_EXTENSION_TRUST_ALL_CERTIFICATES";

/// Prefixes of the agents' own variables, of which the extension reads some.
const AGENTS: [&str; 2] = ["THUNDRA_", "CATCHPOINT_"];

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// The smallest function Lambda offers ("Lambda quotas"), in bytes; assumed where the size is
/// unknown.
const FUNCTION_MEMORY_MIN: usize = 128 * MIB;
/// Share of the function's memory that the buffer takes by default.
const BUFFER_SHARE: usize = 32;
const BUFFER_DEFAULT_RANGE: (usize, usize) = (MIB, 16 * MIB);
/// What may be asked for: one report has to fit, and most of a small function's memory must stay
/// its own.
const BUFFER_RANGE: (usize, usize) = (64 * KIB, 64 * MIB);

/// As long as an invocation may last ("Lambda quotas"); a report that waits longer waits for
/// SHUTDOWN.
const FLUSH_PERIOD_MAX: Duration = Duration::from_secs(15 * 60);

/// The longest part of a host name between dots, in bytes (RFC 1035, 2.3.4). A longer region is none.
const HOST_LABEL_MAX: usize = 63;

/// How many characters of a bad value are shown.
const HELD_SHOWN_MAX: usize = 40;

#[derive(Debug)]
pub struct Config {
    pub is_enabled: bool,
    /// Host and port of the Extensions API; without it there is no Lambda.
    pub runtime_api: Option<String>,
    /// On Managed Instances an extension may register for SHUTDOWN only.
    pub is_managed_instances: bool,
    pub port: u16,
    pub flush: Strategy,
    /// Bytes.
    pub buffer: usize,
    /// The remotes: Thundra's first, and then those for OTLP.
    pub destinations: Vec<Destination>,
    /// Port of the local receiver of OTLP, where a remote for it is asked for.
    pub otlp_port: Option<u16>,
    /// `Authorization` for reports that come without.
    pub authorization: Option<HeaderValue>,
    pub log_level: LevelFilter,
    pub log_format: Format,
}

/// A variable whose value is not used.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem(String);

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Config {
    pub fn from(environment: &Environment) -> (Self, Vec<Problem>) {
        let mut reading = Reading { environment, problems: Vec::new() };
        let (flush, port) = (reading.flush(), reading.port());
        let (is_enabled, buffer) = (reading.boolean(ENABLED, true), reading.buffer());
        let mut destinations = vec![reading.destination(port)];
        let config = Self {
            is_enabled,
            runtime_api: environment.get("AWS_LAMBDA_RUNTIME_API").map(ToOwned::to_owned),
            is_managed_instances: environment.get("AWS_LAMBDA_INITIALIZATION_TYPE")
                == Some("lambda-managed-instances"),
            port,
            flush,
            buffer,
            otlp_port: reading.otlp(port, &mut destinations),
            destinations,
            authorization: reading.authorization(),
            log_level: reading.log_level(),
            log_format: match environment.get("AWS_LAMBDA_LOG_FORMAT") {
                Some(format) if format.eq_ignore_ascii_case("json") => Format::Json,
                _ => Format::Text,
            },
        };
        (config, reading.problems)
    }

    /// Where agents are listened to, and what they speak there.
    pub fn ports(&self) -> Vec<(u16, Dialect)> {
        // Who configures a remote for OTLP has an SDK of it rather than an agent of Thundra's.
        let otlps = self.otlp_port.map(|port| (port, Dialect::Otlp));
        // Thundra's agents take a closed port for an answer, and exporters of OTLP don't.
        let thundras = self.is_enabled.then_some((self.port, Dialect::Thundra));
        otlps.into_iter().chain(thundras).collect()
    }
}

struct Reading<'a> {
    environment: &'a Environment,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    /// `None` if the variable is unset or `parse` knows no meaning for its value.
    fn value<T>(
        &mut self,
        name: &str,
        parse: &dyn Fn(&str) -> Option<T>,
        expected: &str,
        instead: &str,
    ) -> Option<T> {
        self.parsed(name, parse, |held| {
            let held: String = held.chars().take(HELD_SHOWN_MAX).collect();
            format!("{held:?}, which is not {expected}; {instead} is used")
        })
    }

    /// As [`Self::value`], for what may hold a secret: the value is not shown.
    fn secret<T>(
        &mut self,
        name: &str,
        parse: &dyn Fn(&str) -> Option<T>,
        expected: &str,
        instead: &str,
    ) -> Option<T> {
        self.parsed(name, parse, |_| format!("something that is not {expected}; {instead} is used"))
    }

    /// `parse` is behind a pointer, so that what reads the same type is the same code.
    fn parsed<T>(
        &mut self,
        name: &str,
        parse: &dyn Fn(&str) -> Option<T>,
        complaint: impl Fn(&str) -> String,
    ) -> Option<T> {
        let held = self.environment.get(name)?;
        let parsed = parse(held);
        if parsed.is_none() {
            self.complain(Problem(format!("{name} holds {}", complaint(held))));
        }
        parsed
    }

    /// Once: what concerns all remotes is read for each.
    fn complain(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn boolean(&mut self, name: &str, default: bool) -> bool {
        let instead = if default { "true" } else { "false" };
        self.value(name, &parsing::boolean, "true or false", instead).unwrap_or(default)
    }

    fn flush(&mut self) -> Strategy {
        let expected = "default, continuously, periodically,<ms> with 1 to 900000 ms, or end";
        self.value(FLUSH, &parse_flush, expected, "default").unwrap_or(Strategy::Default)
    }

    fn port(&mut self) -> u16 {
        self.value(PORT, &parsing::port, "a port from 1 to 65535", "3333").unwrap_or(PORT_DEFAULT)
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

    fn destination(&mut self, port: u16) -> Destination {
        let base_url = self.base_url(port);
        self.destination_of(Dialect::Thundra, Endpoints::Below(base_url), Vec::new())
    }

    /// Endpoints of one origin, with what concerns all remotes.
    fn destination_of(
        &mut self,
        dialect: Dialect,
        endpoints: Endpoints,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Destination {
        Destination {
            dialect,
            headers,
            proxy: self.proxy(endpoints.any()),
            endpoints,
            extra_roots: self.environment.get(SSL_CERT_FILE).map(PathBuf::from),
            trust_all_certificates: self.boolean(TRUST_ALL_CERTIFICATES, false),
        }
    }

    fn base_url(&mut self, port: u16) -> Url {
        let parse = |held: &str| Url::base(held).filter(|url| !url.is_local(port));
        let expected = "an http or https URL of a collector other than this one";
        let instead = "the agents' own, or else the region's,";
        if let Some(url) = self.secret(COLLECTOR_URL, &parse, expected, instead) {
            return url;
        }
        let agents =
            AGENTS.into_iter().flat_map(|it| self.environment.find(it, "_REPORT_REST_BASEURL"));
        for (name, held) in agents {
            match Url::base(held) {
                // Agents that know no local collector (Go) are pointed at this one by it.
                Some(url) if url.is_local(port) => {}
                Some(url) => return url,
                None => self.problems.push(Problem(format!(
                    "{name} holds something that is not an http or https URL; another one of the \
                     agents', or else the region's, is used"
                ))),
            }
        }
        self.regional_base_url()
    }

    /// What the agents themselves would use.
    fn regional_base_url(&self) -> Url {
        let is_set = |prefix: &str| {
            let mut agents = self.environment.find(prefix, "");
            agents.any(|(name, _)| !name.to_ascii_uppercase().starts_with("THUNDRA_EXTENSION_"))
        };
        let vendor = if is_set("CATCHPOINT_") && !is_set("THUNDRA_") {
            "catchpoint.com"
        } else {
            "thundra.io"
        };
        let is_label = |it: &&str| {
            it.len() <= HOST_LABEL_MAX
                && it.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let region = self.environment.get("AWS_REGION").filter(is_label);
        let region = region.map(|it| format!("{it}.")).unwrap_or_default();
        Url::base(&format!("https://{region}collector.{vendor}/v1"))
            .expect("a label before a constant host makes a URL")
    }

    fn proxy(&mut self, remote: &Url) -> Option<Proxy> {
        let expected = "an http or https URL of a proxy";
        let name = if remote.is_https() { "HTTPS_PROXY" } else { "HTTP_PROXY" };
        let instead = format!("{name}, if set,");
        if let Some(proxy) = self.secret(PROXY, &parse_proxy, expected, &instead) {
            return Some(proxy);
        }
        let exempt = self.environment.get("NO_PROXY");
        if exempt.is_some_and(|list| bypasses_proxy(remote, list)) {
            return None;
        }
        self.secret(name, &parse_proxy, expected, "no proxy")
    }

    fn authorization(&mut self) -> Option<HeaderValue> {
        let parse = |key: &str| {
            let mut value = HeaderValue::from_str(&format!("ApiKey {key}")).ok()?;
            value.set_sensitive(true);
            value.to_str().is_ok().then_some(value)
        };
        let expected = "a key that fits into a header";
        let [first, second] = AGENTS.map(|agent| format!("{agent}APIKEY"));
        let instead = format!("the key of each request, or else {second},");
        self.secret(&first, &parse, expected, &instead)
            .or_else(|| self.secret(&second, &parse, expected, "the key of each request"))
    }

    fn log_level(&mut self) -> LevelFilter {
        let expected = "error, warn, info, debug, trace or off";
        let instead = "the agents' …_DEBUG_ENABLE, or else Lambda's own level,";
        if let Some(level) = self.value(LOG_LEVEL, &parse_level, expected, instead) {
            return level;
        }
        let mut debugs =
            AGENTS.into_iter().flat_map(|it| self.environment.find(it, "_DEBUG_ENABLE"));
        if debugs.any(|(_, held)| parsing::boolean(held) == Some(true)) {
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

/// ureq takes other schemes too, and would then go without the proxy.
fn parse_proxy(held: &str) -> Option<Proxy> {
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
    use super::*;
    use crate::payload::Route;

    fn read(variables: &[(&str, &str)]) -> (Config, Vec<String>) {
        let (config, problems) = Config::from(&Environment::of(variables));
        (config, problems.iter().map(ToString::to_string).collect())
    }

    /// What `show` says of the configuration that these variables make, without any problem.
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
    fn the_buffer_is_a_share_of_the_functions_memory_unless_it_is_told() {
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

    #[test]
    fn the_remote_is_the_told_one_then_the_agents_then_the_regional_one() {
        let agents = ("thundra_agent_lambda_report_rest_baseUrl", "http://agents/v1");
        let catchpoints = ("CATCHPOINT_REPORT_REST_BASEURL", "http://catchpoints/v1");
        let own = ("thundra_agent_report_rest_baseurl", "http://localhost:3333/v1");
        let region = ("AWS_REGION", "eu-west-1");
        let thundra = "https://eu-west-1.collector.thundra.io/v1";
        let catchpoint = "https://eu-west-1.collector.catchpoint.com/v1";
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[], "https://collector.thundra.io/v1"),
            (&[("AWS_REGION", "no region")], "https://collector.thundra.io/v1"),
            (&[("AWS_REGION", "evil.com/#")], "https://collector.thundra.io/v1"),
            (&[("AWS_REGION", &"a".repeat(70_000))], "https://collector.thundra.io/v1"),
            (&[region], thundra),
            (&[region, ("CATCHPOINT_APIKEY", "k"), ("THUNDRA_APIKEY", "")], catchpoint),
            (&[region, own, ("THUNDRA_REPORT_REST_BASEURL", "http://b/v1")], "http://b/v1"),
            (&[region, ("THUNDRA_APIKEY", "k"), ("CATCHPOINT_APIKEY", "k")], thundra),
            (&[region, ("CATCHPOINT_APIKEY", "k")], catchpoint),
            (&[region, ("catchpoint_apikey", "k"), (BUFFER, "1MiB")], catchpoint),
            (&[region, agents], "http://agents/v1"),
            (&[region, catchpoints], "http://catchpoints/v1"),
            (&[region, own, ("THUNDRA_APIKEY", "k")], thundra),
            (&[region, own, catchpoints], "http://catchpoints/v1"),
            (&[region, own, (PORT, "4444")], "http://localhost:3333/v1"),
            (&[(COLLECTOR_URL, "https://told/v1/"), agents], "https://told/v1"),
        ];
        for (variables, expected) in cases {
            let (config, problems) = read(variables);
            let url = config.destinations[0].url(Route::MonitoringData);
            assert_eq!((url, problems), (Some(format!("{expected}/monitoring-data")), vec![]));
        }
    }

    #[test]
    fn the_strategy_is_named_as_in_other_extensions() {
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
    fn the_proxy_is_the_told_one_then_the_one_for_the_scheme_unless_the_remote_is_exempt() {
        let proxies = [("HTTPS_PROXY", "http://s:1"), ("http_proxy", "p:2")];
        let [https, http] = proxies;
        let plain = (COLLECTOR_URL, "http://a.b/v1");
        let show = |config: &Config| {
            config.destinations[0].proxy.as_ref().map(|it| format!("{}:{}", it.host(), it.port()))
        };
        let is = |proxy: &str| Some(proxy.to_owned());
        check(
            show,
            &[
                (&[], None),
                (&[https, http], is("s:1")),
                (&[https, http, plain], is("p:2")),
                (&[http], None),
                (&[https, ("no_proxy", "x,.thundra.io")], None),
                (&[https, ("NO_PROXY", "x")], is("s:1")),
                (&[https, ("NO_PROXY", "*"), (PROXY, "https://u:p@t:3")], is("t:3")),
            ],
        );
    }

    #[test]
    fn the_log_level_is_the_told_one_then_the_agents_then_lambdas() {
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
        check(
            |config| {
                (config.is_enabled, config.port, config.destinations[0].trust_all_certificates)
            },
            &[
                (&[], (true, 3333, false)),
                (
                    &[("thundra_extension_enabled", "FALSE"), ("Thundra_Extension_Port", "1")],
                    (false, 1, false),
                ),
                (&[(TRUST_ALL_CERTIFICATES, "1"), (FLUSH, "continuously")], (true, 3333, true)),
            ],
        );
    }

    #[test]
    fn the_key_is_either_vendors() {
        let shown = |config: &Config| {
            config.authorization.as_ref().map(|it| it.to_str().unwrap().to_owned())
        };
        let is = |value: &str| Some(value.to_owned());
        check(
            shown,
            &[
                (&[], None),
                (&[("thundra_apiKey", "k1"), ("CATCHPOINT_APIKEY", "k2")], is("ApiKey k1")),
                (&[("CATCHPOINT_APIKEY", "k2")], is("ApiKey k2")),
            ],
        );
    }

    #[test]
    fn every_bad_value_is_reported_at_once_with_what_is_used_instead_and_no_secret() {
        let (config, problems) = read(&[
            (ENABLED, "maybe"),
            (COLLECTOR_URL, "https://user:s3cret@host/v1"),
            ("THUNDRA_AGENT_REPORT_REST_BASEURL", "s3cret"),
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
                "THUNDRA_EXTENSION_COLLECTOR_URL holds something that is not an http or https URL of a collector other than this one; the agents' own, or else the region's, is used",
                "THUNDRA_AGENT_REPORT_REST_BASEURL holds something that is not an http or https URL; another one of the agents', or else the region's, is used",
                "THUNDRA_EXTENSION_PROXY holds something that is not an http or https URL of a proxy; HTTPS_PROXY, if set, is used",
                "THUNDRA_EXTENSION_TRUST_ALL_CERTIFICATES holds \"perhaps\", which is not true or false; false is used",
                "THUNDRA_APIKEY holds something that is not a key that fits into a header; the key of each request, or else CATCHPOINT_APIKEY, is used",
                "CATCHPOINT_APIKEY holds something that is not a key that fits into a header; the key of each request is used",
                "THUNDRA_EXTENSION_LOG_LEVEL holds \"loud\", which is not error, warn, info, debug, trace or off; the agents' …_DEBUG_ENABLE, or else Lambda's own level, is used",
                "AWS_LAMBDA_LOG_LEVEL holds \"LOUD\", which is not error, warn, info, debug, trace or off; warn is used",
            ]
        );
        assert!(config.is_enabled);
        assert_eq!((config.port, config.buffer), (3333, 4 * MIB));
    }

    #[test]
    fn buffers_and_proxies_keep_to_their_forms() {
        for held in
            ["", "4", "4MB", "4.5MiB", "-1MiB", "MiB", "63KiB", "65MiB", "99999999999999999999MiB"]
        {
            assert_eq!(parse_buffer(held), None, "{held}");
        }
        for held in ["", "socks5://a:1", "ftp://a", "http://", "a b"] {
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
