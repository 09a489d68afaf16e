//! Attaches the agent's instrumentation, a jar that the JVM loads before the function. With a jar that is no
//! such agent, the JVM does not start.

use std::path::{Path, PathBuf};

use super::{class_path, jars, name_of};
use crate::environment::Environment;
use crate::paths::Paths;
use crate::zip::Zip;

const OPTIONS: &str = "JAVA_TOOL_OPTIONS";

/// Other variables from which the JVM reads options.
const OTHER_OPTIONS: [&str; 2] = ["JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"];

/// Prefix of the jar's name. The version may follow it.
const JAR: &str = "thundra-agent-bootstrap";
/// Endings of jars that have the same prefix but are no agents.
const OTHER_JARS: [&str; 2] = ["-sources.jar", "-javadoc.jar"];

const MANIFEST: &str = "META-INF/MANIFEST.MF";

/// The manifest's attribute with the class that the JVM calls first (`java.lang.instrument`, "Manifest
/// Attributes").
const PREMAIN_CLASS: &str = "Premain-Class";

/// Attaches the agent's jar, if the function has one.
///
/// # Errors
/// Why the JVM would not start with the existing jar.
pub fn switch_on(paths: &Paths, environment: &mut Environment) -> Result<(), String> {
    let given = [OPTIONS].into_iter().chain(OTHER_OPTIONS).filter_map(|it| environment.get(it));
    if given.into_iter().any(|it| it.to_string_lossy().contains(JAR)) {
        return Ok(());
    }
    let is_it = |path: &PathBuf| {
        let name = name_of(path);
        name.starts_with(JAR) && !OTHER_JARS.iter().any(|it| name.ends_with(it))
    };
    let Some(jar) = jars(&agent_directories(paths)).into_iter().find(is_it) else {
        return Ok(());
    };
    check(&jar)?;
    environment.append(OPTIONS, " ", format!("-javaagent:{}", quoted(&jar)?));
    Ok(())
}

/// The class path, and directories that functions and layers use for agents.
fn agent_directories(paths: &Paths) -> Vec<PathBuf> {
    let Paths { task, layers, .. } = paths;
    [class_path(paths), vec![task.clone(), layers.join("java"), layers.clone()]].concat()
}

/// Checks that the JVM can start with this jar as an agent.
fn check(jar: &Path) -> Result<(), String> {
    let mut zip = Zip::open(jar)?;
    let shown = jar.display();
    let manifest = zip.entry(MANIFEST).ok_or(format!("{shown} has no readable manifest"))?;
    let class = attribute(&manifest, PREMAIN_CLASS)
        .ok_or(format!("the manifest of {shown} has no {PREMAIN_CLASS}"))?;
    if !zip.names(&format!("{}.class", class.replace('.', "/"))) {
        return Err(format!("{shown} lacks {class}, its {PREMAIN_CLASS}"));
    }
    Ok(())
}

/// The value of an attribute in the manifest's first section. Its name may be in any case. A line that begins
/// with a space continues the line before it ("JAR File Specification", JAR Manifest).
fn attribute(manifest: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(manifest).replace("\r\n", "\n").replace('\r', "\n");
    let unfolded = text.replace("\n ", "");
    let mut pairs =
        unfolded.lines().take_while(|it| !it.is_empty()).filter_map(|it| it.split_once(':'));
    let (_, value) = pairs.find(|(it, _)| it.eq_ignore_ascii_case(name))?;
    Some(value.trim().to_owned()).filter(|it| !it.is_empty())
}

