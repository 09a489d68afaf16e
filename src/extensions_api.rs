//! Client of the Extensions API, version 2020-01-01, over plain HTTP to the address in
//! `AWS_LAMBDA_RUNTIME_API` ("Using the Lambda extensions API to create extensions").
//!
//! Invariant: `/event/next` has no time limit, is never abandoned and never polled twice. The
//! process may be frozen inside it for hours, and the platform answers the second of two polls with
//! 403 and hands the next event to nobody. So nothing here retries it: its failure is final.

use std::error::Error;
use std::fmt::{self, Display};
use std::io::Read;
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use ureq::config::AutoHeaderValue;
use ureq::http::{HeaderValue, Response, StatusCode, Uri};
use ureq::typestate::WithBody;
use ureq::unversioned::transport::Connector;
use ureq::{Agent, Body, RequestBuilder};

use crate::lookup::Later;
use crate::object;
use crate::socket::{FREEZE_MAX, SocketConnector};

/// How long to connect to the API may take, and how long a registration, and a subscription. Init
/// waits for both, and has 10 s as a whole.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(6);
const SUBSCRIPTION_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the connection is kept, freezes included: a new one for a poll would cost time and a
/// descriptor.
const IDLE_MAX: Duration = FREEZE_MAX;

/// The pause before the next look whether there is a descriptor for a poll.
const NO_DESCRIPTOR_PAUSE: Duration = Duration::from_millis(10);

/// What an event takes, in bytes: with room for it the body is read at once.
const EVENT_BYTES: usize = 2 * 1024;

/// Events are under 2 kB, and hold no payload, which has up to 6 MB ("Lambda quotas"); more than this
/// many bytes is no event.
const EVENT_BYTES_MAX: u64 = 8 * 1024 * 1024;

const EXTENSIONS: &str = "/2020-01-01/extension";

/// The API before registration.
#[derive(Debug)]
pub struct RuntimeApi {
    agent: Agent,
    base: String,
}

/// What to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscription {
    InvokeAndShutdown,
    /// Managed Instances allow no other; and it costs nothing for each invocation.
    ShutdownOnly,
}

impl RuntimeApi {
    /// `host_and_port` as in `AWS_LAMBDA_RUNTIME_API`.
    pub fn at(host_and_port: &str) -> Self {
        let config = Agent::config_builder()
            .proxy(None) // ureq reads HTTP_PROXY by itself, which is not for this address
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(AutoHeaderValue::None)
            .accept(AutoHeaderValue::None)
            .max_idle_age(IDLE_MAX)
            .input_buffer_size(16 * 1024)
            .output_buffer_size(4 * 1024)
            .build();
        let base = format!("http://{host_and_port}");
        let connector = ().chain(SocketConnector);
        let agent = Agent::with_parts(config, connector, Later);
        Self { agent, base }
    }

    /// Registers as `name`, which must be the file's own base name. Where the platform refuses
    /// INVOKE, as on Managed Instances, it registers for SHUTDOWN only.
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
        let request = self.agent.post(url).header("Lambda-Extension-Name", name);
        let response = send_json(request, events, REGISTRATION_TIMEOUT)?;
        let id = response.headers().get("Lambda-Extension-Identifier").cloned();
        let is_success = response.status().is_success();
        match body_of(response) {
            Err(error) if !is_success => Err(error),
            // Nothing in it is needed, so it may be cut short.
            _ => id.ok_or(ApiError::Unintelligible("no identifier")),
        }
    }
}

/// A registered extension.
#[derive(Debug)]
pub struct Extension {
    agent: Agent,
    base: String,
    /// Parsed once, not for each poll.
    next: Uri,
    id: HeaderValue,
    /// What the platform granted.
    pub subscription: Subscription,
}

/// What names an invocation.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct RequestId(pub String);

/// What the platform tells of an invocation that begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Invocation {
    pub request_id: RequestId,
    /// When the function times out, in milliseconds since the epoch, if that was said.
    pub deadline_ms: Option<u64>,
}

/// What the platform tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Invoke(Invocation),
    Shutdown {
        /// `spindown`, `timeout`, `failure`, or what an emulator calls it.
        reason: String,
        /// When the process is killed, in milliseconds since the epoch, if that was said.
        deadline_ms: Option<u64>,
    },
    /// Something this version does not know.
    Unknown,
}

