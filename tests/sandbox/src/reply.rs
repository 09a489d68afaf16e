//! Answers of the Extensions API, byte for byte as AWS's daemon writes them (seen with the Runtime
//! Interface Emulator 1.170.0 of aws-sam-cli; its source is the daemon's, in stand-alone form).

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use uuid::Uuid;

use crate::http::{self, Headers};

pub const FUNCTION_NAME: &str = "sandbox-function";
const FUNCTION_ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:sandbox-function";
const ACCOUNT_ID: &str = "123456789012";

pub struct Reply {
    pub status: u16,
    headers: Headers,
    body: Vec<u8>,
}

impl Reply {
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::plain(status, body).with("Content-Type", "application/json")
    }

    /// Every error of a client is a 403; its name is in the body.
    pub fn refusal(error_type: &str, message: &str) -> Self {
        let body = Refusal { error_message: message, error_type };
        Self::json(403, line(&body))
    }

    pub fn registered(identifier: Uuid, with_account: bool) -> Self {
        let function = Function {
            account_id: with_account.then_some(ACCOUNT_ID),
            function_name: FUNCTION_NAME,
            function_version: "$LATEST",
            handler: "app.handler",
        };
        Self::json(200, line(&function)).identified(identifier)
    }

    pub fn identified(self, identifier: Uuid) -> Self {
        self.with("Lambda-Extension-Identifier", &identifier.to_string())
    }

    /// Without `tracing`, as when the caller sent no trace id.
    pub fn invoke(request_id: &str, timeout: Duration) -> Self {
        let event = Invoke {
            event_type: "INVOKE",
            deadline_ms: epoch_ms(timeout),
            request_id,
            invoked_function_arn: FUNCTION_ARN,
        };
        Self::json(200, object(&event))
            .with("Lambda-Extension-Event-Identifier", &Uuid::new_v4().to_string())
    }

    /// Neither event identifier nor `application/json`: the daemon sets no header here.
    pub fn shutdown(reason: &str, budget: Duration) -> Self {
        let event = Shutdown {
            event_type: "SHUTDOWN",
            deadline_ms: epoch_ms(budget),
            shutdown_reason: reason,
        };
        Self::plain(200, object(&event))
    }

    pub fn accepted() -> Self {
        Self::json(202, "{\"status\":\"OK\"}\n")
    }

    pub fn not_found() -> Self {
        Self::plain(404, "404 page not found\n").with("X-Content-Type-Options", "nosniff")
    }

    pub fn method_not_allowed(allow: &str) -> Self {
        Self::plain(405, "").with("Allow", allow)
    }

    /// Also ends the connection, as Go's server does.
    pub fn bad_request(message: &str) -> Self {
        Self::plain(400, format!("400 Bad Request: {message}")).with("Connection", "close")
    }

    pub fn closes(&self) -> bool {
        http::header(&self.headers, "Connection") == Some("close")
    }

    /// In one write, so that no reader sees half an answer.
    pub fn write(mut self, mut stream: &TcpStream) -> io::Result<()> {
        let typed = http::header(&self.headers, "Content-Type").is_some();
        let length = self.body.len().to_string();
        self = self.with("Date", &httpdate::fmt_http_date(SystemTime::now()));
        self = self.with("Content-Length", &length);
        if !typed && !self.body.is_empty() {
            // Go guesses a type where the daemon named none, and puts it last.
            self = self.with("Content-Type", "text/plain; charset=utf-8");
        }
        stream.write_all(&http::render(self.status, &self.headers, &self.body))
    }

    pub fn plain(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
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
struct Function {
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'static str>,
    function_name: &'static str,
    function_version: &'static str,
    handler: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invoke<'a> {
    event_type: &'static str,
    deadline_ms: u128,
    request_id: &'a str,
    invoked_function_arn: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are AWS's")]
struct Shutdown<'a> {
    event_type: &'static str,
    deadline_ms: u128,
    shutdown_reason: &'a str,
}

/// Events end with the brace, all other answers with a line feed.
fn object(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings and numbers serialise")
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = object(value);
    line.push(b'\n');
    line
}

fn epoch_ms(from_now: Duration) -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    (now + from_now).as_millis()
}
