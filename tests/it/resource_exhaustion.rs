//! Shortages of descriptors, threads and memory, and a log that nobody reads. A shortage affects only the part
//! that needs the resource, and a port that closed opens again.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use local_lambda::agent::Connection;
use local_lambda::{
    Answer, Container, Footprint, Launch, Limits, Platform, Process, Remote, User, free_port,
};
use tempfile::TempDir;

use crate::support::fixture::{
    ARRAY, BETWEEN_LOOKS, Fixture, PATIENCE, SHUTDOWN, array_of, binary, exchange, is_shipped,
    memory_is_its_own, nowhere, pass, report_of, text,
};
use crate::support::protocol::Protocol::{Otlp, Thundra};

/// Sets a limit of a process.
type Limit = fn(&Process, u64);

/// Lambda's limit for a function and its extensions, both of descriptors and of threads ("Lambda quotas").
const OF_LAMBDA: u64 = 1024;

/// A copy of the binary that every user may start.
fn copy_to(home: &TempDir) -> String {
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
    let copy = home.path().join(binary().file_name().unwrap());
    install(&binary(), &copy);
    copy.to_str().unwrap().to_owned()
}

/// Copies a file that will be executed, in another process. A file cannot be executed while a process has it
/// open for writing. If this process had it open, children of other tests would have it too, until they execute
/// their programs.
fn install(file: &Path, to: &Path) {
    let status = Command::new("install").args(["-m", "755"]).args([file, to]).status();
    assert!(status.unwrap().success(), "install failed");
}

/// A script that finally executes the binary, with the binary's name.
fn wrapped(home: &TempDir, commands: &str) -> PathBuf {
    let (text, folder) = (home.path().join("text"), home.path().join("wrapped"));
    let script = folder.join(binary().file_name().unwrap());
    fs::create_dir(&folder).unwrap();
    fs::write(&text, format!("#!/bin/sh\n{commands}\n")).unwrap();
    install(&text, &script);
    script
}

/// Starts the extension as Lambda's user, if possible, because threads of root have no limit. `name` is the
/// remote's host.
fn start(file: &Path, name: &str) -> Fixture {
    let (platform, remote, port) = (Platform::start(), Remote::start(), free_port());
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let launch = Launch::of(file).on(&platform);
    let launch = launch.user(if is_root { User::Lambda } else { User::Own });
    let variables = Thundra.environment(port, &Thundra.url(&remote).replace("127.0.0.1", name));
    let set = |launch: Launch, (name, value): (&str, String)| launch.env(name, value);
    let process = variables.into_iter().fold(launch, set).start();
    platform.wait_for_next(PATIENCE);
    Fixture { protocol: Thundra, platform, remote, process, port }
}

#[test]
fn reports_wait_while_no_thread_or_descriptor_is_free_to_reach_the_remote() {
    // The look-up of a name needs a thread.
    let shortages: [(Limit, _, _); 2] = [
        (Process::limit_threads, "localhost", "os error 11"),
        (Process::limit_descriptors, "127.0.0.1", "os error 24"),
    ];
    for (limit, name, line) in shortages {
        let home = TempDir::new().unwrap();
        let fixture = start(copy_to(&home).as_ref(), name);
        // This connection is accepted before the shortage.
        let mut connection = Connection::open(fixture.port);
        let mut report = |body: &str| {
            connection.send(&Thundra.report(ARRAY, body).request(""));
            assert_eq!(connection.response().status, 200, "{line}");
        };
        report("[]");
        // The sender starts beside the first poll, and needs a thread too.
        wait_for_a_sender(&fixture);
        limit(&fixture.process, 0);
        report("[1]");
        fixture.process.wait_for_log(line, PATIENCE);
        report("[2]");
        limit(&fixture.process, OF_LAMBDA);
        assert_eq!(fixture.items_received(2), ["1", "2"], "{line}");
        fixture.wait_for_an_empty_buffer();
        assert_eq!(fixture.health()[Thundra.account()]["delivered"], 2);
        fixture.shut_down();
    }
}

/// Two at each of two addresses. Those that stay may still be starting when a test counts them.
const IDLE_WORKERS: usize = 4;

