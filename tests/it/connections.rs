//! Connections to the remote that cannot be made, and connections that died in a freeze. Neither may leave
//! anything behind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use std::{fs, iter};

use local_lambda::{Answer, Authority, Platform, Remote, free_port};
use rstest::rstest;

use crate::support::fixture::{
    ARRAY, BETWEEN_LOOKS, Fixture, PATIENCE, pass, retry_after_standstill, spawn,
};
use crate::support::protocol::Protocol::Otlp;

#[test]
fn a_tls_connection_that_ended_in_a_freeze_costs_no_report_and_no_line() {
    for end in [Remote::close_idle, Remote::reset_idle, Remote::forget_idle] {
        let authority = Authority::new();
        let ca = authority.pem_file().to_str().unwrap().to_owned();
        let remote = Remote::start_tls(&authority);
        let fixture = Otlp.start_on(Platform::start(), remote, &[("SSL_CERT_FILE", &ca)]);
        fixture.report(ARRAY, "[1]");
        fixture.received(1);
        fixture.wait_for_an_empty_buffer();
        fixture.process.stop();
        end(&fixture.remote);
        fixture.process.resume();
        fixture.report(ARRAY, "[2]");
        let delivery = fixture.wait_for_items(&["1", "2"]);
        assert!(delivery.is_exact(), "{delivery}");
        assert_eq!(fixture.shut_down(), "");
    }
}

#[test]
fn a_connect_that_hangs_is_given_up_before_the_attempts_time_is_over() {
    retry_after_standstill(|| {
        // The kernel accepts connections to this port, and no server answers with TLS.
        let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("https://{}/v1", silent.local_addr().unwrap());
        let fixture = Otlp.start_with(&[(Otlp.url_variable(), &url)]);
        let reported = Instant::now();
        fixture.report(ARRAY, "[1]");
        let line = fixture.wait_for_log("cannot deliver to http");
        assert!(line.contains("no connection in time"), "{line}");
        let given_up = Duration::from_millis(900)..Duration::from_secs(3);
        assert!(given_up.contains(&reported.elapsed()), "{:?}", reported.elapsed());
        fixture.shut_down();
    });
}

#[test]
fn failed_sends_leave_neither_threads_nor_descriptors_behind() {
    let remote = Remote::start();
    // With a host name, each new connection needs a look-up.
    let url = remote.base_url().replace("127.0.0.1", "localhost");
    let fixture =
        Otlp.start_on(Platform::start(), remote, &[(Otlp.url_variable(), &url), ("NO_PROXY", "*")]);
    fixture.remote.answer_with(move |it| match it.number % 4 {
        0 => Answer::Reset,
        1 => Answer::status(Otlp.failure()),
        2 => Answer::HalfAnswer(b"HTTP/1.1 200 O".to_vec()),
        _ => Answer::ok(),
    });
    let held_after = |reports: usize| {
        for _ in 0..reports {
            fixture.report(ARRAY, "[1]");
            fixture.wait_for_an_empty_buffer();
        }
        ["task", "fd"].map(|it| entries(fixture.process.pid(), it))
    };
    let [[threads, descriptors], after] = [held_after(5), held_after(50)];
    // The threads of the last connection may be ending.
    assert!(
        after[0] <= threads + 2 && after[1] <= descriptors + 4,
        "{threads}, {descriptors}: {after:?}"
    );
    fixture.shut_down();
}

/// Opens connections that are never served, until the kernel accepts no more.
fn fill(listener: &TcpListener) -> Vec<TcpStream> {
    let address = listener.local_addr().unwrap();
    let patience = Duration::from_millis(200);
    iter::from_fn(|| TcpStream::connect_timeout(&address, patience).ok()).collect()
}

/// Accepts every request.
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

/// Waits until a client connects to this port.
fn wait_for_a_caller(port: u16) {
    const SYN_SENT: &str = "02";
    let (remote, waited) = (format!(":{port:04X}"), Instant::now());
    let is_it = |line: &str| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next().is_some_and(|it| it.ends_with(&remote)) && fields.next() == Some(SYN_SENT)
    };
    while !fs::read_to_string("/proc/net/tcp").unwrap().lines().any(is_it) {
        assert!(waited.elapsed() < PATIENCE, "nobody calls");
        pass(BETWEEN_LOOKS);
    }
}

/// The remote's behaviour while the extension is frozen, and afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It accepts the connection.
    GoesOn,
    /// It refuses this connection, and accepts the next.
    Refuses,
    /// It is silent until the extension closes the connection, and accepts the next.
    Hangs,
}

