//! What the strategy `end` asks of the Telemetry API, where the platform plays it as no sandbox
//! should: it takes the subscription, and tells what the test tells, if anything.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use sandbox::{Answer, Platform, Remote, agent};

use crate::trial::{ARRAY, PATIENCE, Trial, spawn};

const TELEMETRY: &str = "PUT /2022-07-01/telemetry ";

const SUBSCRIBED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\"OK\"";

/// Far less than the time of an invocation, far more than anything that does not wait.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Stands before a platform's API, and answers subscriptions itself.
struct Subscriptions {
    address: String,
    asked: Receiver<String>,
}

impl Subscriptions {
    fn before(platform: &Platform, answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (runtime_api, (asking, asked)) = (platform.runtime_api(), channel());
        spawn(move || {
            for client in listener.incoming() {
                let (client, asking) = (client.unwrap(), asking.clone());
                let platform = TcpStream::connect(&runtime_api).unwrap();
                // It ends as its connections do, in whatever way that is.
                spawn(move || drop(relay(&client, &platform, &asking, answer)));
            }
        });
        Self { address, asked }
    }

    /// Which port the extension wants to be told at.
    fn port(&self) -> u16 {
        let asked = self.asked.recv_timeout(PATIENCE).unwrap();
        let asked: serde_json::Value = serde_json::from_str(&asked).unwrap();
        let uri = asked["destination"]["URI"].as_str().unwrap();
        uri.rsplit_once(':').unwrap().1.parse().unwrap()
    }
}

/// Whatever the platform says goes to the client; of what the client says, all but subscriptions to
/// the platform.
fn relay(
    mut client: &TcpStream,
    mut platform: &TcpStream,
    asking: &Sender<String>,
    answer: &[u8],
) -> io::Result<()> {
    let (mut answers, mut to_client) = (platform.try_clone()?, client.try_clone()?);
    spawn(move || drop(io::copy(&mut answers, &mut to_client)));
    let mut requests = BufReader::new(client);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let from = head.len();
            if requests.read_line(&mut head)? == 0 {
                return Ok(());
            }
            if let Some(value) = head[from..].to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        requests.read_exact(&mut body)?;
        if head.starts_with(TELEMETRY) {
            asking.send(String::from_utf8(body).unwrap()).unwrap();
            client.write_all(answer)?;
        } else {
            platform.write_all(&[head.as_bytes(), &body].concat())?;
        }
    }
}

/// An extension that holds invocations until their end, with the port where it is told of that.
fn start(remote: Remote) -> (Trial, u16) {
    start_with(remote, SUBSCRIBED, "warn")
}

/// The same, where subscriptions are answered so.
fn start_with(remote: Remote, answer: &'static [u8], log_level: &str) -> (Trial, u16) {
    let platform = Platform::start();
    let subscriptions = Subscriptions::before(&platform, answer);
    let environment = [
        ("AWS_LAMBDA_RUNTIME_API", subscriptions.address.as_str()),
        ("THUNDRA_EXTENSION_FLUSH", "end"),
        ("THUNDRA_EXTENSION_LOG_LEVEL", log_level),
    ];
    let trial = Trial::on(platform, remote, &environment);
    let port = subscriptions.port();
    (trial, port)
}

/// Delivers a batch as the platform does.
#[track_caller]
fn tell(port: u16, batch: &str) {
    let told = Instant::now();
    assert_eq!(agent::post(port, "/", batch.as_bytes()).status, 200, "{batch}");
    assert!(told.elapsed() < AT_ONCE, "{:?}", told.elapsed());
}

