//! The remote collector: one ureq agent, and one POST with a time limit.
//!
//! Invariants: nothing is set up before the first report has to be sent; and a report goes to the
//! configured URL only: no redirect is followed, no proxy is read from anywhere else.

mod answer;

use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use ureq::config::AutoHeaderValue;
use ureq::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use ureq::http::{HeaderName, HeaderValue, StatusCode};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector};
use ureq::{Agent, SendBody, Timeout};

use crate::backlog::Batch;
use crate::destination::Destination;
use crate::dialect::Dialect;
use crate::fault;
use crate::ledger::Loss;
use crate::logging;
use crate::lookup::{LOOKUP_TIMEOUT, Later};
use crate::patience::{LATE, Limit};
use crate::payload::Headers;
use crate::socket::{FREEZE_MAX, SocketConnector};
use crate::tls::TlsConnector;

use self::answer::{Answer, BODY_TIMEOUT};

/// How long the connection may take, TLS included, once the remote's name is looked up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection is kept without a request, freezes included; ureq's own 15 s would cost a
/// new one, with its handshake, at most invocations. NAT gateways forget one after 350 s ("NAT
/// gateway basics", Amazon VPC), and the request after that would hang.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// By which a collector knows what comes from here: itself, where it is set up as its own remote under
/// a name that does not tell.
pub const USER_AGENT: &str = concat!("thundra-lambda-extension/", env!("CARGO_PKG_VERSION"));

#[derive(Debug)]
pub struct Remote {
    destination: Destination,
    /// Made once: it reads `SSL_CERT_FILE`.
    tls: Option<TlsConnector>,
    agent: Option<Agent>,
    /// Whether the last attempt got an answer, so that its connection may still be there.
    has_connection: bool,
    /// Holds the agent while an attempt of it may be interrupted: who takes it out decides.
    token: (Sender<Agent>, Receiver<Agent>),
    is_interruptible: bool,
}

/// Ends an attempt from another thread.
#[derive(Debug)]
pub struct Interrupt(Receiver<Agent>);

impl Interrupt {
    /// Closes the connection of the attempt that is under way, which then fails; a look-up or a
    /// connect runs to its own limit first. Does nothing once [`Remote::disarm`] was called, or if
    /// there never was an attempt.
    pub fn end_attempt(&self) {
        if let Ok(agent) = self.0.try_recv() {
            agent.shutdown();
        }
    }
}

/// What became of one attempt to send a batch.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Delivery {
    /// The remote has it, but for as many items as it says it rejected.
    Delivered { rejected_items: u64 },
    /// The remote can't take it now.
    Failed(Failure),
    /// The remote never will take it.
    Dropped(Loss, StatusCode),
}

/// Why the remote did not take a batch now.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub why: String,
    pub is_answered: bool,
    /// When to ask again, as it said.
    pub after: Option<Duration>,
    /// It had the batch, or a part of it, and may have tripped over that very one.
    pub is_suspect: bool,
}

impl Remote {
    pub fn dialect(&self) -> Dialect {
        self.destination.dialect
    }

    pub fn at(destination: Destination) -> (Self, Interrupt) {
        let token = bounded(1);
        let interrupt = Interrupt(token.1.clone());
        let remote = Self {
            destination,
            tls: None,
            agent: None,
            has_connection: false,
            token,
            is_interruptible: true,
        };
        (remote, interrupt)
    }

    /// From now on nothing interrupts an attempt. An agent that was interrupted is given up.
    pub fn disarm(&mut self) {
        self.is_interruptible = false;
        if self.token.1.try_recv().is_err() {
            self.reconnect();
        }
    }

    /// Forgets all connections.
    pub fn reconnect(&mut self) {
        self.agent = None;
        self.has_connection = false;
    }

    /// Forgets an agent that a panic may have left half done.
    fn start_anew(&mut self) {
        let _ = self.token.1.try_recv();
        self.reconnect();
    }

    fn is_interrupted(&self) -> bool {
        self.is_interruptible && self.agent.is_some() && self.token.1.is_empty()
    }