/// Makes the address close by connections that it cannot serve. Then checks that it serves again.
fn serves_again(fixture: Fixture, limit: Limit, left: u64) {
    // This waits for the senders, which start last.
    fixture.report(ARRAY, "[0]");
    fixture.received(1);
    let before = workers(&fixture).max(IDLE_WORKERS);
    limit(&fixture.process, left);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, fixture.port));
    let connections: Vec<_> = (0..40).map(|_| TcpStream::connect(address)).collect();
    for _ in 0..5 {
        fixture.platform.invoke(PATIENCE);
        fixture.platform.wait_for_next(PATIENCE);
    }
    // A connection that was queued when the address closed is reset.
    let report = Thundra.report(ARRAY, "[1]").request("Connection: close\r\n");
    let report = text(&report);
    let is_served = || exchange(address, report).is_ok_and(|it| it.starts_with("HTTP/1.1 200 OK"));
    let is_served_after_an_invoke = || {
        fixture.platform.invoke(PATIENCE);
        fixture.platform.wait_for_next(PATIENCE);
        is_served()
    };
    let (mut served, waited) = (1, Instant::now());
    while is_served_after_an_invoke() {
        served += 1;
        assert!(waited.elapsed() < PATIENCE, "the address is open in spite of the shortage");
    }
    drop(connections);
    limit(&fixture.process, OF_LAMBDA);
    let waited = Instant::now();
    while !is_served_after_an_invoke() {
        assert!(waited.elapsed() < PATIENCE, "{}", fixture.process.log());
    }
    fixture.items_received(served + 1);
    // The workers of the closed server end.
    while workers(&fixture) > before {
        assert!(waited.elapsed() < PATIENCE, "{:?}", fixture.threads());
        pass(BETWEEN_LOOKS);
    }
    let log = fixture.shut_down();
    assert!(log.matches("cannot listen on 127.0.0.1").count() <= 1, "{log}");
}

fn wait_for_a_sender(fixture: &Fixture) {
    let waited = Instant::now();
    while !fixture.threads().iter().any(|name| name == "sender") {
        assert!(waited.elapsed() < PATIENCE, "{:?}", fixture.threads());
        pass(BETWEEN_LOOKS);
    }
}

fn workers(fixture: &Fixture) -> usize {
    fixture.threads().iter().filter(|name| *name == "worker").count()
}

#[test]
fn an_address_that_ran_out_of_descriptors_is_served_again_at_an_invoke_afterwards() {
    // With one limit a connection is accepted and not served, with the other it is not even accepted.
    for limit in [48, 49] {
        serves_again(Fixture::start(), Process::limit_descriptors, limit);
    }
}

#[test]
fn an_address_that_ran_out_of_threads_is_served_again_at_an_invoke_afterwards() {
    let home = TempDir::new().unwrap();
    serves_again(start(copy_to(&home).as_ref(), "127.0.0.1"), Process::limit_threads, 0);
}

/// No account counts the reports that a closed address refuses.
#[test]
fn an_address_that_closes_at_each_connection_is_one_warning() {
    if !memory_is_its_own() {
        return;
    }
    let home = TempDir::new().unwrap();
    // With the other protocol's port, the server of this port starts at its first connection.
    let (url, port) = (Otlp.url_variable(), Otlp.port_variable());
    let other = format!("{url}={} {port}={}", nowhere(), free_port());
    let settings = format!("{other} THUNDRA_EXTENSION_LOG_LEVEL=debug");
    let script = wrapped(&home, &format!("export {settings}\nexec {}", copy_to(&home)));
    let fixture = start(&script, "127.0.0.1");
    let waited = Instant::now();
    while !fixture.threads().iter().any(|name| name == "event_loop") {
        assert!(waited.elapsed() < PATIENCE, "{:?}", fixture.threads());
        pass(BETWEEN_LOOKS);
    }
    fixture.process.limit_threads(0);
    let line = "cannot accept connections at 127.0.0.1";
    for closes in 1..=3 {
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, fixture.port)));
        let waited = Instant::now();
        while fixture.process.log().matches(line).count() < closes {
            assert!(waited.elapsed() < PATIENCE, "{}", fixture.process.log());
            pass(BETWEEN_LOOKS);
        }
        fixture.platform.invoke(PATIENCE);
        fixture.platform.wait_for_next(PATIENCE);
    }
    let log = fixture.shut_down();
    assert_eq!(log.matches(&format!("WARN {line}")).count(), 1, "{log}");
}

/// `None` if an emulator runs the binary, because it needs threads too.
fn start_without_a_thread(home: &TempDir) -> Option<Fixture> {
    if !memory_is_its_own() {
        return None;
    }
    let limited = "ulimit -Su 0 2>/dev/null || ulimit -Sp 0"; // for bash, or else for dash
    let script = wrapped(home, &format!("{limited}\nexec {}", copy_to(home)));
    let fixture = start(&script, "127.0.0.1");
    fixture.process.wait_for_log("cannot start a sender", PATIENCE);
    Some(fixture)
}

#[test]
fn without_a_thread_at_the_start_it_refuses_until_an_invoke_can_start_one() {
    let home = TempDir::new().unwrap();
    let Some(fixture) = start_without_a_thread(&home) else { return };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, fixture.port));
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    fixture.platform.invoke(PATIENCE);
    fixture.platform.wait_for_next(PATIENCE);
    fixture.process.limit_threads(OF_LAMBDA);
    fixture.platform.invoke(PATIENCE);
    fixture.platform.wait_for_next(PATIENCE);
    fixture.report(ARRAY, "[1]");
    fixture.received(1);
    let log = fixture.shut_down();
    assert_eq!(log.matches("cannot start a sender").count(), 1, "{log}");
}

