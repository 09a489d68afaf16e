//! Python: the agent's handler in place of the function's.

use std::fs;
use std::path::{Path, PathBuf};

use crate::agents::{CATCHPOINT, Places, THUNDRA};
use crate::environment::Environment;
use crate::handler;

/// From this version of Python 3 on there is no `imp`, which all agents up to 3.0.10 import.
const WITHOUT_IMP: u32 = 12;

/// The packages that agents are in, and how their settings begin.
const AGENTS: [(&str, &str); 2] = [("thundra", THUNDRA), ("catchpoint", CATCHPOINT)];

/// # Errors
/// Why the agent that is there would not work.
pub fn switch_on(
    minor: Option<u32>,
    places: &Places,
    environment: &mut Environment,
) -> Result<(), String> {
    let paths = search_paths(minor, places, environment);
    let has_key = |agent: &str| environment.text(&format!("{agent}_APIKEY")).is_some();
    let [thundra, catchpoint] = AGENTS;
    let is_catchpoints = has_key("CATCHPOINT") && !has_key("THUNDRA");
    let agents = if is_catchpoints { [catchpoint, thundra] } else { [thundra, catchpoint] };
    let found = agents.into_iter().find_map(|(package, prefix)| {
        let at =
            paths.iter().map(|it| it.join(package)).find(|it| it.join("__init__.py").exists())?;
        Some((package, prefix, at))
    });
    let Some((package, prefix, at)) = found else { return Ok(()) };
    if handler::is_set_up(environment, prefix) {
        return Ok(());
    }
    check(&at.join("handler.py"), minor)?;
    handler::exchange(environment, prefix, &format!("{package}.handler.wrapper"))
}

/// Where the runtime looks for packages, the function's own first.
fn search_paths(minor: Option<u32>, places: &Places, environment: &Environment) -> Vec<PathBuf> {
    let mut paths = vec![places.task.clone()];
    paths.extend(environment.get("PYTHONPATH").iter().flat_map(std::env::split_paths));
    let python = places.layers.join("python");
    if let Some(minor) = minor {
        paths.push(python.join(format!("lib/python3.{minor}/site-packages")));
    }
    paths.push(python);
    if let (Some(minor), Some(prefix)) = (minor, &places.prefix) {
        paths.push(prefix.join(format!("lib/python3.{minor}/site-packages")));
    }
    paths.retain(|it| it.is_absolute());
    paths
}

/// # Errors
/// Why this module can't be imported.
fn check(module: &Path, minor: Option<u32>) -> Result<(), String> {
    let shown = module.display();
    let source =
        fs::read_to_string(module).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let imports_imp = source.lines().any(|line| line.trim() == "import imp");
    match minor {
        Some(..WITHOUT_IMP) => Ok(()),
        _ if !imports_imp => Ok(()),
        Some(minor) => Err(format!("{shown} imports imp, which Python 3.{minor} has no more")),
        None => {
            Err(format!("{shown} imports imp, and which version of Python this is can't be told"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::{added, environment};
    use tempfile::TempDir;

    /// A place with these files, and nothing in its layers.
    fn places(home: &TempDir, files: &[(&str, &str)]) -> Places {
        for (path, text) in files {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Places {
            task: home.path().join("task"),
            layers: home.path().join("layers"),
            prefix: Some(home.path().join("lang")),
        }
    }

    fn switched(
        minor: Option<u32>,
        files: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> Result<Environment, String> {
        let home = TempDir::new().unwrap();
        let places = places(&home, files);
        let mut environment = environment(&[&[("_HANDLER", "app.handler")], variables].concat());
        switch_on(minor, &places, &mut environment).map(|()| environment)
    }

    const WITH_IMP: &str = "from __future__ import absolute_import\n\nimport imp\nimport os\n";

    #[test]
    fn an_agent_in_the_package_or_in_a_layer_gets_the_handler() {
        for place in [
            "task",
            "layers/python",
            "layers/python/lib/python3.11/site-packages",
            "task/vendored",
            "lang/lib/python3.11/site-packages",
        ] {
            for (package, variable) in [
                ("thundra", "THUNDRA_AGENT_LAMBDA_HANDLER"),
                ("catchpoint", "CATCHPOINT_LAMBDA_HANDLER"),
            ] {
                let [init, module] =
                    ["__init__", "handler"].map(|it| format!("{place}/{package}/{it}.py"));
                let home = TempDir::new().unwrap();
                let places = places(&home, &[(&init, ""), (&module, WITH_IMP)]);
                let path = places.task.join("vendored");
                let variables = [("_HANDLER", "a/b.c"), ("PYTHONPATH", path.to_str().unwrap())];
                let mut environment = environment(&variables);
                switch_on(Some(11), &places, &mut environment).unwrap();
                let wrapper = format!("{package}.handler.wrapper");
                let expected = [("_HANDLER", wrapper.as_str()), (variable, "a/b.c")];
                assert_eq!(added(&environment), expected.into(), "{place}");
            }
        }
    }

    const AGENT: [(&str, &str); 2] =
        [("task/thundra/__init__.py", ""), ("task/thundra/handler.py", WITH_IMP)];

    #[test]
    fn python_3_12_has_no_imp() {
        for minor in [Some(12), Some(13), None] {
            let why = switched(minor, &AGENT, &[]).unwrap_err();
            assert!(why.contains("imports imp"), "{why}");
        }
        let without = [AGENT[0], ("task/thundra/handler.py", "import importlib\n")];
        assert!(!switched(Some(13), &without, &[]).unwrap().added().is_empty());
    }

    #[test]
    fn without_an_agent_or_with_one_that_is_set_up_nothing_changes() {
        assert!(switched(Some(11), &[], &[]).unwrap().added().is_empty());
        let variables = [("thundra_agent_lambda_handler", "other.handler")];
        assert!(switched(Some(13), &AGENT, &variables).unwrap().added().is_empty());
    }

    #[test]
    fn half_an_agent_is_left_out() {
        assert!(switched(Some(11), &AGENT[..1], &[]).unwrap_err().contains("cannot read"));
    }

    #[test]
    fn of_two_agents_it_is_the_one_that_has_a_key() {
        let both = [
            AGENT[0],
            AGENT[1],
            ("task/catchpoint/__init__.py", ""),
            ("task/catchpoint/handler.py", WITH_IMP),
        ];
        for (key, wrapper) in [
            ("THUNDRA_APIKEY", "thundra.handler.wrapper"),
            ("CATCHPOINT_APIKEY", "catchpoint.handler.wrapper"),
        ] {
            let environment = switched(Some(11), &both, &[(key, "k")]).unwrap();
            assert_eq!(environment.text("_HANDLER"), Some(wrapper));
        }
    }
}
