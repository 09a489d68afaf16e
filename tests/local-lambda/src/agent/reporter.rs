//! An agent: sends items in requests and waits for the answers.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::endpoint::{Endpoint, Localhost};
use super::family::Family;
use super::link::Link;
use super::profile::AgentProfile;
use super::reported::{Attempt, Failure, Reported};
use super::sockets::Sockets;
use super::wire::{Framed, Wire};

/// An agent. It keeps its connections between reports, as the real one does between invocations.
pub struct Agent {
    family: Family,
    wire: Wire,
    key: String,
    endpoint: Endpoint,
    patience: Option<Duration>,
    timeout_margin: Duration,
    gzip: bool,
    /// Idle connections. The last one used is the next one, as in the pools of urllib3 and Node.
    idle: Mutex<Vec<Link>>,
    sockets: Arc<Sockets>,
}

impl Agent {
    /// An agent that reports to `http://localhost:PORT/v1`.
    #[must_use]
    pub fn local(family: Family, port: u16) -> Self {
        Self::to(family, Endpoint::local(port, Localhost::default()))
    }

    #[must_use]
    pub fn to(family: Family, endpoint: Endpoint) -> Self {
        let AgentProfile { wire, patience, timeout_margin, .. } = *family.profile();
        Self {
            family,
            wire: Wire::of(wire),
            key: "some-key".to_owned(),
            endpoint,
            patience,
            timeout_margin,
            gzip: false,
            idle: Mutex::default(),
            sockets: Arc::default(),
        }
    }

    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        key.clone_into(&mut self.key);
        self
    }

    /// Sets the time limit of a connection attempt and of each read and write. The families' own are 5 s
    /// (Python), 3 s (Node.js), none (Go) and 10 s (OpenTelemetry). Must be above zero.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Sets how long before its deadline the agent reports an invocation as timed out. The families' own are
    /// 200 ms (Python), 1 s (Node.js) and 600 ms (Go). OpenTelemetry's agents never do.
    #[must_use]
    pub fn timeout_margin(mut self, margin: Duration) -> Self {
        self.timeout_margin = margin;
        self
    }

    /// Compresses the bodies, as with `OTEL_EXPORTER_OTLP_COMPRESSION`.
    ///
    /// # Panics
    ///
    /// When the agent is not one of OpenTelemetry's, because only those can.
    #[must_use]
    pub fn gzip(mut self) -> Self {
        assert!(self.wire.can_gzip(), "{:?} has no gzip", self.family);
        self.gzip = true;
        self
    }

    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// The key in this agent's reports.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.key
    }

    /// Sends these items and waits for the answers as long as the family does.
    ///
    /// # Panics
    ///
    /// When the system refuses a thread for a parallel request, or an item is no span and the agent sends
    /// Protobuf.
    #[must_use]
    pub fn report(&self, items: &[String]) -> Reported {
        let started = Instant::now();
        let profile = self.family.profile();
        let mut outgoing = items.to_vec();
        if profile.invocation_last {
            outgoing.reverse();
        }
        let batches = outgoing.chunks(profile.items_max);
        let mut bodies: Vec<String> =
            batches.map(|batch| self.wire.body(&self.key, batch)).collect();
        if bodies.is_empty() && profile.sends_nothing {
            bodies.push(self.wire.body(&self.key, &[]));
        }
        let attempts = self.post_all(&bodies);
        Reported { items: items.to_vec(), attempts, took: started.elapsed() }
    }

    /// The body of a request with these items, before compression.
    ///
    /// # Panics
    ///
    /// When an item is no span and the agent sends Protobuf.
    #[must_use]
    pub fn body(&self, items: &[String]) -> Vec<u8> {
        self.wire.encoded(&self.wire.body(&self.key, items))
    }

    pub(crate) fn margin(&self) -> Duration {
        self.timeout_margin
    }

    /// Closes all its connections. A report in progress fails.
    pub(crate) fn close(&self) {
        self.sockets.close();
    }

    fn post_all(&self, bodies: &[String]) -> Vec<Attempt> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut attempts = Vec::new();
            while let Some((batch, body)) = take(bodies, &next) {
                attempts.extend(self.post(batch, body));
            }
            attempts
        };
        // The first request needs no thread of its own, because most reports are one request.
        let beside = bodies.len().min(self.family.profile().parallel_max).saturating_sub(1);
        let mut attempts = thread::scope(|scope| {
            let spawn = |number| {
                thread::Builder::new()
                    .name(format!("agent {number}"))
                    .spawn_scoped(scope, work)
                    .expect("a thread for a request")
            };
            let others: Vec<_> = (0..beside).map(spawn).collect();
            let mut attempts = work();
            for other in others {
                attempts.extend(other.join().expect("posting does not panic"));
            }
            attempts
        });
        attempts.sort_by_key(|attempt| attempt.batch);
        attempts
    }

    /// Makes one attempt, or two if the family tries again.
    fn post(&self, batch: usize, body: &str) -> Vec<Attempt> {
        let request = self.wire.frame(&self.endpoint.destination(), &self.key, body, self.gzip);
        let mut attempts = vec![self.attempt(batch, &request, self.take_idle())];
        let broke = matches!(attempts[0].outcome, Err(Failure::Reset | Failure::Closed));
        if broke && self.family.profile().retries_reset {
            attempts.push(self.attempt(batch, &request, None));
        }
        attempts
    }

    fn attempt(&self, batch: usize, request: &Framed, idle: Option<Link>) -> Attempt {
        let reused = idle.is_some();
        let outcome = self.exchange(request, idle).map_err(Failure::from);
        let successes = &self.family.profile().successes;
        let outcome = outcome.and_then(|status| {
            if successes.contains(&status) { Ok(status) } else { Err(Failure::Status(status)) }
        });
        Attempt { batch, reused, outcome }
    }

    fn exchange(&self, Framed { head, body }: &Framed, idle: Option<Link>) -> io::Result<u16> {
        let mut link = match idle {
            Some(link) => link,
            None => self.connect()?,
        };
        let response = match self.family {
            // Python's http.client writes a head and its body separately.
            Family::ThundraPython | Family::CatchpointPython | Family::OtelPython => {
                link.exchange(&[head, body])
            }
            Family::Node | Family::NodeComposite | Family::Go | Family::OtelNode => {
                link.exchange(&[&[&**head, &**body].concat()])
            }
        }?;
        if self.wire.keeps_alive() {
            self.idle().push(link);
        }
        Ok(response.status)
    }

    fn connect(&self) -> io::Result<Link> {
        let socket = self.sockets.connect(&self.endpoint.addresses()?, self.patience)?;
        Ok(Link::over(self.endpoint.secure(socket)?))
    }

    /// Silently drops connections that the server has closed, as all agents do.
    fn take_idle(&self) -> Option<Link> {
        let mut idle = self.idle();
        while let Some(mut link) = idle.pop() {
            if link.is_reusable() {
                return Some(link);
            }
        }
        None
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Link>> {
        self.idle.lock().expect("nothing panics with the list in its hands")
    }
}

fn take<'a>(bodies: &'a [String], next: &AtomicUsize) -> Option<(usize, &'a str)> {
    let batch = next.fetch_add(1, Ordering::Relaxed);
    bodies.get(batch).map(|body| (batch, &**body))
}
