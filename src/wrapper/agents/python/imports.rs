//! Checks the modules that an agent imports. If a module of the function shadows one of them, Python imports
//! the function's module instead, and the function does not start.

use std::fs;
use std::path::Path;

use super::search_path::SearchPath;
use crate::files;

/// Packages that agents of all versions import. Each has a module that proves it is the real package.
pub const PACKAGES: [(&str, &str); 10] = [
    ("certifi", "core"),
    ("dateutil", "parser"),
    ("idna", "core"),
    ("jsonpickle", "pickler"),
    ("opentracing", "tracer"),
    ("pympler", "asizeof"),
    ("requests", "sessions"),
    ("simplejson", "decoder"),
    ("urllib3", "connectionpool"),
    ("wrapt", "wrappers"),
];

/// Packages that the test runner of Thundra's agent 3.0 imports. Other agents have no test runner.
const TEST_RUNNER_PACKAGES: [(&str, &str); 2] =
    [("fastcounter", "__init__"), ("foresight", "context")];

/// Packages that the agents and their dependencies import if they exist. After the colon is a module that
/// proves it is the real package: in it, or with `/` beside it. Python would import another package of the same
/// name too, and may fail. Tried with urllib3 1.26 to 2.8.
const OPTIONAL: &str = " BytesIO:_ aiohttp:client botocore:session brotli:/_brotli brotlicffi:_api chalice:app \
     chardet:universaldetector charset_normalizer:api demjson:_ django:conf elasticsearch:exceptions \
     fastapi:applications flask:app jsonlib:_jsonlib msvcrt:_ mysql:connector numpy:version \
     psycopg2:extensions pymongo:monitoring redis:client socks:/sockshandler sqlalchemy:event \
     tornado:web ujson:_ winreg:_ yajl:_ zstandard:backend_cffi ";

/// Modules of the standard library that the agents and their dependencies import, except those that Lambda's
/// runtime has imported before. Tried with 2.7.4, 3.0.6 and 3.0.10 in Python 3.8 and 3.11.
const STANDARD: &str = " array ast asyncio base64 binascii bisect bz2 calendar concurrent configparser contextlib \
     contextvars copy csv ctypes datetime dis email fcntl fnmatch grp gzip hashlib heapq hmac http \
     imp inspect ipaddress locale lzma mimetypes opcode pathlib pkgutil platform queue quopri random \
     select selectors shutil signal socket sqlite3 ssl stringprep struct subprocess sysconfig \
     tempfile typing unicodedata urllib uuid zipfile zlib zoneinfo ";

/// Checks each module that the agent imports. `agent` is the directory of its package.
///
/// # Errors
/// The module that is missing, or that another one shadows.
pub fn check(path: &SearchPath, agent: &Path) -> Result<(), String> {
    let runner = agent.join("wrappers/base_wrapper.py");
    let has_runner = runner.exists() && files::holds(&runner, b"from foresight")?;
    let more = if has_runner { &TEST_RUNNER_PACKAGES[..] } else { &[] };
    for (package, module) in PACKAGES.iter().chain(more) {
        if !check_package(path, package, module)? {
            return Err(format!("{} lacks {package}, which it imports", agent.display()));
        }
    }
    path.own.iter().try_for_each(|it| check_directory(path, it))
}

/// The error for a module that shadows another one.
pub fn shadowed(by: &Path, name: &str) -> String {
    format!("Python imports {} in place of {name}, which the agent needs (rename it)", by.display())
}

/// Whether the package exists.
///
/// # Errors
/// A package of this name without `module`, which shadows the real one.
fn check_package(path: &SearchPath, package: &str, module: &str) -> Result<bool, String> {
    let Some(found) = path.find(package) else { return Ok(false) };
    if path.module_in(&found, module).is_none() {
        return Err(shadowed(&found, &format!("the package {package}")));
    }
    Ok(true)
}

/// Checks that no module in this directory shadows one that the agent imports. A module that pip installed is
/// accepted: it is the package itself, or a replacement for the standard library's module.
fn check_directory(path: &SearchPath, directory: &Path) -> Result<(), String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names: Vec<String> = entries.filter_map(|it| it.file_name().into_string().ok()).collect();
    let is_installed = |module: &str| {
        let mut installed = names.iter().filter(|it| it.ends_with("-info"));
        installed.any(|it| it.split('-').next().is_some_and(|it| it.eq_ignore_ascii_case(module)))
    };
    for name in &names {
        let module = name.split('.').next().unwrap_or_default();
        let known = listed(OPTIONAL, module, ":");
        if known.or_else(|| listed(STANDARD, module, " ")).is_none() || is_installed(module) {
            continue;
        }
        let Some(found) = path.module_in(directory, module) else { continue };
        let Some(known) = known else {
            return Err(shadowed(&found, &format!("Python's own {module}")));
        };
        let is_first = path.find(module).as_ref() == Some(&found);
        if is_first && !is_real(path, directory, &found, known) {
            return Err(shadowed(&found, &format!("the package {module}")));
        }
    }
    Ok(())
}

/// The text after a name in one of these lists, up to the next space.
fn listed(list: &'static str, name: &str, end: &str) -> Option<&'static str> {
    let entry = [" ", name, end].concat();
    let at = files::find(list.as_bytes(), entry.as_bytes())?;
    list[at + entry.len()..].split(' ').next()
}

/// Whether this is the real package. A compiled module is, because functions do not contain their own.
fn is_real(path: &SearchPath, directory: &Path, found: &Path, module: &str) -> bool {
    let is_compiled = found.extension().is_some_and(|it| it == "so");
    let beside = module.strip_prefix('/').map(|it| (directory, it));
    let (place, module) = beside.unwrap_or((found, module));
    is_compiled || path.module_in(place, module).is_some()
}
