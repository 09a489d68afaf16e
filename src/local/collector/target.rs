//! What a request asks for, by its method and target.

use crate::payload::protocol::Protocol;
use crate::payload::route::Route;

/// The target of a request line.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    Reports(Route),
    Health,
    Unknown,
    WrongMethod { allowed: &'static str },
}

impl Target {
    pub fn route(&self) -> Option<Route> {
        match self {
            Self::Reports(route) => Some(*route),
            _ => None,
        }
    }

    pub fn of(method: &str, target: &str, protocol: Protocol) -> Self {
        let path = path_of(target);
        match (protocol.route(path), path, method) {
            (Some(route), _, "POST") => Self::Reports(route),
            (Some(_), _, _) => Self::WrongMethod { allowed: "POST" },
            (None, "/health", "GET") => Self::Health,
            (None, "/health", _) => Self::WrongMethod { allowed: "GET" },
            (None, _, _) => Self::Unknown,
        }
    }
}

/// The path of a request target without query and trailing slashes. The target may be a complete URL (RFC
/// 9112, 3.2.2).
pub fn path_of(target: &str) -> &str {
    let url = target.split(['?', '#']).next().unwrap_or_default();
    let whole = if url.starts_with('/') { None } else { url.split_once("://") };
    let after_scheme = whole.map(|(_, rest)| rest);
    let path = after_scheme.map_or(url, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
    path.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, urls: &[&str], target: &Target) {
        for url in urls {
            assert_eq!(Target::of(method, url, Protocol::Thundra), *target, "{method} {url}");
        }
    }

    #[test]
    fn each_protocol_has_its_own_routes() {
        for route in Protocol::Otlp.routes() {
            for suffix in ["", "/", "?a=b"] {
                let url = format!("{}{suffix}", route.path());
                let target = Target::of("POST", &url, Protocol::Otlp);
                assert_eq!(target, Target::Reports(*route));
                let elsewhere = Target::of("POST", &url, Protocol::Thundra);
                assert_eq!(elsewhere, Target::Unknown);
            }
            let target = Target::of("GET", route.path(), Protocol::Otlp);
            assert_eq!(target, Target::WrongMethod { allowed: "POST" });
        }
        for url in ["/v1/monitoring-data", "/traces", "/v1/v1/traces", "/v1/profiles", "/"] {
            assert_eq!(Target::of("POST", url, Protocol::Otlp), Target::Unknown, "{url}");
        }
    }

    #[test]
    fn both_routes_are_found_with_and_without_base_slash_and_query() {
        let arrays = [
            "/v1/monitoring-data",
            "/monitoring-data",
            "/v1/monitoring-data/",
            "/v1/monitoring-data?a=/b",
            "/v1/monitoring-data?a=http://b/c",
        ];
        check("POST", &arrays, &Target::Reports(Route::MonitoringData));
        let composites = [
            "/v1/composite-monitoring-data",
            "/composite-monitoring-data//",
            "http://localhost:3333/v1/composite-monitoring-data",
        ];
        check("POST", &composites, &Target::Reports(Route::CompositeMonitoringData));
    }

    #[test]
    fn a_known_path_with_another_method_names_the_right_one() {
        check("GET", &["/v1/monitoring-data"], &Target::WrongMethod { allowed: "POST" });
        check("HEAD", &["/health", "/health/"], &Target::WrongMethod { allowed: "GET" });
        check("GET", &["/health", "/health?x"], &Target::Health);
    }

    #[test]
    fn any_other_path_is_unknown() {
        let paths = [
            "/",
            "/a://b/v1/monitoring-data",
            "",
            "*",
            "/v1",
            "/v1/",
            "/v2/monitoring-data",
            "/v1/monitoring-datax",
            "/v1/../monitoring-data",
            "/V1/monitoring-data",
            "http://host",
            "/v1/v1/monitoring-data",
        ];
        check("POST", &paths, &Target::Unknown);
    }
}
