//! The client of a remote: one ureq agent, and one POST with a time limit.
//!
//! Invariants:
//! * Nothing is set up before the first report must be sent.
//! * A report goes only to the configured URL. The client follows no redirects, and uses only the configured
//!   proxy.

mod exchange;

use std::mem;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ureq::Agent;

use crate::net::freeze::TimeLimit;
use crate::net::resolver::Names;
use crate::net::status_line::StatusLine;
use crate::payload::parts::Parts;
use crate::payload::route::{Headers, Route};
use crate::remote::delivery::{Delivery, Failure};
use crate::remote::destination::Destination;
use crate::remote::tls::Tls;

use crate::remote::excerpt::{Secrets, excerpt};
pub use crate::remote::interrupt::Interrupt;
use crate::remote::interrupt::Interruptible;
use crate::remote::lines;
use crate::remote::no_answer::NoAnswer;
use crate::remote::response::{RemoteResponse, answered};
use crate::remote::why::{interrupted, why};

/// Lets the local collector detect its own requests, if the extension is configured as its own remote under
/// an alias.
pub const USER_AGENT: &str = concat!("thundra-lambda-extension/", env!("CARGO_PKG_VERSION"));

#[derive(Debug)]
pub struct Remote {
    destination: Arc<Destination>,
    /// Created once, because that reads `SSL_CERT_FILE`.
    tls: Option<Tls>,
    agent: Option<Agent>,
    /// The status line of the current attempt.
    status_line: StatusLine,
    /// The host names of the remote and its proxy, with their addresses.
    names: Names,
    /// Whether the last attempt got an answer, so that its connection may still be open.
    has_connection: bool,
    /// `None` if attempts can no longer be interrupted.
    interruptible: Option<Interruptible>,
}

/// A request to send.
#[derive(Debug)]
pub struct Request<'a> {
    pub route: Route,
    /// The headers of its reports.
    pub headers: &'a Headers,
    pub body: Parts<'a>,
}

impl Remote {
    pub fn at(destination: Arc<Destination>) -> (Self, Interrupt) {
        let interruptible = Interruptible::default();
        let interrupt = interruptible.interrupt();
        let remote = Self {
            destination,
            tls: None,
            agent: None,
            status_line: StatusLine::default(),
            names: Names::default(),
            has_connection: false,
            interruptible: Some(interruptible),
        };
        (remote, interrupt)
    }

    /// Makes later attempts uninterruptible. Drops an agent that was interrupted.
    pub fn disable_interrupt(&mut self) {
        if self.interruptible.take().is_some_and(|it| it.take().is_none()) {
            self.reconnect();
        }
    }

    /// Drops all connections.
    pub fn reconnect(&mut self) {
        self.agent = None;
        self.has_connection = false;
    }

    /// Drops an agent that a panic may have left in an invalid state.
    fn reset(&mut self) {
        self.interruptible.as_ref().map(Interruptible::take);
        self.reconnect();
    }

    fn is_interrupted(&self) -> bool {
        self.agent.is_some() && self.interruptible.as_ref().is_some_and(Interruptible::is_taken)
    }

    /// Sends one request within the time limit.
    pub fn post(&mut self, request: &Request, limit: TimeLimit) -> Delivery {
        match self.exchange(request, limit) {
            Ok(answer) => {
                self.has_connection = true;
                self.look_into(&answer, request);
                answer.delivery(self.destination.protocol, SystemTime::now())
            }
            Err(no_answer) => self.without_answer(no_answer, request.route),
        }
    }

    /// Makes an attempt. Makes a second one if the first one does not show the remote's state.
    fn exchange(
        &mut self,
        request: &Request,
        limit: TimeLimit,
    ) -> Result<RemoteResponse, NoAnswer> {
        let had_connection = mem::take(&mut self.has_connection);
        let began = Instant::now();
        let first = self.attempt(request, limit);
        let Err(no_answer) = &first else { return first };
        let is_frozen = no_answer.is_of_a_freeze(limit, began);
        let is_dead = had_connection && no_answer.leaves_time(limit);
        if !(is_frozen || is_dead) || self.is_interrupted() {
            return first;
        }
        // After a freeze, an idle connection is often dead, and a connect is late. Neither is a sign of an
        // outage. ureq has already dropped the connection.
        lines::tries_again(&self.destination);
        // The time of a freeze does not count as time of the attempt.
        self.attempt(request, if is_frozen { limit } else { limit.after(began.elapsed()) })
    }

    /// Logs the parts of an answer that only the log needs.
    fn look_into(&self, answer: &RemoteResponse, request: &Request) {
        let (destination, route) = (&self.destination, request.route);
        if let Some(error) = answer.cut() {
            lines::is_cut(destination, route, error);
        }
        if let Some(body) = answer.refusal() {
            let key = request.headers.authorization.as_ref();
            let shown = excerpt(body, &Secrets::of(destination, route, key));
            lines::refusal(destination, route, answer.status(), &shown);
        }
    }

    #[cold]
    fn without_answer(&self, no_answer: NoAnswer, route: Route) -> Delivery {
        let NoAnswer { error, had_it: may_be_poison, status } = no_answer;
        if status.is_some_and(|it| it.is_success()) {
            lines::is_cut(&self.destination, route, &error);
            return Delivery::Delivered { rejected_items: 0 };
        }
        let why = if let Some(status) = status {
            answered(status, &format!(", and the rest of its answer cannot be read: {error}"))
        } else if self.is_interrupted() {
            interrupted(&error, &self.destination)
        } else {
            why(&error, &self.destination, may_be_poison)
        };
        Delivery::Failed(Failure { why, is_answered: false, after: None, may_be_poison })
    }
}