/// Each freeze is longer than the time after which the kernel repeats its attempt, 1 s. This all happens before
/// TLS. `src/net/freeze/tests.rs` has shorter and longer freezes.
#[rstest]
fn a_freeze_while_it_connects_costs_no_line(#[values(1_200, 2_700)] freeze_ms: u64) {
    const ATTEMPTS: usize = 30;
    let freeze = Duration::from_millis(freeze_ms);
    let log = iter::repeat_with(|| log_of_a_freeze_while_it_connects(freeze))
        .take(ATTEMPTS)
        .flatten()
        .next()
        .expect("a machine that does not stand still for a second");
    assert!(!log.contains("cannot deliver"), "{log}");
    // On a slow machine, the kernel may have repeated its attempt first.
    let again = "trying again on a new connection";
    assert!(log.contains(again) || log.contains("delivered 1 report to "), "{log}");
}

/// `None` if the extension ran for as long as a connection attempt may take. Then the freeze or a later step
/// came too late.
fn log_of_a_freeze_while_it_connects(freeze: Duration) -> Option<String> {
    /// A connection attempt may run for a second. The wait with the freeze counts as its whole quarter of a
    /// second, so three quarters remain.
    const CONNECTS_WITHIN: Duration = Duration::from_millis(750);
    let frozen = Frozen::while_it_connects(freeze, Then::GoesOn);
    let resumed = Instant::now();
    frozen.fixture.process.resume();
    frozen.fixture.wait_for_an_empty_buffer();
    let ran = frozen.ran + resumed.elapsed();
    let log = frozen.fixture.shut_down();
    (ran < CONNECTS_WITHIN).then_some(log)
}

#[rstest]
fn after_a_freeze_a_refused_connect_is_repeated_and_a_hanging_one_keeps_its_limit(
    #[values(Then::Refuses, Then::Hangs)] then: Then,
) {
    /// The kernel repeats its attempt after 1 and 3 s. By then nothing listens any more, so it is refused.
    const REFUSED_WITHIN: Duration = Duration::from_secs(4);
    /// Far longer than an attempt.
    const FREEZE: Duration = Duration::from_secs(10);
    let freeze = if then == Then::Refuses { REFUSED_WITHIN } else { FREEZE };
    let Frozen { fixture, silent, .. } = Frozen::while_it_connects(freeze, then);
    let resumed = Instant::now();
    fixture.process.resume();
    if let Some(silent) = silent {
        let line = fixture.wait_for_log("cannot deliver to http");
        assert!(line.contains("no connection in time"), "{line}");
        assert!(resumed.elapsed() < FREEZE, "the freeze counts as time to connect");
        silent.speak();
    }
    fixture.wait_for_account(|it| it["delivered"] == 1 && it["pending"] == 0);
    let log = fixture.shut_down();
    assert!(!log.contains("lost"), "{log}");
}

/// An extension that was stopped while it connects.
struct Frozen {
    fixture: Fixture,
    /// How long it ran with the report before that.
    ran: Duration,
    /// The remote, while it exists.
    silent: Option<Silent>,
}

/// A remote that accepts no more connections.
struct Silent {
    listener: TcpListener,
    filled: Vec<TcpStream>,
}

impl Silent {
    /// From now on accepts every connection and every request.
    fn speak(self) {
        let Self { listener, filled } = self;
        drop(filled);
        listener.set_nonblocking(true).unwrap();
        while listener.accept().is_ok() {}
        listener.set_nonblocking(false).unwrap();
        serve(listener);
    }
}

impl Frozen {
    fn while_it_connects(freeze: Duration, then: Then) -> Self {
        // No other program takes this port while it is closed.
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listener = TcpListener::bind(address).unwrap();
        let filled = fill(&listener);
        let silent = Silent { listener, filled };
        let url = Otlp.url_at(&format!("http://{address}"));
        let debug = ("THUNDRA_EXTENSION_LOG_LEVEL", "debug");
        let fixture = Otlp.start_with(&[(Otlp.url_variable(), &url), debug]);
        let reported = Instant::now();
        fixture.report(ARRAY, "[1]");
        wait_for_a_caller(address.port());
        fixture.process.stop();
        let ran = reported.elapsed();
        let silent = match then {
            Then::GoesOn => {
                silent.speak();
                pass(freeze);
                None
            }
            Then::Refuses => {
                drop(silent);
                pass(freeze);
                serve(TcpListener::bind(address).unwrap());
                None
            }
            Then::Hangs => {
                pass(freeze);
                Some(silent)
            }
        };
        Self { fixture, ran, silent }
    }
}

/// The number of entries in a procfs directory of the process.
fn entries(pid: u32, directory: &str) -> usize {
    fs::read_dir(format!("/proc/{pid}/{directory}")).unwrap().count()
}
