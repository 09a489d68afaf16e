//! Node.js: makes the runtime require the agent's bootstrap module before the function's module.

mod dependencies;
mod modules;
mod package;
mod streaming;

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::environment::Environment;
use crate::environment::THUNDRA;
use crate::paths::Paths;
use crate::{files, handler};

const OPTIONS: &str = "NODE_OPTIONS";

/// With this option, Node.js does not follow links to packages.
const PRESERVE_SYMLINKS: &str = "--preserve-symlinks";

const AGENT: &str = "@thundra/core";

/// The module that wraps the function's handler when it is loaded.
const BOOTSTRAP: &str = "dist/bootstrap/lambda/index.js";

/// The agent's main module, a bundle of the whole agent.
const MAIN: &str = "dist/thundra.js";

/// Files of the agent that must exist and not be empty. With `handler_es.mjs` the agent loads each kind of
/// module that the runtime loads. The agent's older `handler.js` does not, so the wrapper does not use it.
const REQUIRED_FILES: [&str; 5] = [
    package::FILE,
    MAIN,
    BOOTSTRAP,
    "dist/bootstrap/lambda/handler_es.mjs",
    "dist/bootstrap/lambda/loader.cjs",
];

/// From this version on, Lambda's runtime refuses handlers that take a callback ("Define Lambda function
/// handler in Node.js"). The agent's handler takes one. On Managed Instances, each version refuses it.
const FIRST_WITHOUT_CALLBACKS: u32 = 24;

/// Switches the agent on, if the function has one.
///
/// # Errors
/// Why an existing agent would not work.
pub fn switch_on(
    major: Option<u32>,
    paths: &Paths,
    environment: &mut Environment,
) -> Result<(), String> {
    let directory = env::current_dir().unwrap_or_else(|_| paths.task.clone());
    switch_on_from(&directory, major, paths, environment)
}

/// `directory` is the working directory of the runtime.
fn switch_on_from(
    directory: &Path,
    major: Option<u32>,
    paths: &Paths,
    environment: &mut Environment,
) -> Result<(), String> {
    let is_required = environment.text(OPTIONS).is_some_and(|it| it.contains("@thundra/core"));
    if is_required || handler::is_set_up(environment, THUNDRA) {
        return Ok(());
    }
    let global = modules::global(environment.get("NODE_PATH"));
    let above = [directory, &paths.task].map(modules::above);
    let Some(agent) = modules::find(&[&above.concat()[..], &global].concat(), AGENT) else {
        return Ok(());
    };
    check_runtime(major, environment)?;
    check_agent(&agent, &global, environment)?;
    paths.check_wrappable()?;
    check_handler(&handler::original(environment, &paths.task)?, &paths.task)?;
    environment.add_setting(THUNDRA, "LAMBDA_ES_ENABLE", "true");
    // The option has a path and no package's name, because child processes in other directories read it too.
    environment.append(OPTIONS, " ", format!("-r {}", quoted(&agent.join(BOOTSTRAP))?));
    Ok(())
}

/// Checks that Node.js can load the agent. pnpm and npm may install a link to the agent. Node.js follows the
/// link, and looks for the agent's packages from the real directory on.
///
/// # Errors
/// Which part of the agent, or which package that it requires, cannot be loaded.
fn check_agent(agent: &Path, global: &[PathBuf], environment: &Environment) -> Result<(), String> {
    for part in REQUIRED_FILES {
        files::check(&agent.join(part))?;
    }
    let follows_links = !environment.text(OPTIONS).is_some_and(|it| it.contains(PRESERVE_SYMLINKS));
    let real = fs::canonicalize(agent).ok().filter(|_| follows_links);
    let real = real.unwrap_or_else(|| agent.to_owned());
    let shown = real.display();
    // The agent imports itself by its name. Node.js does not look for an import in NODE_PATH.
    let above = modules::above(&real);
    if modules::find(&above, AGENT).is_none() {
        return Err(format!("{shown} is in no directory node_modules, so it cannot import itself"));
    }
    dependencies::check(&real, &real.join(MAIN), global)?;
    if real.to_string_lossy().contains("..") {
        return Err(format!(
            "Lambda's runtime loads no handler from a path with two dots: {shown}"
        ));
    }
    Ok(())
}

fn check_runtime(major: Option<u32>, environment: &Environment) -> Result<(), String> {
    let refuses = "the agent's handler takes a callback, which Lambda's runtime refuses";
    if environment.text("AWS_LAMBDA_INITIALIZATION_TYPE") == Some("lambda-managed-instances") {
        return Err(format!("{refuses} on Managed Instances"));
    }
    match major {
        Some(..FIRST_WITHOUT_CALLBACKS) => Ok(()),
        Some(major) => Err(format!("{refuses} for Node.js {major}")),
        None => Err(format!("{refuses} from Node.js 24 on, and this version is unknown")),
    }
}

