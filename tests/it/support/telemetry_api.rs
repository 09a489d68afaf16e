//! A Telemetry API with faults that `local-lambda` does not have. It accepts the subscription, and delivers
//! only the records that the test gives it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use local_lambda::{Platform, Remote, agent};

use crate::support::fixture::{Fixture, PATIENCE, pass, spawn};
use crate::support::protocol::Protocol;

const TELEMETRY: &str = "PUT /2022-07-01/telemetry ";

pub const SUBSCRIBED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\"OK\"";

/// Half of the time of an invocation here: only a wait for its end takes longer.
pub const AT_ONCE: Duration = Duration::from_secs(30);

/// A proxy before a platform's API. It answers subscriptions itself.
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
                // The relay ends as its connections do, in any way.
                spawn(move || drop(relay(&client, &platform, &asking, answer)));
            }
        });
        Self { address, asked }
    }

    /// The port for telemetry that the extension has requested.
    fn port(&self) -> u16 {
        let asked = self.asked.recv_timeout(PATIENCE).unwrap();
        let asked: serde_json::Value = serde_json::from_str(&asked).unwrap();
        let uri = asked["destination"]["URI"].as_str().unwrap();
        uri.rsplit_once(':').unwrap().1.parse().unwrap()
    }
}

/// Passes everything from the platform to the client, and everything except subscriptions from the client to
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

/// An extension with the strategy `end` and these variables, and the port where it gets the ends of
/// invocations.
pub fn start(
    protocol: Protocol,
    remote: Remote,
    answer: &'static [u8],
    environment: &[(&str, &str)],
) -> (Fixture, u16) {
    let platform = Platform::start();
    let subscriptions = Subscriptions::before(&platform, answer);
    let own = [
        ("AWS_LAMBDA_RUNTIME_API", subscriptions.address.as_str()),
        ("THUNDRA_EXTENSION_FLUSH", "end"),
    ];
    let fixture = protocol.start_on(platform, remote, &[&own, environment].concat());
    let port = subscriptions.port();
    (fixture, port)
}

/// With this level, the log has a line for each held invocation, and [`invoke`] waits for it.
pub const LOGS_HOLDS: (&str, &str) = ("THUNDRA_EXTENSION_LOG_LEVEL", "debug");

/// Begins an invocation, and waits until it is held. Until then the extension may miss an agent's report,
/// because Lambda reports the end anyway.
#[track_caller]
pub fn invoke(fixture: &Fixture) -> String {
    let holds =
        || fixture.process.log().matches("waits until the reports of the invocation").count();
    let before = holds();
    let request_id = fixture.platform.invoke(PATIENCE);
    let waited = Instant::now();
    while holds() == before {
        assert!(waited.elapsed() < PATIENCE, "it is not held");
        pass(Duration::from_millis(10));
    }
    request_id
}

/// Delivers a batch as the platform does.
#[track_caller]
pub fn post_telemetry(port: u16, batch: &str) {
    let posted = Instant::now();
    assert_eq!(agent::post(port, "/", batch.as_bytes()).status, 200, "{batch}");
    assert!(posted.elapsed() < AT_ONCE, "{:?}", posted.elapsed());
}

pub fn runtime_done(request_id: &str) -> String {
    format!(r#"[{{"type":"platform.runtimeDone","record":{{"requestId":"{request_id}"}}}}]"#)
}
