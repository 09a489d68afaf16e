//! An extension whose process only waits. The test makes its calls.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use local_lambda::agent::{Connection, Response};
use local_lambda::{Lambda, Setup};
use serde_json::Value;
use tempfile::TempDir;

pub struct Puppet {
    connection: Connection,
    name: String,
    identifier: String,
}

/// A script that is started as an extension.
pub fn script(text: &str) -> (TempDir, PathBuf) {
    let home = TempDir::new().unwrap();
    let path = home.path().join("script");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (home, path)
}

/// Adds an extension with this name to the setup. A [`Puppet`] makes its calls.
pub fn with_puppet(setup: Setup, name: &str) -> Setup {
    const SLEEPER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/extensions/sleeper");
    setup.extension_named(SLEEPER, name)
}

impl Puppet {
    pub fn of(lambda: &Lambda, name: &str) -> Self {
        let address = lambda.runtime_api().parse().unwrap();
        let (name, identifier) = (name.to_owned(), String::new());
        Self { connection: Connection::open_at(address), name, identifier }
    }

    pub fn registered(lambda: &Lambda, name: &str, events: &[&str]) -> Self {
        let mut puppet = Self::of(lambda, name);
        let answer = puppet.register(events);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        puppet
    }

    pub fn register(&mut self, events: &[&str]) -> Response {
        let body = serde_json::json!({ "events": events }).to_string();
        let answer = self.call("POST", "/2020-01-01/extension/register", &body);
        if let Some(identifier) = answer.header("Lambda-Extension-Identifier") {
            identifier.clone_into(&mut self.identifier);
        }
        answer
    }

    /// Whether the platform ends the connection within this time.
    pub fn is_cut_off(&mut self, within: Duration) -> bool {
        self.connection.is_closed(within)
    }

    /// Polls for the next event without waiting for it.
    pub fn poll(&mut self) {
        self.send("GET", "/2020-01-01/extension/event/next", "");
    }

    /// Waits for the event after [`Self::poll`].
    pub fn event(&mut self) -> Value {
        let response = self.connection.response();
        assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body));
        serde_json::from_slice(&response.body).unwrap()
    }

    pub fn call(&mut self, method: &str, path: &str, body: &str) -> Response {
        self.send(method, path, body);
        self.connection.response()
    }

    fn send(&mut self, method: &str, path: &str, body: &str) {
        let Self { name, identifier, .. } = self;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nLambda-Extension-Name: {name}\r\n\
             Lambda-Extension-Identifier: {identifier}\r\n\
             Lambda-Extension-Function-Error-Type: Extension.Odd\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.connection.send(request.as_bytes());
    }
}
