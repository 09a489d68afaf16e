//! Reads the variables of the function's SDK ("OpenTelemetry Protocol Exporter", opentelemetry.io). Checks that
//! its exports reach this extension, in a format that the extension accepts.

use log::Level;

use super::reading::Reading;
use crate::config::values::unquoted;
use crate::net::url::{Url, bypasses_proxy};
use crate::payload::signal::Signal;

/// The SDK's variables for one signal.
struct Names {
    signal: Signal,
    exporter: &'static str,
    endpoint: &'static str,
    protocol: &'static str,
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

/// The consequence if an SDK gets no answer: it retries within the flush of each invocation.
const COST: &str = "the SDK's exports are lost, and each export may take 10 s";

const SDK_VARIABLES: [Names; 3] = [
    Names {
        signal: Signal::Traces,
        exporter: "OTEL_TRACES_EXPORTER",
        endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        protocol: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    },
    Names {
        signal: Signal::Metrics,
        exporter: "OTEL_METRICS_EXPORTER",
        endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        protocol: "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    },
    Names {
        signal: Signal::Logs,
        exporter: "OTEL_LOGS_EXPORTER",
        endpoint: "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        protocol: "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
    },
];

impl<'a> Reading<'a> {
    /// Warns if the SDK's exports do not reach these ports, or are not accepted there. The first port is the
    /// configured one.
    pub fn sdk(&mut self, ports: &[u16], is_enabled: bool) {
        let is_disabled = self.environment.get("OTEL_SDK_DISABLED");
        if is_disabled.is_some_and(|held| held.eq_ignore_ascii_case("true")) {
            return;
        }
        for names in &SDK_VARIABLES {
            let exporter = self.environment.get(names.exporter);
            if exporter.is_none_or(|held| held.contains("otlp")) {
                self.mind_signal(names, ports, is_enabled);
            }
        }
    }

    fn mind_signal(&mut self, names: &Names, ports: &[u16], is_enabled: bool) {
        let set = self.sdks(names.endpoint, ENDPOINT);
        let held = set.map_or("http://localhost:4318", |(_, held)| held);
        // The SDK itself reports a value that is no URL.
        let Ok(url) = Url::whole(held) else { return };
        let is_here = ports.iter().any(|port| url.is_local(*port));
        if let Some((name, _)) = set {
            if is_here {
                self.mind_local_url(name, &url, names);
            } else if let Some(own) = ports.first().filter(|_| is_enabled && url.is_loopback()) {
                let port = url.port();
                self.complain(format!(
                    "{name} holds port {port}, where this extension takes no OTLP: set port {own}. If nothing \
                     else listens there, {COST}"
                ));
            } else {
                let origin = url.origin();
                let text = format!("the SDK exports to {origin} ({name}), past this extension");
                self.note(Level::Info, text);
                return;
            }
        }
        self.mind_proxy(&url);
        self.mind_protocol(names);
    }

    fn mind_local_url(&mut self, name: &str, url: &Url, names: &Names) {
        let path = url.path().trim_end_matches('/');
        let expected = if name == ENDPOINT { "" } else { names.signal.path() };
        if url.is_https() {
            self.complain(format!(
                "{name} holds https, and this extension's port takes http only; {COST}"
            ));
        } else if path != expected {
            self.complain(format!(
                "{name} holds the path {path:?}, where this extension expects {expected:?}; the SDK's \
                 exports are refused and lost"
            ));
        }
    }

    fn mind_protocol(&mut self, names: &Names) {
        let Some((name, held)) = self.sdks(names.protocol, PROTOCOL) else { return };
        if held.eq_ignore_ascii_case("grpc") {
            self.complain(format!(
                "{name} holds grpc, which this extension does not take; the SDK's exports are refused and \
                 lost, until the variable holds http/protobuf"
            ));
        }
    }

    /// Warns of a proxy. HTTP clients differ: Python's SDK uses a proxy even for this machine.
    fn mind_proxy(&mut self, url: &Url) {
        let environment = self.environment;
        let set = ["HTTP_PROXY", "ALL_PROXY"].into_iter().find(|it| environment.get(it).is_some());
        let Some(name) = set else { return };
        if !bypasses_proxy(url, environment.get("NO_PROXY").unwrap_or_default()) {
            self.complain(format!(
                "{name} is set: an SDK for Python (not one for Node.js) asks that proxy even for this \
                 machine, so that {COST}, until NO_PROXY holds localhost,127.0.0.1"
            ));
        }
    }

    /// The variable that applies to a signal, and its value: the signal's own, or else that of all signals.
    fn sdks(&self, own: &'static str, general: &'static str) -> Option<(&'static str, &'a str)> {
        let environment = self.environment;
        let set = [own, general].into_iter().find_map(|it| Some((it, environment.get(it)?)))?;
        Some((set.0, unquoted(set.1).unwrap_or(set.1)))
    }
}

#[cfg(test)]
mod tests {
    use log::Level::{self, Info, Warn};

    use super::*;
    use crate::config::Config;
    use crate::config::environment::Environment;

    /// Checks the levels and beginnings of the lines that these variables cause. The endpoint is valid.
    #[track_caller]
    fn check(variables: &[(&str, &str)], expected: &[(Level, &str)]) {
        let ours = ("THUNDRA_EXTENSION_OTLP_ENDPOINT", "http://a");
        let (_, problems) = Config::from(&Environment::of(&[&[ours], variables].concat()));
        let lines: Vec<(Level, String)> =
            problems.iter().map(|it| (it.level, it.to_string())).collect();
        assert_eq!(lines.len(), expected.len(), "{variables:?}: {lines:#?}");
        for ((level, line), (expected_level, begin)) in lines.iter().zip(expected) {
            assert!(
                level == expected_level && line.starts_with(begin),
                "{variables:?}: {lines:#?}"
            );
            assert!(!line.contains("s3cret"), "{line}");
        }
    }

    #[test]
    fn an_sdk_that_exports_to_the_extension_causes_no_line() {
        for variables in [
            [].as_slice(),
            &[(ENDPOINT, "http://localhost:4318")],
            &[(ENDPOINT, "http://127.0.0.1:4318/"), (PROTOCOL, "http/protobuf")],
            &[(ENDPOINT, "no url"), (PROTOCOL, "grpc")],
            &[(PROTOCOL, "grpc"), ("OTEL_SDK_DISABLED", "True")],
            &[
                (PROTOCOL, "grpc"),
                ("OTEL_TRACES_EXPORTER", "none"),
                ("OTEL_METRICS_EXPORTER", "none"),
                ("OTEL_LOGS_EXPORTER", "console"),
            ],
            &[("HTTP_PROXY", "http://s3cret@b"), ("no_proxy", "a, localhost")],
            &[("HTTPS_PROXY", "http://s3cret@b")],
            &[(ENDPOINT, "https://user:s3cret@a"), (PROTOCOL, "grpc")],
            &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[::1]:4318/v1/traces")],
            &[("OTEL_EXPORTER_OTLP_HEADERS", "a=%C3%A9")],
            &[(ENDPOINT, "http://localhost:4317"), (PROTOCOL, "http/protobuf")],
        ] {
            check(variables, &[]);
        }
    }

    #[test]
    fn an_sdk_that_exports_elsewhere_is_reported_in_one_line_without_secrets() {
        check(
            &[(ENDPOINT, "https://b:1/s3cret?s3cret"), (PROTOCOL, "grpc")],
            &[(
                Info,
                "the SDK exports to https://b:1 (OTEL_EXPORTER_OTLP_ENDPOINT), past this extension",
            )],
        );
        check(
            &[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://b/v1/logs")],
            &[(Info, "the SDK exports to http://b:80 (OTEL_EXPORTER_OTLP_LOGS_ENDPOINT)")],
        );
    }

    #[test]
    fn each_setting_that_the_extension_cannot_serve_is_reported_in_one_line() {
        check(&[(PROTOCOL, "GRPC")], &[(Warn, "OTEL_EXPORTER_OTLP_PROTOCOL holds grpc")]);
        check(
            &[(PROTOCOL, "grpc"), (ENDPOINT, "http://localhost:4317")],
            &[(Warn, "OTEL_EXPORTER_OTLP_PROTOCOL")],
        );
        check(
            &[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://[::1]:3333/v1/logs")],
            &[(Warn, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT holds port 3333, where")],
        );
        check(
            &[(PROTOCOL, "grpc"), ("OTEL_TRACES_EXPORTER", "none")],
            &[(Warn, "OTEL_EXPORTER_OTLP_PROTOCOL holds grpc")],
        );
        for (proxy, exempt) in [("http_proxy", ""), ("HTTP_PROXY", "127.0.0.1"), ("all_proxy", "a")]
        {
            check(
                &[(proxy, "http://s3cret@b"), ("NO_PROXY", exempt)],
                &[(Warn, &format!("{} is set: an SDK for Python", proxy.to_ascii_uppercase()))],
            );
        }
        check(
            &[("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"), (PROTOCOL, "http/json")],
            &[(Warn, "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL holds grpc")],
        );
        check(
            &[(ENDPOINT, "https://localhost:4318")],
            &[(Warn, "OTEL_EXPORTER_OTLP_ENDPOINT holds https")],
        );
        check(
            &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:4318")],
            &[(Warn, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT holds the path")],
        );
        check(
            &[(ENDPOINT, "http://localhost:4318/v1/traces")],
            &[(Warn, "OTEL_EXPORTER_OTLP_ENDPOINT holds the path")],
        );
    }

    #[test]
    fn with_a_disabled_extension_the_sdk_may_export_to_another_local_port() {
        let elsewhere = [(ENDPOINT, "http://localhost:4316"), (PROTOCOL, "grpc")];
        let off = ("THUNDRA_EXTENSION_ENABLED", "false");
        check(
            &[off, elsewhere[0], elsewhere[1]],
            &[(Info, "the SDK exports to http://localhost:4316")],
        );
        check(&[off, elsewhere[1]], &[(Warn, "OTEL_EXPORTER_OTLP_PROTOCOL holds grpc")]);
    }

    #[test]
    fn a_setting_that_costs_time_is_reported_with_the_time() {
        for variable in [
            (ENDPOINT, "https://localhost:4318"),
            (ENDPOINT, "http://localhost:3333"),
            ("HTTP_PROXY", "http://b"),
        ] {
            let ours = ("THUNDRA_EXTENSION_OTLP_ENDPOINT", "https://a");
            let (_, problems) = Config::from(&Environment::of(&[ours, variable]));
            let [problem] = &problems[..] else { panic!("{problems:?}") };
            assert!(problem.to_string().contains("each export may take 10 s"), "{problem}");
        }
    }

    #[test]
    fn without_a_variable_for_otlp_the_sdks_settings_are_not_checked() {
        let (_, problems) = Config::from(&Environment::of(&[(PROTOCOL, "grpc")]));
        assert_eq!(problems, []);
    }
}
