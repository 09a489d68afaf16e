//! Java: the agent's handler in place of the function's, and its instrumentation.

use std::fs;
use std::path::{Path, PathBuf};

use crate::agents::{Places, THUNDRA};
use crate::environment::Environment;
use crate::{files, handler};

const WRAPPER: &str = "io.thundra.agent.lambda.core.handler.ThundraLambdaHandler";

/// How all the agent's own handlers begin.
const OWN_HANDLERS: &str = "io.thundra.";

const OPTIONS: &str = "JAVA_TOOL_OPTIONS";

/// Where else the JVM takes options from.
const OTHER_OPTIONS: [&str; 2] = ["JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"];

/// How the file of the instrumentation begins, before its version; and what else may begin so.
const INSTRUMENTATION: &str = "thundra-agent-bootstrap";
const NO_INSTRUMENTATION: [&str; 2] = ["-sources.jar", "-javadoc.jar"];

/// # Errors
/// Why the agent that is there would not work.
pub fn switch_on(places: &Places, environment: &mut Environment) -> Result<(), String> {
    instrument(places, environment)?;
    let is_own = environment.text(handler::HANDLER).is_some_and(|it| it.starts_with(OWN_HANDLERS));
    if is_own || handler::is_set_up(environment, THUNDRA) || !has_wrapper(places)? {
        return Ok(());
    }
    places.check_exchange()?;
    let own = handler::own(environment, &places.task)?;
    handler::exchange(environment, THUNDRA, WRAPPER, &own);
    Ok(())
}

fn instrument(places: &Places, environment: &mut Environment) -> Result<(), String> {
    let is_it = |path: &PathBuf| {
        let name = name_of(path);
        name.starts_with(INSTRUMENTATION) && !NO_INSTRUMENTATION.iter().any(|it| name.ends_with(it))
    };
    let given = [OPTIONS].into_iter().chain(OTHER_OPTIONS).filter_map(|it| environment.get(it));
    let is_there = given.into_iter().any(|it| it.to_string_lossy().contains(INSTRUMENTATION));
    if is_there {
        return Ok(());
    }
    let Some(jar) = jars(&beside_the_class_path(places)).into_iter().find(is_it) else {
        return Ok(());
    };
    // One that is no agent keeps the JVM from starting.
    let shown = jar.display();
    if !files::contains(&files::zip_directory(&jar)?, b"META-INF/MANIFEST.MF") {
        return Err(format!("{shown} has no manifest"));
    }
    let quote = if shown.to_string().contains(char::is_whitespace) { "\"" } else { "" };
    let option = format!("-javaagent:{quote}{shown}{quote}");
    environment.append(OPTIONS, " ", option);
    Ok(())
}

/// As a file, where the package was a jar, or in one of the agent's jars.
fn has_wrapper(places: &Places) -> Result<bool, String> {
    let class = format!("{}.class", WRAPPER.replace('.', "/"));
    if places.task.join(&class).is_file() {
        return Ok(true);
    }
    for jar in jars(&class_path(places)).into_iter().filter(|it| name_of(it).contains("thundra")) {
        if files::contains(&files::zip_directory(&jar)?, class.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Directories whose jars the runtime has on its class path ("Deploy Java Lambda functions", "Working
/// with layers for Java Lambda functions").
fn class_path(Places { task, layers, .. }: &Places) -> Vec<PathBuf> {
    vec![task.join("lib"), layers.join("java/lib")]
}

fn beside_the_class_path(places: &Places) -> Vec<PathBuf> {
    let Places { task, layers, .. } = places;
    [class_path(places), vec![task.clone(), layers.join("java"), layers.clone()]].concat()
}

/// In an order that is always the same.
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
mod tests {
    use super::*;
    use crate::environment::tests::environment;
    use crate::files::tests::{write, zip};
    use tempfile::TempDir;

    const CLASS: &str = "io/thundra/agent/lambda/core/handler/ThundraLambdaHandler.class";
    const OWN: &str = "example.Handler::handleRequest";

    fn switched(
        files: &[(&str, &[u8])],
        variables: &[(&str, &str)],
    ) -> (TempDir, Result<Environment, String>) {
        let home = TempDir::new().unwrap();
        write(home.path(), files);
        let [task, layers] = ["task", "layers"].map(|it| home.path().join(it));
        let places = Places { task, layers, prefix: None, is_told: false };
        let mut environment = environment(&[&[("_HANDLER", OWN)], variables].concat());
        let switched = switch_on(&places, &mut environment).map(|()| environment);
        (home, switched)
    }

    #[test]
    fn the_handler_is_exchanged_where_the_agents_class_is_on_the_class_path() {
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
            assert_eq!(environment.get(OPTIONS), None);
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
    fn what_is_set_up_already_stays_as_it_is() {
        let class = format!("task/{CLASS}");
        for set_up in [
            ("_HANDLER", "io.thundra.agent.lambda.container.springboot2.ContainerHandler"),
            ("thundra_agent_lambda_handler", OWN),
        ] {
            let (_home, switched) = switched(&[(&class, b"")], &[set_up]);
            assert!(switched.unwrap().added().is_empty(), "{set_up:?}");
        }
        let agent = zip(&["META-INF/MANIFEST.MF"]);
        for variable in [OPTIONS, OTHER_OPTIONS[0], OTHER_OPTIONS[1]] {
            let own = (variable, "-javaagent:/own/thundra-agent-bootstrap.jar");
            let (_home, switched) =
                switched(&[("task/lib/thundra-agent-bootstrap.jar", &agent)], &[own]);
            assert!(switched.unwrap().added().is_empty(), "{variable}");
        }
    }

    #[test]
    fn instrumentation_is_added_to_what_options_there_are() {
        let agent = zip(&["META-INF/MANIFEST.MF"]);
        for (path, quote) in [
            ("task/lib/thundra-agent-bootstrap.jar", ""),
            ("layers/thundra-agent-bootstrap-2.jar", ""),
            ("layers/thundra-agent-bootstrap 2.jar", "\""),
        ] {
            let (home, switched) = switched(&[(path, &agent)], &[(OPTIONS, "-Xshare:off")]);
            let home = home.path().display();
            let expected = format!("-Xshare:off -javaagent:{quote}{home}/{path}{quote}");
            assert_eq!(switched.unwrap().text(OPTIONS), Some(expected.as_str()));
        }
    }

    #[test]
    fn what_would_keep_the_jvm_from_starting_is_left_out() {
        let (_home, sources) =
            switched(&[("task/lib/thundra-agent-bootstrap-sources.jar", &zip(&[]))], &[]);
        assert!(sources.unwrap().added().is_empty());
        for (bytes, why) in
            [(&b""[..], "it is no zip"), (&zip(&["Agent.class"]), "has no manifest")]
        {
            let (_home, switched) =
                switched(&[("task/lib/thundra-agent-bootstrap.jar", bytes)], &[]);
            assert!(switched.unwrap_err().ends_with(why), "{why}");
        }
        let below = [("task/lib/thundra-agent-bootstrap.jar/x", &b""[..])];
        assert!(switched(&below, &[]).1.unwrap_err().ends_with("it is no file"));
    }
}
