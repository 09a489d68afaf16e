//! Connections to the remote: those that can't be made, those that died in a freeze, and what they
//! all leave behind.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use std::{fs, iter};

use rstest::rstest;
use sandbox::{Answer, Authority, Platform, Remote};

use crate::dialect::Dialect::{self, Otlp, Thundra};
use crate::trial::{ARRAY, PATIENCE, pass, spawn};

#[rstest]
fn over_tls_too_a_connection_that_ended_in_a_freeze_costs_no_report_and_no_line(
    #[values(Thundra, Otlp)] dialect: Dialect,
) {
    for end in [Remote::close_idle, Remote::reset_idle, Remote::forget_idle] {
        let authority = Authority::new();
        let ca = authority.pem_file().to_str().unwrap().to_owned();
        let remote = Remote::start_tls(&authority);
        let trial = dialect.start_on(Platform::start(), remote, &[("SSL_CERT_FILE", &ca)]);
        trial.report(ARRAY, "[1]");
        trial.received(1);
        trial.wait_for_an_empty_buffer();
        trial.process.stop();
        end(&trial.remote);
        trial.process.resume();
        trial.report(ARRAY, "[2]");
        let delivery = trial.wait_for_items(&["1", "2"]);
        assert!(delivery.is_exact(), "{delivery}");
        assert_eq!(trial.shut_down(), "");
    }
}

#[rstest]
fn a_connection_that_does_not_come_about_is_given_up_before_an_attempts_time_is_over(
    #[values(Thundra, Otlp)] dialect: Dialect,
) {
    // The kernel takes connections for it, and nobody ever says a word of TLS.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("https://{}/v1", silent.local_addr().unwrap());
    let trial = dialect.start_with(&[(dialect.url_variable(), &url)]);
    let reported = Instant::now();
    trial.report(ARRAY, "[1]");
    let line = trial.wait_for_log("cannot deliver to the remote");
    assert!(line.contains("timeout: connect"), "{line}");
    let given_up = Duration::from_millis(900)..Duration::from_secs(3);
    assert!(given_up.contains(&reported.elapsed()), "{:?}", reported.elapsed());
    trial.shut_down();
}

#[rstest]
fn sends_that_fail_leave_neither_threads_nor_descriptors_behind(
    #[values(Thundra, Otlp)] dialect: Dialect,
) {
    let remote = Remote::start();
    // A name has to be looked up for each new connection.
    let url = remote.base_url().replace("127.0.0.1", "localhost");
    let trial = dialect.start_on(
        Platform::start(),
        remote,
        &[(dialect.url_variable(), &url), ("NO_PROXY", "*")],
    );
    trial.remote.answer_with(move |it| match it.number % 4 {
        0 => Answer::Reset,
        1 => Answer::status(dialect.failure()),
        2 => Answer::HalfAnswer(b"HTTP/1.1 200 O".to_vec()),
        _ => Answer::ok(),
    });
    let held_after = |reports: usize| {
        for _ in 0..reports {
            trial.report(ARRAY, "[1]");
            trial.wait_for_an_empty_buffer();
        }
        ["task", "fd"].map(|it| entries(trial.process.pid(), it))
    };
    let [[threads, descriptors], after] = [held_after(5), held_after(50)];
    // Those of the last connection may be on their way out.
    assert!(
        after[0] <= threads + 2 && after[1] <= descriptors + 4,
        "{threads}, {descriptors}: {after:?}"
    );
    trial.shut_down();
}

/// Connections that are never served, until the kernel takes no more for it.
fn fill(listener: &TcpListener) -> Vec<TcpStream> {
    let address = listener.local_addr().unwrap();
    let patience = Duration::from_millis(200);
    iter::from_fn(|| TcpStream::connect_timeout(&address, patience).ok()).collect()
}

/// Takes every request.
fn serve(listener: TcpListener) {
    spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            spawn(move || {
                while client.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {
                    let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
            });
        }
    });
}

/// Waits until somebody waits for a connection to this port.
fn wait_for_a_caller(port: u16) {
    const SYN_SENT: &str = "02";
    let (remote, waited) = (format!(":{port:04X}"), Instant::now());
    let is_it = |line: &str| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next().is_some_and(|it| it.ends_with(&remote)) && fields.next() == Some(SYN_SENT)
    };
    while !fs::read_to_string("/proc/net/tcp").unwrap().lines().any(is_it) {
        assert!(waited.elapsed() < PATIENCE, "nobody calls");
    }
}

#[rstest]
fn a_freeze_while_it_connects_costs_no_line(#[values(Thundra, Otlp)] dialect: Dialect) {
    const ATTEMPTS: usize = 10;
    let log = iter::repeat_with(|| log_of_a_freeze_while_it_connects(dialect))
        .take(ATTEMPTS)
        .flatten()
        .next()
        .expect("a machine that does not stand still for a second");
    assert!(!log.contains("WARN"), "{log}");
    // Or the kernel came first, on a machine that is slow.
    let again = "trying again on a new connection";
    assert!(log.contains(again) || log.contains("delivered 1 reports"), "{log}");
}

/// Nothing where the machine stood still for as long as a connection may take to be made: then the
/// freeze was too late, or what followed it was.
fn log_of_a_freeze_while_it_connects(dialect: Dialect) -> Option<String> {
    /// More than all that connecting may take, and less than until the kernel asks for the third
    /// time, after 3 s.
    const FREEZE: Duration = Duration::from_millis(2_700);
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let filled = fill(&listener);
    let url = format!("http://{address}/v1");
    let trial = dialect
        .start_with(&[(dialect.url_variable(), &url), ("THUNDRA_EXTENSION_LOG_LEVEL", "debug")]);
    let reported = Instant::now();
    trial.report(ARRAY, "[1]");
    wait_for_a_caller(address.port());
    trial.process.stop();
    let is_in_time = reported.elapsed() < CONNECT_TIMEOUT;
    pass(FREEZE);
    drop(filled);
    listener.set_nonblocking(true).unwrap();
    while listener.accept().is_ok() {}
    listener.set_nonblocking(false).unwrap();
    serve(listener);
    let resumed = Instant::now();
    trial.process.resume();
    trial.wait_for_an_empty_buffer();
    let is_served = resumed.elapsed() < CONNECT_TIMEOUT;
    let log = trial.shut_down();
    (is_in_time && is_served).then_some(log)
}

/// How many entries a directory of the process has in procfs.
fn entries(pid: u32, directory: &str) -> usize {
    fs::read_dir(format!("/proc/{pid}/{directory}")).unwrap().count()
}