/// The path as the JVM reads it in its options. Text after `=` would be options of the agent.
fn quoted(jar: &Path) -> Result<String, String> {
    let shown = jar.display().to_string();
    if shown.contains(['=', '"', '\'']) {
        return Err(format!("{shown} contains a character that {OPTIONS} cannot contain"));
    }
    let quote = if shown.contains(char::is_whitespace) { "\"" } else { "" };
    Ok(format!("{quote}{shown}{quote}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::switched_by;
    use super::*;
    use crate::zip::tests::{packed, zip};
    use tempfile::TempDir;

    fn switched(
        files: &[(&str, &[u8])],
        variables: &[(&str, &str)],
    ) -> (TempDir, Result<Environment, String>) {
        switched_by(switch_on, files, variables)
    }

    fn agent(manifest: &str) -> Vec<u8> {
        packed(&[(MANIFEST, manifest.as_bytes()), ("a/Agent.class", b"")], true)
    }

    const GOOD: &str = "Manifest-Version: 1.0\r\nPremain-Class: a.Agent\r\n\r\n";

    #[test]
    fn instrumentation_is_added_to_the_given_options() {
        for (path, quote) in [
            ("task/lib/thundra-agent-bootstrap.jar", ""),
            ("layers/thundra-agent-bootstrap-2.jar", ""),
            ("layers/thundra-agent-bootstrap 2.jar", "\""),
        ] {
            let (home, switched) = switched(&[(path, &agent(GOOD))], &[(OPTIONS, "-Xshare:off")]);
            let home = home.path().display();
            let expected = format!("-Xshare:off -javaagent:{quote}{home}/{path}{quote}");
            assert_eq!(switched.unwrap().text(OPTIONS), Some(expected.as_str()));
        }
    }

    #[test]
    fn an_agent_that_is_attached_already_is_not_attached_twice() {
        for variable in [OPTIONS, OTHER_OPTIONS[0], OTHER_OPTIONS[1]] {
            let own = (variable, "-javaagent:/own/thundra-agent-bootstrap.jar");
            let (_home, switched) =
                switched(&[("task/lib/thundra-agent-bootstrap.jar", &agent(GOOD))], &[own]);
            assert!(switched.unwrap().added().is_empty(), "{variable}");
        }
    }

    #[test]
    fn a_jar_that_would_keep_the_jvm_from_starting_is_left_out() {
        let (_home, sources) =
            switched(&[("task/lib/thundra-agent-bootstrap-sources.jar", &zip(&[]))], &[]);
        assert!(sources.unwrap().added().is_empty());
        let none = "has no Premain-Class";
        let bad = agent(GOOD)[..90].to_vec();
        for (bytes, why) in [
            (b"".to_vec(), "it is not a zip archive"),
            (bad, "it is not a zip archive"),
            (zip(&["a/Agent.class"]), "has no readable manifest"),
            (agent(""), none),
            (agent("Manifest-Version: 1.0\nAgent-Class: a.Agent\n"), none),
            (agent("Premain-Class: \n"), none),
            (agent("Manifest-Version: 1.0\n\nName: a\nPremain-Class: a.Agent\n"), none),
            (agent("Premain-Class: a.Other\n"), "lacks a.Other, its Premain-Class"),
        ] {
            let (_home, switched) =
                switched(&[("task/lib/thundra-agent-bootstrap.jar", &bytes)], &[]);
            let error = switched.unwrap_err();
            assert!(error.ends_with(why), "{error} does not end with {why}");
        }
        let below = [("task/lib/thundra-agent-bootstrap.jar/x", &b""[..])];
        assert!(switched(&below, &[]).1.unwrap_err().ends_with("it is not a regular file"));
        let odd = [("task/lib/thundra-agent-bootstrap=1.jar", &agent(GOOD)[..])];
        assert!(switched(&odd, &[]).1.unwrap_err().ends_with("cannot contain"));
    }

    #[test]
    fn a_manifest_is_read_as_the_jvm_does() {
        let class = |manifest: &str| attribute(manifest.as_bytes(), PREMAIN_CLASS);
        for manifest in [
            GOOD,
            "Premain-Class: a.Agent",
            "premain-class:a.Agent\n",
            "Manifest-Version: 1.0\rPremain-Class: a.Agent  \r",
            "Premain-Class: a.A\r\n gent\r\nOther: x\r\n",
        ] {
            assert_eq!(class(manifest).as_deref(), Some("a.Agent"), "{manifest:?}");
        }
        assert_eq!(class("X-Premain-Class: a.Agent\n"), None);
    }
}
