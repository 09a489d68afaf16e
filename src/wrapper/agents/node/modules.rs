//! The directories in which Node.js looks for modules, and the file that it loads ("Modules: `CommonJS`
//! modules").

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::package::Package;

/// Extensions of a handler's file, in the order in which the runtime tries them.
const HANDLER_EXTENSIONS: [&str; 3] = [".js", ".mjs", ".cjs"];

/// Extensions that `require` adds to a name, in its order.
const REQUIRE_EXTENSIONS: [&str; 4] = ["", ".js", ".json", ".node"];

/// The directories in which Node.js looks for the packages of a module in this place.
pub fn above(place: &Path) -> Vec<PathBuf> {
    let directories = place.ancestors().filter(|it| !it.ends_with("node_modules"));
    directories.map(|it| it.join("node_modules")).collect()
}

/// The directories of `NODE_PATH`. Node.js looks into them last.
pub fn global(node_path: Option<&OsStr>) -> Vec<PathBuf> {
    node_path.iter().flat_map(env::split_paths).filter(|it| it.is_absolute()).collect()
}

pub fn find(directories: &[PathBuf], package: &str) -> Option<PathBuf> {
    directories.iter().map(|it| it.join(package)).find(|it| it.is_dir())
}

/// The file of a handler's module, whose name has no extension. AWS's runtime client looks for it in this way
/// (`UserFunction`): if a file or directory of this name exists, it calls `require`. That prefers a file
/// `app.js` to a directory `app`.
///
/// # Errors
/// Why a `package.json` that names the file cannot be read.
pub fn handlers_file(module: &Path) -> Result<Option<PathBuf>, String> {
    if module.exists() { required(module) } else { Ok(with_ending(module, &HANDLER_EXTENSIONS)) }
}

/// The file that `require` loads for this path.
///
/// # Errors
/// As [`handlers_file`].
pub fn required(module: &Path) -> Result<Option<PathBuf>, String> {
    match with_ending(module, &REQUIRE_EXTENSIONS) {
        None if module.is_dir() => Ok(main(module, &Package::read(module)?)),
        file => Ok(file),
    }
}

/// The file that a package names as its `main`, which may be a directory, else its `index`.
fn main(directory: &Path, package: &Package) -> Option<PathBuf> {
    let index = |of: &Path| with_ending(&of.join("index"), &REQUIRE_EXTENSIONS[1..]);
    let main = package.main.as_ref().map(|it| directory.join(it));
    let main = main.and_then(|it| with_ending(&it, &REQUIRE_EXTENSIONS).or_else(|| index(&it)));
    main.or_else(|| index(directory))
}

fn with_ending(module: &Path, endings: &[&str]) -> Option<PathBuf> {
    let named = |ending: &&str| {
        let mut name = module.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    endings.iter().map(named).find(|it| it.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::write;
    use tempfile::TempDir;

    #[test]
    fn packages_are_looked_for_above_a_module_and_in_node_path() {
        let expected = ["/a/node_modules/b/node_modules", "/a/node_modules", "/node_modules"];
        assert_eq!(above(Path::new("/a/node_modules/b")), expected.map(PathBuf::from));
        let named = OsStr::new("relative:/opt/nodejs/node_modules");
        assert_eq!(global(Some(named)), [PathBuf::from("/opt/nodejs/node_modules")]);
    }

    #[test]
    fn the_handlers_file_is_the_one_that_the_runtime_loads() {
        for (files, taken) in [
            (&["app.js"][..], Some("app.js")),
            (&["app.mjs", "app.cjs"], Some("app.mjs")),
            (&["app.cjs"], Some("app.cjs")),
            (&["app", "app.js"], Some("app")),
            (&["app/index.js", "app.js"], Some("app.js")),
            (&["app/x", "app.json", "app.mjs"], Some("app.json")),
            (&["app/index.js", "app.mjs"], Some("app/index.js")),
            (&["app/index.json"], Some("app/index.json")),
            (&["app/x", "app.mjs"], None),
            (&["app.js/x"], None),
            (&["other.js"], None),
        ] {
            let home = TempDir::new().unwrap();
            for file in files {
                write(home.path(), &[(file, b"")]);
            }
            let taken = taken.map(|it| home.path().join(it));
            assert_eq!(handlers_file(&home.path().join("app")), Ok(taken), "{files:?}");
        }
    }

    #[test]
    fn a_directory_is_the_module_that_its_package_names() {
        let home = TempDir::new().unwrap();
        let module = home.path().join("app");
        let of = |package: &str| {
            write(&module, &[("package.json", package.as_bytes())]);
            handlers_file(&module)
        };
        write(&module, &[("index.js", b""), ("lib/index.js", b""), ("other.js", b"")]);
        for (package, taken) in [
            (r#"{"type": "commonjs"}"#, "index.js"),
            (r#"{"main": "other.js"}"#, "other.js"),
            (r#"{"main": "./other"}"#, "./other.js"),
            (r#"{"main": "lib"}"#, "lib/index.js"),
            (r#"{"main": "none.js"}"#, "index.js"),
        ] {
            assert_eq!(of(package), Ok(Some(module.join(taken))), "{package}");
        }
        assert!(of("{").unwrap_err().ends_with("is not a JSON object"));
        write(home.path(), &[("app.js", b"")]);
        assert_eq!(handlers_file(&module), Ok(Some(home.path().join("app.js"))));
    }
}
