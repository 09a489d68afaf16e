//! The Runtime API, call by call.

use std::time::Instant;

use local_lambda::agent::{Connection, Response};
use local_lambda::{Lambda, Setup, Status};
use serde_json::Value;

use super::{SHORT, start};
use crate::SOON;

/// More bytes than the sockets of both sides hold.
const LARGEST_EVENT: usize = 6 * 1024 * 1024;

/// A runtime whose calls the test makes.
pub struct Client(Connection);

impl Client {
    pub fn of(lambda: &Lambda) -> Self {
        Self(Connection::open_at(lambda.runtime_api().parse().unwrap()))
    }

    pub fn poll(&mut self) {
        self.send("GET", "/runtime/invocation/next", "", b"");
    }

    fn call(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Response {
        self.send(method, path, headers, body);
        self.0.response()
    }

    /// Waits for the event, and returns its body.
    pub fn event(&mut self) -> Vec<u8> {
        let event = self.response();
        assert_eq!(event.status, 200);
        event.body
    }

    pub fn respond(&mut self, request_id: &str, status: u16) -> Response {
        let path = format!("/runtime/invocation/{request_id}/response");
        let answer = self.call("POST", &path, "", b"done");
        assert_eq!(answer.status, status);
        answer
    }

    pub fn response(&mut self) -> Response {
        self.0.response()
    }

    fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) {
        let head = format!(
            "{method} /2018-06-01{path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.send(&[head.as_bytes(), body].concat());
    }
}

#[track_caller]
pub fn check(response: &Response, status: u16, error_type: &str, message: &str) {
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(response.status, status, "{body}");
    assert_eq!((&body["errorType"], &body["errorMessage"]), (&error_type.into(), &message.into()));
}

pub fn polling(setup: Setup) -> (Lambda, Client) {
    let lambda = start(setup);
    let mut client = Client::of(&lambda);
    client.poll();
    assert!(lambda.wait_for_init());
    (lambda, client)
}

#[test]
fn an_event_comes_with_the_headers_of_awss_daemon() {
    let (lambda, mut client) = polling(Setup::new());
    let in_flight = lambda.begin(r#"{"a":1}"#);
    let event = client.0.response();
    assert_eq!(event.body, br#"{"a":1}"#);
    assert_eq!(event.header("Lambda-Runtime-Aws-Request-Id"), Some(in_flight.request_id()));
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:local-lambda-function";
    assert_eq!(event.header("Lambda-Runtime-Invoked-Function-Arn"), Some(arn));
    assert!(event.header("Lambda-Runtime-Deadline-Ms").unwrap().parse::<u64>().is_ok());
    assert_eq!(event.header("Content-Length"), Some("7"));
    let path = format!("/runtime/invocation/{}/response", in_flight.request_id());
    let answer = client.call("POST", &path, "", b"done");
    assert_eq!((answer.status, answer.body.as_slice()), (202, b"{\"status\":\"OK\"}\n".as_slice()));
    client.poll();
    assert_eq!(in_flight.end(SOON).reply.payload, b"done");
}

#[test]
fn an_event_above_two_kilobytes_comes_in_chunks() {
    let (lambda, mut client) = polling(Setup::new());
    let payload = vec![b'1'; 5000];
    let _in_flight = lambda.begin(payload.clone());
    let event = client.0.response();
    assert_eq!(event.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(event.header("Content-Length"), None);
    assert_eq!(event.body, payload);
}

#[test]
fn a_runtime_that_never_reads_its_event_runs_into_the_timeout() {
    let (lambda, deaf) = polling(Setup::new().timeout(SHORT));
    let in_flight = lambda.begin(vec![b'1'; LARGEST_EVENT]);
    assert_eq!(in_flight.end(SOON).status, Status::Timeout);
    lambda.shut_down("spindown");
    drop(deaf);
}

#[test]
fn a_lambda_is_gone_at_once_although_a_runtime_never_reads_its_event() {
    let (lambda, deaf) = polling(Setup::new().timeout(SOON * 6));
    let in_flight = lambda.begin(vec![b'1'; LARGEST_EVENT]);
    let started = Instant::now();
    drop(lambda);
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    drop((in_flight, deaf));
}

#[test]
fn an_answer_needs_the_id_of_the_invocation_and_comes_once() {
    let (lambda, mut client) = polling(Setup::new());
    let in_flight = lambda.begin("{}");
    drop(client.0.response());
    let wrong = client.call("POST", "/runtime/invocation/7/response", "", b"");
    check(&wrong, 400, "InvalidRequestID", "Invalid request ID");
    let path = format!("/runtime/invocation/{}/response", in_flight.request_id());
    assert_eq!(client.call("POST", &path, "", b"1").status, 202);
    let again = client.call("POST", &path, "", b"2");
    let message = "State transition from RuntimeResponseSentState to InvocationResponse failed \
                   for runtime. Error: State transition is not allowed";
    check(&again, 403, "InvalidStateTransition", message);
    assert_eq!(in_flight.reply(SOON).payload, b"1");
}

#[test]
fn a_next_before_the_answer_gets_the_same_event_again() {
    let (lambda, mut client) = polling(Setup::new());
    let in_flight = lambda.begin(r#"{"a":1}"#);
    drop(client.0.response());
    client.poll();
    let again = client.0.response();
    assert_eq!((again.status, again.body.as_slice()), (200, br#"{"a":1}"#.as_slice()));
    assert_eq!(again.header("Lambda-Runtime-Aws-Request-Id"), Some(in_flight.request_id()));
    let path = format!("/runtime/invocation/{}/response", in_flight.request_id());
    assert_eq!(client.call("POST", &path, "", b"1").status, 202);
    client.poll();
    assert_eq!(in_flight.end(SOON).reply.payload, b"1");
}

#[test]
fn an_answer_that_is_too_large_is_an_error_of_the_function() {
    let (lambda, mut client) = polling(Setup::new());
    let in_flight = lambda.begin("{}");
    drop(client.0.response());
    let path = format!("/runtime/invocation/{}/response", in_flight.request_id());
    let body = vec![b'x'; 6 * 1024 * 1024 + 101];
    let answer = client.call("POST", &path, "", &body);
    let message = "Exceeded maximum allowed payload size (6291556 bytes).";
    check(&answer, 413, "RequestEntityTooLarge", message);
    let reply = in_flight.reply(SOON);
    assert_eq!(reply.status, Status::Error("Function.ResponseSizeTooLarge".to_owned()));
}

#[test]
fn a_streamed_answer_may_be_larger_and_another_mode_is_refused() {
    let (lambda, mut client) = polling(Setup::new());
    let in_flight = lambda.begin("{}");
    drop(client.0.response());
    let path = format!("/runtime/invocation/{}/response", in_flight.request_id());
    let mode = "Lambda-Runtime-Function-Response-Mode: streaming\r\n";
    let body = vec![b'x'; 7 * 1024 * 1024];
    assert_eq!(client.call("POST", &path, mode, &body).status, 202);
    client.poll();
    assert_eq!(in_flight.end(SOON).reply.payload.len(), body.len());

    let in_flight = lambda.begin("{}");
    drop(client.0.response());
    let path = format!("/runtime/invocation/{}/response", in_flight.request_id());
    let mode = "Lambda-Runtime-Function-Response-Mode: odd\r\n";
    let refused = client.call("POST", &path, mode, b"");
    check(&refused, 400, "InvalidFunctionResponseMode", "Invalid function response mode");
    let status = in_flight.reply(SOON).status;
    assert_eq!(status, Status::Error("Runtime.InvalidResponseModeHeader".to_owned()));
    client.poll();
    let message = "State transition from InvocationResponse to Ready failed for runtime. \
                   Error: State transition is not allowed";
    check(&client.0.response(), 403, "InvalidStateTransition", message);
}

#[test]
fn an_error_has_the_type_that_the_runtime_gave_if_it_is_one() {
    let (lambda, mut client) = polling(Setup::new());
    for (given, expected) in [
        ("Function.Boom", "Function.Boom"),
        ("Runtime.Odd", "Runtime.Odd"),
        ("odd", "Function.Unknown"),
    ] {
        let in_flight = lambda.begin("{}");
        drop(client.0.response());
        let path = format!("/runtime/invocation/{}/error", in_flight.request_id());
        let header = format!("Lambda-Runtime-Function-Error-Type: {given}\r\n");
        assert_eq!(client.call("POST", &path, &header, b"why").status, 202);
        client.poll();
        let ended = in_flight.end(SOON);
        assert_eq!(ended.status, Status::Error(expected.to_owned()));
        assert_eq!(ended.reply.payload, b"why");
    }
}

#[test]
fn wrong_paths_and_wrong_methods_have_different_statuses() {
    let lambda = start(Setup::new());
    let mut client = Client::of(&lambda);
    assert_eq!(client.call("GET", "/ping", "", b"").body, b"pong");
    assert_eq!(client.call("GET", "/runtime/odd", "", b"").status, 404);
    assert_eq!(client.call("POST", "/runtime/invocation/next", "", b"").status, 405);
    assert_eq!(client.call("GET", "/runtime/init/error", "", b"").status, 405);
    assert_eq!(client.call("POST", "/runtime/restore/error", "", b"").status, 404, "no snapshot");
}
