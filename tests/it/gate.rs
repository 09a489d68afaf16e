//! The gate, `.ci/run`, selects integration tests by their modules. A filter that matches nothing would pass.

use std::path::Path;

const GATE: &str = include_str!("../../.ci/run");

#[test]
fn each_module_that_the_gate_selects_is_there() {
    let modules: Vec<&str> =
        GATE.split_whitespace().filter_map(|word| word.strip_suffix("::")).collect();
    assert!(modules.len() > 5, "{modules:?}");
    for module in modules {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/{module}.rs"));
        assert!(file.is_file(), "{module}");
    }
}
