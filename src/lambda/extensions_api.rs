//! Client of the Extensions API, version 2020-01-01, over plain HTTP to the address in
//! `AWS_LAMBDA_RUNTIME_API` ("Using the Lambda extensions API to create extensions").
//!
//! Invariant: a poll of `/event/next` has no time limit, is never abandoned and never repeated. The process
//! may be frozen inside a poll for hours. The platform answers the second of two polls with 403, and the next
//! event is lost. So a failed poll is final.

use std::error::Error;
use std::fmt::{self, Display};
use std::io::Read;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use serde_json::value::RawValue;
use ureq::config::AutoHeaderValue;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use ureq::http::{self, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use ureq::{Agent, Body, SendBody};

use crate::net::resolver::NoResolver;
use crate::net::socket::{FREEZE_MAX, SocketConnector};
use crate::payload::json;

/// Time limit of connecting to the API. Then registration or subscription fails.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit of a registration. Then the extension ends. Init waits for it, and has 10 s in all.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(6);
/// Time limit of a subscription to telemetry. Then the extension works without telemetry. Init waits for it
/// too.
const SUBSCRIPTION_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an idle connection stays open, freezes included. A new connection for each poll would cost time
/// and a descriptor.
const IDLE_MAX: Duration = FREEZE_MAX;

/// The pause before the next attempt to poll, if the process has no free descriptor.
const NO_DESCRIPTOR_PAUSE: Duration = Duration::from_millis(10);

/// Initial size of the buffer for an event, in bytes. Most events fit, so one read suffices.
const EVENT_BYTES: usize = 2 * 1024;

/// The longest body that is read, in bytes. The rest is ignored. Events are under 2 kB. This is more than an
/// invocation's payload of up to 6 MB ("Lambda quotas"), which events do not contain.
const EVENT_BYTES_MAX: u64 = 8 * 1024 * 1024;

const EXTENSIONS: &str = "/2020-01-01/extension";

const NAME: HeaderName = HeaderName::from_static("lambda-extension-name");
const IDENTIFIER: HeaderName = HeaderName::from_static("lambda-extension-identifier");

/// The Extensions API before registration.
#[derive(Debug)]
pub struct RuntimeApi {
    agent: Agent,
    base: String,
}

/// The events for which the extension registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscription {
    InvokeAndShutdown,
    /// Managed Instances allow SHUTDOWN only. Without INVOKE, an invocation costs the extension nothing.
    ShutdownOnly,
}

impl RuntimeApi {
    /// Creates a client. `host_and_port` is the value of `AWS_LAMBDA_RUNTIME_API`.
    pub fn at(host_and_port: &str) -> Self {
        let config = Agent::config_builder()
            .proxy(None) // otherwise ureq uses HTTP_PROXY, which is not meant for this address
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(AutoHeaderValue::None)
            .accept(AutoHeaderValue::None)
            .max_idle_age(IDLE_MAX)
            .input_buffer_size(16 * 1024)
            .output_buffer_size(4 * 1024)
            .build();
        let base = format!("http://{host_and_port}");
        let agent = Agent::with_parts(config, SocketConnector::default(), NoResolver);
        Self { agent, base }
    }

    /// Registers as `name`, which must be the base name of the extension's file. If the platform refuses
    /// INVOKE, as on Managed Instances, the extension registers for SHUTDOWN only.
    ///
    /// # Errors
    /// The platform did not answer, or refused.
    pub fn register(self, name: &str, subscription: Subscription) -> Result<Extension, ApiError> {
        let (registered, subscription) = match self.try_register(name, subscription) {
            Err(ApiError::Refused { error_type, .. })
                if error_type == "Extension.InvalidEventType"
                    && subscription == Subscription::InvokeAndShutdown =>
            {
                let less = Subscription::ShutdownOnly;
                (self.try_register(name, less), less)
            }
            registered => (registered, subscription),
        };
        let id = registered?;
        let next = format!("{}{EXTENSIONS}/event/next", self.base);
        let next = next.parse().expect("as for the registration, whose path is plain too");
        Ok(Extension { agent: self.agent, base: self.base, next, id, subscription })
    }

