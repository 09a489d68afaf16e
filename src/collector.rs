//! What the local HTTP server does with a request: routes, limits and answers; turns agents'
//! reports into [`Payload`]s.
//!
//! Invariant: an agent is answered without waiting for anything but its own bytes. The collector
//! never waits for the sender: the queue between them has no bound but the budget.

mod otlp;

use std::time::Instant;

use serde::Serialize;
use tiny_http::{Method, Request};
use ureq::http::HeaderValue;

use crate::answer::{Answer, Manner};
use crate::body::{self, Body, Room, Unread};
use crate::budget::Budget;
use crate::dialect::Dialect;
use crate::encoding::Encoding;
use crate::fault;
use crate::ledger::{Account, Balance, Ledger, Loss, Outcome, Refusal};
use crate::line::Line;
use crate::logging;
use crate::payload::{Headers, Payload, Route};
use crate::remote::USER_AGENT;
use crate::request;
use crate::sender::Message;

/// What a payload costs beside its body and header values, in bytes: itself, its place in the
/// queue, and the allocator's share, so that a flood of tiny reports is bounded too.
const PAYLOAD_OVERHEAD: usize = 768;

/// The longest value of a header that travels on, in bytes: a key has some dozens. ureq writes a line
/// of up to 16 KiB, and fails over a longer one, again and again.
const HEADER_VALUE_MAX: usize = 8 * 1024;

/// What it takes to turn a request into a payload and hand it on.
#[derive(Debug)]
pub struct Collector {
    pub budget: Budget,
    pub ledger: Ledger,
    /// To the remotes.
    pub lines: Vec<Line>,
    /// For requests of Thundra's agents that bring no `Authorization` of their own.
    pub authorization: Option<HeaderValue>,
}

impl Collector {
    /// Takes one request, answers it, and hands on what it brought.
    pub fn take(&self, mut request: Request, dialect: Dialect) {
        fault::point("collector.request");
        let is_readable = body::is_readable(&request);
        let target = Target::of(request.method(), request.url(), dialect);
        let manner = manner_of(&request, dialect);
        let answered = match target {
            Target::Reports(_) if !is_readable => Err(Unread::TooLarge.into()),
            Target::Reports(route) => {
                self.take_report(&mut request, route).map(|()| Answer::accepted(manner))
            }
            Target::Health => Ok(self.health()),
            Target::Unknown => Err(Refused(Refusal::UnknownPath, "there is nothing at this path")),
            Target::WrongMethod { .. } => {
                Err(Refused(Refusal::WrongMethod, "this path takes another method"))
            }
        };
        if is_readable && !matches!(target, Target::Reports(_)) {
            body::skip(&mut request);
        }
        let answer = answered.unwrap_or_else(|Refused(refusal, why)| {
            self.ledger.of(dialect).refuse(refusal);
            logging::debug!("refused a request as {}", refusal.name());
            let answer = Answer::refused(refusal, why, manner);
            match target {
                Target::WrongMethod { allowed } => answer.allowing(allowed),
                _ => answer,
            }
        });
        if is_readable {
            answer.send(request);
        } else {
            answer.send_and_abandon(request);
        }
    }

    fn take_report(&self, request: &mut Request, route: Route) -> Result<(), Refused> {
        let Some(line) = self.lines.iter().find(|line| line.takes(route)) else {
            body::skip(request);
            return Err(Refused(Refusal::NoRemote, "nothing is relayed from this path"));
        };
        let headers = headers_of(request, line.dialect);
        let overhead = PAYLOAD_OVERHEAD + headers.as_ref().map_or(0, Headers::size);
        let room = Room { budget: &self.budget, share: Some(&line.share) };
        let body = body::read(request, room, overhead);
        fault::point("collector.body");
        if matches!(body, Err(Unread::Full)) {
            self.make_room_for(line);
        }
        let (mut headers, body) = (headers?, body?);
        // Only a chunked body may lack its end without a sign of it.
        let may_be_cut = request.body_length().is_none();
        let is_nothing = check(route, &headers, &body.bytes, may_be_cut)?;
        let Body { bytes, permit } = body;
        let entry = self.ledger.of(line.dialect).accept();
        fault::point("collector.accepted");
        if is_nothing {
            entry.settle(Outcome::Dropped(Loss::Empty));
            return Ok(());
        }
        self.make_room_for(line);
        if headers.authorization.is_none() && line.dialect == Dialect::Thundra {
            headers.authorization.clone_from(&self.authorization);
        }
        let came = Instant::now();
        let payload = Payload { route, headers, body: bytes, came, permit, entry };
        logging::trace!("took {} bytes for {}", payload.body.len(), route.path());
        // The sender is gone only in the last moment of the process. The payload is dropped then,
        // and counts as failed.
        drop(line.outbox.send_report(Message::Payload(payload), || line.share.held()));
        fault::point("collector.handed-on");
        Ok(())
    }

    /// Has the senders keep to less, if this is the first report that comes for a remote.
    fn make_room_for(&self, line: &Line) {
        if line.share.is_news() {
            for line in &self.lines {
                drop(line.outbox.send(Message::LessRoom)); // it is gone only at the end
            }
        }
    }

