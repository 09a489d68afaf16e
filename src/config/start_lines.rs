//! The first lines: the ports, remotes and strategy at level `info`, and the problems of the configuration. So
//! a mistake in the configuration shows before the first report.

use log::Level;

use crate::config::Config;
use crate::config::reading::Problem;
use crate::logging;
use crate::payload::protocol::{OTLP_GRPC_PORT, Protocol};
use crate::remote::destination::Destination;

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub fn log(config: &Config, problems: &[Problem]) {
    logging::at!(
        Level::Info,
        fields: [("version", VERSION.into())],
        "version {VERSION}: {}",
        plan(config)
    );
    for problem in problems {
        logging::at!(problem.level, "{problem}");
    }
    if config.destinations.iter().any(|it| it.trust_all_certificates) {
        logging::warn!(
            "THUNDRA_EXTENSION_TRUST_ALL_CERTIFICATES is set: the remote's certificate is not \
             checked"
        );
    }
}

fn plan(config: &Config) -> String {
    if !config.is_enabled {
        return "switched off by THUNDRA_EXTENSION_ENABLED, so that nothing is sent".to_owned();
    }
    let named = |(port, protocol): &(u16, Protocol)| format!("{port} for {}", protocol.name());
    let at_once = config.ports.iter().map(named);
    // An SDK that exports to the port for gRPC most likely speaks gRPC, and is refused.
    let late = config.late_ports.iter().filter(|(port, _)| *port != OTLP_GRPC_PORT).map(named);
    let late = late.map(|port| format!("{port} from the first invocation on if it is free"));
    let remotes = config.destinations.iter().map(remote);
    format!(
        "listens on port {}; sends {}; flush {}; buffer {} KiB",
        listed(at_once.chain(late)),
        listed(remotes),
        config.flush,
        config.buffer / 1024
    )
}

/// A remote with its paths and its proxy.
fn remote(destination: &Destination) -> String {
    let (protocol, name) = (destination.protocol.name(), destination.name());
    let urls = destination.routes().into_iter().map(|route| destination.shown(route));
    let paths = listed(urls.map(|url| url[name.len()..].to_owned()));
    let proxy = destination.proxy_name().map(|it| format!(" through the proxy {it}"));
    format!("{protocol} to {name} ({paths}){}", proxy.unwrap_or_default())
}

fn listed(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "nothing".to_owned() } else { items.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Environment;

    #[test]
    fn the_plan_shows_ports_remotes_strategy_and_buffer_without_secrets() {
        let variables = [
            ("THUNDRA_EXTENSION_COLLECTOR_URL", "https://thundra.example/v1"),
            ("THUNDRA_EXTENSION_OTLP_TRACES_ENDPOINT", "http://otlp.example:4318/in?key=s3cret"),
            ("THUNDRA_EXTENSION_OTLP_HEADERS", "key=s3cret"),
            ("THUNDRA_EXTENSION_FLUSH", "periodically,5000"),
            ("THUNDRA_EXTENSION_BUFFER", "2MiB"),
            ("HTTP_PROXY", "http://user:s3cret@proxy.example:3128"),
            ("NO_PROXY", "localhost"),
        ];
        let (config, problems) = Config::from(&Environment::of(&variables));
        assert!(problems.is_empty(), "{problems:?}");
        let plan = plan(&config);
        for part in [
            "4318 for OTLP",
            "3333 for Thundra",
            "OTLP to http://otlp.example:4318 (/in) through the proxy http://proxy.example:3128",
            "Thundra to https://thundra.example:443 (/v1/monitoring-data, /v1/composite-",
            "; flush periodically,5000; buffer 2048 KiB",
        ] {
            assert!(plan.contains(part), "{part} is not in {plan}");
        }
        assert!(!plan.contains("s3cret"), "{plan}");
    }

    #[test]
    fn the_plan_names_ports_that_are_opened_later() {
        let late = "from the first invocation on if it is free";
        for (variables, expected) in [
            (
                &[][..],
                format!(
                    "listens on port 4318 for OTLP {late}, 3333 for Thundra {late}; sends nothing;"
                ),
            ),
            (
                &[("THUNDRA_EXTENSION_COLLECTOR_URL", "http://a")],
                format!("listens on port 3333 for Thundra, 4318 for OTLP {late}; sends Thundra to"),
            ),
        ] {
            let (config, _) = Config::from(&Environment::of(variables));
            let plan = plan(&config);
            assert!(plan.contains(&expected), "{plan}");
        }
    }

    #[test]
    fn the_plan_names_the_variable_that_disables_the_extension() {
        let (config, _) = Config::from(&Environment::of(&[("THUNDRA_EXTENSION_ENABLED", "false")]));
        assert!(plan(&config).contains("THUNDRA_EXTENSION_ENABLED"));
    }
}
