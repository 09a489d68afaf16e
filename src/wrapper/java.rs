//! Java: the agent's handler in place of the function's, and its instrumentation.

use std::fs;
use std::path::{Path, PathBuf};

use crate::agents::{Places, THUNDRA};
use crate::environment::Environment;
use crate::handler;

const WRAPPER: &str = "io.thundra.agent.lambda.core.handler.ThundraLambdaHandler";
const OPTIONS: &str = "JAVA_TOOL_OPTIONS";

/// How the file of the instrumentation begins, before its version.
const INSTRUMENTATION: &str = "thundra-agent-bootstrap";

/// # Errors
/// Why the agent that is there would not work.
pub fn switch_on(places: &Places, environment: &mut Environment) -> Result<(), String> {
    instrument(places, environment)?;
    if has_wrapper(places)? { handler::exchange(environment, THUNDRA, WRAPPER) } else { Ok(()) }
}

/// Options are split at spaces, which nothing protects ("The `JAVA_TOOL_OPTIONS` Environment
/// Variable").
fn instrument(places: &Places, environment: &mut Environment) -> Result<(), String> {
    let given = environment.get(OPTIONS).unwrap_or_default().to_string_lossy();
    let jar = jars(places).into_iter().find(|it| name_of(it).starts_with(INSTRUMENTATION));
    let Some(jar) = jar.filter(|_| !given.contains(INSTRUMENTATION)) else { return Ok(()) };
    let shown = jar.display().to_string();
    fs::File::open(&jar).map_err(|error| format!("cannot read {shown}: {error}"))?;
    if shown.contains(char::is_whitespace) {
        return Err(format!("{shown} has a space in it, which {OPTIONS} can't hold"));
    }
    environment.append(OPTIONS, " ", format!("-javaagent:{shown}"));
    Ok(())
}

/// As a file, where the package was a jar, or in one of the agent's jars.
fn has_wrapper(places: &Places) -> Result<bool, String> {
    let class = format!("{}.class", WRAPPER.replace('.', "/"));
    if places.task.join(&class).is_file() {
        return Ok(true);
    }
    for jar in jars(places).into_iter().filter(|it| name_of(it).contains("thundra")) {
        // Names are never compressed in a zip.
        let bytes =
            fs::read(&jar).map_err(|error| format!("cannot read {}: {error}", jar.display()))?;
        if bytes.windows(class.len()).any(|it| it == class.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Those of the class path ("Deploy Java Lambda functions", "layers for Java"), in an order that is
/// always the same, and those that lie beside it.
fn jars(places: &Places) -> Vec<PathBuf> {
    let Places { task, layers, .. } = places;
    let directories = [
        task.join("lib"),
        task.clone(),
        layers.join("java/lib"),
        layers.join("java"),
        layers.clone(),
    ];
    let mut jars: Vec<PathBuf> = Vec::new();
    for directory in directories {
        let files = fs::read_dir(directory).into_iter().flatten().flatten().map(|it| it.path());
        let mut found: Vec<_> =
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
    use tempfile::TempDir;

    const CLASS: &str = "io/thundra/agent/lambda/core/handler/ThundraLambdaHandler.class";

    fn switched(
        files: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> (TempDir, Result<Environment, String>) {
        let home = TempDir::new().unwrap();
        for (path, text) in files {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let [task, layers] = ["task", "layers"].map(|it| home.path().join(it));
        let places = Places { task, layers, prefix: None };
        let mut environment =
            environment(&[&[("_HANDLER", "example.Handler::handleRequest")], variables].concat());
        let switched = switch_on(&places, &mut environment).map(|()| environment);
        (home, switched)
    }

    #[test]
    fn the_handler_is_exchanged_where_the_agents_class_is() {
        let class = format!("task/{CLASS}");
        let in_a_jar = format!("PK..{CLASS}..");
        for (path, text) in [
            (class.as_str(), ""),
            ("task/lib/thundra-agent-lambda-core-2.7.jar", in_a_jar.as_str()),
            ("layers/java/lib/thundra.jar", &in_a_jar),
        ] {
            let (_home, switched) = switched(&[(path, text)], &[]);
            let environment = switched.unwrap();
            assert_eq!(environment.text("_HANDLER"), Some(WRAPPER), "{path}");
            let own = Some("example.Handler::handleRequest");
            assert_eq!(environment.text("THUNDRA_AGENT_LAMBDA_HANDLER"), own);
            assert_eq!(environment.get(OPTIONS), None);
        }
        for (path, text) in
            [("task/lib/other.jar", in_a_jar.as_str()), ("task/lib/thundra-other.jar", "PK")]
        {
            let (_home, switched) = switched(&[(path, text)], &[]);
            assert!(switched.unwrap().added().is_empty(), "{path}");
        }
    }

    #[test]
    fn instrumentation_is_added_to_what_options_there_are() {
        for path in ["task/lib/thundra-agent-bootstrap.jar", "layers/thundra-agent-bootstrap-2.jar"]
        {
            let (home, switched) = switched(&[(path, "PK")], &[(OPTIONS, "-Xshare:off")]);
            let expected = format!("-Xshare:off -javaagent:{}/{path}", home.path().display());
            assert_eq!(switched.unwrap().text(OPTIONS), Some(expected.as_str()));
        }
        let own = (OPTIONS, "-javaagent:/own/thundra-agent-bootstrap.jar");
        let (_home, switched) = switched(&[("task/lib/thundra-agent-bootstrap.jar", "PK")], &[own]);
        assert!(switched.unwrap().added().is_empty());
    }
}