    /// Sends one batch in the time there is.
    pub fn post(&mut self, batch: &Batch, limit: Limit) -> Delivery {
        let had_connection = mem::take(&mut self.has_connection);
        let first = if had_connection { limit.on_a_kept_connection(Instant::now()) } else { limit };
        let began = Instant::now();
        let mut answer = self.attempt(batch, first);
        let is_frozen = answer.as_ref().is_err_and(|it| it.is_of_a_freeze(limit, began));
        let is_dead = had_connection && answer.as_ref().is_err_and(|it| it.leaves_time(limit));
        if (is_frozen || is_dead) && !self.is_interrupted() {
            // A connection kept from an earlier report is often dead after a freeze, and one that
            // was being made then is late: that is no sign of an outage, and ureq has dropped it.
            logging::debug!("trying again on a new connection");
            let limit = if is_frozen { limit.later_by(began.elapsed()) } else { limit };
            answer = self.attempt(batch, limit);
        }
        match answer {
            Ok(answer) => {
                self.has_connection = true;
                answer.means(self.destination.dialect, SystemTime::now())
            }
            Err(NoAnswer { error, had_it: is_suspect }) => {
                let why = if self.is_interrupted() {
                    "no answer when the sandbox ended".to_owned()
                } else {
                    error.to_string()
                };
                Delivery::Failed(Failure { why, is_answered: false, after: None, is_suspect })
            }
        }
    }

    fn attempt(&mut self, batch: &Batch, limit: Limit) -> Result<Answer, NoAnswer> {
        let url = self.destination.url(batch.route());
        let url = url.expect("a line takes only what its destination takes");
        let mut body = batch.body();
        let mut request = self.agent().post(url).header(CONTENT_LENGTH, body.length());
        for (name, value) in self.headers(batch) {
            request = request.header(name, value);
        }
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        let request = match limit {
            Limit::Running(until) => {
                request.config().timeout_global(Some(left(until) + FREEZE_MAX)).build()
            }
            Limit::Final(until) => request.config().timeout_per_call(Some(left(until))).build(),
        };
        let exchange = || {
            fault::point("sender.request");
            request.send(SendBody::from_reader(&mut body))
        };
        // A panic of ureq or rustls costs an attempt, and not the batch.
        let sent = catch_unwind(AssertUnwindSafe(exchange)).unwrap_or_else(|_| {
            self.start_anew();
            Err(ureq::Error::Io(io::Error::other("something inside failed")))
        });
        let response = sent.map_err(|error| NoAnswer { error, had_it: !body.is_untouched() })?;
        let asked = batch.headers().encoding().filter(|_| self.dialect() == Dialect::Otlp);
        Ok(Answer::of(response, asked))
    }

    /// What its reports bring along, and then what is configured of that which they do not.
    fn headers<'a>(
        &'a self,
        batch: &'a Batch,
    ) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
        let Headers { authorization, content_type, content_encoding } = batch.headers();
        let theirs = [
            (&AUTHORIZATION, authorization),
            (&CONTENT_TYPE, content_type),
            (&CONTENT_ENCODING, content_encoding),
        ];
        let has_key = authorization.is_some();
        let configured = self.destination.headers.iter().map(|(name, value)| (name, value));
        theirs
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)))
            .chain(configured.filter(move |(name, _)| !has_key || **name != AUTHORIZATION))
    }

    fn agent(&mut self) -> &Agent {
        let destination = &self.destination;
        let tls = self.tls.get_or_insert_with(|| TlsConnector::to(destination));
        self.agent.get_or_insert_with(|| {
            let config = Agent::config_builder()
                .proxy(destination.proxy.clone())
                .max_redirects(0)
                .http_status_as_error(false)
                .user_agent(USER_AGENT)
                .accept(AutoHeaderValue::None)
                .max_idle_age(IDLE_MAX)
                .timeout_connect(Some(CONNECT_TIMEOUT))
                .timeout_recv_body(Some(BODY_TIMEOUT))
                .input_buffer_size(16 * 1024)
                .output_buffer_size(16 * 1024)
                .build();
            let connector =
                ().chain(ConnectProxyConnector::default())
                    .chain(SocketConnector)
                    .chain(tls.clone());
            let agent = Agent::with_parts(config, connector, Later);
            if self.is_interruptible {
                // There is room: before `disarm` no second agent is made, unless the first one's
                // place was cleared.
                let _ = self.token.0.try_send(agent.clone());
            }
            agent
        })
    }
}

/// Why an attempt got no answer.
struct NoAnswer {
    error: ureq::Error,
    /// Whether any of the batch was on its way.
    had_it: bool,
}

impl NoAnswer {
    /// Whether there is time for another attempt: after a time-out only where the first had half.
    fn leaves_time(&self, limit: Limit) -> bool {
        !matches!(self.error, ureq::Error::Timeout(_)) || matches!(limit, Limit::Final(_))
    }

    /// Whether, beyond doubt, a freeze took the time to connect: that has limits which go on in one.
    fn is_of_a_freeze(&self, limit: Limit, began: Instant) -> bool {
        let is_late = began.elapsed() > LOOKUP_TIMEOUT + CONNECT_TIMEOUT + LATE;
        let is_connecting =
            matches!(self.error, ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect));
        is_connecting && is_late && matches!(limit, Limit::Running(_))
    }
}