fn runtime_done(request_id: &str) -> String {
    format!(r#"[{{"type":"platform.runtimeDone","record":{{"requestId":"{request_id}"}}}}]"#)
}

#[test]
fn each_extension_is_told_at_a_port_of_its_own_that_takes_whatever_comes_at_once() {
    let (first, second) = (start(Remote::start()), start(Remote::start()));
    assert_ne!(first.1, second.1);
    for (trial, port) in [first, second] {
        trial.remote.answer_with(|_| Answer::Hang);
        trial.report(ARRAY, "[1]");
        trial.received(1);
        let lines = vec![r#"{"type":"function","record":"a line"}"#; 1_000].join(",");
        let large = format!(r#"["{}"]"#, "x".repeat(2_000_000));
        for batch in [&format!("[{lines}]"), &large, "", "no json", &runtime_done("nobody")] {
            tell(port, batch);
        }
        trial.shut_down();
    }
}

#[test]
fn telemetry_that_never_comes_costs_one_invocation_its_time_and_no_other() {
    let (trial, _) = start(Remote::start());
    trial.platform.invoke(Duration::from_secs(1));
    trial.process.wait_for_log("no telemetry tells", PATIENCE);
    for _ in 0..3 {
        let invoked = Instant::now();
        trial.platform.invoke(PATIENCE);
        trial.platform.wait_for_next(PATIENCE);
        assert!(invoked.elapsed() < AT_ONCE, "{:?}", invoked.elapsed());
    }
    assert_eq!(trial.shut_down().lines().count(), 1);
}

#[test]
fn telemetry_without_the_end_of_any_invocation_costs_two_their_time_and_no_other() {
    let (trial, port) = start(Remote::start());
    for _ in 0..2 {
        trial.platform.invoke(Duration::from_secs(1));
        tell(port, r#"[{"type":"platform.start","record":{}}]"#);
        trial.platform.wait_for_next(PATIENCE);
    }
    trial.process.wait_for_log("no telemetry tells", PATIENCE);
    let invoked = Instant::now();
    trial.platform.invoke(PATIENCE);
    trial.platform.wait_for_next(PATIENCE);
    assert!(invoked.elapsed() < AT_ONCE, "{:?}", invoked.elapsed());
    trial.shut_down();
}

#[test]
fn a_subscription_that_is_never_answered_delays_the_start_and_nothing_else() {
    let (trial, _) = start_with(Remote::start(), b"", "warn");
    let invoked = Instant::now();
    trial.platform.invoke(PATIENCE);
    trial.report(ARRAY, "[1]");
    trial.received(1);
    trial.platform.wait_for_next(PATIENCE);
    assert!(invoked.elapsed() < AT_ONCE, "{:?}", invoked.elapsed());
    let log = trial.shut_down();
    assert!(log.contains("cannot subscribe to telemetry"), "{log}");
}

#[test]
fn where_the_port_of_telemetry_had_to_close_no_invocation_is_held_for_it() {
    let (trial, port) = start_with(Remote::start(), SUBSCRIBED, "debug");
    trial.process.limit_descriptors(0);
    let _connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    trial.process.wait_for_log("a thread of the http server panicked", PATIENCE);
    let invoked = Instant::now();
    trial.platform.invoke(PATIENCE);
    trial.process.limit_descriptors(1024);
    trial.platform.wait_for_next(PATIENCE);
    assert!(invoked.elapsed() < AT_ONCE, "{:?}", invoked.elapsed());
    let log = trial.shut_down();
    assert!(log.contains("no telemetry tells"), "{log}");
}

#[test]
fn an_invocation_without_time_says_nothing_about_telemetry() {
    let (trial, port) = start(Remote::start());
    trial.platform.invoke(Duration::ZERO);
    trial.platform.wait_for_next(PATIENCE);
    let request_id = trial.platform.invoke(PATIENCE);
    let invoked = Instant::now();
    tell(port, &runtime_done(&request_id));
    trial.platform.wait_for_next(PATIENCE);
    assert!(invoked.elapsed() < AT_ONCE, "{:?}", invoked.elapsed());
    assert_eq!(trial.shut_down(), "");
}

#[test]
fn reports_that_keep_coming_after_the_end_do_not_hold_the_invocation() {
    let (trial, port) = start(Remote::start());
    let ((told, is_told), is_over) = (channel(), AtomicBool::new(false));
    let asked = told.clone();
    trial.remote.answer_with(move |_| {
        let _ = asked.send(()); // nobody listens any more at the end
        Answer::ok().after(Duration::from_millis(50))
    });
    // While a request is answered the next ones come, and never so many that they fill several.
    let (reporting, stop) = (&trial, &is_over);
    let report_on = move || {
        while !stop.load(Ordering::Relaxed) {
            (0..20).for_each(|_| reporting.report(ARRAY, "[1]"));
            is_told.recv_timeout(PATIENCE).unwrap();
        }
    };
    let held = thread::scope(|scope| {
        let request_id = trial.platform.invoke(PATIENCE);
        scope.spawn(report_on);
        trial.received(3);
        tell(port, &runtime_done(&request_id));
        let ended = Instant::now();
        trial.platform.wait_for_next(PATIENCE);
        is_over.store(true, Ordering::Relaxed);
        told.send(()).unwrap();
        ended.elapsed()
    });
    assert!(held < AT_ONCE, "{held:?}");
    trial.shut_down();
}
