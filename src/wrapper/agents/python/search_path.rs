//! The directories in which Python looks for modules. Python imports the first module that has the name.

use std::env::{self, consts};
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::paths::Paths;

const PYTHONPATH: &str = "PYTHONPATH";

pub struct SearchPath {
    /// Directories of the function and its layers. Python looks into them before the standard library.
    pub own: Vec<PathBuf>,
    /// Directories of Lambda's runtime and of the interpreter.
    pub installed: Vec<PathBuf>,
    /// Directories of layers that `PYTHONPATH` omits, so that Python does not look into them.
    pub omitted: Vec<PathBuf>,
    /// Suffixes of modules' files, in Python's order (`importlib.machinery.all_suffixes`).
    suffixes: Vec<String>,
}

impl SearchPath {
    /// Builds the path as `bootstrap.py` of AWS's runtimes does: the function's directory first. `PYTHONPATH`,
    /// if it is set, replaces the layers' directories.
    pub fn of(minor: Option<u32>, paths: &Paths, environment: &Environment) -> Self {
        let packages =
            |root: &Path| minor.map(|it| root.join(format!("lib/python3.{it}/site-packages")));
        let python = paths.layers.join("python");
        let mut layers: Vec<PathBuf> = packages(&python).into_iter().collect();
        layers.push(python);
        let given = environment.get(PYTHONPATH);
        let mut own = vec![paths.task.clone()];
        // Relative paths begin in the runtime's working directory, which is the function's.
        own.extend(given.iter().flat_map(env::split_paths).map(|it| paths.task.join(it)));
        let mut omitted = Vec::new();
        if given.is_none() {
            own.append(&mut layers);
        } else {
            omitted = layers.into_iter().filter(|it| !own.contains(it)).collect();
        }
        // Lambda's own packages count too, because an agent's layer may lack them.
        let runtime = environment.get("LAMBDA_RUNTIME_DIR").map(PathBuf::from);
        let beside_python = paths.prefix.as_deref().and_then(packages);
        let installed = runtime.into_iter().chain(beside_python).collect();
        Self { own, installed, omitted, suffixes: suffixes(minor) }
    }

    /// The file or the package's directory that Python would import by this name.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        self.directories().find_map(|it| self.module_in(it, name))
    }

    /// All directories, in Python's order.
    pub fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        self.own.iter().chain(&self.installed)
    }

    /// The module in this directory. `name` may contain slashes. A directory without `__init__` does not count:
    /// Python prefers a module in a later directory.
    pub fn module_in(&self, directory: &Path, name: &str) -> Option<PathBuf> {
        let module = directory.join(name);
        if self.file(&module.join("__init__")).is_some() {
            return Some(module);
        }
        self.file(&module)
    }

    fn file(&self, module: &Path) -> Option<PathBuf> {
        self.suffixes.iter().map(|it| module.with_extension(it)).find(|it| it.is_file())
    }
}

fn suffixes(minor: Option<u32>) -> Vec<String> {
    let tag = minor.map(|it| format!("cpython-3{it}-{}-linux-gnu.so", consts::ARCH));
    let plain = ["abi3.so", "so", "py", "pyc"].map(str::to_owned);
    tag.into_iter().chain(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::environment;
    use crate::files::tests::write;
    use tempfile::TempDir;

    fn search_path(variables: &[(&str, &str)]) -> SearchPath {
        let (task, layers) = ("/task".into(), "/layers".into());
        let paths =
            Paths { task, layers, prefix: Some("/lang".into()), has_handler_argument: false };
        SearchPath::of(Some(11), &paths, &environment(variables))
    }

    fn paths(paths: &[&str]) -> Vec<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn the_functions_directory_comes_first_and_then_layers_or_pythonpath() {
        let layers = paths(&["/layers/python/lib/python3.11/site-packages", "/layers/python"]);
        let usual = search_path(&[("LAMBDA_RUNTIME_DIR", "/runtime")]);
        assert_eq!(usual.own, [&paths(&["/task"])[..], &layers].concat());
        assert_eq!(usual.installed, paths(&["/runtime", "/lang/lib/python3.11/site-packages"]));
        assert!(usual.omitted.is_empty());
        let given = search_path(&[(PYTHONPATH, "/a:relative")]);
        assert_eq!(given.own, paths(&["/task", "/a", "/task/relative"]));
        assert_eq!(given.omitted, layers);
        let named = search_path(&[(PYTHONPATH, "/layers/python")]);
        assert_eq!(named.omitted, layers[..1]);
    }

    #[test]
    fn a_module_is_found_by_each_suffix_of_python() {
        let path = search_path(&[]);
        let tag = format!("m.cpython-311-{}-linux-gnu.so", consts::ARCH);
        for (file, found) in [
            ("m.py", "m.py"),
            ("m.pyc", "m.pyc"),
            ("m.so", "m.so"),
            ("m.abi3.so", "m.abi3.so"),
            (&tag, &tag),
            ("m/__init__.py", "m"),
            ("m/__init__.pyc", "m"),
        ] {
            let home = TempDir::new().unwrap();
            write(home.path(), &[(file, b""), ("m/data.json", b"")]);
            assert_eq!(path.module_in(home.path(), "m"), Some(home.path().join(found)), "{file}");
        }
        for file in ["m", "m.txt", "m.py/x", "m/x.py", "M.py", "m.cpython-27-x86_64-linux-gnu.so"] {
            let home = TempDir::new().unwrap();
            write(home.path(), &[(file, b"")]);
            assert_eq!(path.module_in(home.path(), "m"), None, "{file}");
        }
    }
}
