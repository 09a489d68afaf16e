//! .NET: the agent's start-up hook.

use std::fs;
use std::path::PathBuf;

use crate::agents::Places;
use crate::environment::Environment;

const HOOKS: &str = "DOTNET_STARTUP_HOOKS";

/// The agent's assemblies, the newer one first.
const ASSEMBLIES: [&str; 2] = ["Thundra.Agent.dll", "Thundra.Agent.Lambda.dll"];

/// The class that the runtime looks for in a hook's assembly; without one it does not start ("host
/// startup hook", dotnet/runtime).
const CLASS: &[u8] = b"StartupHook\0";

/// # Errors
/// Why the agent that is there would not work.
pub fn switch_on(places: &Places, environment: &mut Environment) -> Result<(), String> {
    let given = environment.get(HOOKS).unwrap_or_default().to_string_lossy();
    let is_hooked = ASSEMBLIES.iter().any(|it| given.contains(it.trim_end_matches(".dll")));
    let Some(assembly) = assembly(places).filter(|_| !is_hooked) else { return Ok(()) };
    let shown = assembly.display();
    let bytes = fs::read(&assembly).map_err(|error| format!("cannot read {shown}: {error}"))?;
    // Names are plain text in an assembly, with a zero behind each (ECMA-335, II.24.2.3).
    if !bytes.windows(CLASS.len()).any(|it| it == CLASS) {
        return Err(format!("{shown} has no start-up hook"));
    }
    environment.append(HOOKS, ":", assembly);
    Ok(())
}

fn assembly(places: &Places) -> Option<PathBuf> {
    let Places { task, layers, .. } = places;
    let directories = [task.clone(), layers.join("dotnet"), layers.clone()];
    let files = directories.iter().flat_map(|it| ASSEMBLIES.map(|name| it.join(name)));
    files.into_iter().find(|it| it.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::environment;
    use tempfile::TempDir;

    fn switched(file: &str, bytes: &[u8], hooks: &str) -> (TempDir, Result<Environment, String>) {
        let home = TempDir::new().unwrap();
        let [task, layers] = ["task", "layers"].map(|it| home.path().join(it));
        fs::create_dir_all(&task).unwrap();
        fs::create_dir_all(layers.join("dotnet")).unwrap();
        fs::write(home.path().join(file), bytes).unwrap();
        let mut environment = environment(&[(HOOKS, hooks)]);
        let places = Places { task, layers, prefix: None };
        let switched = switch_on(&places, &mut environment).map(|()| environment);
        (home, switched)
    }

    const HOOK: &[u8] = b"MZ..\0StartupHook\0Initialize\0";

    #[test]
    fn the_agents_assembly_joins_the_hooks() {
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
    fn what_would_keep_the_runtime_from_starting_is_left_out() {
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
