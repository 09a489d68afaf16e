//! Builds programs of this repository.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

const PACKAGE: &str = "thundra-lambda-extension";
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");

/// Of cargo's messages, what is needed here (The Cargo Book, "External tools", "Artifact messages").
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The path of the extension's binary, built with cargo's own progress on standard error.
///
/// # Errors
///
/// When the sources are gone, cargo can't be run, or the build fails.
pub fn extension() -> io::Result<PathBuf> {
    let mut built = binaries(MANIFEST, &["--package", PACKAGE])?;
    built
        .remove(PACKAGE)
        .ok_or_else(|| other("cargo built no extension: give --extension".to_owned()))
}

/// The paths of the binaries of this manifest's package, by their names, built in the same way.
///
/// # Errors
///
/// As well.
pub fn binaries(manifest: &str, options: &[&str]) -> io::Result<BTreeMap<String, PathBuf>> {
    if !Path::new(manifest).is_file() {
        return Err(other(format!(
            "can't build it, the sources are no longer at {manifest}: give the path of the binary"
        )));
    }
    // `cargo run` says which cargo it is.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(&cargo);
    build.args(["build", "--release", "--locked", "--manifest-path", manifest]).args(options);
    build.args(["--message-format", "json-render-diagnostics"]);
    let (status, messages) = sandbox::run_errand(build).map_err(|error| {
        let cargo = cargo.to_string_lossy();
        other(format!("can't run {cargo}: {error}; give the path of the binary"))
    })?;
    if !status.success() {
        return Err(other(format!("can't build it: cargo ended with {status}")));
    }
    Ok(executables(&messages))
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
