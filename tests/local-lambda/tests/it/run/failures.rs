//! For each failure, the command prints a line with advice, and exits with a code.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::{LONG_INIT, in_order, run};
use crate::FLOOR;

fn script(home: &Path, name: &str, text: &str) -> String {
    let path = home.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn a_timeout_ends_all_processes_and_the_next_invocation_goes_well() {
    let hangs = r#"{"outcome": "hang", "reports": 0}"#;
    let help = run(&["--help"]).1;
    assert!(help.contains(&format!("--event '{hangs}'")), "it is an example of the help: {help}");
    let events = ["--event", hangs, "--event", "{}"];
    let options = ["--extension", FLOOR, "--invocations", "2", "--timeout", "5s", "--agent", "go"];
    let (code, text, _) = run(&[options.as_slice(), &events].concat());
    assert_eq!(code, Some(1), "{text}");
    let again = ["invocation: timeout", "SHUTDOWN (timeout)", "INIT again, within the invocation"];
    in_order(&text, again.into_iter().chain(["invocation: success", "SHUTDOWN (spindown)"]));
    in_order(&text, ["problem: invocation 1: timeout: ", "Task timed out after 5.00 seconds"]);
    assert!(!text.contains("problem: invocation 2"), "{text}");
}

#[test]
fn a_crash_is_a_failure_of_its_invocation() {
    let options = ["--extension", FLOOR, "--invocations", "1"];
    let (code, text, _) =
        run(&[options.as_slice(), &["--event", r#"{"outcome": "crash"}"#]].concat());
    assert_eq!(code, Some(1), "{text}");
    in_order(&text, ["invocation: failure Runtime.ExitError", "SHUTDOWN (failure)"]);
    in_order(&text, ["no process was left", "problem: invocation 1: failure Runtime.ExitError"]);
}

#[test]
fn an_error_of_the_function_ends_nothing_and_is_no_success() {
    let options = ["--extension", FLOOR, "--invocations", "1"];
    let (code, text, _) =
        run(&[options.as_slice(), &["--event", r#"{"outcome": "error"}"#]].concat());
    assert_eq!(code, Some(1), "{text}");
    in_order(
        &text,
        ["invocation: error Function.Unknown", "FREEZE", "floor ended: exit status: 0"],
    );
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, text, errors) = run(&["--extension", FLOOR, "--runtime-api", &address]);
    assert_eq!((code, text.as_str()), (Some(1), ""));
    let why = format!("can't listen on {address}: Address already in use (os error 98)");
    assert_eq!(errors, format!("local-lambda: can't start the environment: {why}\n"));
}

#[test]
fn a_missing_extension_is_one_line() {
    let (code, text, errors) = run(&["--extension", "/no/such/file"]);
    assert_eq!((code, text.as_str()), (Some(1), ""));
    let why = "no extension at /no/such/file: No such file or directory (os error 2)";
    assert_eq!(errors, format!("local-lambda: {why}\n"));
}

#[test]
fn a_missing_command_is_an_invalid_entrypoint() {
    let (code, text, _) = run(&["--invocations", "1", "--", "no-such-runtime"]);
    assert_eq!(code, Some(1), "{text}");
    in_order(
        &text,
        [
            "problem: invocation 1: failure Runtime.InvalidEntrypoint: ",
            "no no-such-runtime in PATH",
        ],
    );
}

#[test]
fn an_extension_that_never_registers_is_named_with_an_explanation() {
    let home = TempDir::new().unwrap();
    let sleeper = script(home.path(), "sleeper", "#!/bin/sh\nexec sleep 60\n");
    let limits = ["--time-limits-scale", "0.05", "--timeout", "500ms", "--invocations", "1"];
    let (code, text, _) = run(&[&["--extension", &sleeper], limits.as_slice()].concat());
    assert_eq!(code, Some(1), "{text}");
    in_order(
        &text,
        [
            "init: timeout",
            "problem: sleeper never registered: ",
            "`Lambda-Extension-Name: sleeper`",
        ],
    );
}

#[test]
fn an_extension_that_cannot_be_executed_is_one_line_with_the_reason() {
    let home = TempDir::new().unwrap();
    let path = script(home.path(), "nonsense", "what is this");
    let (code, text, _) = run(&["--extension", &path, "--invocations", "0"]);
    assert_eq!(code, Some(1), "{text}");
    let why = "nonsense can't be executed: Exec format error";
    in_order(
        &text,
        ["nonsense started", why, "init: failure Extension.LaunchError", "problem: ", why],
    );
    assert!(!text.contains("never registered"), "{text}");
}

#[test]
fn an_extension_that_ends_badly_at_shutdown_fails_the_run() {
    let home = TempDir::new().unwrap();
    let floor = home.path().join("the-floor");
    fs::copy(FLOOR, &floor).unwrap();
    let home_open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(home.path(), home_open).unwrap();
    // An extension registers with the name of its own file.
    let sour = format!("#!/bin/bash\n(exec -a \"$0\" \"{}\")\nexit 7\n", floor.display());
    let sour = script(home.path(), "sour", &sour);
    let (code, text, _) = run(&["--extension", &sour, "--invocations", "1"]);
    assert_eq!(code, Some(1), "{text}");
    in_order(&text, ["invocation: success", "problem: sour ended with exit status: 7"]);
}

/// An extension in Python that runs `before` before it registers, and `at_shutdown` at SHUTDOWN.
fn python_extension(home: &Path, name: &str, before: &str, at_shutdown: &str) -> String {
    let text = format!(
        r#"#!/usr/bin/env python3
import http.client, json, os, subprocess, sys
{before}
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
base = "/2020-01-01/extension"
api.request("POST", base + "/register", '{{"events": ["INVOKE", "SHUTDOWN"]}}',
            {{"Lambda-Extension-Name": os.path.basename(sys.argv[0])}})
answer = api.getresponse()
answer.read()
me = {{"Lambda-Extension-Identifier": answer.headers["Lambda-Extension-Identifier"]}}
while True:
    api.request("GET", base + "/event/next", headers=me)
    event = json.loads(api.getresponse().read())
    if event["eventType"] == "SHUTDOWN":
        {at_shutdown}
"#
    );
    script(home, name, &text)
}

/// Python code that runs the line only in the first process. A file marks that it has run.
fn only_first(home: &Path, line: &str) -> String {
    let place = home.join("seen");
    format!(
        "if not os.path.exists({0:?}):\n    open({0:?}, \"w\").close()\n    {line}",
        place.display().to_string()
    )
}

fn open_home() -> TempDir {
    let home = TempDir::new().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    home
}

#[test]
fn a_first_init_that_fails_is_a_problem_though_the_second_goes_well() {
    let home = open_home();
    let before = only_first(home.path(), "sys.exit(7)");
    let path = python_extension(home.path(), "late", &before, "sys.exit()");
    let (code, text, _) = run(&["--extension", &path, "--timeout", "20s", "--invocations", "1"]);
    in_order(&text, ["init: failure Extension.Crash", "INIT again", "invocation: success"]);
    in_order(&text, ["problem: init 1: failure Extension.Crash", "problem: late ended with"]);
    assert!(!text.contains("problem: invocation") && !text.contains("init 2"), "{text}");
    assert_eq!(code, Some(1), "{text}");
}

#[test]
fn an_extension_that_ends_badly_at_a_reset_fails_the_run() {
    let home = open_home();
    let end = "sys.exit(9 if event[\"shutdownReason\"] == \"failure\" else 0)";
    let path = python_extension(home.path(), "sour", "", end);
    let events = ["--event", r#"{"outcome": "crash"}"#, "--event", "{}", "--invocations", "2"];
    let (code, text, _) =
        run(&[&["--extension", &path, "--timeout", "20s"], events.as_slice()].concat());
    assert_eq!(code, Some(1), "{text}");
    in_order(&text, ["problem: invocation 1: ", "problem: sour ended with exit status: 9"]);
    assert_eq!(text.matches("problem: sour").count(), 1, "{text}");
}

#[test]
fn an_extension_that_leaves_a_process_behind_fails_the_run() {
    let sleep = "subprocess.Popen([\"sleep\", \"60\"]); sys.exit()";
    let stray = "subprocess.Popen([\"sleep\", \"60\"], start_new_session=True); sys.exit()";
    let told = ["problem: 1 processes outlive ", "problem: 1 processes outlive the shutdown"];
    for (end, problem) in [sleep, stray].into_iter().zip(told) {
        let home = open_home();
        let path = python_extension(home.path(), "messy", "", end);
        let (code, text, _) =
            run(&["--extension", &path, "--timeout", "20s", "--invocations", "1"]);
        assert_eq!(code, Some(1), "{text}");
        in_order(&text, ["invocation: success", problem]);
    }
}

#[test]
fn a_timeout_does_not_show_the_previous_reply() {
    const RUNTIME: &str = r#"
import http.client, os, time
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
base = "/2018-06-01/runtime/invocation/"
api.request("GET", base + "next")
event = api.getresponse()
event.read()
request = event.headers["Lambda-Runtime-Aws-Request-Id"]
api.request("POST", base + request + "/error", '{"errorMessage": "no luck"}')
api.getresponse().read()
time.sleep(600)
"#;
    let home = TempDir::new().unwrap();
    let path = script(home.path(), "runtime.py", RUNTIME);
    let options = ["--invocations", "1", "--timeout", "5s", "--time-limits-scale", LONG_INIT];
    let (code, text, _) = run(&[&options[..], &["--", "python3", &path]].concat());
    assert_eq!(code, Some(1), "{text}");
    in_order(&text, ["the caller has the reply: error", "invocation: timeout", "no luck"]);
    assert!(text.lines().any(|it| it == "problem: invocation 1: timeout"), "{text}");
}

#[test]
fn an_invalid_event_is_a_wrong_call() {
    let (code, _, errors) = run(&["--event", "{x"]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("no JSON: key must be a string"), "{errors}");
    let (code, _, errors) = run(&["--event", "@/no/such/event"]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("can't read /no/such/event: "), "{errors}");
    let (code, _, errors) = run(&["--freeze", "2"]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("write 250ms or 2s"), "{errors}");
}

#[test]
fn impossible_options_are_refused_before_anything_starts() {
    for options in [
        ["--memory", "64"],
        ["--memory", "20480"],
        ["--timeout", "500000years"],
        ["--timeout", "901s"],
        ["--timeout", "0s"],
        ["--freeze", "2days"],
        ["--env", "NAME"],
    ] {
        let (code, text, errors) = run(&options);
        assert_eq!((code, text.as_str()), (Some(2), ""), "{options:?}");
        assert!(errors.contains(options[0]), "{errors}");
    }
}
