//! Node.js: the agent's bootstrap module, required before the function's.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::agents::{Places, THUNDRA};
use crate::environment::Environment;
use crate::handler::{self, HANDLER};

const OPTIONS: &str = "NODE_OPTIONS";

/// Exchanges the handler when it is required.
const BOOTSTRAP: &str = "@thundra/core/dist/bootstrap/lambda";

/// From this version on Lambda's runtime refuses handlers that take a callback, as the agent's does
/// ("Define Lambda function handler in Node.js"); on Managed Instances it always did.
const WITHOUT_CALLBACKS: u32 = 24;

/// In the order in which the runtime looks for the handler's module.
const EXTENSIONS: [&str; 3] = ["js", "mjs", "cjs"];

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

/// `directory` is where the runtime starts, and looks for what it is to require.
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
    let Some(agent) = agent(directory, environment.get("NODE_PATH")) else { return Ok(()) };
    let initialization = environment.text("AWS_LAMBDA_INITIALIZATION_TYPE");
    if major.is_some_and(|it| it >= WITHOUT_CALLBACKS)
        || initialization == Some("lambda-managed-instances")
    {
        return Err("its handler takes a callback, which this runtime refuses".to_owned());
    }
    let Some(own) = environment.text(HANDLER) else {
        return Err(format!("{HANDLER}, the function's handler, is not set"));
    };
    let is_es_module = is_es_module(own, &places.task);
    let entry = if is_es_module { "bootstrap/lambda/handler_es.mjs" } else { "handler.js" };
    for part in ["bootstrap/lambda/index.js", "thundra.js", entry] {
        let part = agent.join("dist").join(part);
        fs::File::open(&part)
            .map_err(|error| format!("cannot read {}: {error}", part.display()))?;
    }
    if is_es_module {
        environment.add_setting(THUNDRA, "LAMBDA_ES_ENABLE", "true");
    }
    environment.append(OPTIONS, " ", format!("-r {BOOTSTRAP}"));
    Ok(())
}

/// Where `require` finds the agent ("Modules: `CommonJS` modules": loading from folders named
/// `node_modules` and from the global folders).
fn agent(directory: &Path, node_path: Option<&OsStr>) -> Option<PathBuf> {
    let above = directory.ancestors().map(|it| it.join("node_modules"));
    let global = node_path.iter().flat_map(env::split_paths).filter(|it| it.is_absolute());
    above.chain(global).map(|it| it.join("@thundra/core")).find(|it| it.is_dir())
}

/// Whether the module of this handler, such as `dir/module.function`, is an ES module.
fn is_es_module(handler: &str, task: &Path) -> bool {
    let (directory, name) = handler.rsplit_once('/').unwrap_or(("", handler));
    let module = name.split('.').next().unwrap_or_default();
    let directory = task.join(directory);
    let file = |extension: &&str| directory.join(format!("{module}.{extension}")).is_file();
    match EXTENSIONS.iter().find(|it| file(it)) {
        Some(&"mjs") => true,
        Some(&"js") => is_package_of_es_modules(&directory),
        _ => false,
    }
}

