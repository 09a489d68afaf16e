//! The local HTTP server: routes, limits and answers; turns agents' requests into [`Payload`]s.
//!
//! Invariant: an agent is answered without waiting for anything but its own bytes. The collector
//! never waits for the sender: the channel between them has no bound but the budget.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Sender;
use tiny_http::{Method, Request};
use ureq::http::HeaderValue;

use crate::answer::Answer;
use crate::body::{self, Body, Unread};
use crate::budget::Budget;
use crate::ledger::{Ledger, Loss, Outcome, Refusal};
use crate::payload::{Headers, Payload, Route};
use crate::readers;
use crate::sender::Message;

/// What a payload costs beside its body and header values, in bytes: itself, its place in the
/// queue, and the allocator's share, so that a flood of tiny reports is bounded too.
const PAYLOAD_OVERHEAD: usize = 256;

/// What the collector needs to turn a request into a payload and hand it on.
#[derive(Clone, Debug)]
pub struct Intake {
    pub budget: Budget,
    pub ledger: Ledger,
    pub outbox: Sender<Message>,
    /// For requests that bring no `Authorization` of their own.
    pub authorization: Option<HeaderValue>,
}

/// The two local addresses: agents that resolve `localhost` to `::1` first (Node.js 17 to 19) find
/// nothing on 127.0.0.1.
#[derive(Debug)]
pub struct Doors([Door; 2]);

/// One local address, and whether requests are taken there.
#[derive(Debug)]
struct Door {
    address: SocketAddr,
    listener: Option<TcpListener>,
    is_open: Arc<AtomicBool>,
    /// Whether it was said why it is not open.
    is_explained: bool,
}

impl Doors {
    /// Binds both addresses. From then on the kernel holds connections until [`Self::open`]. An
    /// address that cannot be had is tried again at the next [`Self::open`].
    pub fn bind(port: u16) -> Self {
        let addresses: [SocketAddr; 2] =
            [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
        let mut doors = Self(addresses.map(|address| Door {
            address,
            listener: None,
            is_open: Arc::new(AtomicBool::new(false)),
            is_explained: false,
        }));
        doors.0.iter_mut().for_each(Door::bind);
        doors
    }

    /// Serves every address that is not served yet. Cheap when all are.
    pub fn open(&mut self, intake: &Intake) {
        for door in &mut self.0 {
            if !door.is_open.load(Ordering::Relaxed) {
                door.bind();
                door.serve(intake.clone());
            }
        }
    }
}

impl Door {
    fn bind(&mut self) {
        if self.listener.is_none() {
            match TcpListener::bind(self.address) {
                Ok(listener) => self.listener = Some(listener),
                Err(error) => self.explain(&error),
            }
        }
    }

    fn serve(&mut self, intake: Intake) {
        let Some(listener) = self.listener.take() else { return };
        let is_open = Arc::clone(&self.is_open);
        let address = self.address;
        is_open.store(true, Ordering::Relaxed);
        let closed = move |error| {
            log::warn!(
                "cannot accept connections on {address}: {error}; trying again at the next \
                 invocation"
            );
            is_open.store(false, Ordering::Relaxed);
        };
        if let Err(error) = readers::serve(listener, move |request| intake.take(request), closed) {
            self.is_open.store(false, Ordering::Relaxed);
            self.explain(&error);
        } else {
            self.is_explained = false;
        }
    }

    /// Once is enough: it is tried again at each invocation.
    fn explain(&mut self, error: &io::Error) {
        if mem::replace(&mut self.is_explained, true) {
            return;
        }
        let address = self.address;
        // Without 127.0.0.1 nearly all agents are lost; without ::1 a few, where it exists at all.
        let level = if address.is_ipv4() { log::Level::Warn } else { log::Level::Debug };
        log::log!(
            level,
            "cannot listen on {address}: {error}; agents' reports are not taken there, trying \
             again at each invocation"
        );
    }
}

impl Intake {
    /// Takes one request, answers it, and hands on what it brought.
    fn take(&self, mut request: Request) {
        let answered = match Target::of(request.method(), request.url()) {
            Target::Reports(route) => self.take_report(&mut request, route),
            Target::Health => Ok(self.health()),
            Target::Unknown => Err(Refused(
                Refusal::UnknownPath,
                Answer::refused(Refusal::UnknownPath, "there is nothing at this path"),
            )),
            Target::WrongMethod { allowed } => {
                Err(Refused(Refusal::WrongMethod, Answer::wrong_method(allowed)))
            }
        };
        let answer = answered.unwrap_or_else(|Refused(refusal, answer)| {
            self.ledger.refuse(refusal);
            log::debug!("refused a request as {}", refusal.name());
            answer
        });
        if body::skip(&mut request) {
            answer.send(request);
        } else {
            answer.send_and_abandon(request);
        }
    }

    fn take_report(&self, request: &mut Request, route: Route) -> Result<Answer, Refused> {
        let mut headers = headers_of(request)?;
        let overhead = PAYLOAD_OVERHEAD + headers.size();
        let body = body::read(request, &self.budget, overhead).map_err(Refused::from)?;
        let is_encoded = headers.content_encoding.is_some();
        if request.body_length().is_none()
            && !is_encoded
            && !is_nothing(&body.bytes)
            && !body::is_whole_json(&body.bytes)
        {
            return Err(
                Unread::Malformed("a chunked body that is not a whole JSON document").into()
            );
        }
        let entry = self.ledger.accept();
        let Body { bytes, permit } = body;
        if is_nothing(&bytes) {
            entry.settle(Outcome::Dropped(Loss::Empty));
            return Ok(Answer::ACCEPTED);
        }
        if headers.authorization.is_none() {
            headers.authorization.clone_from(&self.authorization);
        }
        let payload = Payload { route, headers, body: bytes, _permit: permit, entry };
        log::trace!("took {} bytes for {}", payload.body.len(), route.path());
        // The sender outlives every reader: it ends the process. Were it gone, the payload would
        // come back here, be dropped, and count as failed.
        drop(self.outbox.send(Message::Payload(payload)));
        Ok(Answer::ACCEPTED)
    }

