//! The remote collector: records what arrives and answers as the test says.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::answer::Answer;
use crate::http;
use crate::listener::{Accepted, Listener};
use crate::messages::Messages;
use crate::tls::{Authority, Identity};
use crate::watch::Watch;

pub struct Remote {
    listener: Listener,
    scheme_and_host: &'static str,
    shared: Arc<Shared>,
}

/// A request that arrived whole; the body is free of chunk framing.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Connections count from 0, in the order of acceptance.
    pub connection: usize,
    /// When the last byte had arrived.
    pub at: Instant,
}

type Script = dyn Fn(&Received) -> Answer + Send + Sync;

struct Shared {
    identity: Option<Identity>,
    script: Mutex<Arc<Script>>,
    record: Watch<Record>,
}

#[derive(Default)]
struct Record {
    received: Vec<Received>,
    /// Connections that ended within a request or a handshake, and how.
    broken: Vec<String>,
}

impl Received {
    /// The first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        http::header(&self.headers, name)
    }
}

#[expect(
    clippy::missing_panics_doc,
    reason = "every wait of a double panics when its time is over"
)]
impl Remote {
    /// Plain HTTP on 127.0.0.1; answers 200 and `{}` until told otherwise.
    #[must_use]
    pub fn start() -> Self {
        Self::listen(None)
    }

    /// HTTPS for `localhost` and 127.0.0.1, with a certificate of this authority.
    #[must_use]
    pub fn start_tls(authority: &Authority) -> Self {
        Self::listen(Some(authority.issue()))
    }

    /// Plain HTTP; the first requests get these answers, all later ones 200.
    #[must_use]
    pub fn start_scripted(answers: impl IntoIterator<Item = Answer>) -> Self {
        let remote = Self::start();
        let answers = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
        remote.answer_with(move |_| {
            let next = answers.lock().expect("taking from a queue never panics").pop_front();
            next.unwrap_or_else(Answer::ok)
        });
        remote
    }

    /// The URL that agents append their paths to.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}:{}/v1", self.scheme_and_host, self.listener.address().port())
    }

    /// From now on each request gets the answer that this gives for it.
    pub fn answer_with(&self, script: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        *self.shared.script.lock().expect("a script is swapped whole") = Arc::new(script);
    }

    /// All requests so far. Each is recorded before it is answered.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.record.read(|record| record.received.clone())
    }

    /// Waits until at least `count` requests were received, and returns all.
    #[expect(clippy::must_use_candidate, reason = "a test may want nothing but the wait")]
    pub fn wait_for(&self, count: usize, within: Duration) -> Vec<Received> {
        let whole =
            |record: &mut Record| (record.received.len() >= count).then(|| record.received.clone());
        self.shared.record.wait(within, whole).unwrap_or_else(|| {
            panic!("not {count} requests within {within:?}; {}", self.seen());
        })
    }

    /// How many TCP connections were accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.listener.accepted()
    }

    fn listen(identity: Option<Identity>) -> Self {
        let scheme_and_host =
            if identity.is_some() { "https://localhost" } else { "http://127.0.0.1" };
        let shared = Arc::new(Shared {
            identity,
            script: Mutex::new(Arc::new(|_: &Received| Answer::ok())),
            record: Watch::default(),
        });
        let serving = Arc::clone(&shared);
        let listener = Listener::start("remote", move |accepted| serve(&accepted, &serving));
        Self { listener, scheme_and_host, shared }
    }

    fn seen(&self) -> String {
        let line = |it: &Received| {
            format!("  {} {} on {}, {} bytes", it.method, it.path, it.connection, it.body.len())
        };
        let requests: Vec<String> = self.received().iter().map(line).collect();
        let broken = self.shared.record.read(|record| record.broken.clone());
        format!(
            "seen instead: {} connections; broken off: {broken:?}; requests:\n{}",
            self.connections(),
            requests.join("\n")
        )
    }
}

fn serve(accepted: &Accepted, shared: &Shared) {
    let served = match &shared.identity {
        None => converse(&*accepted.stream, accepted, shared),
        Some(identity) => converse(identity.accept(&accepted.stream), accepted, shared),
    };
    match served {
        Ok(End::Close) => {}
        // With the last owner of the socket gone, no linger means a reset.
        Ok(End::Reset) => SockRef::from(&*accepted.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("an option of every TCP socket"),
        Err(error) => shared.record.update(|record| {
            record.broken.push(format!("connection {}: {error}", accepted.number));
        }),
    }
}

enum End {
    Close,
    Reset,
}

fn converse(stream: impl Read + Write, accepted: &Accepted, shared: &Shared) -> io::Result<End> {
    let mut messages = Messages::new(stream);
    while let Some(request) = messages.request()? {
        let asks_to_close =
            request.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let received = Received {
            method: request.method,
            path: request.target,
            headers: request.headers,
            body: request.body,
            connection: accepted.number,
            at: Instant::now(),
        };
        // Decided before it is recorded: who has seen the request may change the script.
        let script = Arc::clone(&shared.script.lock().expect("a script is swapped whole"));
        let answer = script(&received);
        shared.record.update(|record| record.received.push(received));
        let end = carry_out(answer, messages.stream(), accepted)?;
        match end {
            None if asks_to_close => return Ok(End::Close),
            None => {}
            Some(end) => return Ok(end),
        }
    }
    Ok(End::Close)
}

/// Gives the end of the connection, or `None` if it can take the next request.
fn carry_out(
    answer: Answer,
    stream: &mut (impl Read + Write),
    accepted: &Accepted,
) -> io::Result<Option<End>> {
    match answer {
        Answer::Reply { status, headers, body } => {
            stream.write_all(&http::render(status, &headers, &body))?;
            stream.flush()?;
            let closes = http::header(&headers, "Connection") == Some("close");
            Ok(closes.then_some(End::Close))
        }
        Answer::HalfAnswer(bytes) => {
            stream.write_all(&bytes)?;
            stream.flush()?;
            Ok(Some(End::Close))
        }
        Answer::Hang => {
            while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
            Ok(Some(End::Close))
        }
        Answer::Reset => Ok(Some(End::Reset)),
        Answer::Delayed(delay, answer) => {
            if accepted.delay(delay) {
                carry_out(*answer, stream, accepted)
            } else {
                Ok(Some(End::Close))
            }
        }
    }
}
