//! The failures of other extensions, as a table in `peers.md`. Each test that the table names must exist.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use local_lambda::conformance::scenarios;

const TABLE: &str = include_str!("peers.md");

/// The beginnings of the last column in rows without a test.
const REASONS: [&str; 2] = ["Does not apply", "Not held yet: "];

struct Row {
    /// `owner/repository#number`, or another source.
    issues: Vec<String>,
    held_by: &'static str,
}

fn rows() -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| issue"));
    let rows = lines.filter(|line| !line.starts_with("| ---")).map(Row::of);
    rows.collect()
}

impl Row {
    fn of(line: &'static str) -> Self {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [issues, failure, held_by] = cells[..] else { panic!("not three cells: {line}") };
        assert!(!failure.is_empty(), "{line}");
        let mut repository = "";
        let issues = issues.split(", ").map(|issue| match issue.split_once('#') {
            Some(("", number)) => format!("{repository}#{number}"),
            Some((named, _)) => {
                repository = named;
                issue.to_owned()
            }
            None => issue.to_owned(),
        });
        Self { issues: issues.collect(), held_by }
    }

    /// The names in backticks.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.held_by.split('`').skip(1).step_by(2)
    }
}

/// Whether `file::name` exists: a function in Rust, Python or shell.
pub fn is_there(name: &str) -> bool {
    let Some((file, function)) = name.split_once("::") else { return false };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let Ok(source) = fs::read_to_string(&path) else { return false };
    let definition = match path.extension().and_then(|it| it.to_str()) {
        Some("py") => format!("def {function}("),
        Some("sh") => format!("{function}() {{"),
        _ => format!("fn {function}("),
    };
    source.lines().any(|line| line.trim_start().starts_with(&definition))
}

#[test]
fn the_table_names_tests_and_scenarios_that_exist() {
    let scenarios: HashSet<&str> = scenarios().iter().map(|it| it.name).collect();
    let rows = rows();
    assert!(rows.len() > 100, "{} rows", rows.len());
    let names = rows.iter().flat_map(Row::names);
    let dead: Vec<_> = names.filter(|it| !scenarios.contains(it) && !is_there(it)).collect();
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn each_row_names_a_test_or_a_reason() {
    let is_open = |row: &Row| {
        row.names().next().is_none() && !REASONS.iter().any(|it| row.held_by.starts_with(it))
    };
    let open: Vec<_> = rows().into_iter().filter(is_open).map(|it| it.issues).collect();
    assert!(open.is_empty(), "{open:#?}");
}

#[test]
fn no_issue_has_two_rows() {
    let mut seen = HashSet::new();
    let issues = rows().into_iter().flat_map(|row| row.issues);
    let twice: Vec<String> = issues.filter(|issue| !seen.insert(issue.clone())).collect();
    assert!(twice.is_empty(), "{twice:#?}");
}

/// Files that may use a lock. Each lock is held for a moment: while a value is stored or taken, or while
/// listeners are opened, and then others only try. None is held during a wait for a client or a remote.
const LOCKS: [&str; 7] = [
    "event_loop.rs",
    "interrupt.rs",
    "opening.rs",
    "platform_events.rs",
    "resolver.rs",
    "stderr.rs",
    "wakeup.rs",
];

#[test]
fn there_is_no_lock_to_hold_while_waiting() {
    let mut sources = Vec::new();
    find_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    assert!(sources.len() > 30, "{sources:?}");
    let locks = |path: &PathBuf| {
        let source = fs::read_to_string(path).unwrap();
        ["Mutex", "RwLock", "Condvar"].iter().any(|lock| source.contains(lock))
    };
    let names = sources.iter().filter(|it| locks(it)).map(|it| it.file_name().unwrap());
    let mut locking: Vec<_> = names.map(|it| it.to_str().unwrap()).collect();
    locking.sort_unstable();
    assert_eq!(locking, LOCKS, "is each held for a moment only?");
}

fn find_sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}
