//! Builds programs of this repository.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

const PACKAGE: &str = "thundra-lambda-extension";
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");

/// Variables that cargo sets for a program that it runs or builds (The Cargo Book, "Environment variables Cargo
/// sets"). A cargo that inherits them rebuilds each crate that watches one of them, such as ring. All other
/// variables that begin with `CARGO_` belong to the user.
const SET_BY_CARGO: [&str; 9] = [
    "CARGO",
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
    "CARGO_MAKEFLAGS",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_MANIFEST_PATH",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
];
const SET_BY_CARGO_PREFIXES: [&str; 4] =
    ["CARGO_PKG_", "CARGO_BIN_EXE_", "CARGO_CFG_", "CARGO_FEATURE_"];

/// The needed parts of cargo's messages (The Cargo Book, "External tools", "Artifact messages").
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Builds the extension and returns its path. cargo shows its progress on standard error.
///
/// # Errors
///
/// When the sources are gone, cargo cannot be run, or the build fails.
pub fn extension() -> io::Result<PathBuf> {
    let mut built = binaries(MANIFEST, &["--package", PACKAGE])?;
    built
        .remove(PACKAGE)
        .ok_or_else(|| other("cargo built no extension: give --extension".to_owned()))
}

/// Builds the binaries of this manifest's package and returns their paths by name. cargo shows its progress on
/// standard error.
///
/// # Errors
///
/// As [`extension`].
pub fn binaries(manifest: &str, options: &[&str]) -> io::Result<BTreeMap<String, PathBuf>> {
    if !Path::new(manifest).is_file() {
        return Err(other(format!(
            "can't build it, the sources are no longer at {manifest}: give the path of the binary"
        )));
    }
    // `cargo run` sets this to its own path.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(&cargo);
    build.args(["build", "--release", "--locked", "--manifest-path", manifest]).args(options);
    build.args(["--message-format", "json-render-diagnostics"]);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_set_by_cargo)) {
        build.env_remove(name);
    }
    let (status, messages) = local_lambda::run_child_command(build).map_err(|error| {
        let cargo = cargo.to_string_lossy();
        other(format!("can't run {cargo}: {error}; give the path of the binary"))
    })?;
    if !status.success() {
        return Err(other(format!("can't build it: cargo ended with {status}")));
    }
    Ok(executables(&messages))
}

fn is_set_by_cargo(name: &str) -> bool {
    SET_BY_CARGO.contains(&name) || SET_BY_CARGO_PREFIXES.iter().any(|it| name.starts_with(it))
}

fn executables(messages: &[u8]) -> BTreeMap<String, PathBuf> {
    let lines = messages.split(|byte| *byte == b'\n');
    let messages = lines.filter_map(|line| serde_json::from_slice::<Message>(line).ok());
    let executable = |Message { target, executable }| Some((target?.name, executable?));
    messages.filter_map(executable).collect()
}

fn other(why: String) -> io::Error {
    io::Error::other(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_a_run_are_distinguished_from_the_users() {
        for name in SET_BY_CARGO.into_iter().chain([
            "CARGO_PKG_VERSION_PRE",
            "CARGO_BIN_EXE_thundra-lambda-extension",
            "CARGO_CFG_TARGET_OS",
            "CARGO_FEATURE_STD",
        ]) {
            assert!(is_set_by_cargo(name), "{name}");
        }
        for name in [
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER",
            "CARGO_BUILD_JOBS",
            "CARGO_INCREMENTAL",
            "CARGO_NET_OFFLINE",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_REGISTRIES_OWN_TOKEN",
            "CARGO_TERM_COLOR",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTFLAGS",
            "PATH",
        ] {
            assert!(!is_set_by_cargo(name), "{name}");
        }
    }

    #[test]
    fn the_binary_is_where_cargo_says() {
        let messages = br#"{"reason":"compiler-artifact","target":{"name":"ring"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"thundra-lambda-extension"},"executable":"/t/release/x"}
{"reason":"build-finished","success":true}
"#;
        let built = BTreeMap::from([(PACKAGE.to_owned(), PathBuf::from("/t/release/x"))]);
        assert_eq!(executables(messages), built);
        assert_eq!(executables(b"{}\n"), BTreeMap::new());
    }
}
