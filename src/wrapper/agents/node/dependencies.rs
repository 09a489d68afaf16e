//! Checks that each package that the agent requires exists. If one is missing, the function does not start.

use std::path::{Path, PathBuf};

use super::modules;
use super::package::{self, Package};
use crate::files;

/// The text before a quoted package name.
const REQUIRE: &[u8] = b"require(";

/// More than the bytes of that text, a quote, a package's name of up to 214 bytes, and the character after it.
const REQUIRE_MAX: usize = 256;

/// A package has at least one of these files. A directory with neither is the rest of an interrupted copy. A
/// full check whether Node.js can load a package would need many more system calls at each start.
const MARKER_FILES: [&str; 2] = [package::FILE, "index.js"];

/// Looks for each package that the agent declares, but not for the packages that those require. The agent
/// declares more than it requires, such as packages for tests, and a function may lack them. So if one is
/// missing, the agent's main module is searched for it.
///
/// # Errors
/// Which package that the agent requires is missing.
pub fn check(agent: &Path, main: &Path, global: &[PathBuf]) -> Result<(), String> {
    let mut missing = Package::read(agent)?.dependencies;
    let mut directories = [&modules::above(agent)[..], global].concat();
    missing.retain(|name| {
        let has = |it: &PathBuf| MARKER_FILES.iter().any(|file| it.join(name).join(file).exists());
        let found = directories.iter().position(has);
        // Most packages are in the same directory, so the next one is looked for here first.
        if let Some(at) = found {
            directories.swap(0, at);
        }
        found.is_none()
    });
    if missing.is_empty() {
        return Ok(());
    }
    match required(main, &missing)? {
        Some(name) => Err(format!("{} lacks {name}, which it requires", agent.display())),
        None => Ok(()),
    }
}

/// The first of these packages that a module requires.
fn required(module: &Path, packages: &[String]) -> Result<Option<String>, String> {
    let mut required = None;
    files::search(module, REQUIRE_MAX, &mut |mut rest| {
        while let (None, Some(at)) = (&required, files::find(rest, REQUIRE)) {
            rest = &rest[at + REQUIRE.len()..];
            required = packages.iter().find(|it| is_named(rest, it.as_bytes())).cloned();
        }
        required.is_some()
    })?;
    Ok(required)
}

/// Whether the text begins with the package's name in quotes. After the name there is the quote, or a slash
/// and the name of one module.
fn is_named(text: &[u8], package: &[u8]) -> bool {
    text.split_first().is_some_and(|(quote, name)| {
        let next = name.strip_prefix(package).and_then(|it| it.first());
        next.is_some_and(|it| it == quote || *it == b'/')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::write;
    use tempfile::TempDir;

    fn is_required(module: &[u8], package: &str) -> bool {
        let home = TempDir::new().unwrap();
        write(home.path(), &[("main.js", module)]);
        let packages = ["not-there".to_owned(), package.to_owned()];
        let found = required(&home.path().join("main.js"), &packages).unwrap();
        assert!(found.iter().all(|it| it == package));
        found.is_some()
    }

    #[test]
    fn a_package_is_required_by_its_name_in_quotes_of_any_kind() {
        let module =
            b"const a=require(\"a\"),b=require('@s/b');let c='c';require(d);require(\"e/f\")";
        for package in ["a", "@s/b", "e"] {
            assert!(is_required(module, package), "{package}");
        }
        for package in ["b", "c", "d", "f"] {
            assert!(!is_required(module, package), "{package}");
        }
        assert!(!is_required(b"require(", "a"));
    }

    #[test]
    fn a_package_is_required_at_each_position_of_a_large_module() {
        let name = "n".repeat(214);
        let require = format!("require(\"{name}\")");
        for at in (0..=require.len()).step_by(7) {
            let module = ["/".repeat((64 << 10) - at), require.clone()].concat();
            assert!(is_required(module.as_bytes(), &name), "{at}");
        }
    }

    #[test]
    fn a_package_is_found_in_each_directory_that_require_looks_into() {
        let home = TempDir::new().unwrap();
        let agent = home.path().join("task/node_modules/core");
        let global = [home.path().join("global")];
        let checked = || check(&agent, &agent.join("main.js"), &global);
        write(
            &agent,
            &[
                ("package.json", b"{\"dependencies\": {\"a\": \"1\", \"b\": \"1\", \"c\": \"1\"}}"),
                ("main.js", b"require('a');require('b');require('c')"),
            ],
        );
        for (place, next) in [
            ("task/node_modules/a/package.json", "lacks b"),
            ("global/b/index.js", "lacks c"),
            ("task/node_modules/c/lib/index.js", "lacks c"),
        ] {
            write(home.path(), &[(place, b"")]);
            assert!(checked().unwrap_err().contains(next), "{place}");
        }
        write(&agent, &[("node_modules/c/package.json", b"")]);
        assert_eq!(checked(), Ok(()));
    }
}
