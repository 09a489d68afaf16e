//! The same relay as this repository's extension, written as extensions in Rust usually are: AWS's crate on
//! tokio, hyper for the local server, reqwest for the remote. It reads the variables that the benchmark sets.
//! It has the strategies `continuously`, and `default` for busy functions, and merges as much. It has no
//! retries, back-off, memory limits, Retry-After and freeze handling: they cost nothing while all works. It
//! accepts OTLP only in Protobuf.

use std::collections::HashMap;
use std::convert::Infallible;
use std::env;
use std::fs;
use std::net::Ipv4Addr;
use std::process;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::{Request, Response, StatusCode, service};
use hyper_util::rt::TokioIo;
use lambda_extension::{Error, Extension, LambdaEvent, NextEvent, service_fn};
use reqwest::{Certificate, Client};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use protocol::Protocol;

mod protocol;

/// Limits of a batch: its age, its bytes, and its items in one request. They equal those of the strategy
/// `default` of this repository's extension while invocations are busy.
const OLDEST_MAX: Duration = Duration::from_secs(10);
const WAITING_BYTES_MAX: usize = 256 * 1024;
const REPORTS_MAX: usize = 100;
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

struct Report {
    path: String,
    key: Option<HeaderValue>,
    body: Bytes,
}

enum Message {
    Report(Report),
    /// Sends all reports, and answers when they are sent.
    Flush(oneshot::Sender<()>),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut relays = Vec::new();
    for protocol in [Protocol::Thundra, Protocol::Otlp] {
        relays.extend(relay(protocol).await?);
    }
    let on_event = service_fn(|event: LambdaEvent| {
        let relays = relays.clone();
        async move {
            if matches!(event.next, NextEvent::Shutdown(_)) {
                for reports in relays {
                    let (done, is_done) = oneshot::channel();
                    reports.send(Message::Flush(done))?;
                    is_done.await?;
                }
                // The crate continues to poll, because it never ends.
                process::exit(0);
            }
            Ok::<(), Error>(())
        }
    });
    Extension::new().with_events_processor(on_event).run().await
}

/// Starts to accept reports, if they have a remote.
async fn relay(protocol: Protocol) -> Result<Option<mpsc::UnboundedSender<Message>>, Error> {
    let Some(base) = protocol.base() else { return Ok(None) };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, protocol.port())).await?;
    let (reports, waiting) = mpsc::unbounded_channel();
    tokio::spawn(accept(listener, protocol, reports.clone()));
    tokio::spawn(forward(waiting, protocol, base));
    Ok(Some(reports))
}

async fn accept(
    listener: TcpListener,
    protocol: Protocol,
    reports: mpsc::UnboundedSender<Message>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let reports = reports.clone();
        let answer = service::service_fn(move |request| take(request, protocol, reports.clone()));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

async fn take(
    request: Request<Incoming>,
    protocol: Protocol,
    reports: mpsc::UnboundedSender<Message>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let key = request.headers().get(AUTHORIZATION).cloned();
    let (status, body) = match request.into_body().collect().await {
        Ok(body) => {
            let report = Report { path, key, body: body.to_bytes() };
            // The receiver exists until the process ends.
            let _ = reports.send(Message::Report(report));
            (StatusCode::OK, protocol.thanks())
        }
        Err(_) => (StatusCode::BAD_REQUEST, ""),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, protocol.content_type());
    Ok(response)
}

/// Reports of one path and one key. They form one body.
#[derive(Default)]
struct Waiting {
    reports: HashMap<(String, Option<HeaderValue>), Vec<Bytes>>,
    bytes: usize,
    oldest: Option<Instant>,
}

async fn forward(mut messages: mpsc::UnboundedReceiver<Message>, protocol: Protocol, base: String) {
    let at_once = env::var("THUNDRA_EXTENSION_FLUSH").is_ok_and(|it| it == "continuously");
    let mut client = None;
    let mut waiting = Waiting::default();
    loop {
        let due = waiting.oldest.map_or_else(far_away, |oldest| oldest + OLDEST_MAX);
        let flushed = tokio::select! {
            message = messages.recv() => match message {
                Some(Message::Report(report)) => {
                    waiting.add(report);
                    if !at_once && waiting.bytes < WAITING_BYTES_MAX {
                        continue;
                    }
                    None
                }
                Some(Message::Flush(done)) => Some(done),
                None => return,
            },
            () = sleep_until(due) => None,
        };
        let client = client.get_or_insert_with(client_of_the_remote);
        waiting.send(client, protocol, &base).await;
        if let Some(done) = flushed {
            // The caller waits for this.
            let _ = done.send(());
        }
    }
}

impl Waiting {
    fn add(&mut self, Report { path, key, body }: Report) {
        self.bytes += body.len();
        self.oldest.get_or_insert_with(Instant::now);
        self.reports.entry((path, key)).or_default().push(body);
    }

    async fn send(&mut self, client: &Client, protocol: Protocol, base: &str) {
        for ((path, key), bodies) in std::mem::take(self).reports {
            for bodies in bodies.chunks(REPORTS_MAX) {
                let url = format!("{base}{}", path.strip_prefix("/v1").unwrap_or(&path));
                let mut request = client.post(url).header(CONTENT_TYPE, protocol.content_type());
                if let Some(key) = &key {
                    request = request.header(AUTHORIZATION, key);
                }
                if let Err(error) = request.body(protocol.merged(bodies)).send().await {
                    eprintln!("cannot deliver: {error}");
                }
            }
        }
    }
}

fn client_of_the_remote() -> Client {
    let mut client = Client::builder().timeout(ATTEMPT_TIMEOUT);
    let pem = env::var("SSL_CERT_FILE").ok().and_then(|path| fs::read(path).ok());
    for certificate in pem.iter().flat_map(|pem| Certificate::from_pem_bundle(pem)).flatten() {
        client = client.add_root_certificate(certificate);
    }
    client.build().expect("a client of a fixed set-up")
}

fn far_away() -> Instant {
    const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);
    Instant::now() + A_DAY
}