    fn health(&self) -> Answer {
        let buffer = Buffer { held: self.budget.held(), size: self.budget.size() };
        Answer::ok(&Health {
            reports: self.ledger.of(Dialect::Thundra).balance(),
            otlp: self.ledger.otlp().map(Account::balance),
            buffer,
        })
    }
}

/// What `/health` shows.
#[derive(Serialize)]
struct Health {
    reports: Balance,
    #[serde(skip_serializing_if = "Option::is_none")]
    otlp: Option<Balance>,
    buffer: Buffer,
}

/// Bytes.
#[derive(Serialize)]
struct Buffer {
    held: usize,
    size: usize,
}

/// A request that is not accepted: how it is counted, and what its sender is told.
struct Refused(Refusal, &'static str);

impl From<Unread> for Refused {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Full => Self(Refusal::Full, "the buffer is full"),
            Unread::TooLarge => Self(
                Refusal::TooLarge,
                "the body is larger than a report may be: at most three quarters of the buffer",
            ),
            Unread::Malformed(why) => Self(Refusal::Malformed, why),
        }
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
    fn of(method: &Method, url: &str, dialect: Dialect) -> Self {
        let path = path_of(url);
        match (dialect.route(path), path, method) {
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
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let whole = if url.starts_with('/') { None } else { url.split_once("://") };
    let after_scheme = whole.map(|(_, rest)| rest);
    let path = after_scheme.map_or(url, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
    path.trim_end_matches('/')
}

fn manner_of(request: &Request, dialect: Dialect) -> Manner {
    match dialect {
        Dialect::Thundra => Manner::Thundra,
        Dialect::Otlp => {
            let content_type = request::values(request, "Content-Type").next();
            // Who says nothing that is known is told so in what can be read.
            Manner::Otlp(content_type.and_then(Encoding::of).unwrap_or(Encoding::Json))
        }
    }
}

fn headers_of(request: &Request, dialect: Dialect) -> Result<Headers, Refused> {
    if request::values(request, "User-Agent").any(|it| it == USER_AGENT) {
        return Err(Unread::Malformed("this extension is its own remote").into());
    }
    let value = |name: &'static str| {
        let Some(first) = request::values(request, name).next() else { return Ok(None) };
        if first.len() > HEADER_VALUE_MAX {
            return Err(Refused::from(Unread::Malformed("a header of more than 8 KiB")));
        }
        HeaderValue::from_str(first).map(Some).map_err(|_| {
            Refused::from(Unread::Malformed("a header with bytes that no header may hold"))
        })
    };
    let mut authorization = value("Authorization")?;
    if let Some(key) = &mut authorization {
        key.set_sensitive(true);
    }
    let content_type = value("Content-Type")?;
    let authorization = authorization.filter(|it| !it.is_empty());
    let mut content_encoding = value("Content-Encoding")?;
    if dialect == Dialect::Otlp {
        // To say that there is none is to say nothing (RFC 9110, 8.4.1), and keeps none from merging.
        content_encoding = content_encoding
            .filter(|it| !it.is_empty() && !it.as_bytes().eq_ignore_ascii_case(b"identity"));
    }
    Ok(Headers { authorization, content_type, content_encoding })
}

/// Whether a report is one that its remote understands, as far as that shows at its ends, and whether
/// it holds nothing. Where it `may_be_cut` it is looked at more closely, if anything shows then: of an
/// encoded one nothing does.
fn check(route: Route, headers: &Headers, body: &[u8], may_be_cut: bool) -> Result<bool, Refused> {
    if let Route::Otlp(signal) = route {
        return otlp::check(signal, headers, body, may_be_cut);
    }
    let is_nothing = is_nothing(body);
    let shows = may_be_cut && headers.content_encoding.is_none() && !is_nothing;
    if shows && !body::is_whole_json(body) {
        return Err(Unread::Malformed("a chunked body that is not a whole JSON document").into());
    }
    Ok(is_nothing)
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
            assert_eq!(Target::of(method, url, Dialect::Thundra), *target, "{method} {url}");
        }
    }

    #[test]
    fn each_dialect_has_routes_of_its_own() {
        for route in Dialect::Otlp.routes() {
            for suffix in ["", "/", "?a=b"] {
                let url = format!("{}{suffix}", route.path());
                let target = Target::of(&Method::Post, &url, Dialect::Otlp);
                assert_eq!(target, Target::Reports(*route));
                let elsewhere = Target::of(&Method::Post, &url, Dialect::Thundra);
                assert_eq!(elsewhere, Target::Unknown);
            }
            let target = Target::of(&Method::Get, route.path(), Dialect::Otlp);
            assert_eq!(target, Target::WrongMethod { allowed: "POST" });
        }
        for url in ["/v1/monitoring-data", "/traces", "/v1/v1/traces", "/v1/profiles", "/"] {
            assert_eq!(Target::of(&Method::Post, url, Dialect::Otlp), Target::Unknown, "{url}");
        }
    }

    #[test]
    fn both_routes_are_found_with_and_without_base_slash_and_query() {
        let arrays = [
            "/v1/monitoring-data",
            "/monitoring-data",
            "/v1/monitoring-data/",
            "/v1/monitoring-data?a=/b",
            "/v1/monitoring-data?a=http://b/c",
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
            "/a://b/v1/monitoring-data",
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
