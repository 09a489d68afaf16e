//! Finds handlers that stream their responses. The agent breaks them.

use std::fs;
use std::path::{Path, PathBuf};
use std::str;

use super::modules;
use crate::files;

/// Texts in the source of a handler that streams: Lambda's function that makes such a handler, a computed name
/// of that function, and the symbol with which it marks the handler.
const MARKS: [&[u8]; 3] =
    [b"streamifyResponse", b"awslambda[", b"aws.lambda.runtime.handler.streaming"];

/// Relative imports are followed over this many levels, from the handler's file on. A handler is usually made
/// in or near its file.
const LEVELS_MAX: usize = 2;
/// Limit of the files that are searched, because each one takes time at the start.
const FILES_MAX: usize = 32;

/// Limit of a file whose imports are followed, in bytes. A larger file is a bundle, which contains its modules.
const IMPORTER_MAX: u64 = 64 * 1024;

const SCRIPT_EXTENSIONS: [&str; 3] = ["js", "mjs", "cjs"];

/// Searches the handler's file, and the files from which it may import the handler.
///
/// # Errors
/// The file that streams, or why a file cannot be searched.
pub fn check(handlers: &Path) -> Result<(), String> {
    let mut files = vec![(handlers.to_owned(), 0)];
    let mut at = 0;
    while let Some((file, level)) = files.get(at).cloned() {
        at += 1;
        if files::holds_any(&file, &MARKS)? {
            let shown = file.display();
            return Err(format!("{shown} streams its responses, which the agent does not support"));
        }
        if level == LEVELS_MAX {
            continue;
        }
        for file in imported(&file)? {
            if files.len() < FILES_MAX && files.iter().all(|(it, _)| *it != file) {
                files.push((file, level + 1));
            }
        }
    }
    Ok(())
}

/// The scripts that this file imports by relative paths.
fn imported(file: &Path) -> Result<Vec<PathBuf>, String> {
    let mut imported = Vec::new();
    let size = fs::metadata(file).map_or(0, |it| it.len());
    let Some(directory) = file.parent().filter(|_| size <= IMPORTER_MAX) else {
        return Ok(imported);
    };
    for path in relative(&files::read(file)?) {
        let script = modules::required(&directory.join(path))?;
        let is_script =
            |it: &PathBuf| SCRIPT_EXTENSIONS.iter().any(|end| it.extension() == Some(end.as_ref()));
        imported.extend(script.filter(is_script));
    }
    Ok(imported)
}

/// Each quoted text that looks like the relative path of a module, whatever its use.
fn relative(script: &[u8]) -> Vec<&str> {
    let mut paths = Vec::new();
    for (at, quote) in script.iter().enumerate() {
        let text = &script[at + 1..];
        if !matches!(quote, b'"' | b'\'' | b'`') || !text.starts_with(b".") {
            continue;
        }
        let end = text.iter().position(|it| it == quote).unwrap_or_default();
        let path = str::from_utf8(&text[..end]).unwrap_or_default();
        if path == "." || path == ".." || path.starts_with("./") || path.starts_with("../") {
            paths.push(path);
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::write;
    use tempfile::TempDir;

    const STREAMS: &[u8] = b"exports.handler = awslambda.streamifyResponse(f)";

    fn checked(files: &[(&str, &[u8])]) -> Result<(), String> {
        let home = TempDir::new().unwrap();
        write(home.path(), files);
        check(&home.path().join("app.js"))
    }

    #[test]
    fn each_kind_of_relative_import_is_followed() {
        for import in [
            "module.exports = require('./real')",
            "module.exports=require(\"./real.js\")",
            "export * from './real.js'",
            "export const { handler } = await import(`./real.js`)",
            "exports.handler = require('./lib/').handler",
            "exports.handler = require('./pack').handler",
            "exports.handler = require('.').handler",
            "exports.handler = require('./one').handler",
            "it's \"a\" // ./no\nexports.handler = require('./real')",
        ] {
            let error = checked(&[
                ("app.js", import.as_bytes()),
                ("real.js", STREAMS),
                ("lib/index.js", STREAMS),
                ("pack/package.json", b"{\"main\": \"main.js\"}"),
                ("pack/main.js", STREAMS),
                ("index.js", STREAMS),
                ("one/index.js", b"exports.handler = require('../real').handler"),
            ]);
            assert!(error.unwrap_err().contains("streams its responses"), "{import}");
        }
    }

    #[test]
    fn each_way_to_stream_is_seen() {
        for script in [
            "exports.handler = awslambda.streamifyResponse(f)",
            "const {streamifyResponse: s} = awslambda; exports.handler = s(f)",
            "exports.handler = awslambda['streamify' + 'Response'](f)",
            "f[Symbol.for(\"aws.lambda.runtime.handler.streaming\")] = 'response'",
        ] {
            assert!(checked(&[("app.js", script.as_bytes())]).is_err(), "{script}");
        }
    }

    #[test]
    fn only_modules_near_the_handler_count() {
        let bundle = [&vec![b'/'; 65 << 10][..], b"\nrequire('./real')"].concat();
        for app in [
            &b"require('./none'); require('./app'); require('real'); './real.txt'"[..],
            b"readFileSync('./real.txt')",
            b"require('./a')",
            &bundle,
        ] {
            let error = checked(&[
                ("app.js", app),
                ("real.js", STREAMS),
                ("real.txt", STREAMS),
                ("a.js", b"require('./b')"),
                ("b.js", b"require('./c'); require('./app')"),
                ("c.js", STREAMS),
            ]);
            assert_eq!(error, Ok(()));
        }
    }
}
