//! Python: the agent's handler in place of the function's.

use std::env;
use std::path::{Path, PathBuf};

use crate::agents::{CATCHPOINT, Places, THUNDRA};
use crate::environment::Environment;
use crate::{files, handler};

/// From this version of Python 3 on there is no `imp`, which all agents up to 3.0.10 import.
const WITHOUT_IMP: u32 = 12;

/// A package that an agent may be in.
struct Agent {
    package: &'static str,
    /// How its settings begin.
    prefix: &'static str,
    key: &'static str,
}

const AGENTS: [Agent; 2] = [
    Agent { package: "thundra", prefix: THUNDRA, key: "THUNDRA_APIKEY" },
    Agent { package: "catchpoint", prefix: CATCHPOINT, key: "CATCHPOINT_APIKEY" },
];

/// What agents import when they are imported, in all versions.
const DEPENDENCIES: [&str; 7] =
    ["dateutil", "jsonpickle", "opentracing", "pympler", "requests", "simplejson", "wrapt"];

/// # Errors
/// Why the agent that is there would not work.
pub fn switch_on(
    minor: Option<u32>,
    places: &Places,
    environment: &mut Environment,
) -> Result<(), String> {
    let python = Python { minor, paths: search_paths(minor, places, environment) };
    let mut found: Vec<(&Agent, PathBuf)> = AGENTS
        .iter()
        .filter_map(|agent| {
            // Others may have a package of that name.
            let is_it = |at: &PathBuf| at.join(format!("{}_agent.py", agent.package)).exists();
            let at = python.paths.iter().map(|it| it.join(agent.package)).find(is_it)?;
            Some((agent, at))
        })
        .collect();
    if found.iter().any(|(agent, _)| handler::is_set_up(environment, agent.prefix)) {
        return Ok(());
    }
    found.sort_by_key(|(agent, _)| environment.in_any_case(agent.key).is_none());
    let mut failure = Ok(());
    for (agent, at) in found {
        match exchange(agent, &at, &python, places, environment) {
            Ok(()) => return Ok(()),
            failed => failure = failure.and(failed),
        }
    }
    failure
}

/// The function's own first.
fn search_paths(minor: Option<u32>, places: &Places, environment: &Environment) -> Vec<PathBuf> {
    let mut paths = vec![places.task.clone()];
    paths.extend(environment.get("PYTHONPATH").iter().flat_map(env::split_paths));
    let python = places.layers.join("python");
    let packages =
        |root: &Path| minor.map(|it| root.join(format!("lib/python3.{it}/site-packages")));
    paths.extend(packages(&python));
    paths.push(python);
    // Lambda's own packages, of which agents' layers may lack what is there.
    paths.extend(environment.get("LAMBDA_RUNTIME_DIR").map(PathBuf::from));
    paths.extend(places.prefix.as_deref().and_then(packages));
    paths.retain(|it| it.is_absolute());
    paths
}

/// The runtime.
struct Python {
    /// Of version 3, where it could be told.
    minor: Option<u32>,
    /// Where it looks for modules.
    paths: Vec<PathBuf>,
}

fn exchange(
    agent: &Agent,
    at: &Path,
    python: &Python,
    places: &Places,
    environment: &mut Environment,
) -> Result<(), String> {
    let module = at.join("handler.py");
    let source = String::from_utf8_lossy(&files::read(&module)?).into_owned();
    let shown = module.display();
    if !source.contains("def wrapper(") {
        return Err(format!("there is no handler in {shown}"));
    }
    check_imp(&source, python.minor).map_err(|why| format!("{shown} imports imp, {why}"))?;
    if let Some(missing) =
        DEPENDENCIES.iter().find(|it| !python.paths.iter().any(|path| is_module(path, it)))
    {
        return Err(format!("{} lacks {missing}, which it imports", at.display()));
    }
    places.check_exchange()?;
    let own = handler::own(environment, &places.task)?;
    let own = importable(&own, &python.paths)?;
    let wrapper = format!("{}.handler.wrapper", agent.package);
    handler::exchange(environment, agent.prefix, &wrapper, &own);
    Ok(())
}

