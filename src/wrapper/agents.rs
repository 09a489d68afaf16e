//! What switches agents on: settings that all runtimes get, and what each runtime's agent needs.

use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::runtime::Runtime;
use crate::{dotnet, java, node, python};

/// How the names of an agent's settings begin.
pub const THUNDRA: &str = "THUNDRA_AGENT_";
pub const CATCHPOINT: &str = "CATCHPOINT_";

/// The most that agents take, in bytes. By default those for Node.js cut a report down to 32 KiB, and
/// since 2.14.2 to nearly nothing.
const REPORT_SIZE_MAX: &str = "1000000";

/// Where the extension listens unless told otherwise.
const PORT: &str = "3333";

/// Adds what is missing. `layers` is where those are.
///
/// # Errors
/// Why an agent that is there is not switched on. Settings that all get are there all the same.
pub fn switch_on(
    interpreter: &Path,
    layers: &Path,
    environment: &mut Environment,
) -> Result<(), String> {
    for prefix in [THUNDRA, CATCHPOINT] {
        environment.add_setting(prefix, "REPORT_REST_LOCAL", "true");
    }
    environment.add_setting(THUNDRA, "REPORT_SIZE_MAX", REPORT_SIZE_MAX);
    let prefix = interpreter.parent().and_then(Path::parent).map(Path::to_owned);
    let places = Places { task: task_root(environment), layers: layers.to_owned(), prefix };
    match Runtime::of(interpreter, environment) {
        Runtime::Python { minor } => python::switch_on(minor, &places, environment),
        Runtime::Node { major } => node::switch_on(major, &places, environment),
        Runtime::Java => java::switch_on(&places, environment),
        Runtime::Dotnet => dotnet::switch_on(&places, environment),
        Runtime::Ruby => Ok(()),
        Runtime::Other => {
            point_go_agent(environment);
            Ok(())
        }
    }
}

/// Where an agent may be.
#[derive(Debug)]
pub struct Places {
    /// The function's package.
    pub task: PathBuf,
    pub layers: PathBuf,
    /// What the interpreter was installed below.
    pub prefix: Option<PathBuf>,
}

fn task_root(environment: &Environment) -> PathBuf {
    environment
        .get("LAMBDA_TASK_ROOT")
        .filter(|it| !it.is_empty())
        .map_or("/var/task".into(), PathBuf::from)
}

/// Go's agent knows no local collector, and its settings by these very names only.
fn point_go_agent(environment: &mut Environment) {
    const BASE_URL: &str = "thundra_agent_lambda_report_rest_baseUrl";
    const KEY: &str = "thundra_apiKey";
    if !environment.has_setting(THUNDRA, "REPORT_REST_BASEURL") {
        let port = environment.text("THUNDRA_EXTENSION_PORT").unwrap_or(PORT);
        let url = format!("http://127.0.0.1:{port}/v1");
        environment.set(BASE_URL, url);
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

    #[track_caller]
    fn check(interpreter: &str, given: &[(&str, &str)], more: &[(&str, &str)]) {
        let mut environment = environment(given);
        switch_on(Path::new(interpreter), Path::new("/no/layers"), &mut environment).unwrap();
        let all = [
            ("THUNDRA_AGENT_REPORT_REST_LOCAL", "true"),
            ("CATCHPOINT_REPORT_REST_LOCAL", "true"),
            ("THUNDRA_AGENT_REPORT_SIZE_MAX", "1000000"),
        ];
        let missing = all.iter().filter(|(name, _)| given.iter().all(|(it, _)| it != name));
        assert_eq!(added(&environment), missing.chain(more).copied().collect());
    }

    #[test]
    fn each_runtime_reports_to_the_extension_unless_told_otherwise() {
        let task = ("LAMBDA_TASK_ROOT", "/no/task");
        for interpreter in ["ruby", "/no/node", "/no/java", "dotnet", "/no/bin/python3.12"] {
            check(interpreter, &[task], &[]);
            check(interpreter, &[task, ("THUNDRA_AGENT_REPORT_REST_LOCAL", "false")], &[]);
            check(interpreter, &[task, ("THUNDRA_AGENT_REPORT_SIZE_MAX", "1")], &[]);
        }
    }

    #[test]
    fn a_program_of_its_own_gets_what_gos_agent_reads() {
        let url = "thundra_agent_lambda_report_rest_baseUrl";
        let at = |port| (url, port);
        check("/var/task/bootstrap", &[], &[at("http://127.0.0.1:3333/v1")]);
        let key = [("THUNDRA_APIKEY", "k"), ("THUNDRA_EXTENSION_PORT", "4444")];
        check(
            "/var/task/bootstrap",
            &key,
            &[at("http://127.0.0.1:4444/v1"), ("thundra_apiKey", "k")],
        );
        let own = [("THUNDRA_APIKEY", "k"), ("thundra_apiKey", "own"), (url, "http://own/v1")];
        check("/var/task/bootstrap", &own, &[]);
    }
}
