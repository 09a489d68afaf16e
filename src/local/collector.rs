//! Handles the requests to the local ports: routes, limits and responses. Turns agents' reports into payloads.
//!
//! Invariant: a request waits only for its own bytes. The collector never waits for the sender, because only
//! the quota limits the queue between them.

mod health;
mod otlp;

use tiny_http::{Method, Request};
use ureq::http::HeaderValue;

use crate::failpoint;
use crate::local::body::{self, Content, ReadError};
use crate::local::mistakes::Mistakes;
use crate::local::no_remote::NoRemote;
use crate::local::request;
use crate::local::response::{Rejection, Response, ResponseFormat};
use crate::logging;
use crate::payload::encoding::Encoding;
use crate::payload::json_scan;
use crate::payload::ledger::{Account, Refusal};
use crate::payload::protocol::Protocol;
use crate::payload::route::{Headers, Route};
use crate::relay::intake::Intake;
use crate::remote::client::USER_AGENT;

/// The longest value of a forwarded header, in bytes. A request with a longer one is refused with 400. ureq
/// cannot send a line of more than 16 KiB, so each attempt would fail. A key has some dozen bytes.
const HEADER_VALUE_MAX: usize = 8 * 1024;

/// Answers requests, and passes reports to the intake.
#[derive(Debug)]
pub struct Collector {
    intake: Intake,
    no_remote: Vec<NoRemote>,
    mistakes: Mistakes,
}

impl Collector {
    pub fn new(intake: Intake, no_remote: Vec<NoRemote>) -> Self {
        Self { intake, no_remote, mistakes: Mistakes::default() }
    }

    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Answers one request. Passes its report on, if it has one.
    pub fn take(&self, mut request: Request, protocol: Protocol) {
        let is_readable = body::is_readable(&request);
        let target = Target::of(request.method(), request.url(), protocol);
        let account = self.intake.account(target.route(), protocol);
        let mut uncounted = Uncounted(Some(account).filter(|_| request::may_be_report(&request)));
        failpoint::hit("collector.request");
        let format = format_of(&request, protocol);
        let outcome = match target {
            Target::Reports(route) if is_readable => self
                .take_report(&mut request, route, &mut uncounted)
                .map(|()| Response::accepted(format)),
            Target::Reports(_) => Err(ReadError::TooLarge.into()),
            _ => self.respond_to_other(&mut request, &target, is_readable, protocol),
        };
        if outcome.is_ok() {
            uncounted.disarm();
        }
        let response = outcome.unwrap_or_else(|rejection| {
            logging::debug!("refused a request as {}", rejection.refusal.name());
            if uncounted.refuse(rejection.refusal) {
                self.mistakes.explain(protocol, path_of(request.url()), &rejection);
            }
            let response = Response::refused(rejection.refusal, rejection.reason, format);
            match target {
                Target::WrongMethod { allowed } => response.allowing(allowed),
                _ => response,
            }
        });
        if is_readable {
            response.send(request);
        } else {
            response.send_and_abandon(request);
        }
    }

    /// The response to a request that is no report.
    fn respond_to_other(
        &self,
        request: &mut Request,
        target: &Target,
        is_readable: bool,
        protocol: Protocol,
    ) -> Result<Response, Rejection> {
        if is_readable {
            body::skip(request)?;
        }
        let (refusal, reason) = match target {
            Target::Health => return Ok(health::response(&self.intake)),
            Target::WrongMethod { .. } => (Refusal::WrongMethod, "this path takes another method"),
            _ => (Refusal::UnknownPath, nothing_here(protocol)),
        };
        Err(Rejection::new(refusal, reason))
    }

    fn take_report(
        &self,
        request: &mut Request,
        route: Route,
        uncounted: &mut Uncounted,
    ) -> Result<(), Rejection> {
        let Some(recipients) = self.intake.recipients(route) else {
            body::skip(request)?;
            self.no_remote.iter().for_each(|it| it.explain(route));
            let reason =
                "no remote is configured for this: see the log of thundra-lambda-extension";
            return Err(Rejection::new(Refusal::NoRemote, reason));
        };
        if let Some(signal) = route.signal() {
            for pipeline in recipients.pipelines() {
                let names = request.headers().iter().map(|it| it.field.as_str().as_str());
                pipeline.withheld().look_at(signal, names);
            }
        }
        let headers = headers_of(request, route);
        let body =
            body::read(request, recipients.quota(), headers.as_ref().map_or(0, Intake::overhead));
        failpoint::hit("collector.body");
        let (headers, body) = (headers?, body?);
        // Only a chunked body may be incomplete without an error.
        let may_be_cut = request.body_length().is_none();
        let content = inspect(route, &headers, &body.bytes, may_be_cut)?;
        uncounted.disarm();
        match content {
            Content::Empty => recipients.accept_empty(),
            Content::Items => recipients.accept(headers, body.bytes, body.permit),
        }
        Ok(())
    }
}

/// A request that is not counted yet. Dropping this value, as a panic does, counts the request as failed.
struct Uncounted<'a>(Option<&'a Account>);

impl Uncounted<'_> {
    /// Another place has counted the request.
    fn disarm(&mut self) {
        self.0 = None;
    }

    /// Counts the request as refused. False if it was counted before, or does not count.
    fn refuse(&mut self, refusal: Refusal) -> bool {
        let account = self.0.take();
        account.inspect(|it| it.refuse(refusal)).is_some()
    }
}

impl Drop for Uncounted<'_> {
    fn drop(&mut self) {
        self.refuse(Refusal::Failed);
    }
}

