//! The wrapper starts the runtime as Lambda would, with variables added to its environment.
//!
//! `tests/real` starts real agents by the wrapper.

mod agents;
mod next_wrapper;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use rstest::rstest;
use tempfile::TempDir;

use crate::support::fixture;

const ALL_GET: [(&str, &str); 3] = [
    ("THUNDRA_AGENT_REPORT_REST_LOCAL", "true"),
    ("CATCHPOINT_REPORT_REST_LOCAL", "true"),
    ("THUNDRA_AGENT_REPORT_SIZE_MAX", "1000000"),
];

/// The wrapper beside the extension under test.
fn wrapper() -> PathBuf {
    let shipped =
        fixture::is_shipped().then(|| fixture::binary().with_file_name("thundra_wrapper"));
    shipped.unwrap_or_else(|| env!("CARGO_BIN_EXE_thundra_wrapper").into())
}

/// Runs the wrapper with these variables and `PATH`.
fn wrapped(variables: &[(&str, &str)], command: &[impl AsRef<OsStr>]) -> Output {
    let mut wrapper = match env::var("LOCAL_LAMBDA_RUNNER") {
        Ok(runner) => {
            let mut runner = Command::new(runner);
            runner.arg(wrapper());
            runner
        }
        Err(_) => Command::new(wrapper()),
    };
    wrapper.env_clear().env("PATH", "/usr/bin:/bin").envs(variables.iter().copied());
    wrapper.args(command).output().unwrap()
}

/// A program under another name.
fn named(home: &TempDir, name: &str, program: &str) -> String {
    let path = home.path().join(name);
    let _ = fs::remove_file(&path); // an earlier run may have left one
    symlink(program, &path).unwrap();
    path.display().to_string()
}

fn script(home: &TempDir, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = home.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// The variables that env(1) prints. A link gives env(1) the name of an interpreter.
fn arrived(output: &Output) -> BTreeMap<String, String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let pairs = text.split_terminator('\0').map(|it| it.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[track_caller]
fn check(interpreter: &str, given: &[(&str, &str)], more: &[(&str, &str)]) {
    let home = TempDir::new().unwrap();
    let output = wrapped(given, &[named(&home, interpreter, "/usr/bin/env").as_str(), "-0"]);
    let path = ("PATH", "/usr/bin:/bin");
    let expected = [path].into_iter().chain(ALL_GET).chain(given.iter().copied());
    let expected = expected.chain(more.iter().copied());
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(arrived(&output), expected, "{interpreter}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{interpreter}");
}

#[test]
fn the_runtime_gets_its_arguments_unchanged() {
    let arguments = ["two words", "", "*", "$HOME", "-", "--", "new\nline", "\"'\\", "é"];
    let output = wrapped(&[], &[&["/usr/bin/printf", "%s|"][..], &arguments].concat());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), arguments.join("|") + "|");
}

#[test]
fn exit_codes_and_signals_are_the_runtimes_own() {
    let of = |script: &str| wrapped(&[], &["/bin/sh", "-c", script]).status;
    assert_eq!(of("exit 0").code(), Some(0));
    assert_eq!(of("exit 42").code(), Some(42));
    assert_eq!(of("kill -TERM $$").signal(), Some(15));
    assert_eq!(of("kill -KILL $$").signal(), Some(9));
}

#[test]
fn the_runtime_ignores_and_blocks_no_more_signals_than_without_the_wrapper() {
    if env::var_os("LOCAL_LAMBDA_RUNNER").is_some() {
        return; // The runner passes on the signals that it ignores.
    }
    let masks = ["-E", "^Sig(Blk|Ign):", "/proc/self/status"];
    let direct = Command::new("/bin/grep").args(masks).output().unwrap().stdout;
    let behind = wrapped(&[], &[&["/bin/grep"][..], &masks].concat()).stdout;
    assert_eq!(String::from_utf8(behind).unwrap(), String::from_utf8(direct).unwrap());
}

#[test]
fn each_runtime_gets_what_it_needs_and_keeps_what_it_has() {
    let own = ("LAMBDA_TASK_ROOT", "/no/such/task");
    for interpreter in ["ruby3.3", "java", "node", "dotnet", "python3.11"] {
        check(interpreter, &[own, ("_HANDLER", "app.handler"), ("EMPTY", "")], &[]);
    }
    let go = ("thundra_agent_lambda_report_rest_baseUrl", "http://127.0.0.1:3333/v1");
    check("bootstrap", &[own], &[go]);
    let key = ("THUNDRA_APIKEY", "a-key");
    check("bootstrap", &[own, key], &[go, ("thundra_apiKey", "a-key")]);
}

