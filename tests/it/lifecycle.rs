//! Lambda's requirements for an extension: registration, polling, and its allowed ends.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use local_lambda::{
    Answer, Authority, EventType, Footprint, Launch, Platform, PlatformScript, Process, Remote,
    TakenPort, agent, free_port,
};

use crate::support::fixture::{
    ARRAY, Fixture, PATIENCE, SHUTDOWN, binary, nowhere, pass, spawn, text,
};

#[test]
fn registers_relays_one_report_and_shuts_down() {
    let fixture = Fixture::start();
    let registration = fixture.platform.registration(PATIENCE);
    assert_eq!(registration.name, binary().file_name().unwrap().to_str().unwrap());
    assert_eq!(registration.events, [EventType::Invoke, EventType::Shutdown]);
    fixture.platform.invoke(PATIENCE);
    fixture.report(ARRAY, r#"[{"a":1}]"#);
    assert_eq!(fixture.bodies_received(1), [r#"[{"a":1}]"#]);
    fixture.platform.wait_for_next(PATIENCE);
    fixture.shut_down();
}

#[test]
fn a_renamed_file_registers_under_its_new_name() {
    let platform = Platform::start_with(PlatformScript::default().expected_name("my extension.v2"));
    let process = Launch::of(binary())
        .name("my extension.v2")
        .env("THUNDRA_EXTENSION_PORT", free_port().to_string())
        .on(&platform)
        .start();
    assert_eq!(platform.registration(PATIENCE).name, "my extension.v2");
    platform.shutdown("spindown", SHUTDOWN);
    assert!(process.exit(PATIENCE).success());
    assert_eq!(platform.violations(), Vec::<String>::new());
}

#[test]
fn without_any_configuration_it_polls_and_ends_well() {
    let platform = Platform::start();
    let launch = Launch::of(binary()).on(&platform);
    let given =
        ["PATH", "AWS_REGION", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"];
    let process = given.into_iter().fold(launch, Launch::without).start();
    for _ in 0..3 {
        platform.invoke(PATIENCE);
    }
    platform.shutdown("spindown", SHUTDOWN);
    assert!(process.exit(PATIENCE).success());
}

#[test]
fn next_is_pending_again_at_once_after_each_invoke_whatever_the_remote_does() {
    /// Half of an attempt, and far above what a poll takes.
    const AT_ONCE: Duration = Duration::from_millis(1_500);
    let fixture = Fixture::start();
    fixture.remote.answer_with(|_| Answer::Hang);
    let mut times: Vec<Duration> = (0..50)
        .map(|_| {
            fixture.report(ARRAY, "[1]");
            let invoked = Instant::now();
            fixture.platform.invoke(PATIENCE);
            fixture.platform.wait_for_next(PATIENCE);
            invoked.elapsed()
        })
        .collect();
    times.sort_unstable();
    assert!(times[times.len() * 9 / 10] < AT_ONCE, "{times:?}");
}

#[test]
#[ignore = "takes five minutes"]
fn a_poll_that_lasts_longer_than_any_clients_default_timeout_is_answered() {
    let fixture = Fixture::start();
    // Node.js waits for five minutes. Only real time can prove that nothing ends the poll.
    pass(Duration::from_secs(301));
    fixture.platform.invoke(PATIENCE);
    fixture.platform.wait_for_next(PATIENCE);
    let paths = fixture.platform.calls().into_iter().map(|call| call.path);
    assert_eq!(paths.filter(|path| path.ends_with("/next")).count(), 2);
    fixture.shut_down();
}

#[test]
fn managed_instances_are_registered_for_shutdown_only() {
    let platform = Platform::start_with(PlatformScript::default().managed_instances(true));
    let environment = [("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances")];
    let fixture = Fixture::on(platform, Remote::start(), &environment);
    assert_eq!(fixture.platform.registration(PATIENCE).events, [EventType::Shutdown]);
    let registrations =
        fixture.platform.calls().iter().filter(|call| call.path.ends_with("/register")).count();
    assert_eq!(registrations, 1, "it knew before it asked");
    fixture.report(ARRAY, "[1]");
    assert_eq!(fixture.bodies_received(1), ["[1]"]);
    fixture.shut_down();
}

#[test]
fn if_invoke_is_refused_it_registers_for_shutdown_only() {
    let platform = Platform::start_with(PlatformScript::default().managed_instances(true));
    let fixture = Fixture::on(platform, Remote::start(), &[]);
    assert_eq!(fixture.platform.registration(PATIENCE).events, [EventType::Shutdown]);
    fixture.shut_down();
}

#[test]
fn a_refused_registration_ends_it_with_the_platforms_reason() {
    let refusal = r#"{"errorType":"Extension.TooManyExtensions","errorMessage":"limit reached"}"#;
    let platform = Platform::start_with(PlatformScript::default().register_answer(403, refusal));
    let process = Launch::of(binary())
        .env("THUNDRA_EXTENSION_PORT", free_port().to_string())
        .on(&platform)
        .start();
    assert_eq!(process.exit(PATIENCE).code(), Some(1));
    let reason = "403 Extension.TooManyExtensions limit reached";
    assert!(process.log().contains(reason), "{}", process.log());
}

#[test]
fn outside_lambda_it_logs_that_and_ends() {
    let process = Launch::of(binary()).start();
    assert_eq!(process.exit(PATIENCE).code(), Some(1));
    assert!(process.log().contains("AWS_LAMBDA_RUNTIME_API is not set"), "{}", process.log());
}

#[test]
fn when_a_poll_fails_it_delivers_waiting_reports_and_ends_with_a_failure() {
    let script = PlatformScript::default().next_answer(2, 500, "container error");
    let fixture = Fixture::on(Platform::start_with(script), Remote::start(), &[]);
    fixture.report(ARRAY, "[1]");
    fixture.platform.invoke(PATIENCE);
    assert_eq!(fixture.process.exit(PATIENCE).code(), Some(1));
    assert_eq!(fixture.bodies_received(1), ["[1]"]);
    let log = fixture.process.log();
    assert!(log.contains("cannot get the next event: 500"), "{log}");
}

#[test]
fn an_unknown_event_is_ignored() {
    let script = PlatformScript::default()
        .next_answer(1, 200, r#"{"eventType":"RESTORE"}"#)
        .next_answer(2, 200, "no json");
    let fixture = Fixture::on(Platform::start_with(script), Remote::start(), &[]);
    fixture.platform.invoke(PATIENCE);
    fixture.shut_down();
}

#[test]
fn a_platform_that_answers_only_nonsense_ends_it() {
    let script = (1..=200)
        .fold(PlatformScript::default(), |script, nth| script.next_answer(nth, 200, "no json"));
    let platform = Platform::start_with(script);
    let process = Launch::of(binary())
        .env("THUNDRA_EXTENSION_PORT", free_port().to_string())
        .on(&platform)
        .start();
    assert_eq!(process.exit(PATIENCE).code(), Some(1));
    let polls = platform.calls().iter().filter(|call| call.path.ends_with("/next")).count();
    assert_eq!(polls, 101);
}

#[test]
fn the_local_port_takes_connections_before_the_registration_is_answered() {
    // A platform that never answers.
    let api = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = api.local_addr().unwrap().to_string();
    let port = free_port();
    let process = Launch::of(binary())
        .env("THUNDRA_EXTENSION_PORT", port.to_string())
        .env("AWS_LAMBDA_RUNTIME_API", address)
        .start();
    let (registering, is_registering) = mpsc::channel();
    spawn(move || drop(registering.send(api.accept().unwrap().0)));
    let registration = is_registering.recv_timeout(PATIENCE).unwrap();
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    drop(registration);
    assert_eq!(process.exit(PATIENCE).code(), Some(1));
}

/// An extension that has sent its registration to an API of the test.
fn registering() -> (Process, TcpListener, TcpStream) {
    let api = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let process = Launch::of(binary())
        .env("THUNDRA_EXTENSION_PORT", free_port().to_string())
        .env("AWS_LAMBDA_RUNTIME_API", api.local_addr().unwrap().to_string())
        .start();
    let connection = asked(api.accept().unwrap().0, "SHUTDOWN\"]}");
    (process, api, connection)
}

/// Reads this text from the connection, and returns the connection.
fn asked(mut connection: TcpStream, what: &str) -> TcpStream {
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut read, mut part) = (String::new(), [0; 4096]);
    while !read.contains(what) {
        let length = connection.read(&mut part).unwrap();
        assert_ne!(length, 0, "no {what} in {read}");
        read.push_str(text(&part[..length]));
    }
    connection
}

/// The log of an extension whose registration gets this answer, or none. The extension ends then.
#[track_caller]
fn refused_by(answer: Option<&str>) -> String {
    let (process, _api, mut connection) = registering();
    if let Some(answer) = answer {
        connection.write_all(answer.as_bytes()).unwrap();
        connection.shutdown(Shutdown::Write).unwrap();
    }
    let status = process.exit(INIT);
    assert_eq!(status.code(), Some(1), "{answer:?}");
    process.log()
}

/// The time limit of init on Lambda.
const INIT: Duration = Duration::from_secs(10);

#[test]
fn a_registration_that_is_answered_with_nonsense_or_never_ends_it_with_a_line_in_time() {
    for (answer, reason) in [
        (Some("HTTP/1.1 500 Container Error\r\nContent-Length: 2\r\n\r\n{}"), "500"),
        (Some("HTTP/1.1 500 Container Error\r\nContent-Length: 5\r\n\r\n<html"), "500"),
        (Some("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), "no identifier"),
        (Some("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"), "no identifier"),
        (Some("no http at all\r\n\r\n"), "no answer"),
        (Some(""), "no answer"),
        (None, "timeout"),
    ] {
        let log = refused_by(answer);
        assert!(log.contains("cannot register with") && log.contains(reason), "{answer:?}: {log}");
        assert_eq!(log.lines().count(), 1, "{log}");
    }
}

#[test]
fn a_refused_poll_ends_it_with_the_platforms_reason() {
    let refusal = r#"{"errorType":"Extension.InvalidExtensionState","errorMessage":"no"}"#;
    let script = PlatformScript::default().next_answer(2, 403, refusal);
    let fixture = Fixture::on(Platform::start_with(script), Remote::start(), &[]);
    fixture.platform.invoke(PATIENCE);
    assert_eq!(fixture.process.exit(PATIENCE).code(), Some(1));
    let log = fixture.process.log();
    assert!(log.contains("403 Extension.InvalidExtensionState no"), "{log}");
}

#[test]
fn unknown_members_of_an_event_are_ignored() {
    let more = "x".repeat(2_000_000);
    let shutdown = format!(r#"{{"more":"{more}","eventType":"SHUTDOWN","shutdownReason":"new"}}"#);
    let script = PlatformScript::default().next_answer(1, 200, shutdown);
    let platform = Platform::start_with(script);
    let process = Launch::of(binary())
        .on(&platform)
        .env("THUNDRA_EXTENSION_PORT", free_port().to_string())
        .start();
    assert!(process.exit(PATIENCE).success(), "{}", process.log());
}

#[test]
fn a_freeze_for_longer_than_a_registration_may_take_does_not_end_it() {
    // A registration may take six seconds.
    const FREEZE: Duration = Duration::from_millis(6_500);
    let answer = "HTTP/1.1 200 OK\r\nLambda-Extension-Identifier: a\r\nContent-Length: 2\r\n\r\n{}";
    let (process, _api, mut connection) = registering();
    process.stop();
    pass(FREEZE);
    connection.write_all(answer.as_bytes()).unwrap();
    process.resume();
    asked(connection, "/extension/event/next");
    assert!(process.is_running());
}

#[test]
fn a_poll_without_a_free_descriptor_waits_for_one() {
    let answer = "HTTP/1.1 200 OK\r\nLambda-Extension-Identifier: a\r\nContent-Length: 2\r\n\
                  Connection: close\r\n\r\n{}";
    let (process, api, mut connection) = registering();
    process.limit_descriptors(0);
    connection.write_all(answer.as_bytes()).unwrap();
    drop(connection);
    // The extension tries again with a pause after each attempt, and the kernel counts the pauses.
    let pauses = || Footprint::of(process.pid()).wakes;
    let (before, waited) = (pauses(), Instant::now());
    while pauses() < before + 50 {
        assert!(process.is_running() && waited.elapsed() < PATIENCE, "{}", process.log());
        pass(Duration::from_millis(5));
    }
    process.limit_descriptors(1024);
    asked(api.accept().unwrap().0, "/extension/event/next");
}

#[test]
fn a_port_that_is_taken_is_tried_again_without_invoke_events() {
    let port = free_port();
    let taken = TakenPort::new(port);
    let platform = Platform::start_with(PlatformScript::default().managed_instances(true));
    let process = Launch::of(binary())
        .on(&platform)
        .env("THUNDRA_EXTENSION_PORT", port.to_string())
        .env("THUNDRA_EXTENSION_COLLECTOR_URL", nowhere())
        .start();
    platform.wait_for_next(PATIENCE);
    drop(taken);
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "{}", process.log());
        pass(Duration::from_millis(20));
    }
    assert_eq!(agent::post(port, ARRAY, b"[]").status, 200);
    platform.shutdown("spindown", SHUTDOWN);
    assert!(process.exit(PATIENCE).success());
}

#[test]
fn nothing_but_the_runtime_api_is_contacted_before_the_first_poll_or_without_a_report() {
    let authority = Authority::new();
    let remote = Remote::start_tls(&authority);
    let ca = authority.pem_file().to_str().unwrap().to_owned();
    let fixture = Fixture::on(Platform::start(), remote, &[("SSL_CERT_FILE", &ca)]);
    let paths: Vec<String> =
        fixture.platform.calls().iter().map(|call| call.path.clone()).collect();
    assert_eq!(paths, ["/2020-01-01/extension/register", "/2020-01-01/extension/event/next"]);
    assert_eq!(fixture.platform.connections(), 1, "one connection serves both");
    fixture.platform.invoke(PATIENCE);
    fixture.platform.wait_for_next(PATIENCE);
    assert_eq!(fixture.remote.connections(), 0);
    fixture.shut_down();
}

#[test]
fn a_port_that_is_taken_is_one_line_and_is_tried_again_at_each_invoke() {
    let ports = [free_port(), free_port()];
    let [taken, other] = ports.map(TakenPort::new);
    let (platform, remote) = (Platform::start(), Remote::start());
    let process = Launch::of(binary())
        .on(&platform)
        .env("THUNDRA_EXTENSION_PORT", ports[0].to_string())
        .env("THUNDRA_EXTENSION_COLLECTOR_URL", remote.base_url())
        .env("THUNDRA_EXTENSION_OTLP_PORT", ports[1].to_string())
        .env("THUNDRA_EXTENSION_OTLP_ENDPOINT", remote.origin())
        .start();
    let invoke = || {
        platform.invoke(PATIENCE);
        platform.wait_for_next(PATIENCE);
    };
    // An INVOKE at which another thread of the extension just tries the ports leaves them to it.
    let invoke_until_open = |port: u16| {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "{}", process.log());
            invoke();
        }
    };
    for port in ports {
        process.wait_for_log(&format!("cannot listen on 127.0.0.1:{port}"), PATIENCE);
    }
    drop(other);
    invoke_until_open(ports[1]);
    for _ in 0..3 {
        invoke();
    }
    drop(taken);
    invoke_until_open(ports[0]);
    assert_eq!(agent::post(ports[0], ARRAY, b"[1]").status, 200);
    remote.wait_for(1, PATIENCE);
    platform.shutdown("spindown", SHUTDOWN);
    assert!(process.exit(PATIENCE).success());
    let log = process.log();
    assert_eq!(log.matches("cannot listen on 127.0.0.1").count(), 2, "{log}");
}

#[test]
fn any_shutdown_reason_ends_it_with_code_0() {
    for reason in ["spindown", "timeout", "failure", "SandboxTerminated", ""] {
        let fixture = Fixture::start();
        fixture.platform.shutdown(reason, SHUTDOWN);
        assert!(fixture.process.exit(PATIENCE).success(), "{reason}");
    }
}