    fn try_register(
        &self,
        name: &str,
        subscription: Subscription,
    ) -> Result<HeaderValue, ApiError> {
        let events = match subscription {
            Subscription::InvokeAndShutdown => r#"{"events":["INVOKE","SHUTDOWN"]}"#,
            Subscription::ShutdownOnly => r#"{"events":["SHUTDOWN"]}"#,
        };
        let url = format!("{}{EXTENSIONS}/register", self.base);
        let name = HeaderValue::from_str(name).map_err(|it| unsent(it.into()))?;
        let to = (Method::POST, &*url);
        let response = send_json(&self.agent, to, (NAME, name), events, REGISTRATION_TIMEOUT)?;
        let id = response.headers().get(IDENTIFIER).cloned();
        let is_success = response.status().is_success();
        match body_of(response) {
            Err(error) if !is_success => Err(error),
            // The body is not needed, so it may be incomplete.
            _ => id.ok_or(ApiError::Unintelligible("no identifier")),
        }
    }
}

/// A registered extension.
#[derive(Debug)]
pub struct Extension {
    agent: Agent,
    base: String,
    /// The URL of a poll, parsed once.
    next: Uri,
    id: HeaderValue,
    /// The events that the platform granted.
    pub subscription: Subscription,
}

/// The identifier of an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub String);

/// An invocation that begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Invocation {
    pub request_id: RequestId,
    /// When the function times out, in milliseconds since the epoch, if the event has that.
    pub deadline_ms: Option<u64>,
}

/// An event of the platform.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Invoke(Invocation),
    Shutdown {
        /// `spindown`, `timeout`, `failure`, or an emulator's own word.
        reason: String,
        /// When Lambda kills the process, in milliseconds since the epoch, if the event has that.
        deadline_ms: Option<u64>,
    },
    /// An event that this version does not know.
    Unknown,
}

impl Event {
    /// Parses an event. A field of the wrong type counts as missing, because a change of the platform must
    /// not end the extension.
    pub fn parse(body: &[u8]) -> Self {
        let names = ["eventType", "requestId", "shutdownReason", "deadlineMs"];
        let [kind, request_id, reason, deadline_ms] = json::members(body, names);
        let deadline_ms = deadline_ms.and_then(|it| it.get().parse().ok());
        let text = |member| json::text(member).unwrap_or_default();
        match kind.map_or("", RawValue::get) {
            r#""INVOKE""# => {
                let request_id = RequestId(text(request_id));
                Self::Invoke(Invocation { request_id, deadline_ms })
            }
            r#""SHUTDOWN""# => Self::Shutdown { reason: text(reason), deadline_ms },
            _ => Self::Unknown,
        }
    }
}

impl Extension {
    /// Subscribes to telemetry with this request body.
    ///
    /// # Errors
    /// The platform did not answer, refused, or has no telemetry (202).
    pub fn subscribe(&self, subscription: &str) -> Result<(), ApiError> {
        let url = format!("{}/2022-07-01/telemetry", self.base);
        let (to, id) = ((Method::PUT, &*url), (IDENTIFIER, self.id.clone()));
        let response = send_json(&self.agent, to, id, subscription, SUBSCRIPTION_TIMEOUT)?;
        let status = response.status();
        body_of(response)?;
        if status == StatusCode::OK {
            Ok(())
        } else {
            Err(ApiError::Unintelligible("no telemetry"))
        }
    }

    /// Waits for the next event, without a time limit.
    ///
    /// # Errors
    /// The poll failed. No further event can follow.
    pub fn next(&self) -> Result<Event, ApiError> {
        let response = loop {
            // No timeout applies: see the module's invariant.
            let mut request = Request::new(SendBody::none());
            *request.uri_mut() = self.next.clone();
            request.headers_mut().insert(IDENTIFIER, self.id.clone());
            match self.agent.run(request) {
                // This poll has not reached the platform, so it may be repeated.
                Err(error) if is_for_want_of_a_descriptor(&error) => {
                    thread::park_timeout(NO_DESCRIPTOR_PAUSE);
                }
                answer => break answer.map_err(ApiError::Unanswered)?,
            }
        };
        // The content type is ignored, because SHUTDOWN has text/plain.
        Ok(Event::parse(&body_of(response)?))
    }
}

fn send_json(
    agent: &Agent,
    (method, url): (Method, &str),
    (name, value): (HeaderName, HeaderValue),
    body: &str,
    within: Duration,
) -> Result<Response<Body>, ApiError> {
    let mut bytes = body.as_bytes();
    let mut request = Request::new(SendBody::from_reader(&mut bytes));
    *request.method_mut() = method;
    *request.uri_mut() = url.parse::<Uri>().map_err(|it| unsent(it.into()))?;
    let headers = request.headers_mut();
    headers.insert(name, value);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, body.len().into());
    let request = agent
        .configure_request(request)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        // Our socket reads this as the limit of the request's running time.
        .timeout_per_write(Some(within))
        .build();
    agent.run(request).map_err(ApiError::Unanswered)
}

