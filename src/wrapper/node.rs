//! Node.js: the agent's bootstrap module, required before the function's.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::agents::{Places, THUNDRA};
use crate::environment::Environment;
use crate::{files, handler};

const OPTIONS: &str = "NODE_OPTIONS";

/// Exchanges the handler when it is required.
const BOOTSTRAP: &str = "dist/bootstrap/lambda/index.js";

/// What of the agent is needed, and that not nothing is in it. By `handler_es.mjs` it loads the function's
/// module as the runtime does, of whatever kind it is; by its own `handler.js` not all of them.
const PARTS: [&str; 5] = [
    "package.json",
    "dist/thundra.js",
    BOOTSTRAP,
    "dist/bootstrap/lambda/handler_es.mjs",
    "dist/bootstrap/lambda/loader.cjs",
];

/// One of the packages that it requires, which stands for all: who copied the agent alone has none.
const DEPENDENCY: &str = "opentracing";

/// From this version on Lambda's runtime refuses handlers that take a callback, as the agent's does
/// ("Define Lambda function handler in Node.js"); on Managed Instances it always did.
const WITHOUT_CALLBACKS: u32 = 24;

/// What a module's file may end with, in the order in which the runtime looks.
const EXTENSIONS: [&str; 4] = ["", ".js", ".mjs", ".cjs"];

/// # Errors
/// Why the agent that is there would not work.
pub fn switch_on(
    major: Option<u32>,
    places: &Places,
    environment: &mut Environment,
) -> Result<(), String> {
    let directory = env::current_dir().unwrap_or_else(|_| places.task.clone());
    switch_on_from(&directory, major, places, environment)
}

/// `directory` is where the runtime starts.
fn switch_on_from(
    directory: &Path,
    major: Option<u32>,
    places: &Places,
    environment: &mut Environment,
) -> Result<(), String> {
    let is_required = environment.text(OPTIONS).is_some_and(|it| it.contains("@thundra/core"));
    if is_required || handler::is_set_up(environment, THUNDRA) {
        return Ok(());
    }
    let modules = module_directories(directory, &places.task, environment.get("NODE_PATH"));
    let find = |package: &str| modules.iter().map(|it| it.join(package)).find(|it| it.is_dir());
    let Some(agent) = find("@thundra/core") else { return Ok(()) };
    check_runtime(major, environment)?;
    for part in PARTS {
        files::check(&agent.join(part))?;
    }
    // What is below the agent itself goes first, as `require` has it.
    if !agent.join("node_modules").join(DEPENDENCY).is_dir() && find(DEPENDENCY).is_none() {
        return Err(format!("{} lacks {DEPENDENCY}, which it requires", agent.display()));
    }
    places.check_exchange()?;
    check_handler(&handler::own(environment, &places.task)?, &places.task)?;
    environment.add_setting(THUNDRA, "LAMBDA_ES_ENABLE", "true");
    // A path, as the function's own child processes read the options too, wherever they run.
    environment.append(OPTIONS, " ", format!("-r {}", quoted(&agent.join(BOOTSTRAP))?));
    Ok(())
}

/// Where `require` looks ("Modules: `CommonJS` modules": loading from folders named `node_modules` and
/// from the global folders).
fn module_directories(directory: &Path, task: &Path, node_path: Option<&OsStr>) -> Vec<PathBuf> {
    let above = directory.ancestors().chain(task.ancestors()).map(|it| it.join("node_modules"));
    let global = node_path.iter().flat_map(env::split_paths).filter(|it| it.is_absolute());
    above.chain(global).collect()
}

fn check_runtime(major: Option<u32>, environment: &Environment) -> Result<(), String> {
    let refuses = "its handler takes a callback, which Lambda's runtime refuses";
    if environment.text("AWS_LAMBDA_INITIALIZATION_TYPE") == Some("lambda-managed-instances") {
        return Err(format!("{refuses} on Managed Instances"));
    }
    match major {
        Some(..WITHOUT_CALLBACKS) => Ok(()),
        Some(major) => Err(format!("{refuses} for Node.js {major}")),
        None => Err(format!("{refuses} for some versions of Node.js, and this one can't be told")),
    }
}

/// # Errors
/// Why the agent can't call the handler, such as `dir/module.function`.
fn check_handler(own: &str, task: &Path) -> Result<(), String> {
    let (directory, name) = own.rsplit_once('/').unwrap_or(("", own));
    let module = name.split('.').next().unwrap_or_default();
    let path = |extension: &&str| task.join(directory).join(format!("{module}{extension}"));
    let Some(file) = EXTENSIONS.iter().map(path).find(|it| it.exists()) else {
        return Err(format!("{own}, the function's handler, is in no module that is there"));
    };
    // Of a directory nothing can be told.
    if file.is_file() && files::contains(&files::read(&file)?, b"streamifyResponse") {
        return Err(format!("{} streams its responses, which the agent does not", file.display()));
    }
    Ok(())
}

