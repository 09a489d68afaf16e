//! What switches agents on: settings that all runtimes get, and what each runtime's agent needs.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::handler::HANDLER;
use crate::parsing::{self, PORT_DEFAULT};
use crate::runtime::Runtime;
use crate::{dotnet, java, node, python};

/// How the names of an agent's settings begin.
pub const THUNDRA: &str = "THUNDRA_AGENT_";
pub const CATCHPOINT: &str = "CATCHPOINT_";

const LOCAL: &str = "REPORT_REST_LOCAL";

/// The most that agents take, in bytes. By default those for Node.js cut a report down to 32 KiB, and
/// since 2.14.2 to nearly nothing.
const REPORT_SIZE_MAX: &str = "1000000";

/// Adds what is missing, to have this interpreter called with these arguments. `layers` is where those
/// are.
///
/// # Errors
/// Why an agent that is there is not switched on; nothing of it is then.
pub fn switch_on(
    interpreter: &Path,
    arguments: &[OsString],
    layers: &Path,
    environment: &mut Environment,
) -> Result<(), String> {
    // Nobody would listen.
    if is_false(environment.in_any_case("THUNDRA_EXTENSION_ENABLED")) {
        return Ok(());
    }
    let switched_on = switch_on_in(interpreter, arguments, layers, environment);
    if switched_on.is_err() {
        environment.take_back();
    }
    for prefix in [THUNDRA, CATCHPOINT] {
        environment.add_setting(prefix, LOCAL, "true");
    }
    environment.add_setting(THUNDRA, "REPORT_SIZE_MAX", REPORT_SIZE_MAX);
    switched_on
}

fn switch_on_in(
    interpreter: &Path,
    arguments: &[OsString],
    layers: &Path,
    environment: &mut Environment,
) -> Result<(), String> {
    let prefix = interpreter.parent().and_then(Path::parent).map(Path::to_owned);
    let is_told = environment.get(HANDLER).is_some_and(|it| arguments.iter().any(|own| own == it));
    let places =
        Places { task: task_root(environment), layers: layers.to_owned(), prefix, is_told };
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

/// Where an agent may be, and who calls it.
#[derive(Debug)]
pub struct Places {
    /// The function's package.
    pub task: PathBuf,
    pub layers: PathBuf,
    /// What the interpreter was installed below.
    pub prefix: Option<PathBuf>,
    /// Whether an argument names the handler, so that exchanging it in the environment changes nothing:
    /// as in images that are not made of AWS's.
    pub is_told: bool,
}

impl Places {
    /// # Errors
    /// Why an agent's handler would never be called.
    pub fn check_exchange(&self) -> Result<(), String> {
        if self.is_told {
            return Err("the runtime is told its handler by an argument".to_owned());
        }
        Ok(())
    }
}

fn task_root(environment: &Environment) -> PathBuf {
    let given = environment.get("LAMBDA_TASK_ROOT").filter(|it| !it.is_empty());
    given.map_or_else(|| "/var/task".into(), PathBuf::from)
}

/// Go's agent knows no local collector, and its settings by these very names only.
fn point_go_agent(environment: &mut Environment) {
    const BASE_URL: &str = "thundra_agent_lambda_report_rest_baseUrl";
    const KEY: &str = "thundra_apiKey";
    let is_elsewhere = is_false(environment.setting(THUNDRA, LOCAL).and_then(OsStr::to_str));
    if environment.get(BASE_URL).is_none() && !is_elsewhere {
        let port = environment.in_any_case("THUNDRA_EXTENSION_PORT");
        let port = port.and_then(parsing::port).unwrap_or(PORT_DEFAULT);
        environment.set(BASE_URL, format!("http://127.0.0.1:{port}/v1"));
    }
    let key = environment.text("THUNDRA_APIKEY").map(ToOwned::to_owned);
    if let (Some(key), None) = (key, environment.get(KEY)) {
        environment.set(KEY, key);
    }
}

fn is_false(value: Option<&str>) -> bool {
    value.and_then(parsing::boolean) == Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::{added, environment};
    use crate::files::tests::{write, zip};
    use tempfile::TempDir;

    const ALL_GET: [(&str, &str); 3] = [
        ("THUNDRA_AGENT_REPORT_REST_LOCAL", "true"),
        ("CATCHPOINT_REPORT_REST_LOCAL", "true"),
        ("THUNDRA_AGENT_REPORT_SIZE_MAX", "1000000"),
    ];

    #[track_caller]
    fn check(interpreter: &str, given: &[(&str, &str)], more: &[(&str, &str)]) {
        let mut environment = environment(given);
        switch_on(Path::new(interpreter), &[], Path::new("/no/layers"), &mut environment).unwrap();
        let missing = ALL_GET.iter().filter(|(name, _)| given.iter().all(|(it, _)| it != name));
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
        let url = |url| ("thundra_agent_lambda_report_rest_baseUrl", url);
        let go =
            |given: &[(&str, &str)], more: &[(&str, &str)]| check("/var/task/main", given, more);
        let usual = url("http://127.0.0.1:3333/v1");
        go(&[], &[usual]);
        for (port, at) in [("4444", url("http://127.0.0.1:4444/v1")), ("abc", usual), ("0", usual)]
        {
            go(&[("thundra_extension_port", port)], &[at]);
        }
        go(&[("THUNDRA_APIKEY", "k")], &[usual, ("thundra_apiKey", "k")]);
        go(&[("THUNDRA_APIKEY", "k"), ("thundra_apiKey", "own"), url("http://own/v1")], &[]);
        go(&[("THUNDRA_AGENT_REPORT_REST_LOCAL", "false")], &[]);
        // Which Go's agent does not read.
        go(&[("THUNDRA_AGENT_REPORT_REST_BASEURL", "http://own/v1")], &[usual]);
    }

    #[test]
    fn where_the_extension_is_off_nothing_points_to_it() {
        for value in ["FALSE", " f ", "0", "no"] {
            let mut given = environment(&[("thundra_extension_enabled", value)]);
            switch_on(Path::new("/no/main"), &[], Path::new("/no/layers"), &mut given).unwrap();
            assert!(given.added().is_empty(), "{value}");
        }
        // Which the extension does not know, so that it works.
        check("ruby", &[("THUNDRA_EXTENSION_ENABLED", "off")], &[]);
    }

    #[test]
    fn of_an_agent_that_fails_in_part_nothing_stays() {
        let home = TempDir::new().unwrap();
        let agent = zip(&["META-INF/MANIFEST.MF"]);
        let class = zip(&["io/thundra/agent/lambda/core/handler/ThundraLambdaHandler.class"]);
        write(
            home.path(),
            &[("lib/thundra-agent-bootstrap.jar", &agent), ("lib/thundra-core.jar", &class)],
        );
        let task = home.path().to_str().unwrap();
        let mut given = environment(&[("LAMBDA_TASK_ROOT", task)]);
        let failed = switch_on(Path::new("java"), &[], Path::new("/no/layers"), &mut given);
        assert!(failed.unwrap_err().ends_with("is not set"));
        assert_eq!(added(&given), ALL_GET.into());
    }
}