#[test]
fn without_any_thread_it_ends_at_shutdown_at_once() {
    let home = TempDir::new().unwrap();
    let Some(fixture) = start_without_a_thread(&home) else { return };
    fixture.shut_down();
}

#[test]
fn it_works_without_stdout_and_stderr() {
    if !memory_is_its_own() {
        return; // an emulator cannot run a script
    }
    let home = TempDir::new().unwrap();
    let script = wrapped(&home, &format!("exec {} >&- 2>&-", copy_to(&home)));
    let fixture = start(&script, "127.0.0.1");
    fixture.remote.answer_with(|it| Answer::status(if it.number == 0 { 500 } else { 200 }));
    fixture.report(ARRAY, "[1]");
    fixture.received(2);
    fixture.wait_for_an_empty_buffer();
    assert_eq!(fixture.shut_down(), "");
}

#[test]
fn a_log_that_nobody_reads_delays_nobody() {
    /// Enough to fill the pipe's 64 KiB and the waiting lines several times.
    const REPORTS: usize = 3_000;
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_LOG_LEVEL", "trace")]);
    let mut connection = Connection::open(fixture.port);
    for round in 1..=2 {
        fixture.process.leave_log_unread();
        for n in 0..REPORTS {
            let body = format!("[{n}]");
            connection.send(report_of(body.len(), "", &body).as_bytes());
            assert_eq!(connection.response().status, 200);
        }
        fixture.platform.invoke(PATIENCE);
        fixture.platform.wait_for_next(PATIENCE);
        assert_eq!(fixture.items_received(round * REPORTS).len(), round * REPORTS);
        if round == 1 {
            fixture.process.read_log();
            fixture.process.wait_for_log("nobody read those before", PATIENCE);
        }
    }
    fixture.platform.shutdown("spindown", SHUTDOWN);
    let began = Instant::now();
    while fixture.process.is_running() {
        assert!(began.elapsed() < PATIENCE, "it waits for who reads its log");
        pass(BETWEEN_LOOKS);
    }
    fixture.process.read_log();
    assert!(fixture.process.exit(PATIENCE).success());
    let lines = fixture.process.log().matches("took ").count();
    assert!(lines < 2 * REPORTS, "nobody had to wait");
}

#[test]
fn it_works_where_a_write_to_a_file_would_end_it() {
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_LOG_LEVEL", "trace")]);
    fixture.process.limit_files(0);
    for n in 1..=3 {
        fixture.platform.invoke(PATIENCE);
        fixture.report(ARRAY, &array_of(100_000));
        fixture.items_received(n);
        fixture.platform.wait_for_next(PATIENCE);
    }
    fixture.shut_down();
}

#[test]
fn a_flood_for_a_dead_remote_fits_beside_a_function_of_100_mb_in_128() {
    const LEFT_MB: u32 = 128 - 100;
    if !memory_is_its_own() {
        return;
    }
    let container = Container::new(Limits { memory_mb: Some(LEFT_MB), cpu: None });
    if container.out_of_memory_kills().is_none() {
        eprintln!("left out, as this machine gives no cgroup: {:?}", container.notes());
        return;
    }
    let fixture = Fixture::with(&[(Thundra.url_variable(), &nowhere())]);
    container.admit(&fixture.process);
    flood(&fixture);
    assert_eq!(container.out_of_memory_kills(), Some(0));
    assert!(fixture.process.is_running());
    fixture.shut_down();
}

/// Sends 60 MB, half of the smallest function's memory.
fn flood(fixture: &Fixture) {
    const REPORTS: usize = 1_000;
    const REPORT_BYTES: usize = 60_000;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let report = || fixture.post(ARRAY, &array_of(REPORT_BYTES));
            scope.spawn(move || {
                for _ in 0..REPORTS / 4 {
                    assert!([200, Thundra.full()].contains(&report().status));
                }
            });
        }
    });
}

#[test]
fn a_flood_for_a_remote_that_is_down_takes_little_more_memory_than_the_buffer() {
    // The buffer's 4 MiB, and the allocator's overhead, which is small in the shipped binary.
    const ANONYMOUS_KB_MAX: u64 = 8 * 1024;
    const ANONYMOUS_KB_MAX_OF_OTHERS: u64 = 24 * 1024;
    if !memory_is_its_own() {
        return;
    }
    let fixture = Fixture::with(&[(Thundra.url_variable(), &nowhere())]);
    flood(&fixture);
    let anonymous = Footprint::of(fixture.process.pid()).anonymous_kb;
    let most = if is_shipped() { ANONYMOUS_KB_MAX } else { ANONYMOUS_KB_MAX_OF_OTHERS };
    assert!(anonymous <= most, "{anonymous} kB");
    assert!(fixture.health()["buffer"]["held"].as_u64().unwrap() > 2_000_000, "it was no flood");
    fixture.shut_down();
}
