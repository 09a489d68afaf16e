//! Go's agent. A program in Go is its own runtime, as are programs in Rust and other languages.

use std::ffi::OsStr;

use super::{LOCAL, is_false};
use crate::environment::{Environment, THUNDRA};
use crate::values::{self, PORT_DEFAULT};

/// Sets the extension's URL and the key. Go's agent has no setting for a local collector, and reads these
/// two names only in this spelling.
pub fn switch_on(environment: &mut Environment) {
    const BASE_URL: &str = "thundra_agent_lambda_report_rest_baseUrl";
    const KEY: &str = "thundra_apiKey";
    let is_elsewhere = is_false(environment.setting(THUNDRA, LOCAL).and_then(OsStr::to_str));
    if environment.get(BASE_URL).is_none() && !is_elsewhere {
        let port = environment.in_any_case("THUNDRA_EXTENSION_PORT");
        let port = port.and_then(values::port).unwrap_or(PORT_DEFAULT);
        environment.set(BASE_URL, format!("http://127.0.0.1:{port}/v1"));
    }
    let key = environment.text("THUNDRA_APIKEY").map(ToOwned::to_owned);
    if let (Some(key), None) = (key, environment.get(KEY)) {
        environment.set(KEY, key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::{added, environment};

    const BASE_URL: &str = "thundra_agent_lambda_report_rest_baseUrl";

    #[track_caller]
    fn check(given: &[(&str, &str)], expected: &[(&str, &str)]) {
        let mut environment = environment(given);
        switch_on(&mut environment);
        assert_eq!(added(&environment), expected.iter().copied().collect());
    }

    #[test]
    fn gos_agent_gets_the_url_of_the_extension_and_its_key() {
        let usual = (BASE_URL, "http://127.0.0.1:3333/v1");
        check(&[], &[usual]);
        check(&[("thundra_extension_port", "4444")], &[(BASE_URL, "http://127.0.0.1:4444/v1")]);
        for bad_port in ["abc", "0"] {
            check(&[("thundra_extension_port", bad_port)], &[usual]);
        }
        check(&[("THUNDRA_APIKEY", "k")], &[usual, ("thundra_apiKey", "k")]);
        // Go's agent does not read this variable.
        check(&[("THUNDRA_AGENT_REPORT_REST_BASEURL", "http://own/v1")], &[usual]);
    }

    #[test]
    fn gos_agent_keeps_the_url_and_the_key_of_the_user() {
        let own = [("thundra_apiKey", "own"), (BASE_URL, "http://own/v1")];
        check(&[&own[..], &[("THUNDRA_APIKEY", "k")]].concat(), &[]);
        check(&[("THUNDRA_AGENT_REPORT_REST_LOCAL", "false")], &[]);
    }
}
