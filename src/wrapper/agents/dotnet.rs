//! .NET: adds the agent's start-up hook.

use std::path::PathBuf;

use crate::environment::Environment;
use crate::environment::THUNDRA;
use crate::paths::Paths;
use crate::{files, handler};

const HOOKS: &str = "DOTNET_STARTUP_HOOKS";

/// File names of the agent, the newer one first.
const ASSEMBLIES: [&str; 2] = ["Thundra.Agent.dll", "Thundra.Agent.Lambda.dll"];

/// The class that the runtime looks for in a hook's assembly. Without this class the runtime does not start
/// ("host startup hook", dotnet/runtime).
const CLASS: &[u8] = b"StartupHook\0";

/// Switches the agent on, if the function has one.
///
/// # Errors
/// Why an existing agent would not work.
pub fn switch_on(paths: &Paths, environment: &mut Environment) -> Result<(), String> {
    let given = environment.get(HOOKS).unwrap_or_default().to_string_lossy();
    let is_hooked = ASSEMBLIES.iter().any(|it| given.contains(it.trim_end_matches(".dll")));
    let is_set_up = is_hooked || handler::is_set_up(environment, THUNDRA);
    let Some(assembly) = assembly(paths).filter(|_| !is_set_up) else { return Ok(()) };
    // An assembly contains names as plain text, each followed by a zero (ECMA-335, II.24.2.3).
    if !files::holds(&assembly, CLASS)? {
        return Err(format!("{} has no start-up hook", assembly.display()));
    }
    environment.append(HOOKS, ":", assembly);
    Ok(())
}

fn assembly(paths: &Paths) -> Option<PathBuf> {
    let Paths { task, layers, .. } = paths;
    let directories = [task.clone(), layers.join("dotnet"), layers.clone()];
    let files = directories.iter().flat_map(|it| ASSEMBLIES.map(|name| it.join(name)));
    files.into_iter().find(|it| it.exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::environment;
    use crate::files::tests::write;
    use tempfile::TempDir;

    fn switched(file: &str, bytes: &[u8], hooks: &str) -> (TempDir, Result<Environment, String>) {
        let home = TempDir::new().unwrap();
        write(home.path(), &[(file, bytes)]);
        let [task, layers] = ["task", "layers"].map(|it| home.path().join(it));
        let mut environment = environment(&[(HOOKS, hooks)]);
        let paths = Paths { task, layers, prefix: None, has_handler_argument: false };
        let switched = switch_on(&paths, &mut environment).map(|()| environment);
        (home, switched)
    }

    const HOOK: &[u8] = b"MZ..\0StartupHook\0Initialize\0";

    #[test]
    fn the_agents_assembly_is_added_to_the_hooks() {
        for file in [
            "task/Thundra.Agent.dll",
            "task/Thundra.Agent.Lambda.dll",
            "layers/dotnet/Thundra.Agent.dll",
            "layers/Thundra.Agent.dll",
        ] {
            let (home, environment) = switched(file, HOOK, "");
            let path = home.path().join(file).display().to_string();
            assert_eq!(environment.unwrap().text(HOOKS), Some(path.as_str()));
            let (home, environment) = switched(file, HOOK, "/own/Hook.dll");
            let both = format!("/own/Hook.dll:{}/{file}", home.path().display());
            assert_eq!(environment.unwrap().text(HOOKS), Some(both.as_str()));
        }
    }

    #[test]
    fn an_assembly_that_would_keep_the_runtime_from_starting_is_left_out() {
        let (_home, switched) = switched("task/Thundra.Agent.dll", b"MZ..\0Other\0", "");
        assert!(switched.unwrap_err().ends_with("has no start-up hook"));
    }

    #[test]
    fn without_an_agent_or_with_one_that_is_hooked_nothing_changes() {
        let (_home, none) = switched("task/Other.dll", HOOK, "");
        assert!(none.unwrap().added().is_empty());
        let (_home, own) = switched("task/Thundra.Agent.dll", HOOK, "/own/Thundra.Agent.dll");
        assert!(own.unwrap().added().is_empty());
    }
}
