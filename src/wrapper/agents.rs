//! Switches agents on: the settings that all runtimes get, and each runtime's own agents.

mod python;
mod node;
mod java;
mod dotnet;
mod go;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::environment::{CATCHPOINT, Environment, THUNDRA};
use crate::handler::{self, HANDLER};
use crate::paths::Paths;
use crate::runtime::Runtime;
use crate::values;

/// The agents' setting that makes them report to a collector on this machine.
const LOCAL: &str = "REPORT_REST_LOCAL";

/// Limit of one report, in bytes: the highest that agents accept. By default the agent for Node.js cuts a
/// report down to 32 KiB, and since 2.14.2 to nearly nothing.
const REPORT_SIZE_MAX: &str = "1000000";

/// Adds the variables with which an agent reports to the extension. May replace the handler in `arguments`
/// too. `layers` is the directory of all layers.
///
/// # Errors
/// Why an existing agent cannot be switched on. The variables that all runtimes get are added anyway.
pub fn switch_on(
    interpreter: &Path,
    arguments: &mut [OsString],
    layers: &Path,
    environment: &mut Environment,
) -> Result<(), String> {
    // A disabled extension opens no port for agents.
    if is_false(environment.in_any_case("THUNDRA_EXTENSION_ENABLED")) {
        return Ok(());
    }
    let switched_on = switch_on_in(interpreter, arguments, layers, environment);
    if switched_on.is_err() {
        environment.discard();
    }
    for prefix in [THUNDRA, CATCHPOINT] {
        environment.add_setting(prefix, LOCAL, "true");
    }
    environment.add_setting(THUNDRA, "REPORT_SIZE_MAX", REPORT_SIZE_MAX);
    switched_on
}

fn switch_on_in(
    interpreter: &Path,
    arguments: &mut [OsString],
    layers: &Path,
    environment: &mut Environment,
) -> Result<(), String> {
    let prefix = interpreter.parent().and_then(Path::parent).map(Path::to_owned);
    let original = environment.get(HANDLER).map(ToOwned::to_owned).unwrap_or_default();
    let has_handler_argument = arguments.contains(&original);
    let paths = Paths {
        task: task_root(environment),
        layers: layers.to_owned(),
        prefix,
        has_handler_argument,
    };
    match Runtime::of(interpreter, environment) {
        Runtime::Python { minor } => python::switch_on(minor, &paths, environment),
        Runtime::Node { major } => node::switch_on(major, &paths, environment),
        Runtime::Java => {
            java::switch_on(&paths, environment)?;
            handler::wrap_handler_argument(arguments, &original, environment);
            Ok(())
        }
        Runtime::Dotnet => dotnet::switch_on(&paths, environment),
        Runtime::Ruby => Ok(()),
        Runtime::Other => {
            go::switch_on(environment);
            Ok(())
        }
    }
}

fn task_root(environment: &Environment) -> PathBuf {
    let given = environment.get("LAMBDA_TASK_ROOT").filter(|it| !it.is_empty());
    given.map_or_else(|| "/var/task".into(), PathBuf::from)
}

fn is_false(value: Option<&str>) -> bool {
    value.and_then(values::boolean) == Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::{added, environment};
    use crate::files::tests::write;
    use crate::zip::tests::packed;
    use tempfile::TempDir;

    const ALL_GET: [(&str, &str); 3] = [
        ("THUNDRA_AGENT_REPORT_REST_LOCAL", "true"),
        ("CATCHPOINT_REPORT_REST_LOCAL", "true"),
        ("THUNDRA_AGENT_REPORT_SIZE_MAX", "1000000"),
    ];

    #[track_caller]
    fn check(interpreter: &str, given: &[(&str, &str)], more: &[(&str, &str)]) {
        let mut environment = environment(given);
        switch_on(Path::new(interpreter), &mut [], Path::new("/no/layers"), &mut environment)
            .unwrap();
        let missing = ALL_GET.iter().filter(|(name, _)| given.iter().all(|(it, _)| it != name));
        assert_eq!(added(&environment), missing.chain(more).copied().collect());
    }

    #[test]
    fn each_runtime_reports_to_the_extension_unless_the_user_set_it_otherwise() {
        let task = ("LAMBDA_TASK_ROOT", "/no/task");
        for interpreter in ["ruby", "/no/node", "/no/java", "dotnet", "/no/bin/python3.12"] {
            check(interpreter, &[task], &[]);
            check(interpreter, &[task, ("THUNDRA_AGENT_REPORT_REST_LOCAL", "false")], &[]);
            check(interpreter, &[task, ("THUNDRA_AGENT_REPORT_SIZE_MAX", "1")], &[]);
        }
    }

    #[test]
    fn a_disabled_extension_adds_no_variable() {
        for value in ["FALSE", " f ", "0", "no"] {
            let mut given = environment(&[("thundra_extension_enabled", value)]);
            switch_on(Path::new("/no/main"), &mut [], Path::new("/no/layers"), &mut given).unwrap();
            assert!(given.added().is_empty(), "{value}");
        }
        // The extension does not know this value, so it stays enabled.
        check("ruby", &[("THUNDRA_EXTENSION_ENABLED", "off")], &[]);
    }

    #[test]
    fn an_agent_that_is_only_half_switched_on_leaves_no_variable() {
        let home = TempDir::new().unwrap();
        let manifest = ("META-INF/MANIFEST.MF", &b"Premain-Class: Agent\n"[..]);
        let agent = packed(&[manifest, ("Agent.class", b"")], true);
        let class = "io/thundra/agent/lambda/core/handler/ThundraLambdaHandler.class";
        let class = packed(&[(class, b"")], true);
        write(
            home.path(),
            &[("lib/thundra-agent-bootstrap.jar", &agent), ("lib/thundra-core.jar", &class)],
        );
        let task = home.path().to_str().unwrap();
        let mut given = environment(&[("LAMBDA_TASK_ROOT", task)]);
        let failed = switch_on(Path::new("java"), &mut [], Path::new("/no/layers"), &mut given);
        assert!(failed.unwrap_err().ends_with("is not set"));
        assert_eq!(added(&given), ALL_GET.into());
    }
}