impl Event {
    /// A field that is not of its type is none: what the platform adds or changes must not end us.
    pub fn parse(body: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct WireEvent<'a> {
            #[serde(borrow)]
            event_type: Option<&'a RawValue>,
            #[serde(borrow)]
            request_id: Option<&'a RawValue>,
            #[serde(borrow)]
            shutdown_reason: Option<&'a RawValue>,
            #[serde(borrow)]
            deadline_ms: Option<&'a RawValue>,
        }
        let text = |field: Option<&RawValue>| -> String {
            field.and_then(|it| serde_json::from_str(it.get()).ok()).unwrap_or_default()
        };
        let event: WireEvent = object::parse(body).unwrap_or_default();
        let deadline_ms = event.deadline_ms.and_then(|it| it.get().parse().ok());
        match text(event.event_type).as_str() {
            "INVOKE" => {
                let request_id = RequestId(text(event.request_id));
                Self::Invoke(Invocation { request_id, deadline_ms })
            }
            "SHUTDOWN" => Self::Shutdown { reason: text(event.shutdown_reason), deadline_ms },
            _ => Self::Unknown,
        }
    }
}

impl Extension {
    /// Asks for the platform's events to be delivered, as `subscription` says.
    ///
    /// # Errors
    /// The platform did not answer, refused, or has no telemetry (202).
    pub fn subscribe(&self, subscription: &str) -> Result<(), ApiError> {
        let request = self
            .agent
            .put(format!("{}/2022-07-01/telemetry", self.base))
            .header("Lambda-Extension-Identifier", self.id.clone());
        let response = send_json(request, subscription, SUBSCRIPTION_TIMEOUT)?;
        let status = response.status();
        body_of(response)?;
        if status == StatusCode::OK {
            Ok(())
        } else {
            Err(ApiError::Unintelligible("no telemetry"))
        }
    }

    /// Waits for the next event, however long that takes.
    ///
    /// # Errors
    /// There will be no further event.
    pub fn next(&self) -> Result<Event, ApiError> {
        let response = loop {
            // No timeout of any kind: see the module's invariant.
            let request = self
                .agent
                .get(self.next.clone())
                .header("Lambda-Extension-Identifier", self.id.clone());
            match request.call() {
                // Nothing was asked yet.
                Err(error) if is_for_want_of_a_descriptor(&error) => {
                    thread::park_timeout(NO_DESCRIPTOR_PAUSE);
                }
                answer => break answer.map_err(ApiError::Unanswered)?,
            }
        };
        // The content type is not looked at: SHUTDOWN comes as text/plain.
        Ok(Event::parse(&body_of(response)?))
    }
}

fn send_json(
    request: RequestBuilder<WithBody>,
    body: &str,
    within: Duration,
) -> Result<Response<Body>, ApiError> {
    let request = request
        .header("Content-Type", "application/json")
        .config()
        .timeout_connect(Some(CONNECT_TIMEOUT))
        // As our socket understands it: without the time of freezes.
        .timeout_global(Some(within + FREEZE_MAX))
        .build();
    request.send(body).map_err(ApiError::Unanswered)
}

/// Whether a connection could not even be begun: only that asks for one.
fn is_for_want_of_a_descriptor(error: &ureq::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error, ureq::Error::Io(error) if matches!(error.raw_os_error(), Some(ENFILE | EMFILE)))
}

/// The body of a 2xx, or the platform's own word on why there is none.
fn body_of(mut response: Response<Body>) -> Result<Vec<u8>, ApiError> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct WireError {
        error_type: String,
        error_message: String,
    }
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
    let WireError { error_type, error_message } = object::parse(&body).unwrap_or_default();
    Err(ApiError::Refused { status: status.as_u16(), error_type, error_message })
}

/// Why the Extensions API gave nothing.
#[derive(Debug)]
pub enum ApiError {
    /// The connection failed, or the time ran out.
    Unanswered(ureq::Error),
    /// Not a 2xx.
    Refused { status: u16, error_type: String, error_message: String },
    /// A 2xx without what it has to bring.
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
    fn events_are_read_leniently() {
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
    fn what_makes_no_sense_is_an_unknown_event() {
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
    fn nothing_limits_the_time_of_a_poll() {
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
