//! Reads a package's `package.json`: its main module and its dependencies.

use std::path::Path;
use std::str;

use crate::files;

/// Name of the file.
pub const FILE: &str = "package.json";

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// The module that `require` loads.
    pub main: Option<String>,
    /// Names of the packages that it declares as dependencies.
    pub dependencies: Vec<String>,
}

impl Package {
    /// Reads the file of this directory. A directory without the file is a package that declares nothing.
    ///
    /// # Errors
    /// The file, and why it cannot be read.
    pub fn read(directory: &Path) -> Result<Self, String> {
        let path = directory.join(FILE);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = files::read(&path)?;
        Self::parse(&text).ok_or_else(|| format!("{} is not a JSON object", path.display()))
    }

    /// Does not check the whole syntax, because a JSON library would make the wrapper larger.
    fn parse(text: &[u8]) -> Option<Self> {
        let mut package = Self::default();
        let mut member = "";
        let mut rest = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii();
        let mut depth = 0_u32;
        if !rest.starts_with(b"{") {
            return None;
        }
        while let Some((&byte, behind)) = rest.split_first() {
            rest = behind;
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.checked_sub(1)?,
                b'"' => {
                    let (string, behind) = rest.split_at(end_of_string(rest)?);
                    let string = str::from_utf8(string).ok()?;
                    rest = behind[1..].trim_ascii_start();
                    let is_name = rest.first() == Some(&b':');
                    if depth == 1 && is_name {
                        member = string;
                    }
                    match (depth, member, is_name) {
                        (1, "main", false) => package.main = Some(string.to_owned()),
                        (2, "dependencies", true) => package.dependencies.push(string.to_owned()),
                        _ => {}
                    }
                }
                _ => {}
            }
            // After the object nothing may follow.
            if depth == 0 {
                return rest.is_empty().then_some(package);
            }
        }
        None
    }
}

/// The position of the closing quote.
fn end_of_string(text: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    text.iter().position(|&byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_and_dependencies_are_read_at_any_position() {
        let text = br#"{"a": {"main": "no", "dependencies": {"no": "1"}}, "main" : "x\".js",
            "keywords": ["dependencies", "{"], "devDependencies": {"no": "1"},
            "dependencies": {"@a/b": "^1", "c": {"no": "d"}}, "version": "main"}"#;
        let package = Package::parse(text).unwrap();
        assert_eq!(package.dependencies, ["@a/b", "c"]);
        assert_eq!(package.main.as_deref(), Some("x\\\".js"));
        for text in [&b"{}"[..], b"\xef\xbb\xbf{\"exports\": {}}\n"] {
            assert_eq!(Package::parse(text), Some(Package::default()));
        }
    }

    #[test]
    fn text_that_node_cannot_read_is_refused() {
        for text in ["", "{", "x", "\"main\"", "{\"main\": \"x}", "{}}", "{} {}", "]", "{\"a\": {}"]
        {
            assert_eq!(Package::parse(text.as_bytes()), None, "{text}");
        }
    }
}
