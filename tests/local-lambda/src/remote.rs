//! The remote collector: records what arrives and answers as the test says.

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
    /// By which clients reach it over TLS.
    pub const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

    /// Plain HTTP on 127.0.0.1; takes all but OTLP that does not decode
    /// ([`Answer::accepting`]) until told otherwise.
    #[must_use]
    pub fn start() -> Self {
        Self::listen(None)
    }

    /// HTTPS for `localhost` and 127.0.0.1, with a certificate of this authority.
    #[must_use]
    pub fn start_tls(authority: &Authority) -> Self {
        Self::start_tls_as(authority.issue(&Self::NAMES))
    }

    /// As [`Self::start_tls`], with no version after TLS 1.2.
    #[must_use]
    pub fn start_tls12(authority: &Authority) -> Self {
        Self::start_tls_as(authority.issue_for_tls12(&Self::NAMES))
    }

    /// As [`Self::start_tls`], with any certificate.
    #[must_use]
    pub fn start_tls_as(identity: Identity) -> Self {
        Self::listen(Some(identity))
    }

    /// Plain HTTP; the first requests get these answers, all later ones are taken.
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

    /// The URL that agents append their paths to.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.origin())
    }

    /// `http://HOST:PORT`, or `https`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}:{}", self.scheme_and_host, self.entrance.port())
    }

    /// From now on each request gets the answer that this gives for it.
    pub fn answer_with(&self, script: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        self.shared.script.change(|rules| rules.answer = Arc::new(script));
    }

    /// From now on a request that this gives a cut for is not, or not only, answered. It is given
    /// the number of the request; they count from 0, in the order of their first bytes.
    pub fn cut_with(&self, cut: impl Fn(usize) -> Option<Cut> + Send + Sync + 'static) {
        self.shared.script.change(|rules| rules.cut = Some(Arc::new(cut)));
    }

    /// From now on a request that is cut gets this answer before its connection ends, as by a remote
    /// that does not want the body.
    pub fn answer_cut_with(&self, answer: impl Fn() -> Answer + Send + Sync + 'static) {
        self.shared.script.change(|rules| rules.early_answer = Some(Arc::new(answer)));
    }

    /// From now on a connection that this gives an end for ends so before anything is read. It is
    /// given the number of the connection; they count from 0, in the order of acceptance.
    pub fn refuse_with(&self, end: impl Fn(usize) -> Option<End> + Send + Sync + 'static) {
        self.shared.script.change(|rules| rules.refusal = Some(Arc::new(end)));
    }

    /// Runs the action at this moment of this request, on the thread of its connection, which
    /// stands still meanwhile; a panic in it closes the connection. With TLS, bytes count as they
    /// are without it, and of the connection the whole TLS record of a byte was read.
    pub fn at(
        &self,
        moment: Moment,
        request: usize,
        action: impl FnOnce(&Interruption) + Send + 'static,
    ) {
        self.shared.script.hooks.add(moment, request, Box::new(action));
    }

    /// From now on reads at this pace, beneath TLS too. Connections to come have a small receive
    /// buffer; the client notices when that and its own send buffer are full.
    pub fn read_at(&self, pace: Pace) {
        self.shared.script.change(|rules| rules.reading = Some(pace));
        self.entrance.read_slowly();
    }

    /// From now on keeps connections no longer than this; for one that waits, from its next
    /// request on.
    pub fn keep_alive(&self, keep_alive: KeepAlive) {
        self.shared.script.change(|rules| rules.keep_alive = keep_alive);
    }

    /// Closes the connections that are between two requests, or before their first, orderly; when
    /// this returns the clients can see it. Of an action of [`Self::at`], the own connection ends
    /// once the action has returned.
    pub fn close_idle(&self) {
        self.shared.connections.end_idle(End::Close);
    }

    /// As [`Self::close_idle`], with a reset.
    pub fn reset_idle(&self) {
        self.shared.connections.end_idle(End::Reset);
    }

    /// Forgets the connections that are between two requests, as a NAT does after some minutes:
    /// the client sees nothing until it sends, and then a reset.
    pub fn forget_idle(&self) {
        self.shared.connections.forget_idle();
    }

    /// As [`Self::forget_idle`], by a firewall that answers nothing: what the client sends is lost, and
    /// not even its system's packets are acknowledged.
    pub fn lose_idle(&self) {
        self.shared.connections.lose_idle();
    }

    /// Resets all connections, that of an action of [`Self::at`] once this has returned, and
    /// refuses new ones, until [`Self::come_back`].
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