fn check_imp(source: &str, minor: Option<u32>) -> Result<(), String> {
    let imports = source.lines().any(|line| line.trim() == "import imp");
    match minor {
        Some(..WITHOUT_IMP) => Ok(()),
        _ if !imports => Ok(()),
        Some(minor) => Err(format!("which Python 3.{minor} has no more")),
        None => Err("and which version of Python this is can't be told".to_owned()),
    }
}

/// The handler as the agent can import it: the runtime takes slashes for dots, and packages that have
/// no `__init__.py`, and the agent neither.
///
/// # Errors
/// What the agent would not find.
fn importable(own: &str, paths: &[PathBuf]) -> Result<String, String> {
    let not_found = || format!("{own}, the function's handler, is in no module that is there");
    let (module, function) = own.rsplit_once('.').ok_or_else(not_found)?;
    let module = module.replace('/', ".");
    let file = module.replace('.', "/");
    let root = paths.iter().find(|it| is_module(it, &file)).ok_or_else(not_found)?;
    let mut packages = Path::new(&file).ancestors().skip(1).filter(|it| !it.as_os_str().is_empty());
    match packages.find(|it| !root.join(it).join("__init__.py").exists()) {
        Some(package) => Err(format!(
            "{} has no __init__.py, without which it does not import {own}",
            root.join(package).display()
        )),
        None => Ok(format!("{module}.{function}")),
    }
}