/// Checks that the agent can call this handler, such as `dir/module.function`.
///
/// # Errors
/// Why the agent cannot call it.
fn check_handler(handler: &str, task: &Path) -> Result<(), String> {
    let (directory, name) = handler.rsplit_once('/').unwrap_or(("", handler));
    let module = name.split('.').next().unwrap_or_default();
    let Some(file) = modules::handlers_file(&task.join(directory).join(module))? else {
        return Err(format!("{handler}, the function's handler, is in no existing module"));
    };
    streaming::check(&file)
}

/// The path as Node.js reads it in its options, which are separated by spaces ("Command-line API":
/// `NODE_OPTIONS`).
fn quoted(path: &Path) -> Result<String, String> {
    let text = path.to_str().ok_or_else(|| format!("{} is not valid UTF-8", path.display()))?;
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

    /// A function with these files and the agent in its package.
    fn function(files: &[(&str, &[u8])]) -> (TempDir, Paths) {
        let home = TempDir::new().unwrap();
        let task = home.path().join("task");
        for part in REQUIRED_FILES {
            let content: &[u8] = match part {
                package::FILE => b"{\"dependencies\": {\"opentracing\": \"1\", \"ws\": \"1\"}}",
                _ => b"require(\"opentracing\")",
            };
            write(&task, &[(&format!("node_modules/@thundra/core/{part}"), content)]);
        }
        write(&task, &[("node_modules/opentracing/index.js", b"")]);
        write(&task, files);
        let paths = Paths { task, layers: "/no".into(), prefix: None, has_handler_argument: false };
        (home, paths)
    }

    fn switched(paths: &Paths, variables: &[(&str, &str)]) -> Result<Environment, String> {
        let mut environment = environment(&[&[(HANDLER, "app.handler")], variables].concat());
        let task = paths.task.clone();
        switch_on_from(&task, Some(22), paths, &mut environment).map(|()| environment)
    }

    fn required(paths: &Paths) -> String {
        format!("-r {}/node_modules/@thundra/core/{BOOTSTRAP}", paths.task.display())
    }

    #[test]
    fn each_kind_of_module_is_loaded_as_the_runtime_does() {
        for file in ["app.js", "app.mjs", "app.cjs", "app", "app/index.js"] {
            let (_home, paths) = function(&[(file, b"")]);
            let environment = switched(&paths, &[]).unwrap();
            let required = required(&paths);
            let expected = [("THUNDRA_AGENT_LAMBDA_ES_ENABLE", "true"), (OPTIONS, &required)];
            assert_eq!(added(&environment), expected.into(), "{file}");
        }
        let (_home, paths) = function(&[("src/app.js", b"")]);
        assert!(switched(&paths, &[(HANDLER, "src/app.handler.deeper")]).is_ok());
    }

    #[test]
    fn given_options_stay() {
        let (_home, paths) = function(&[("app.js", b"")]);
        let environment = switched(&paths, &[(OPTIONS, "--enable-source-maps")]).unwrap();
        let both = format!("--enable-source-maps {}", required(&paths));
        assert_eq!(environment.text(OPTIONS), Some(both.as_str()));
    }

    #[test]
    fn a_path_with_odd_characters_is_quoted() {
        assert_eq!(quoted(Path::new("/a/b")), Ok("/a/b".to_owned()));
        assert_eq!(quoted(Path::new(r#"/a b/"c\"#)), Ok(r#""/a b/\"c\\""#.to_owned()));
    }

    #[test]
    fn without_an_agent_or_with_one_that_is_set_up_nothing_changes() {
        let (_home, paths) = function(&[("app.js", b"")]);
        for set_up in
            [("thundra_agent_lambda_handler", "app.handler"), (OPTIONS, "-r @thundra/core/dist/x")]
        {
            assert!(switched(&paths, &[set_up]).unwrap().added().is_empty(), "{set_up:?}");
        }
        std::fs::remove_dir_all(paths.task.join("node_modules")).unwrap();
        assert!(switched(&paths, &[]).unwrap().added().is_empty());
    }

    #[test]
    fn an_incomplete_agent_is_left_out() {
        for part in REQUIRED_FILES {
            let (_home, paths) = function(&[("app.js", b"")]);
            std::fs::write(paths.task.join("node_modules/@thundra/core").join(part), "").unwrap();
            assert!(switched(&paths, &[]).unwrap_err().contains(part), "{part}");
        }
        let (_home, paths) = function(&[("app.js", b"")]);
        std::fs::remove_dir_all(paths.task.join("node_modules/opentracing")).unwrap();
        assert!(switched(&paths, &[]).unwrap_err().contains("lacks opentracing"));
    }

    #[test]
    fn a_handler_that_the_agent_cannot_call_stays() {
        let streams = b"exports.handler = awslambda.streamifyResponse(f)";
        let bundle = [&vec![b'/'; 5 << 20][..], b"\n", streams].concat();
        for files in [
            &[("app.js", &streams[..])][..],
            &[("app.js", streams), ("app/index.js", b"")],
            &[("app.js", streams), ("app/view.html", b"")],
            &[("app/index.js", streams)],
            &[("app.js", b""), ("app", streams)],
            &[("app.mjs", &bundle)],
        ] {
            let (_home, paths) = function(files);
            let error = switched(&paths, &[]).unwrap_err();
            assert!(error.contains("streams its responses"), "{error}");
        }
        // These files stream, but the runtime does not load them.
        for files in [
            &[("app.js", &b""[..]), ("app.mjs", streams), ("app/index.js", streams)][..],
            &[("app", b""), ("app.js", streams)],
        ] {
            assert!(switched(&function(files).1, &[]).is_ok());
        }
        let (_home, paths) = function(&[("app.js", b"")]);
        let none = switched(&paths, &[(HANDLER, "none.handler")]).unwrap_err();
        assert!(none.contains("in no existing module"), "{none}");
        let with_argument = Paths { has_handler_argument: true, ..paths };
        assert!(switched(&with_argument, &[]).unwrap_err().contains("an argument"));
    }

    #[test]
    fn a_runtime_that_refuses_callbacks_is_left_alone() {
        let (_home, paths) = function(&[("app.js", b"")]);
        let managed = ("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances");
        for (major, more) in
            [(Some(24), ("A", "")), (Some(25), ("A", "")), (None, ("A", "")), (Some(22), managed)]
        {
            let mut environment = environment(&[(HANDLER, "app.handler"), more]);
            let refused = switch_on_from(&paths.task, major, &paths, &mut environment);
            assert!(refused.unwrap_err().contains("callback") && environment.added().is_empty());
        }
    }

    /// The agent in `place`, and a link to it in the function's `node_modules`.
    fn linked(place: &str, dependency: &str) -> (TempDir, Paths) {
        let (home, paths) = function(&[("app.js", b"")]);
        let modules = paths.task.join("node_modules");
        let real = home.path().join(place);
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        fs::rename(modules.join("@thundra/core"), &real).unwrap();
        std::os::unix::fs::symlink(&real, modules.join("@thundra/core")).unwrap();
        fs::create_dir_all(home.path().join(dependency)).unwrap();
        fs::rename(modules.join("opentracing"), home.path().join(dependency)).unwrap();
        (home, paths)
    }

    #[test]
    fn the_packages_of_a_linked_agent_are_beside_its_real_directory() {
        for store in [
            "task/node_modules/.pnpm/@thundra+core@2.14.4/node_modules",
            "task/node_modules/.store/@thundra+core@2.14.4-a1b2/node_modules",
        ] {
            let real = format!("{store}/@thundra/core");
            for beside in
                [&format!("{store}/opentracing"), &format!("{real}/node_modules/opentracing")]
            {
                let (_home, paths) = linked(&real, beside);
                let environment = switched(&paths, &[]).unwrap();
                assert_eq!(environment.text(OPTIONS), Some(required(&paths).as_str()));
                let unfollowed = switched(&paths, &[(OPTIONS, "--preserve-symlinks")]);
                assert_eq!(unfollowed.is_ok(), beside.starts_with(&real), "{beside}");
            }
        }
    }

    #[test]
    fn a_linked_agent_that_would_not_load_is_left_out() {
        let store = "task/node_modules/.pnpm/core/node_modules";
        for (real, dependency, why) in [
            (&format!("{store}/@thundra/core")[..], "elsewhere/opentracing", "lacks opentracing"),
            ("elsewhere/core", "elsewhere/node_modules/opentracing", "cannot import itself"),
            ("task/a..b/core", "task/node_modules/.opentracing", "lacks opentracing"),
        ] {
            let (_home, paths) = linked(real, dependency);
            let error = switched(&paths, &[]).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let (_home, paths) = linked("task/a..b/core", "task/a..b/node_modules/opentracing");
        assert!(switched(&paths, &[]).unwrap_err().contains("two dots"));
    }
}
