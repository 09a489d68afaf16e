//! Answers of the Extensions API and the Runtime API, byte for byte as AWS's daemon writes them (seen with the
//! Runtime Interface Emulator 1.170.0 of aws-sam-cli, which has the daemon's source in stand-alone form).

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use uuid::Uuid;

use crate::configuration::Configuration;
use crate::connection::Outgoing;
use crate::event_type::EventType;
use crate::http::{self, Headers, Request};
use crate::runtime_event::RuntimeEvent;
use crate::variables::METADATA_TOKEN;
use crate::wire::Wire;

/// The longest body with a `Content-Length`. Go's server declares the length if the body fits into its first
/// buffer. It sends a longer body in chunks.
const LENGTH_TOLD_MAX: usize = 2048;
const TEXT: &str = "text/plain; charset=utf-8";

pub struct Reply {
    pub status: u16,
    headers: Headers,
    body: Vec<u8>,
    wire: Wire,
}

impl Reply {
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::plain(status, body).with("Content-Type", "application/json")
    }

    /// A refusal. Nearly all errors of clients have status 403, and the body has the error's name.
    pub fn refusal(error_type: &str, message: &str) -> Self {
        Self::error(403, error_type, message)
    }

    pub fn error(status: u16, error_type: &str, message: &str) -> Self {
        let body = Refusal { error_message: message, error_type };
        Self::json(status, line(&body))
    }

    pub fn registered(identifier: Uuid, configuration: &Configuration, with_account: bool) -> Self {
        let function = Function {
            account_id: with_account.then_some(&configuration.account_id),
            function_name: &configuration.function_name,
            function_version: &configuration.version,
            handler: &configuration.handler,
        };
        Self::json(200, line(&function)).identified(identifier)
    }

    pub fn identified(self, identifier: Uuid) -> Self {
        self.with("Lambda-Extension-Identifier", &identifier.to_string())
    }

    /// INVOKE. It has no `tracing` if the caller sent no trace id.
    pub fn invoke(
        configuration: &Configuration,
        request_id: &str,
        deadline: SystemTime,
        trace_id: Option<&str>,
    ) -> Self {
        let event = Invoke {
            event_type: EventType::Invoke,
            deadline_ms: epoch_ms(deadline),
            request_id,
            invoked_function_arn: configuration.function_arn(),
            tracing: trace_id.map(|value| Tracing { kind: "X-Amzn-Trace-Id", value }),
        };
        Self::json(200, object(&event))
            .with("Lambda-Extension-Event-Identifier", &Uuid::new_v4().to_string())
    }

    /// SHUTDOWN. The daemon sets neither an event identifier nor `application/json` here.
    pub fn shutdown(reason: &str, deadline: SystemTime) -> Self {
        let event = Shutdown {
            event_type: EventType::Shutdown,
            deadline_ms: epoch_ms(deadline),
            shutdown_reason: reason,
        };
        Self::plain(200, object(&event))
    }

    /// The answer to the runtime's `next`. Go's server sorts the headers.
    pub fn runtime_event(configuration: &Configuration, event: &RuntimeEvent) -> Self {
        let optional = |reply: Self, name: &str, value: Option<&String>| match value {
            Some(value) => reply.with(name, value),
            None => reply,
        };
        let reply = Self::json(200, event.payload.clone())
            .with("Lambda-Runtime-Aws-Request-Id", &event.request_id);
        let reply =
            optional(reply, "Lambda-Runtime-Aws-Tenant-Id", event.context.tenant_id.as_ref());
        let context = event.context.client_context.as_ref();
        let reply = optional(reply, "Lambda-Runtime-Client-Context", context);
        let identity = event.context.cognito_identity.as_ref();
        let reply = optional(reply, "Lambda-Runtime-Cognito-Identity", identity)
            .with("Lambda-Runtime-Deadline-Ms", &epoch_ms(event.deadline).to_string())
            .with("Lambda-Runtime-Invoked-Function-Arn", &configuration.function_arn());
        optional(reply, "Lambda-Runtime-Trace-Id", event.context.trace_id.as_ref())
    }

    pub fn empty() -> Self {
        Self::plain(200, "")
    }

    pub fn text(text: &str) -> Self {
        Self::plain(200, text)
    }

    /// Credentials, for environments from a snapshot, which must not contain keys.
    pub fn credentials() -> Self {
        let keys = serde_json::json!({
            "AccessKeyId": "AKIALOCALLAMBDA00000",
            "SecretAccessKey": "local-lambda",
            "Token": "local-lambda",
            "Expiration": "2100-01-01T00:00:00Z",
        });
        Self::json(200, object(&keys))
    }

    /// The place where the environment runs, for requests with the token.
    pub fn metadata(request: &Request) -> Self {
        let token = format!("Bearer {METADATA_TOKEN}");
        if request.header("Authorization") != Some(&token) {
            return Self::plain(401, "");
        }
        let place = serde_json::json!({ "AvailabilityZoneID": "use1-az1" });
        Self::json(200, object(&place)).with("Cache-Control", "private, max-age=43200, immutable")
    }

    pub fn accepted() -> Self {
        Self::json(202, "{\"status\":\"OK\"}\n")
    }

    pub fn not_found() -> Self {
        Self::plain(404, "404 page not found\n")
            .with("Content-Type", TEXT)
            .with("X-Content-Type-Options", "nosniff")
    }

    pub fn method_not_allowed(allow: &str) -> Self {
        Self::plain(405, "").with("Allow", allow)
    }

    /// A 400 that also ends the connection, as Go's server does.
    pub fn bad_request(message: &str) -> Self {
        Self::plain(400, format!("400 Bad Request: {message}")).with("Connection", "close")
    }

    pub fn closes(&self) -> bool {
        http::header(&self.headers, "Connection") == Some("close")
    }

    /// Sets the way in which the reply is written.
    pub fn over(self, wire: Wire) -> Self {
        Self { wire, ..self }
    }

    /// Renders the reply in one piece, so that no reader sees half of it. [`Wire`] can change that.
    pub fn render(mut self) -> Outgoing {
        if self.wire.additions {
            self = self.with_additions();
        }
        let typed = http::header(&self.headers, "Content-Type").is_some();
        self = self.with("Date", &httpdate::fmt_http_date(SystemTime::now()));
        if self.body.len() <= LENGTH_TOLD_MAX {
            let length = self.body.len().to_string();
            self = self.with("Content-Length", &length);
        }
        if !typed && !self.body.is_empty() {
            // If the daemon names no type, Go guesses one and writes it last.
            self = self.with("Content-Type", TEXT);
        }
        self.wire.render(self.status, self.headers, &self.body)
    }

    pub fn plain(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), wire: Wire::default() }
    }

    fn with_additions(mut self) -> Self {
        if let Some(rest) = self.body.strip_prefix(b"{") {
            let field: &[u8] = br#"{"localLambdaAddition":{"of":["a later version",null,1.5]},"#;
            self.body = [field, rest].concat();
        }
        self.with("Local-Lambda-Addition", "of a later version")
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Refusal<'a> {
    error_message: &'a str,
    error_type: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are AWS's")]
struct Function<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a String>,
    function_name: &'a str,
    function_version: &'a str,
    handler: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invoke<'a> {
    event_type: EventType,
    deadline_ms: u128,
    request_id: &'a str,
    invoked_function_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracing: Option<Tracing<'a>>,
}

#[derive(Serialize)]
struct Tracing<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are AWS's")]
struct Shutdown<'a> {
    event_type: EventType,
    deadline_ms: u128,
    shutdown_reason: &'a str,
}

/// An object as JSON. An event ends with the brace, any other answer with a line feed.
fn object(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings and numbers serialise")
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = object(value);
    line.push(b'\n');
    line
}

fn epoch_ms(moment: SystemTime) -> u128 {
    moment.duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis()
}