/// As the options have it that may hold spaces ("Command-line API": `NODE_OPTIONS`).
fn quoted(path: &Path) -> Result<String, String> {
    let text = path.to_str().ok_or_else(|| format!("{} is no text", path.display()))?;
    if !text.contains(|it: char| it.is_whitespace() || it == '"' || it == '\\') {
        return Ok(text.to_owned());
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::{added, environment};
    use crate::files::tests::write;
    use crate::handler::HANDLER;
    use tempfile::TempDir;

    /// A function of these files, with the agent in its package.
    fn function(files: &[(&str, &[u8])]) -> (TempDir, Places) {
        let home = TempDir::new().unwrap();
        let task = home.path().join("task");
        for part in PARTS {
            write(&task, &[(&format!("node_modules/@thundra/core/{part}"), b"x")]);
        }
        write(&task, &[("node_modules/opentracing/index.js", b"")]);
        write(&task, files);
        let places = Places { task, layers: "/no".into(), prefix: None, is_told: false };
        (home, places)
    }

    fn switched(places: &Places, variables: &[(&str, &str)]) -> Result<Environment, String> {
        let mut environment = environment(&[&[(HANDLER, "app.handler")], variables].concat());
        let task = places.task.clone();
        switch_on_from(&task, Some(22), places, &mut environment).map(|()| environment)
    }

    fn required(places: &Places) -> String {
        format!("-r {}/node_modules/@thundra/core/{BOOTSTRAP}", places.task.display())
    }

    #[test]
    fn each_kind_of_module_is_loaded_as_the_runtime_does() {
        for file in ["app.js", "app.mjs", "app.cjs", "app", "app/index.js"] {
            let (_home, places) = function(&[(file, b"")]);
            let environment = switched(&places, &[]).unwrap();
            let required = required(&places);
            let expected = [("THUNDRA_AGENT_LAMBDA_ES_ENABLE", "true"), (OPTIONS, &required)];
            assert_eq!(added(&environment), expected.into(), "{file}");
        }
        let (_home, places) = function(&[("src/app.js", b"")]);
        assert!(switched(&places, &[(HANDLER, "src/app.handler.deeper")]).is_ok());
    }

    #[test]
    fn options_that_are_there_stay() {
        let (_home, places) = function(&[("app.js", b"")]);
        let environment = switched(&places, &[(OPTIONS, "--enable-source-maps")]).unwrap();
        let both = format!("--enable-source-maps {}", required(&places));
        assert_eq!(environment.text(OPTIONS), Some(both.as_str()));
    }

    #[test]
    fn a_path_with_odd_characters_is_quoted() {
        assert_eq!(quoted(Path::new("/a/b")), Ok("/a/b".to_owned()));
        assert_eq!(quoted(Path::new(r#"/a b/"c\"#)), Ok(r#""/a b/\"c\\""#.to_owned()));
    }

    #[test]
    fn without_an_agent_or_with_one_that_is_set_up_nothing_changes() {
        let (_home, places) = function(&[("app.js", b"")]);
        for set_up in
            [("thundra_agent_lambda_handler", "app.handler"), (OPTIONS, "-r @thundra/core/dist/x")]
        {
            assert!(switched(&places, &[set_up]).unwrap().added().is_empty(), "{set_up:?}");
        }
        std::fs::remove_dir_all(places.task.join("node_modules")).unwrap();
        assert!(switched(&places, &[]).unwrap().added().is_empty());
    }

    #[test]
    fn half_an_agent_is_left_out() {
        for part in PARTS {
            let (_home, places) = function(&[("app.js", b"")]);
            std::fs::write(places.task.join("node_modules/@thundra/core").join(part), "").unwrap();
            assert!(switched(&places, &[]).unwrap_err().contains(part), "{part}");
        }
        let (_home, places) = function(&[("app.js", b"")]);
        std::fs::remove_dir_all(places.task.join("node_modules/opentracing")).unwrap();
        assert!(switched(&places, &[]).unwrap_err().contains("lacks opentracing"));
    }

    #[test]
    fn a_handler_that_the_agent_can_not_call_stays() {
        let (_home, places) =
            function(&[("app.js", b"exports.handler = awslambda.streamifyResponse(f)")]);
        assert!(switched(&places, &[]).unwrap_err().contains("streams its responses"));
        let none = switched(&places, &[(HANDLER, "none.handler")]).unwrap_err();
        assert!(none.contains("in no module"), "{none}");
        let (_home, places) = function(&[("app.js", b"")]);
        let told = Places { is_told: true, ..places };
        assert!(switched(&told, &[]).unwrap_err().contains("by an argument"));
    }

    #[test]
    fn a_runtime_that_refuses_callbacks_is_left_alone() {
        let (_home, places) = function(&[("app.js", b"")]);
        let managed = ("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances");
        for (major, more) in
            [(Some(24), ("A", "")), (Some(25), ("A", "")), (None, ("A", "")), (Some(22), managed)]
        {
            let mut environment = environment(&[(HANDLER, "app.handler"), more]);
            let refused = switch_on_from(&places.task, major, &places, &mut environment);
            assert!(refused.unwrap_err().contains("callback") && environment.added().is_empty());
        }
    }

    #[test]
    fn an_agent_is_found_where_node_looks_and_in_the_package() {
        let found = |directory: &str, task: &str, path: &str| {
            module_directories(Path::new(directory), Path::new(task), Some(OsStr::new(path)))
        };
        let expected = ["/a/b/node_modules", "/a/node_modules", "/node_modules", "/t/node_modules"];
        let expected = expected.into_iter().chain(["/node_modules", "/opt/nodejs/node_modules"]);
        let expected: Vec<PathBuf> = expected.map(PathBuf::from).collect();
        assert_eq!(found("/a/b", "/t", "relative:/opt/nodejs/node_modules"), expected);
    }
}
