//! Java: wraps the function's handler by the agent's, and attaches the agent's instrumentation.

mod instrumentation;

use std::fs;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::environment::THUNDRA;
use crate::handler;
use crate::paths::Paths;
use crate::zip::Zip;

const WRAPPER: &str = "io.thundra.agent.lambda.core.handler.ThundraLambdaHandler";

/// Prefix of the agent's own handlers.
const OWN_HANDLERS: &str = "io.thundra.";

/// Switches the agent on, if the function has one.
///
/// # Errors
/// Why an existing agent would not work.
pub fn switch_on(paths: &Paths, environment: &mut Environment) -> Result<(), String> {
    instrumentation::switch_on(paths, environment)?;
    let is_own = environment.text(handler::HANDLER).is_some_and(|it| it.starts_with(OWN_HANDLERS));
    if is_own || handler::is_set_up(environment, THUNDRA) || !has_wrapper(paths)? {
        return Ok(());
    }
    let original = handler::original(environment, &paths.task)?;
    handler::wrap_handler(environment, THUNDRA, WRAPPER, &original);
    Ok(())
}

/// Whether the agent's handler is on the class path: as a file of the function's package, or in a jar of the
/// agent.
fn has_wrapper(paths: &Paths) -> Result<bool, String> {
    let class = format!("{}.class", WRAPPER.replace('.', "/"));
    if paths.task.join(&class).is_file() {
        return Ok(true);
    }
    for jar in jars(&class_path(paths)).into_iter().filter(|it| name_of(it).contains("thundra")) {
        if Zip::open(&jar)?.names(&class) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Directories whose jars the runtime puts on its class path ("Deploy Java Lambda functions", "Working with
/// layers for Java Lambda functions").
fn class_path(Paths { task, layers, .. }: &Paths) -> Vec<PathBuf> {
    vec![task.join("lib"), layers.join("java/lib")]
}

/// The jars in these directories, sorted by name in each directory.
fn jars(directories: &[PathBuf]) -> Vec<PathBuf> {
    let mut jars = Vec::new();
    for directory in directories {
        let files = fs::read_dir(directory).into_iter().flatten().flatten().map(|it| it.path());
        let mut found: Vec<PathBuf> =
            files.filter(|it| it.extension().is_some_and(|it| it == "jar")).collect();
        found.sort();
        jars.append(&mut found);
    }
    jars
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::environment::tests::environment;
    use crate::files::tests::write;
    use crate::zip::tests::zip;
    use tempfile::TempDir;

    const CLASS: &str = "io/thundra/agent/lambda/core/handler/ThundraLambdaHandler.class";
    const OWN: &str = "example.Handler::handleRequest";

    /// The environment that `switch_on` leaves for a function with these files.
    pub fn switched_by(
        switch_on: fn(&Paths, &mut Environment) -> Result<(), String>,
        files: &[(&str, &[u8])],
        variables: &[(&str, &str)],
    ) -> (TempDir, Result<Environment, String>) {
        let home = TempDir::new().unwrap();
        write(home.path(), files);
        let [task, layers] = ["task", "layers"].map(|it| home.path().join(it));
        let paths = Paths { task, layers, prefix: None, has_handler_argument: false };
        let mut environment = environment(variables);
        let switched = switch_on(&paths, &mut environment).map(|()| environment);
        (home, switched)
    }

    fn switched(
        files: &[(&str, &[u8])],
        variables: &[(&str, &str)],
    ) -> (TempDir, Result<Environment, String>) {
        switched_by(switch_on, files, &[&[("_HANDLER", OWN)], variables].concat())
    }

    #[test]
    fn the_handler_is_wrapped_if_the_agents_class_is_on_the_class_path() {
        let (class, with_class) = (format!("task/{CLASS}"), zip(&[CLASS]));
        for (path, bytes) in [
            (class.as_str(), &b""[..]),
            ("task/lib/thundra-agent-lambda-core-2.7.jar", &with_class),
            ("layers/java/lib/thundra.jar", &with_class),
        ] {
            let (_home, switched) = switched(&[(path, bytes)], &[]);
            let environment = switched.unwrap();
            assert_eq!(environment.text("_HANDLER"), Some(WRAPPER), "{path}");
            assert_eq!(environment.text("THUNDRA_AGENT_LAMBDA_HANDLER"), Some(OWN));
        }
        for (path, bytes) in [
            ("task/lib/other.jar", &with_class),
            ("task/lib/thundra-other.jar", &zip(&["a.class"])),
            ("task/thundra.jar", &with_class),
            ("layers/thundra.jar", &with_class),
        ] {
            let (_home, switched) = switched(&[(path, bytes)], &[]);
            assert!(switched.unwrap().added().is_empty(), "{path}");
        }
    }

    #[test]
    fn an_agent_that_is_set_up_already_stays_as_it_is() {
        let class = format!("task/{CLASS}");
        for set_up in [
            ("_HANDLER", "io.thundra.agent.lambda.container.springboot2.ContainerHandler"),
            ("thundra_agent_lambda_handler", OWN),
        ] {
            let (_home, switched) = switched(&[(&class, b"")], &[set_up]);
            assert!(switched.unwrap().added().is_empty(), "{set_up:?}");
        }
    }
}
