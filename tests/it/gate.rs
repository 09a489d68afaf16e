//! The gate, `.ci/run`, selects integration tests by their modules, and the README's command by its first word. A
//! filter that matches nothing would pass.

use std::fs;
use std::path::Path;

const GATE: &str = include_str!("../../.ci/run");
const README: &str = include_str!("../../README.md");

#[test]
fn each_module_that_the_gate_selects_is_there() {
    let modules: Vec<&str> =
        GATE.split_whitespace().filter_map(|word| word.strip_suffix("::")).collect();
    assert!(modules.len() > 5, "{modules:?}");
    for module in modules {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/{module}.rs"));
        let tests = fs::read_to_string(file).unwrap_or_default();
        assert!(tests.contains("#[test]") || tests.contains("#[rstest]"), "{module}");
    }
}

#[test]
fn the_readme_has_the_command_that_the_gate_runs() {
    assert!(GATE.contains("/^cargo test/{p;q}"));
    assert_eq!(README.lines().filter(|it| it.starts_with("cargo test")).count(), 1);
}
