//! Python: wraps the function's handler by the agent's.

mod imports;
mod search_path;

use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::environment::{CATCHPOINT, THUNDRA};
use crate::paths::Paths;
use crate::{files, handler};

use search_path::SearchPath;

/// From this version on, Python 3 has no module `imp`. All agents up to 3.0.10 import it.
const FIRST_WITHOUT_IMP: u32 = 12;

/// An agent that the wrapper looks for.
struct Agent {
    /// Name of the package that contains the agent.
    package: &'static str,
    /// Prefix of the agent's settings.
    prefix: &'static str,
    /// The variable with the agent's key.
    key: &'static str,
}

const AGENTS: [Agent; 2] = [
    Agent { package: "thundra", prefix: THUNDRA, key: "THUNDRA_APIKEY" },
    Agent { package: "catchpoint", prefix: CATCHPOINT, key: "CATCHPOINT_APIKEY" },
];

/// Switches the agent on, if the function has one.
///
/// # Errors
/// Why an existing agent would not work.
pub fn switch_on(
    minor: Option<u32>,
    paths: &Paths,
    environment: &mut Environment,
) -> Result<(), String> {
    let path = SearchPath::of(minor, paths, environment);
    let found: Vec<(&Agent, PathBuf)> =
        AGENTS.iter().filter_map(|agent| Some((agent, agent.place(&path)?))).collect();
    if found.iter().any(|(agent, _)| handler::is_set_up(environment, agent.prefix)) {
        return Ok(());
    }
    let has_key = |(agent, _): &(&Agent, PathBuf)| environment.in_any_case(agent.key).is_some();
    let (first, last): (Vec<_>, Vec<_>) = found.into_iter().partition(has_key);
    let mut failure = Ok(());
    for (agent, at) in first.into_iter().chain(last) {
        let python = Python { minor, path: &path };
        match wrap_handler(agent, &at, &python, paths, environment) {
            Ok(()) => return Ok(()),
            failed => failure = failure.and(failed),
        }
    }
    failure
}

impl Agent {
    /// The directory of its package. Another package may have the same name, but lacks the agent's module.
    fn place(&self, path: &SearchPath) -> Option<PathBuf> {
        let module = format!("{}_agent", self.package);
        let paths = path.directories().chain(&path.omitted).map(|it| it.join(self.package));
        paths.into_iter().find(|it| path.module_in(it, &module).is_some())
    }

    /// Checks that Python imports the package in this directory.
    ///
    /// # Errors
    /// Why Python would import another package, or none.
    fn check_place(&self, at: &Path, path: &SearchPath) -> Result<(), String> {
        let shown = at.display();
        match path.find(self.package) {
            Some(found) if found == at => Ok(()),
            Some(found) => Err(imports::shadowed(&found, &shown.to_string())),
            None if path.omitted.iter().any(|it| at.starts_with(it)) => {
                Err(format!("PYTHONPATH lacks the directory of {shown} (add it)"))
            }
            None => Err(format!("{shown} has no __init__.py, so Python does not import it")),
        }
    }
}

/// The version of Python, and where it looks for modules.
struct Python<'a> {
    /// The minor version of Python 3, if it is known.
    minor: Option<u32>,
    path: &'a SearchPath,
}

fn wrap_handler(
    agent: &Agent,
    at: &Path,
    python: &Python,
    paths: &Paths,
    environment: &mut Environment,
) -> Result<(), String> {
    agent.check_place(at, python.path)?;
    let module = at.join("handler.py");
    let source = String::from_utf8_lossy(&files::read(&module)?).into_owned();
    let shown = module.display();
    if !source.contains("def wrapper(") {
        return Err(format!("{shown} does not define wrapper()"));
    }
    check_imp(&source, python.minor).map_err(|why| format!("{shown} imports imp, {why}"))?;
    imports::check(python.path, at)?;
    paths.check_wrappable()?;
    let original = handler::original(environment, &paths.task)?;
    let original = importable(&original, python.path)?;
    let wrapper = format!("{}.handler.wrapper", agent.package);
    handler::wrap_handler(environment, agent.prefix, &wrapper, &original);
    Ok(())
}

