//! Init: the order of starts, and its failures.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use local_lambda::{Event, LogFormat, Role, Setup, Status};
use tempfile::TempDir;

use super::puppet::{Puppet, script, with_puppet};
use super::{
    NOTHING, extension, healthy, in_a_process, in_threads, index_of, long_init, start, tenth,
};
use crate::FLOOR;

#[test]
fn two_extensions_of_one_name_are_refused() {
    let started = healthy().extension_named(FLOOR, "floor").start();
    let error = started.err().unwrap().to_string();
    assert_eq!(error, "two extensions have the name \"floor\", which must be one file's");
}

#[test]
fn the_runtime_starts_when_every_external_extension_has_registered() {
    let setup = with_puppet(Setup::new().extension(FLOOR), "late").runtime(in_a_process(&[]));
    let lambda = start(setup);
    lambda.wait_for("registration of the floor", |event| match event {
        Event::Registered { extension, .. } => (extension == "floor").then_some(()),
        _ => None,
    });
    let is_runtime = |event: &Event| matches!(event, Event::Started { process: Role::Runtime });
    assert!(!lambda.timeline().iter().any(|entry| is_runtime(&entry.event)));
    let mut late = Puppet::registered(&lambda, "late", &["INVOKE"]);
    late.poll();
    assert!(lambda.wait_for_init());
    let timeline = lambda.timeline();
    let registered = index_of(
        &timeline,
        "registration",
        |event| matches!(event, Event::Registered { extension, .. } if extension == "late"),
    );
    assert!(registered < index_of(&timeline, "runtime", is_runtime));
}

#[test]
fn init_lasts_until_every_extension_has_asked_for_its_first_event() {
    let lambda = start(with_puppet(healthy(), "slow"));
    let mut slow = Puppet::registered(&lambda, "slow", &[]);
    lambda.wait_for("runtime", |event| matches!(event, Event::RuntimeReady).then_some(()));
    lambda.wait_for("floor", |event| match event {
        Event::ExtensionReady { extension } => (extension == "floor").then_some(()),
        _ => None,
    });
    let is_end = |event: &Event| matches!(event, Event::InitEnded { .. });
    assert!(!lambda.timeline().iter().any(|entry| is_end(&entry.event)));
    slow.poll();
    assert!(lambda.wait_for_init());
}

#[test]
fn a_registration_after_the_runtime_is_ready_is_refused() {
    let lambda = start(healthy());
    assert!(lambda.wait_for_init());
    let answer = Puppet::of(&lambda, "late").register(&[]);
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 403);
    let expected = "{\"errorMessage\":\"Extension registration closed already\",\
                    \"errorType\":\"Extension.RegistrationClosed\"}\n";
    assert_eq!(body, expected);
}

#[test]
fn ten_extensions_start_and_an_eleventh_fails_the_environment() {
    let setup = |count: usize| {
        let add = |setup: Setup, number| setup.extension_named(FLOOR, &format!("floor-{number}"));
        (0..count).fold(Setup::new().limits(long_init()).runtime(in_threads()), add)
    };
    let ten = start(setup(10));
    assert_eq!(ten.invoke(NOTHING).status, Status::Success);
    let eleven = start(setup(11));
    let failure = Status::Failure("Extension.LaunchError".to_owned());
    assert_eq!(eleven.invoke(NOTHING).status, failure);
}

#[test]
fn an_internal_extension_counts_among_the_ten() {
    let add = |setup: Setup, number| setup.extension_named(FLOOR, &format!("floor-{number}"));
    let setup = with_puppet((0..9).fold(Setup::new().limits(long_init()), add), "last")
        .runtime(in_threads());
    let lambda = start(setup);
    for number in 0..9 {
        let name = format!("floor-{number}");
        lambda.wait_for("registration", |event| match event {
            Event::Registered { extension, .. } => (*extension == name).then_some(()),
            _ => None,
        });
    }
    let mut last = Puppet::registered(&lambda, "last", &[]);
    let answer = Puppet::of(&lambda, "internal").register(&["INVOKE"]);
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(answer.status == 403 && body.contains("Extension limit (10) reached"), "{body}");
    last.poll();
    assert!(lambda.wait_for_init());
}

#[test]
fn a_file_that_can_not_be_executed_fails_the_environment_with_the_systems_reason() {
    let home = TempDir::new().unwrap();
    let check = |name: &str, text: &str, mode: u32, reason: &str| {
        let path = home.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let invocation = start(Setup::new().extension(&path).runtime(in_threads())).invoke("");
        let failure = Status::Failure("Extension.LaunchError".to_owned());
        assert_eq!(invocation.status, failure, "{name}");
        let payload = String::from_utf8_lossy(&invocation.reply.payload).into_owned();
        assert!(payload.contains(reason), "{name}: {payload}");
    };
    check("no-x-bit", "#!/bin/sh\n", 0o644, "Permission denied");
    check("no-shebang", "text", 0o755, "Exec format error");
    check("crlf", "#!/bin/sh\r\n", 0o755, "No such file or directory");
}

