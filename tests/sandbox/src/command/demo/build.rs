//! Builds the extension of this repository.

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

/// The path of the binary, built with cargo's own progress on standard error.
///
/// # Errors
///
/// When the sources are gone, cargo can't be run, or the build fails.
pub fn extension() -> io::Result<PathBuf> {
    if !Path::new(MANIFEST).is_file() {
        return Err(other(format!(
            "can't build the extension, its sources are no longer at {MANIFEST}: give --extension"
        )));
    }
    // `cargo run` says which cargo it is.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(&cargo);
    build.args(["build", "--release", "--locked", "--package", PACKAGE]);
    build.args(["--message-format", "json-render-diagnostics", "--manifest-path", MANIFEST]);
    let (status, messages) = sandbox::run_errand(build).map_err(|error| {
        other(format!("can't run {}: {error}; give --extension", cargo.to_string_lossy()))
    })?;
    if !status.success() {
        return Err(other(format!("can't build the extension: cargo ended with {status}")));
    }
    executable(&messages)
        .ok_or_else(|| other("cargo built no extension: give --extension".to_owned()))
}

fn executable(messages: &[u8]) -> Option<PathBuf> {
    let lines = messages.split(|byte| *byte == b'\n');
    let mut messages = lines.filter_map(|line| serde_json::from_slice::<Message>(line).ok());
    messages.find_map(|message| match message {
        Message { target: Some(target), executable } if target.name == PACKAGE => executable,
        _ => None,
    })
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
        assert_eq!(executable(messages), Some(PathBuf::from("/t/release/x")));
        assert_eq!(executable(b"{}\n"), None);
    }
}