fn is_module(directory: &Path, file: &str) -> bool {
    let path = directory.join(file);
    path.join("__init__.py").exists()
        || ["py", "pyc", "so"].iter().any(|it| path.with_extension(it).exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::{added, environment};
    use crate::files::tests::write;
    use tempfile::TempDir;

    const HANDLER: &str = "import imp\n\ndef wrapper(event, context):\n    pass\n";

    /// An agent and what it imports in one directory, a function beside it.
    fn installed(home: &TempDir, place: &str, package: &str, handler: &str) -> Places {
        let root = home.path().join(place);
        write(&root, &[(&format!("{package}/{package}_agent.py"), b"")]);
        write(&root, &[(&format!("{package}/handler.py"), handler.as_bytes())]);
        for dependency in DEPENDENCIES {
            write(&root, &[(&format!("{dependency}/__init__.py"), b"")]);
        }
        write(&home.path().join("task"), &[("app.py", b"")]);
        places(home)
    }

    fn places(home: &TempDir) -> Places {
        let [task, layers, prefix] = ["task", "layers", "lang"].map(|it| home.path().join(it));
        Places { task, layers, prefix: Some(prefix), is_told: false }
    }

    fn switched(
        places: &Places,
        minor: Option<u32>,
        variables: &[(&str, &str)],
    ) -> Result<Environment, String> {
        let mut environment = environment(&[&[("_HANDLER", "app.handler")], variables].concat());
        switch_on(minor, places, &mut environment).map(|()| environment)
    }

    #[test]
    fn an_agent_in_the_package_a_layer_or_the_image_gets_the_handler() {
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
                let home = TempDir::new().unwrap();
                let places = installed(&home, place, package, HANDLER);
                let path = places.task.join("vendored").display().to_string();
                let environment = switched(&places, Some(11), &[("PYTHONPATH", &path)]).unwrap();
                let wrapper = format!("{package}.handler.wrapper");
                let expected = [("_HANDLER", wrapper.as_str()), (variable, "app.handler")];
                assert_eq!(added(&environment), expected.into(), "{place}");
            }
        }
    }

    #[test]
    fn python_3_12_has_no_imp() {
        let home = TempDir::new().unwrap();
        let places = installed(&home, "task", "thundra", HANDLER);
        for minor in [Some(12), Some(13), None] {
            let why = switched(&places, minor, &[]).unwrap_err();
            assert!(why.contains("imports imp"), "{why}");
        }
        let later = HANDLER.replace("import imp\n", "import importlib\n");
        let places = installed(&home, "task", "thundra", &later);
        assert!(!switched(&places, Some(13), &[]).unwrap().added().is_empty());
    }

    #[test]
    fn without_an_agent_or_with_one_that_is_set_up_nothing_changes() {
        let home = TempDir::new().unwrap();
        let own = &[("task/thundra/__init__.py", &b""[..]), ("task/thundra/handler.py", b"")];
        write(home.path(), own);
        assert!(switched(&places(&home), Some(11), &[]).unwrap().added().is_empty());
        let places = installed(&home, "task", "thundra", HANDLER);
        let set_up = [("thundra_agent_lambda_handler", "other.handler")];
        assert!(switched(&places, Some(13), &set_up).unwrap().added().is_empty());
    }

    #[test]
    fn half_an_agent_is_left_out() {
        let home = TempDir::new().unwrap();
        let places = installed(&home, "task", "thundra", HANDLER);
        for (gone, why) in [
            ("opentracing/__init__.py", "lacks opentracing"),
            ("thundra/handler.py", "cannot read"),
        ] {
            let gone = places.task.join(gone);
            std::fs::remove_file(&gone).unwrap();
            if gone.ends_with("__init__.py") {
                std::fs::remove_dir(gone.parent().unwrap()).unwrap();
            }
            assert!(switched(&places, Some(11), &[]).unwrap_err().contains(why), "{why}");
        }
        let places = installed(&home, "task", "thundra", "import imp\n");
        assert!(switched(&places, Some(11), &[]).unwrap_err().contains("there is no handler"));
    }

    #[test]
    fn what_lambda_brings_along_an_agent_need_not() {
        let home = TempDir::new().unwrap();
        let places = installed(&home, "task", "thundra", HANDLER);
        std::fs::rename(places.task.join("dateutil"), home.path().join("dateutil")).unwrap();
        assert!(switched(&places, Some(11), &[]).unwrap_err().contains("lacks dateutil"));
        let runtime = home.path().display().to_string();
        assert!(switched(&places, Some(11), &[("LAMBDA_RUNTIME_DIR", &runtime)]).is_ok());
    }

    #[test]
    fn of_two_agents_it_is_the_one_that_has_a_key_and_works() {
        let home = TempDir::new().unwrap();
        installed(&home, "task", "thundra", HANDLER);
        let places = installed(&home, "task", "catchpoint", HANDLER);
        let wrapper = |variables: &[(&str, &str)]| {
            let environment = switched(&places, Some(11), variables).unwrap();
            environment.text("_HANDLER").unwrap().to_owned()
        };
        assert_eq!(wrapper(&[("THUNDRA_APIKEY", "k")]), "thundra.handler.wrapper");
        assert_eq!(wrapper(&[("catchpoint_apikey", "k")]), "catchpoint.handler.wrapper");
        std::fs::remove_file(places.task.join("thundra/handler.py")).unwrap();
        assert_eq!(wrapper(&[("THUNDRA_APIKEY", "k")]), "catchpoint.handler.wrapper");
    }

    #[test]
    fn a_handler_is_named_as_the_agent_can_import_it() {
        let home = TempDir::new().unwrap();
        let places = installed(&home, "task", "thundra", HANDLER);
        let files = [
            ("a/__init__.py", &b""[..]),
            ("a/b/__init__.py", b""),
            ("a/b/c.py", b""),
            ("plain/d.py", b""),
        ];
        write(&places.task, &files);
        let told = |handler: &str| {
            let environment = switched(&places, Some(11), &[("_HANDLER", handler)])?;
            Ok::<_, String>(environment.text("THUNDRA_AGENT_LAMBDA_HANDLER").unwrap().to_owned())
        };
        for handler in ["a/b/c.handler", "a.b.c.handler", "a/b.c.handler"] {
            assert_eq!(told(handler), Ok("a.b.c.handler".to_owned()));
        }
        for (handler, why) in [
            ("plain.d.handler", "has no __init__.py"),
            ("none.handler", "in no module"),
            ("handler", "in no module"),
        ] {
            assert!(told(handler).unwrap_err().contains(why), "{handler}");
        }
    }

    #[test]
    fn a_handler_that_an_argument_names_stays() {
        let home = TempDir::new().unwrap();
        let places = Places { is_told: true, ..installed(&home, "task", "thundra", HANDLER) };
        assert!(switched(&places, Some(11), &[]).unwrap_err().contains("by an argument"));
    }
}