fn nothing_here(port: Protocol) -> &'static str {
    match port {
        Protocol::Thundra => {
            "this port has only the paths /v1/monitoring-data and /v1/composite-monitoring-data"
        }
        Protocol::Otlp => "this port has only the paths /v1/traces, /v1/metrics and /v1/logs",
    }
}

impl From<ReadError> for Rejection {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Full => Self::new(Refusal::Full, "the buffer is full"),
            ReadError::TooLarge => Self::new(
                Refusal::TooLarge,
                "the body is larger than three quarters of its remote's part of \
                 THUNDRA_EXTENSION_BUFFER",
            ),
            ReadError::Malformed(reason) => Self::new(Refusal::Malformed, reason),
        }
    }
}

/// The target of a request line.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Reports(Route),
    Health,
    Unknown,
    WrongMethod { allowed: &'static str },
}

impl Target {
    fn route(&self) -> Option<Route> {
        match self {
            Self::Reports(route) => Some(*route),
            _ => None,
        }
    }

    fn of(method: &Method, url: &str, protocol: Protocol) -> Self {
        let path = path_of(url);
        match (protocol.route(path), path, method) {
            (Some(route), _, Method::Post) => Self::Reports(route),
            (Some(_), _, _) => Self::WrongMethod { allowed: "POST" },
            (None, "/health", Method::Get) => Self::Health,
            (None, "/health", _) => Self::WrongMethod { allowed: "GET" },
            (None, _, _) => Self::Unknown,
        }
    }
}

/// The path of a request target without query and trailing slashes. The target may be a complete URL (RFC
/// 9112, 3.2.2).
fn path_of(url: &str) -> &str {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let whole = if url.starts_with('/') { None } else { url.split_once("://") };
    let after_scheme = whole.map(|(_, rest)| rest);
    let path = after_scheme.map_or(url, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
    path.trim_end_matches('/')
}

fn format_of(request: &Request, protocol: Protocol) -> ResponseFormat {
    match protocol {
        Protocol::Thundra => ResponseFormat::Thundra,
        Protocol::Otlp => {
            let content_type = request::values(request, "Content-Type").next();
            // A client with an unknown content type gets its error as JSON, which people can read.
            ResponseFormat::Otlp(content_type.and_then(Encoding::of).unwrap_or(Encoding::Json))
        }
    }
}

fn headers_of(request: &Request, route: Route) -> Result<Headers, Rejection> {
    if request::values(request, "User-Agent").any(|it| it == USER_AGENT) {
        return Err(ReadError::Malformed("this extension is its own remote").into());
    }
    let value =
        |name: &'static str| request::values(request, name).next().map(header_value).transpose();
    let mut authorization = value("Authorization")?;
    if let Some(key) = &mut authorization {
        key.set_sensitive(true);
    }
    let content_type = value("Content-Type")?;
    let authorization = authorization.filter(|it| !it.is_empty());
    let content_encoding = if route.signal().is_some() {
        let codings = otlp::codings(request::values(request, "Content-Encoding"));
        codings.map(|it| header_value(&it)).transpose()?
    } else {
        value("Content-Encoding")?
    };
    Ok(Headers { authorization, content_type, content_encoding })
}

fn header_value(text: &str) -> Result<HeaderValue, Rejection> {
    if text.len() > HEADER_VALUE_MAX {
        return Err(ReadError::Malformed("a header of more than 8 KiB").into());
    }
    HeaderValue::from_str(text)
        .map_err(|_| ReadError::Malformed("a header with bytes that no header may hold").into())
}

/// Checks the start and end of a report, and refuses it if no remote can understand it. A plain body that
/// `may_be_cut` is checked from start to end.
fn inspect(
    route: Route,
    headers: &Headers,
    body: &[u8],
    may_be_cut: bool,
) -> Result<Content, Rejection> {
    if let Route::Otlp(signal) = route {
        return otlp::inspect(signal, headers, body, may_be_cut);
    }
    if is_nothing(body) {
        return Ok(Content::Empty);
    }
    if may_be_cut && headers.content_encoding.is_none() && !json_scan::is_whole(body) {
        return Err(ReadError::Malformed("a chunked body that is not a whole JSON document").into());
    }
    Ok(Content::Items)
}

/// Whether a body has no items. Agents send `[]` if they have trimmed a whole batch away.
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
            assert_eq!(Target::of(method, url, Protocol::Thundra), *target, "{method} {url}");
        }
    }

    #[test]
    fn each_protocol_has_its_own_routes() {
        for route in Protocol::Otlp.routes() {
            for suffix in ["", "/", "?a=b"] {
                let url = format!("{}{suffix}", route.path());
                let target = Target::of(&Method::Post, &url, Protocol::Otlp);
                assert_eq!(target, Target::Reports(*route));
                let elsewhere = Target::of(&Method::Post, &url, Protocol::Thundra);
                assert_eq!(elsewhere, Target::Unknown);
            }
            let target = Target::of(&Method::Get, route.path(), Protocol::Otlp);
            assert_eq!(target, Target::WrongMethod { allowed: "POST" });
        }
        for url in ["/v1/monitoring-data", "/traces", "/v1/v1/traces", "/v1/profiles", "/"] {
            assert_eq!(Target::of(&Method::Post, url, Protocol::Otlp), Target::Unknown, "{url}");
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
    fn any_other_path_is_unknown() {
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
    fn empty_bodies_and_empty_arrays_have_no_items() {
        for body in ["", " ", "[]", " [ \n] ", "[\t]"] {
            assert!(is_nothing(body.as_bytes()), "{body:?}");
        }
        for body in ["{}", "[{}]", "[[]]", "x", "[", "]"] {
            assert!(!is_nothing(body.as_bytes()), "{body:?}");
        }
    }
}