#[test]
fn the_users_settings_win() {
    let own = [
        ("THUNDRA_AGENT_REPORT_REST_LOCAL", "false"),
        ("CATCHPOINT_REPORT_REST_LOCAL", ""),
        ("THUNDRA_AGENT_REPORT_SIZE_MAX", "1"),
        ("thundra_agent_lambda_report_rest_baseUrl", "http://own/v1"),
        ("thundra_apiKey", "own"),
        ("THUNDRA_APIKEY", "another"),
    ];
    check("bootstrap", &own, &[]);
}

#[test]
fn dotnet_gets_the_agents_hook_in_addition_to_its_own() {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("Thundra.Agent.dll"), b"MZ\0StartupHook\0").unwrap();
    let task = home.path().display().to_string();
    let given = [("LAMBDA_TASK_ROOT", task.as_str()), ("DOTNET_STARTUP_HOOKS", "/own/Hook.dll")];
    let hooks = format!("/own/Hook.dll:{task}/Thundra.Agent.dll");
    check("dotnet", &given, &[("DOTNET_STARTUP_HOOKS", &hooks)]);
}

#[test]
fn an_agent_that_would_not_work_is_left_out_with_one_line() {
    let home = TempDir::new().unwrap();
    let package = home.path().join("thundra");
    fs::create_dir(&package).unwrap();
    for module in ["__init__.py", "thundra_agent.py"] {
        fs::write(package.join(module), "").unwrap();
    }
    fs::write(package.join("handler.py"), "import imp\ndef wrapper(e, c): pass\n").unwrap();
    let task = home.path().display().to_string();
    let given = [("LAMBDA_TASK_ROOT", task.as_str()), ("_HANDLER", "app.handler")];
    let output = wrapped(&given, &[named(&home, "python3.13", "/usr/bin/env").as_str(), "-0"]);
    assert_eq!(arrived(&output)["_HANDLER"], "app.handler");
    let logged = String::from_utf8(output.stderr).unwrap();
    let expected = format!(
        "[thundra_wrapper] cannot switch the agent on: {task}/thundra/handler.py imports imp, which \
         Python 3.13 does not have; the runtime starts without it\n"
    );
    assert_eq!(logged, expected);
}

#[test]
fn the_wrapper_does_not_wait_for_a_pipe() {
    let home = TempDir::new().unwrap();
    fs::create_dir(home.path().join("lib")).unwrap();
    let jar = home.path().join("lib/thundra-agent-bootstrap.jar");
    assert!(Command::new("mkfifo").arg(&jar).status().unwrap().success());
    let task = home.path().display().to_string();
    let java = named(&home, "java", "/bin/echo");
    let output = wrapped(&[("LAMBDA_TASK_ROOT", &task)], &[java.as_str(), "started"]);
    assert_eq!(output.stdout, b"started\n");
    let logged = String::from_utf8(output.stderr).unwrap();
    let why =
        "thundra-agent-bootstrap.jar: it is not a regular file; the runtime starts without it\n";
    assert!(logged.ends_with(why), "{logged}");
}

#[test]
fn a_disabled_extension_changes_no_variable() {
    let given = [("THUNDRA_EXTENSION_ENABLED", "false"), ("PATH", "/usr/bin:/bin")];
    let output = wrapped(&given, &["/usr/bin/env", "-0"]);
    let expected = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(arrived(&output), expected.into());
}

#[test]
fn options_are_placed_before_the_script() {
    let options = [("THUNDRA_EXTENSION_WRAPPER_OPTIONS", " -a  -b=c ")];
    let output = wrapped(&options, &["/bin/echo", "script", "handler"]);
    assert_eq!(output.stdout, b"-a -b=c script handler\n");
}

#[rstest]
#[case::none(&[], 127, "cannot start the runtime: no argument names it; the exit code is 127")]
#[case::one_that_does_not_exist(
    &["/no/such/runtime"],
    127,
    "cannot start /no/such/runtime: No such file or directory"
)]
#[case::no_program(&["/etc/passwd"], 126, "cannot start /etc/passwd: Permission denied")]
fn a_program_that_cannot_start_ends_as_in_a_shell(
    #[case] command: &[&str],
    #[case] code: i32,
    #[case] message: &str,
) {
    let output = wrapped(&[], command);
    assert_eq!(output.status.code(), Some(code));
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(line.starts_with(&format!("[thundra_wrapper] {message}")), "{line}");
    assert!(line.ends_with(&format!("; the exit code is {code}\n")), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
}
