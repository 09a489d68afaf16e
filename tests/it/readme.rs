//! The README quotes lines of the log. Each quoted part must be in the program's source or in a test. The tests
//! that SECURITY.md names must exist.

use std::fs;
use std::path::Path;

use crate::peers::is_there;

const README: &str = include_str!("../../README.md");
const SECURITY: &str = include_str!("../../SECURITY.md");

#[test]
fn each_line_of_the_log_that_the_readme_quotes_is_logged() {
    let mut texts = String::new();
    for directory in ["src", "tests/it"] {
        read_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut texts);
    }
    let section = README.split("\n## ").find(|it| it.starts_with("Is it working?")).unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let quotes = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let parts =
        quotes.flat_map(|quote| quote.split(['…', ',', ':']).map(|it| it.replace("HOST", "")));
    let parts: Vec<String> = parts.map(|it| it.trim().to_owned()).collect();
    assert!(parts.len() > 20, "{parts:?}");
    for part in parts {
        assert!(texts.contains(&part), "no text of the program: {part}");
    }
}

#[test]
fn each_test_that_security_names_exists() {
    let names = SECURITY.split('`').skip(1).step_by(2).filter(|it| it.contains(".rs::"));
    let names: Vec<&str> = names.collect();
    assert!(names.len() > 20, "{names:?}");
    let unknown: Vec<_> = names.into_iter().filter(|name| !is_there(name)).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// Appends the sources below a directory. A string over several lines is joined into one.
fn read_sources(directory: &Path, texts: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_sources(&path, texts);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            let mut parts = source.split("\\\n");
            texts.push_str(parts.next().unwrap_or_default());
            parts.for_each(|it| texts.push_str(it.trim_start()));
        }
    }
}