/// The error of a request that cannot be built.
fn unsent(error: http::Error) -> ApiError {
    ApiError::Unanswered(error.into())
}

/// Whether the process has no free descriptor. Only a new socket needs one, so nothing was sent.
fn is_for_want_of_a_descriptor(error: &ureq::Error) -> bool {
    let is_one = |error| matches!(Errno::from_io_error(error), Some(Errno::NFILE | Errno::MFILE));
    matches!(error, ureq::Error::Io(error) if is_one(error))
}

/// The body of a 2xx response. Otherwise an error with the platform's reason.
fn body_of(mut response: Response<Body>) -> Result<Vec<u8>, ApiError> {
    let status = response.status();
    let mut body = Vec::with_capacity(EVENT_BYTES);
    let reader = response.body_mut().as_reader();
    reader
        .take(EVENT_BYTES_MAX)
        .read_to_end(&mut body)
        .map_err(|error| ApiError::Unanswered(error.into()))?;
    if status.is_success() {
        return Ok(body);
    }
    let [error_type, error_message] = json::members(&body, ["errorType", "errorMessage"])
        .map(json::text)
        .map(Option::unwrap_or_default);
    Err(ApiError::Refused { status: status.as_u16(), error_type, error_message })
}

/// Why a request to the Extensions API failed.
#[derive(Debug)]
pub enum ApiError {
    /// The connection failed, or the time ran out.
    Unanswered(ureq::Error),
    /// The response is no 2xx.
    Refused { status: u16, error_type: String, error_message: String },
    /// The response is a 2xx without the expected content.
    Unintelligible(&'static str),
}

impl Error for ApiError {}

impl Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Unanswered(error) => write!(f, "no answer: {error}"),
            Self::Refused { status, error_type, error_message } => {
                write!(f, "{status} {error_type} {error_message}")
            }
            Self::Unintelligible(what) => write!(f, "an answer with {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, event: &Event) {
        assert_eq!(Event::parse(body.as_bytes()), *event, "{body}");
    }

    #[test]
    fn an_event_is_parsed_even_if_a_field_is_missing_or_has_a_wrong_type() {
        let invoke = r#"{"eventType":"INVOKE","deadlineMs":1795431644745,"requestId":"88de831f","invokedFunctionArn":"arn","tracing":{"type":"X-Amzn-Trace-Id","value":"Root=1"}}"#;
        let invocation = |id: &str, deadline_ms| {
            Event::Invoke(Invocation { request_id: RequestId(id.to_owned()), deadline_ms })
        };
        check(invoke, &invocation("88de831f", Some(1_795_431_644_745)));
        check(r#"{"eventType":"INVOKE","requestId":7}"#, &invocation("", None));
        let shutdown =
            |reason: &str, deadline_ms| Event::Shutdown { reason: reason.to_owned(), deadline_ms };
        check(
            r#"{"eventType":"SHUTDOWN","deadlineMs":1795431347484,"shutdownReason":"spindown"}"#,
            &shutdown("spindown", Some(1_795_431_347_484)),
        );
        check(r#"{"eventType":"SHUTDOWN"}"#, &shutdown("", None));
        check(
            r#"{"eventType":"SHUTDOWN","deadlineMs":"soon","shutdownReason":7}"#,
            &shutdown("", None),
        );
        check(
            r#"{"shutdownReason":"new","extra":[1],"eventType":"SHUTDOWN"}"#,
            &shutdown("new", None),
        );
    }

    #[test]
    fn an_event_without_a_known_type_is_unknown() {
        for body in [
            "",
            "{}",
            "null",
            "[]",
            "<html>",
            r#"{"eventType":"RESTORE"}"#,
            r#"{"eventType":5}"#,
            r#"["SHUTDOWN",null,null,1795431347484]"#,
        ] {
            check(body, &Event::Unknown);
        }
    }

    #[test]
    fn a_poll_has_no_time_limit() {
        let timeouts = RuntimeApi::at("127.0.0.1:9001").agent.config().timeouts();
        let limits = [
            timeouts.global,
            timeouts.per_call,
            timeouts.resolve,
            timeouts.connect,
            timeouts.send_request,
            timeouts.send_body,
            timeouts.recv_response,
            timeouts.recv_body,
        ];
        assert_eq!(limits, [None; 8]);
    }
}