    fn health(&self) -> Answer {
        let held = self.budget.held();
        let size = self.budget.size();
        let health = serde_json::json!({
            "reports": self.ledger.balance().to_json(),
            "buffer": { "held": held, "size": size },
        });
        Answer::ok(health.to_string())
    }
}

/// A request that is not accepted: how it is counted, and what its sender is told.
struct Refused(Refusal, Answer);

impl From<Unread> for Refused {
    fn from(unread: Unread) -> Self {
        let (refusal, why) = match unread {
            Unread::Full => (Refusal::Full, "the buffer is full"),
            Unread::TooLarge => (Refusal::TooLarge, "the body is larger than the buffer"),
            Unread::Malformed(why) => (Refusal::Malformed, why),
        };
        Self(refusal, Answer::refused(refusal, why))
    }
}

/// What a request line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Reports(Route),
    Health,
    Unknown,
    WrongMethod { allowed: &'static str },
}

impl Target {
    fn of(method: &Method, url: &str) -> Self {
        let path = path_of(url);
        let below_base = path.strip_prefix("/v1").unwrap_or(path);
        let reports = [Route::MonitoringData, Route::CompositeMonitoringData]
            .into_iter()
            .find(|route| route.path() == below_base);
        match (reports, path, method) {
            (Some(route), _, Method::Post) => Self::Reports(route),
            (Some(_), _, _) => Self::WrongMethod { allowed: "POST" },
            (None, "/health", Method::Get) => Self::Health,
            (None, "/health", _) => Self::WrongMethod { allowed: "GET" },
            (None, _, _) => Self::Unknown,
        }
    }
}

/// The path of a request target, which may be a whole URL (RFC 9112, 3.2.2), without query and
/// trailing slashes.
fn path_of(url: &str) -> &str {
    let after_scheme = url.split_once("://").map(|(_, rest)| rest);
    let path = after_scheme.map_or(url, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.trim_end_matches('/')
}

fn headers_of(request: &Request) -> Result<Headers, Refused> {
    let value = |name: &'static str| {
        let header = request.headers().iter().find(|it| it.field.equiv(name));
        header.map(|it| HeaderValue::from_str(it.value.as_str())).transpose().map_err(|_| {
            Refused::from(Unread::Malformed("a header with bytes that no header may hold"))
        })
    };
    let mut authorization = value("Authorization")?;
    if let Some(key) = &mut authorization {
        key.set_sensitive(true);
    }
    let content_type = value("Content-Type")?;
    Ok(Headers { authorization, content_type, content_encoding: value("Content-Encoding")? })
}

/// Whether a body holds no item at all: agents send `[]` when a batch was trimmed away.
fn is_nothing(body: &[u8]) -> bool {
    let inner = body.trim_ascii().strip_prefix(b"[").and_then(|it| it.strip_suffix(b"]"));
    inner.unwrap_or(body).trim_ascii().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &Method, urls: &[&str], target: &Target) {
        for url in urls {
            assert_eq!(Target::of(method, url), *target, "{method} {url}");
        }
    }

    #[test]
    fn both_routes_are_found_with_and_without_base_slash_and_query() {
        let arrays = [
            "/v1/monitoring-data",
            "/monitoring-data",
            "/v1/monitoring-data/",
            "/v1/monitoring-data?a=/b",
        ];
        check(&Method::Post, &arrays, &Target::Reports(Route::MonitoringData));
        let composites = [
            "/v1/composite-monitoring-data",
            "/composite-monitoring-data//",
            "http://localhost:3333/v1/composite-monitoring-data",
        ];
        check(&Method::Post, &composites, &Target::Reports(Route::CompositeMonitoringData));
    }

    #[test]
    fn a_known_path_with_another_method_names_the_right_one() {
        check(&Method::Get, &["/v1/monitoring-data"], &Target::WrongMethod { allowed: "POST" });
        check(&Method::Head, &["/health", "/health/"], &Target::WrongMethod { allowed: "GET" });
        check(&Method::Get, &["/health", "/health?x"], &Target::Health);
    }

    #[test]
    fn nothing_else_is_found() {
        let paths = [
            "/",
            "",
            "*",
            "/v1",
            "/v1/",
            "/v2/monitoring-data",
            "/v1/monitoring-datax",
            "/v1/../monitoring-data",
            "/V1/monitoring-data",
            "http://host",
            "/v1/v1/monitoring-data",
        ];
        check(&Method::Post, &paths, &Target::Unknown);
    }

    #[test]
    fn empty_bodies_and_empty_arrays_hold_nothing() {
        for body in ["", " ", "[]", " [ \n] ", "[\t]"] {
            assert!(is_nothing(body.as_bytes()), "{body:?}");
        }
        for body in ["{}", "[{}]", "[[]]", "x", "[", "]"] {
            assert!(!is_nothing(body.as_bytes()), "{body:?}");
        }
    }
}