fn check_imp(source: &str, minor: Option<u32>) -> Result<(), String> {
    let imports = source.lines().any(|line| line.trim() == "import imp");
    match minor {
        Some(..FIRST_WITHOUT_IMP) => Ok(()),
        _ if !imports => Ok(()),
        Some(minor) => Err(format!("which Python 3.{minor} does not have")),
        None => Err("which Python has up to 3.11, and this version is unknown".to_owned()),
    }
}

/// The handler's name with dots for slashes. The runtime accepts slashes, and packages without an
/// `__init__.py`. The agent accepts neither.
///
/// # Errors
/// The module or package that the agent could not import.
fn importable(handler: &str, path: &SearchPath) -> Result<String, String> {
    let not_found = || format!("{handler}, the function's handler, is in no existing module");
    let (module, function) = handler.rsplit_once('.').ok_or_else(not_found)?;
    let module = module.replace('/', ".");
    let file = module.replace('.', "/");
    let root =
        path.directories().find(|it| path.module_in(it, &file).is_some()).ok_or_else(not_found)?;
    let mut packages = Path::new(&file).ancestors().skip(1).filter(|it| !it.as_os_str().is_empty());
    match packages.find(|it| !root.join(it).join("__init__.py").exists()) {
        Some(package) => Err(format!(
            "{} has no __init__.py, so the agent cannot import {handler}",
            root.join(package).display()
        )),
        None => Ok(format!("{module}.{function}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::{added, environment};
    use crate::files::tests::write;
    use tempfile::TempDir;

    const HANDLER: &str = "import imp\n\ndef wrapper(event, context):\n    pass\n";

    /// An agent and its dependencies in `place`, and a function.
    fn installed(home: &TempDir, place: &str, package: &str, handler: &str) -> Paths {
        let root = home.path().join(place);
        for file in ["__init__", &format!("{package}_agent")] {
            write(&root, &[(&format!("{package}/{file}.py"), b"")]);
        }
        write(&root, &[(&format!("{package}/handler.py"), handler.as_bytes())]);
        for (dependency, module) in imports::PACKAGES {
            write(&root, &[(&format!("{dependency}/__init__.py"), b"")]);
            write(&root, &[(&format!("{dependency}/{module}.py"), b"")]);
        }
        write(&home.path().join("task"), &[("app.py", b"")]);
        paths(home)
    }

    fn paths(home: &TempDir) -> Paths {
        let [task, layers, prefix] = ["task", "layers", "lang"].map(|it| home.path().join(it));
        Paths { task, layers, prefix: Some(prefix), has_handler_argument: false }
    }

    fn switched(
        paths: &Paths,
        minor: Option<u32>,
        variables: &[(&str, &str)],
    ) -> Result<Environment, String> {
        let mut environment = environment(&[&[("_HANDLER", "app.handler")], variables].concat());
        switch_on(minor, paths, &mut environment).map(|()| environment)
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
                let paths = installed(&home, place, package, HANDLER);
                let path = paths.task.join("vendored").display().to_string();
                let is_vendored = place == "task/vendored";
                let variables = [("PYTHONPATH", path.as_str())];
                let variables = if is_vendored { &variables[..] } else { &[] };
                let environment = switched(&paths, Some(11), variables).unwrap();
                let wrapper = format!("{package}.handler.wrapper");
                let expected = [("_HANDLER", wrapper.as_str()), (variable, "app.handler")];
                assert_eq!(added(&environment), expected.into(), "{place}");
            }
        }
    }

    #[test]
    fn python_3_12_has_no_imp() {
        let home = TempDir::new().unwrap();
        let paths = installed(&home, "task", "thundra", HANDLER);
        for minor in [Some(12), Some(13), None] {
            let why = switched(&paths, minor, &[]).unwrap_err();
            assert!(why.contains("imports imp"), "{why}");
        }
        let later = HANDLER.replace("import imp\n", "import importlib\n");
        let paths = installed(&home, "task", "thundra", &later);
        assert!(!switched(&paths, Some(13), &[]).unwrap().added().is_empty());
    }

    #[test]
    fn without_an_agent_or_with_one_that_is_set_up_nothing_changes() {
        let home = TempDir::new().unwrap();
        let own = &[("task/thundra/__init__.py", &b""[..]), ("task/thundra/handler.py", b"")];
        write(home.path(), own);
        assert!(switched(&paths(&home), Some(11), &[]).unwrap().added().is_empty());
        let paths = installed(&home, "task", "thundra", HANDLER);
        let set_up = [("thundra_agent_lambda_handler", "other.handler")];
        assert!(switched(&paths, Some(13), &set_up).unwrap().added().is_empty());
    }

    #[test]
    fn an_incomplete_agent_is_left_out() {
        let home = TempDir::new().unwrap();
        let paths = installed(&home, "task", "thundra", HANDLER);
        for (gone, why) in [
            ("opentracing/__init__.py", "lacks opentracing"),
            ("thundra/handler.py", "cannot read"),
        ] {
            std::fs::remove_file(paths.task.join(gone)).unwrap();
            assert!(switched(&paths, Some(11), &[]).unwrap_err().contains(why), "{why}");
        }
        let paths = installed(&home, "task", "thundra", "import imp\n");
        assert!(switched(&paths, Some(11), &[]).unwrap_err().contains("does not define wrapper()"));
    }

    /// The function has these files, and a layer has the agent.
    fn beside(files: &[&str]) -> Result<Environment, String> {
        let home = TempDir::new().unwrap();
        let paths = installed(&home, "layers/python", "thundra", HANDLER);
        for file in files {
            write(&paths.task, &[(file, b"")]);
        }
        switched(&paths, Some(11), &[])
    }

    #[test]
    fn an_agent_that_python_would_not_import_is_left_out() {
        for file in [
            "thundra.py",
            "thundra.so",
            "thundra/__init__.py",
            "thundra/__init__.pyc",
            "requests.py",
            "requests/__init__.py",
            "dateutil.pyc",
            "wrapt.abi3.so",
            "urllib3.py",
            "chardet.py",
            "brotli.py",
            "brotli/__init__.py",
            "brotlicffi.py",
            "zstandard.py",
            "redis.py",
            "BytesIO.py",
            "winreg.py",
            "queue.py",
            "http/__init__.py",
            "uuid.pyc",
        ] {
            let why = beside(&[file]).unwrap_err();
            let module = file.trim_end_matches("/__init__.py").trim_end_matches("/__init__.pyc");
            let seen = format!("task/{module} in place of");
            assert!(why.starts_with("Python imports ") && why.contains(&seen), "{file}: {why}");
        }
    }

    #[test]
    fn a_module_that_shadows_nothing_of_the_agent_is_accepted() {
        for files in [
            &["thundra/data.json"][..],
            &["requests/data.json", "requests.txt"],
            &["Thundra.py", "thundra_config.py", "json.py", "secrets.py"],
            // The function's own copy of a package that the agent needs, and installed replacements.
            &["requests/__init__.py", "requests/sessions.py"],
            &["typing.py", "typing-3.10.0.dist-info/METADATA"],
            &["ipaddress.py", "ipaddress-1.0.23-py3.8.egg-info"],
            // The packages themselves, also without the files that pip adds.
            &["brotli.py", "_brotli.abi3.so", "socks.py", "sockshandler.py", "ujson.so"],
            &[
                "brotlicffi/__init__.py",
                "brotlicffi/_api.py",
                "redis/__init__.py",
                "redis/client.py",
            ],
            &["brotli.py", "Brotli-1.0.9.dist-info/METADATA", "django/data.json", "db.py"],
        ] {
            assert!(!beside(files).unwrap().added().is_empty(), "{files:?}");
        }
    }

    #[test]
    fn an_agent_with_a_test_runner_needs_the_packages_of_that() {
        let home = TempDir::new().unwrap();
        let paths = installed(&home, "task", "thundra", HANDLER);
        let runner = b"from foresight.model import Terminator";
        for (file, content, missing) in [
            ("thundra/wrappers/base_wrapper.py", &b""[..], None),
            ("thundra/wrappers/base_wrapper.py", runner, Some("lacks fastcounter")),
            ("fastcounter/__init__.py", b"", Some("lacks foresight")),
            ("foresight/__init__.py", b"", Some("in place of the package foresight")),
            ("foresight/context/__init__.py", b"", None),
        ] {
            write(&paths.task, &[(file, content)]);
            let error = switched(&paths, Some(11), &[]).err();
            let is_right = error.as_ref().zip(missing).is_some_and(|(it, why)| it.contains(why));
            assert!(is_right || error.is_none() && missing.is_none(), "{file}: {error:?}");
        }
    }

    #[test]
    fn a_layer_that_pythonpath_lacks_is_named() {
        let home = TempDir::new().unwrap();
        let paths = installed(&home, "layers/python", "thundra", HANDLER);
        let why = switched(&paths, Some(11), &[("PYTHONPATH", "/own")]).unwrap_err();
        assert!(why.starts_with("PYTHONPATH lacks"), "{why}");
        std::fs::remove_file(home.path().join("layers/python/thundra/__init__.py")).unwrap();
        let why = switched(&paths, Some(11), &[]).unwrap_err();
        assert!(why.contains("has no __init__.py"), "{why}");
    }

    #[test]
    fn an_agent_may_lack_a_package_that_lambda_has() {
        let home = TempDir::new().unwrap();
        let paths = installed(&home, "task", "thundra", HANDLER);
        std::fs::rename(paths.task.join("dateutil"), home.path().join("dateutil")).unwrap();
        assert!(switched(&paths, Some(11), &[]).unwrap_err().contains("lacks dateutil"));
        let runtime = home.path().display().to_string();
        assert!(switched(&paths, Some(11), &[("LAMBDA_RUNTIME_DIR", &runtime)]).is_ok());
    }

    #[test]
    fn the_agent_that_has_a_key_and_works_is_switched_on() {
        let home = TempDir::new().unwrap();
        installed(&home, "task", "thundra", HANDLER);
        let paths = installed(&home, "task", "catchpoint", HANDLER);
        let wrapper = |variables: &[(&str, &str)]| {
            let environment = switched(&paths, Some(11), variables).unwrap();
            environment.text("_HANDLER").unwrap().to_owned()
        };
        assert_eq!(wrapper(&[("THUNDRA_APIKEY", "k")]), "thundra.handler.wrapper");
        assert_eq!(wrapper(&[("catchpoint_apikey", "k")]), "catchpoint.handler.wrapper");
        std::fs::remove_file(paths.task.join("thundra/handler.py")).unwrap();
        assert_eq!(wrapper(&[("THUNDRA_APIKEY", "k")]), "catchpoint.handler.wrapper");
    }

    #[test]
    fn a_handler_is_named_as_the_agent_can_import_it() {
        let home = TempDir::new().unwrap();
        let paths = installed(&home, "task", "thundra", HANDLER);
        let files = [
            ("a/__init__.py", &b""[..]),
            ("a/b/__init__.py", b""),
            ("a/b/c.py", b""),
            ("plain/d.py", b""),
        ];
        write(&paths.task, &files);
        let renamed = |handler: &str| {
            let environment = switched(&paths, Some(11), &[("_HANDLER", handler)])?;
            Ok::<_, String>(environment.text("THUNDRA_AGENT_LAMBDA_HANDLER").unwrap().to_owned())
        };
        for handler in ["a/b/c.handler", "a.b.c.handler", "a/b.c.handler"] {
            assert_eq!(renamed(handler), Ok("a.b.c.handler".to_owned()));
        }
        for (handler, why) in [
            ("plain.d.handler", "has no __init__.py"),
            ("none.handler", "in no existing module"),
            ("handler", "in no existing module"),
        ] {
            assert!(renamed(handler).unwrap_err().contains(why), "{handler}");
        }
    }

    #[test]
    fn a_handler_that_an_argument_names_stays() {
        let home = TempDir::new().unwrap();
        let paths =
            Paths { has_handler_argument: true, ..installed(&home, "task", "thundra", HANDLER) };
        assert!(switched(&paths, Some(11), &[]).unwrap_err().contains("an argument"));
    }
}