#[test]
fn an_extension_that_never_registers_runs_into_the_limit_and_init_is_repeated_for_the_invocation() {
    let setup = with_puppet(Setup::new(), "mute").runtime(in_threads()).limits(tenth());
    let lambda = start(setup.timeout(super::SHORT));
    assert!(!lambda.wait_for_init());
    let invocation = lambda.invoke(NOTHING);
    assert_eq!(invocation.status, Status::Timeout);
    let phases: Vec<_> = lambda
        .timeline()
        .iter()
        .filter_map(|entry| match entry.event {
            Event::InitStarted { phase } => Some(phase),
            _ => None,
        })
        .collect();
    assert_eq!(phases, ["init", "invoke"]);
}

#[test]
fn an_init_that_fails_within_an_invocation_is_the_reply_before_the_shutdown_that_follows() {
    let setup = with_puppet(Setup::new(), "mute").runtime(in_threads()).limits(tenth());
    let lambda = start(setup.timeout(super::SHORT));
    assert!(!lambda.wait_for_init());
    let invocation = lambda.invoke(NOTHING);
    let timeline = lambda.timeline();
    let replied = index_of(&timeline, "reply", |event| matches!(event, Event::Replied { .. }));
    let again = index_of(
        &timeline,
        "second init",
        |event| matches!(event, Event::InitStarted { phase } if *phase == "invoke"),
    );
    let is_shutdown = |event: &Event| matches!(event, Event::ShutdownStarted { .. });
    let shutdown = again + index_of(&timeline[again..], "shutdown", is_shutdown);
    assert!(again < replied && replied < shutdown, "{invocation:?}");
    let ended = |entry: &&local_lambda::Entry| matches!(entry.event, Event::ShutdownEnded { .. });
    assert_eq!(timeline.iter().filter(ended).count(), 2, "each init has its shutdown");
}

#[test]
fn an_init_error_of_the_runtime_is_the_reply() {
    let lambda = start(healthy().runtime(in_a_process(&["--init-error"])));
    let invocation = lambda.invoke(NOTHING);
    let Status::Failure(error_type) = &invocation.status else { panic!("{invocation:?}") };
    assert!(error_type.starts_with("Runtime.") || error_type.starts_with("Function."));
}

#[test]
fn an_extension_that_reports_an_init_error_fails_by_its_name_for_it_once_it_exits() {
    let (_home, path) = script("#!/bin/sh\nread line < \"$GO\"\nexit 3\n");
    let pipe = TempDir::new().unwrap();
    let go = pipe.path().join("go");
    fs::set_permissions(pipe.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let made = std::process::Command::new("mkfifo").args(["-m", "666"]).arg(&go).status();
    assert!(made.unwrap().success());
    let setup = Setup::new().extension_named(&path, "odd").runtime(in_threads());
    let lambda = start(setup.env("GO", go.to_str().unwrap()));
    let mut odd = Puppet::registered(&lambda, "odd", &["INVOKE"]);
    let answer = odd.call("POST", "/2020-01-01/extension/init/error", "{}");
    assert_eq!(answer.status, 202);
    fs::write(&go, "exit\n").unwrap();
    let status = lambda.wait_for("end of init", |event| match event {
        Event::InitEnded { status, .. } => Some(status.clone()),
        _ => None,
    });
    assert_eq!(status, Status::Failure("Extension.Odd".to_owned()));
}

#[test]
fn an_extension_sees_its_variables_and_no_others_and_its_lines_are_logged() {
    let (_home, path) = script("#!/bin/sh\nenv\nexec sleep 1000\n");
    let setup = Setup::new().extension_named(&path, "env").env("MINE", "yes");
    let lambda = start(setup.log_format(LogFormat::Json));
    let wait_for = |wanted: &str| {
        lambda.wait_for(wanted, |event| match event {
            Event::Log { process, line } => {
                (*process == extension("env") && line == wanted).then_some(())
            }
            _ => None,
        });
    };
    wait_for("MINE=yes");
    wait_for("AWS_LAMBDA_LOG_FORMAT=JSON");
    wait_for(&format!("AWS_LAMBDA_RUNTIME_API={}", lambda.runtime_api()));
    let leaked = lambda.timeline().iter().any(|entry| match &entry.event {
        Event::Log { line, .. } => line.starts_with("_HANDLER") || line.starts_with("HOME="),
        _ => false,
    });
    assert!(!leaked);
}
