//! The remote collector. It records the requests, and answers as the test orders.

mod answering;
mod channel;
mod connections;
mod conversation;
mod entrance;
mod observation;
mod reading;
mod record;
mod script;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::answer::Answer;
use crate::moment::{Cut, End, Interruption, Moment};
use crate::pace::Pace;
use crate::tls::{Authority, Identity};
use crate::watch::Watch;
use connections::Connections;
use entrance::Entrance;
use record::Record;
use script::Script;

pub use record::{Cause, CutShort, Fate, Head, Received};
pub use script::KeepAlive;

pub struct Remote {
    entrance: Entrance,
    scheme_and_host: &'static str,
    shared: Arc<Shared>,
}

struct Shared {
    identity: Option<Identity>,
    script: Script,
    record: Watch<Record>,
    connections: Connections,
    requests: AtomicUsize,
}

#[expect(
    clippy::missing_panics_doc,
    reason = "every wait of a double panics when its time is over"
)]
impl Remote {
    /// The host names for TLS.
    pub const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

    /// Plain HTTP on 127.0.0.1. By default it accepts everything except OTLP that does not decode
    /// ([`Answer::accepting`]).
    #[must_use]
    pub fn start() -> Self {
        Self::listen(None)
    }

    /// HTTPS for `localhost` and 127.0.0.1, with a certificate of this authority.
    #[must_use]
    pub fn start_tls(authority: &Authority) -> Self {
        Self::start_tls_as(authority.issue(&Self::NAMES))
    }

    /// As [`Self::start_tls`], but without TLS 1.3.
    #[must_use]
    pub fn start_tls12(authority: &Authority) -> Self {
        Self::start_tls_as(authority.issue_for_tls12(&Self::NAMES))
    }

    /// As [`Self::start_tls`], with any certificate.
    #[must_use]
    pub fn start_tls_as(identity: Identity) -> Self {
        Self::listen(Some(identity))
    }

    /// Plain HTTP. The first requests get these answers, and all later ones are accepted.
    #[must_use]
    pub fn start_scripted(answers: impl IntoIterator<Item = Answer>) -> Self {
        let remote = Self::start();
        let answers = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
        remote.answer_with(move |received| {
            let next = answers.lock().expect("taking from a queue never panics").pop_front();
            next.unwrap_or_else(|| Answer::accepting(received))
        });
        remote
    }

    /// The URL to which agents append their paths.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.origin())
    }

    /// The origin: `http://HOST:PORT` or `https://HOST:PORT`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}:{}", self.scheme_and_host, self.entrance.port())
    }

    /// From now on, `script` returns the answer to each request.
    pub fn answer_with(&self, script: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        self.shared.script.change(|rules| rules.answer = Arc::new(script));
    }

    /// From now on, a request ends its connection if `cut` returns a cut for it. `cut` gets the request's
    /// number, from 0, in the order of first bytes.
    pub fn cut_with(&self, cut: impl Fn(usize) -> Option<Cut> + Send + Sync + 'static) {
        self.shared.script.change(|rules| rules.cut = Some(Arc::new(cut)));
    }

    /// From now on, a cut request gets this answer before its connection ends, as from a remote that refuses
    /// the body.
    pub fn answer_cut_with(&self, answer: impl Fn() -> Answer + Send + Sync + 'static) {
        self.shared.script.change(|rules| rules.early_answer = Some(Arc::new(answer)));
    }

    /// From now on, a connection ends before the remote reads anything, if `end` returns an end for it. `end`
    /// gets the connection's number, from 0, in the order of acceptance.
    pub fn refuse_with(&self, end: impl Fn(usize) -> Option<End> + Send + Sync + 'static) {
        self.shared.script.change(|rules| rules.refusal = Some(Arc::new(end)));
    }

    /// Runs the action at this moment of this request. It runs on the thread of the connection, which waits
    /// meanwhile. A panic in it closes the connection. With TLS, the moment counts decrypted bytes, but the
    /// remote has read the whole TLS record that contains the byte.
    pub fn at(
        &self,
        moment: Moment,
        request: usize,
        action: impl FnOnce(&Interruption) + Send + 'static,
    ) {
        self.shared.script.hooks.add(moment, request, Box::new(action));
    }

    /// From now on, reads encrypted or plain bytes at this pace. New connections have a small receive buffer.
    /// The client notices the pace when that buffer and its own send buffer are full.
    pub fn read_at(&self, pace: Pace) {
        self.shared.script.change(|rules| rules.reading = Some(pace));
        self.entrance.read_slowly();
    }

    /// From now on, keeps connections at most this long. For an idle one this starts with its next request.
    pub fn keep_alive(&self, keep_alive: KeepAlive) {
        self.shared.script.change(|rules| rules.keep_alive = keep_alive);
    }

    /// Closes the idle connections in order. When this returns, the clients can see it. The connection of a
    /// running action ([`Self::at`]) ends after the action.
    pub fn close_idle(&self) {
        self.shared.connections.end_idle(End::Close);
    }

    /// Resets the idle connections. Otherwise as [`Self::close_idle`].
    pub fn reset_idle(&self) {
        self.shared.connections.end_idle(End::Reset);
    }

    /// Forgets the idle connections, as a NAT does after some minutes. A client notices nothing until it sends.
    /// Then it gets a reset.
    pub fn forget_idle(&self) {
        self.shared.connections.forget_idle();
    }

    /// Forgets the idle connections, as a firewall does that answers nothing. The client's bytes are lost and
    /// never acknowledged.
    pub fn lose_idle(&self) {
        self.shared.connections.lose_idle();
    }

    /// Resets all connections and refuses new ones, until [`Self::come_back`]. The connection of a running
    /// action ([`Self::at`]) is reset after this returns.
    pub fn go_down(&self) {
        self.shared.connections.end_all(End::Reset);
        self.entrance.close();
    }

    /// Accepts connections again, on the same port.
    pub fn come_back(&self) {
        self.shared.connections.allow();
        self.entrance.reopen();
    }

    fn listen(identity: Option<Identity>) -> Self {
        let scheme_and_host =
            if identity.is_some() { "https://localhost" } else { "http://127.0.0.1" };
        let shared = Arc::new(Shared {
            identity,
            script: Script::default(),
            record: Watch::default(),
            connections: Connections::default(),
            requests: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&shared);
        let entrance = Entrance::open(move |number, stream| {
            serving.connections.serve(number, stream, |line| conversation::talk(line, &serving));
        });
        Self { entrance, scheme_and_host, shared }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.shared.connections.dismiss();
    }
}

impl Shared {
    fn count_request(&self) -> usize {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }
}