/// By the nearest `package.json` ("Modules: Packages").
fn is_package_of_es_modules(directory: &Path) -> bool {
    #[derive(Deserialize)]
    struct Package {
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    let nearest = directory.ancestors().find_map(|it| fs::read(it.join("package.json")).ok());
    let package = nearest.and_then(|it| serde_json::from_slice::<Package>(&it).ok());
    package.and_then(|it| it.kind).is_some_and(|it| it == "module")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::{added, environment};
    use tempfile::TempDir;

    const AGENT: [&str; 4] = [
        "handler.js",
        "thundra.js",
        "bootstrap/lambda/index.js",
        "bootstrap/lambda/handler_es.mjs",
    ];

    /// A function of these files beside the agent's, in a directory `task`.
    fn function(agent: &[&str], files: &[(&str, &str)]) -> TempDir {
        let home = TempDir::new().unwrap();
        let agent = agent.iter().map(|it| (format!("node_modules/@thundra/core/dist/{it}"), ""));
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), *text));
        for (path, text) in agent.chain(files) {
            let path = home.path().join("task").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        home
    }

    fn switched(home: &TempDir, variables: &[(&str, &str)]) -> Result<Environment, String> {
        let task = home.path().join("task");
        let places = Places { task: task.clone(), layers: "/no".into(), prefix: None };
        let mut environment = environment(variables);
        switch_on_from(&task, Some(22), &places, &mut environment).map(|()| environment)
    }

    const REQUIRED: (&str, &str) = (OPTIONS, "-r @thundra/core/dist/bootstrap/lambda");

    #[test]
    fn each_kind_of_module_gets_the_entry_for_it() {
        let module = r#"{"name": "x", "type": "module"}"#;
        for (files, is_es) in [
            ([("app.js", ""), ("x", "")], false),
            ([("app.mjs", ""), ("x", "")], true),
            ([("app.cjs", ""), ("package.json", module)], false),
            ([("app.js", ""), ("package.json", module)], true),
            ([("app.js", ""), ("package.json", r#"{"type": "commonjs"}"#)], false),
            ([("app.js", ""), ("package.json", "not json")], false),
            // The runtime takes the first.
            ([("app.js", ""), ("app.mjs", "")], false),
        ] {
            let home = function(&AGENT, &files);
            let environment = switched(&home, &[(HANDLER, "app.handler")]).unwrap();
            let es = ("THUNDRA_AGENT_LAMBDA_ES_ENABLE", "true");
            let expected = if is_es { vec![es, REQUIRED] } else { vec![REQUIRED] };
            assert_eq!(added(&environment), expected.into_iter().collect(), "{files:?}");
        }
    }

    #[test]
    fn a_handlers_directory_counts() {
        let files = [("src/app.js", ""), ("src/package.json", r#"{"type": "module"}"#)];
        let home = function(&AGENT, &files);
        let environment = switched(&home, &[(HANDLER, "src/app.handler.deeper")]).unwrap();
        assert_eq!(environment.text("THUNDRA_AGENT_LAMBDA_ES_ENABLE"), Some("true"));
    }

    #[test]
    fn options_that_are_there_stay() {
        let home = function(&AGENT, &[("app.js", "")]);
        let own = (OPTIONS, "--enable-source-maps");
        let environment = switched(&home, &[(HANDLER, "app.handler"), own]).unwrap();
        let both = "--enable-source-maps -r @thundra/core/dist/bootstrap/lambda";
        assert_eq!(environment.text(OPTIONS), Some(both));
    }

    #[test]
    fn without_an_agent_or_with_one_that_is_set_up_nothing_changes() {
        let own = (HANDLER, "app.handler");
        let none = function(&[], &[("app.js", "")]);
        assert!(switched(&none, &[own]).unwrap().added().is_empty());
        let home = function(&AGENT, &[("app.js", "")]);
        for set_up in
            [("thundra_agent_lambda_handler", "app.handler"), (OPTIONS, "-r @thundra/core/dist/x")]
        {
            assert!(switched(&home, &[own, set_up]).unwrap().added().is_empty(), "{set_up:?}");
        }
    }

    #[test]
    fn half_an_agent_is_left_out() {
        let home = function(&AGENT[..2], &[("app.js", "")]);
        let why = switched(&home, &[(HANDLER, "app.handler")]).unwrap_err();
        assert!(why.contains("cannot read") && why.contains("index.js"), "{why}");
        assert!(switched(&function(&AGENT, &[]), &[]).unwrap_err().contains("not set"));
    }

    #[test]
    fn a_runtime_that_refuses_callbacks_is_left_alone() {
        let home = function(&AGENT, &[("app.js", "")]);
        let task = home.path().join("task");
        let places = Places { task: task.clone(), layers: "/no".into(), prefix: None };
        let managed = ("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances");
        for (major, more) in [(Some(24), ("A", "")), (Some(25), ("A", "")), (None, managed)] {
            let mut environment = environment(&[(HANDLER, "app.handler"), more]);
            let refused = switch_on_from(&task, major, &places, &mut environment);
            assert!(refused.unwrap_err().contains("callback") && environment.added().is_empty());
        }
    }

    #[test]
    fn an_agent_is_found_where_node_looks() {
        let home = function(&AGENT, &[("deep/er/x", "")]);
        let task = home.path().join("task");
        let expected = task.join("node_modules/@thundra/core");
        assert_eq!(agent(&task.join("deep/er"), None), Some(expected.clone()));
        let layers = format!("/no/such:{}", task.join("node_modules").display());
        assert_eq!(agent(Path::new("/no"), Some(OsStr::new(&layers))), Some(expected));
        assert_eq!(agent(Path::new("/no"), Some(OsStr::new("node_modules"))), None);
    }
}
