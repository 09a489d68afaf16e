//! The states of an extension, as on Lambda.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use local_lambda::agent::{Connection, Response};
use local_lambda::{EventType, Launch, Platform, PlatformScript, Wire};
use serde_json::Value;

use crate::{A_MOMENT, FLOOR, SOON, panic_of};

const MINUTE: Duration = Duration::from_secs(60);

/// A client that makes the test's calls, right or wrong.
pub struct Client {
    connection: Connection,
    pub identifier: String,
}

impl Client {
    pub fn of(platform: &Platform) -> Self {
        let address = platform.runtime_api().parse().expect("an address and a port");
        Self { connection: Connection::open_at(address), identifier: String::new() }
    }

    pub fn registered(platform: &Platform) -> Self {
        let mut client = Self::of(platform);
        let answer = client.register(r#"{"events":["INVOKE","SHUTDOWN"]}"#);
        answer.header("lambda-extension-identifier").unwrap().clone_into(&mut client.identifier);
        client
    }

    pub fn register(&mut self, body: &str) -> Response {
        let length = body.len();
        self.ask(&format!(
            "POST /2020-01-01/extension/register HTTP/1.1\r\nHost: x\r\n\
             lambda-extension-NAME: raw\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    pub fn poll(&mut self) {
        self.poll_at_once(1);
    }

    /// Sends this many polls in one write, without waiting for answers.
    fn poll_at_once(&mut self, times: usize) {
        let identifier = &self.identifier;
        let next = format!(
            "GET /2020-01-01/extension/event/next HTTP/1.1\r\nHost: x\r\n\
             Lambda-Extension-Identifier: {identifier}\r\n\r\n"
        );
        self.connection.send(next.repeat(times).as_bytes());
    }

    pub fn response(&mut self) -> Response {
        self.connection.response()
    }

    pub fn ask(&mut self, request: &str) -> Response {
        self.connection.send(request.as_bytes());
        self.response()
    }

    pub fn is_closed(&mut self, within: Duration) -> bool {
        self.connection.is_closed(within)
    }
}

fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

/// The headers' names and values, without the date.
fn headers(response: &Response) -> Vec<(&str, &str)> {
    let all = response.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    all.filter(|(name, _)| *name != "Date").collect()
}

fn epoch_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

#[test]
fn an_extension_lives_from_register_to_shutdown() {
    let platform = Platform::start_with(PlatformScript::default().expected_name("floor"));
    let before = Instant::now();
    let process = Launch::of(FLOOR).on(&platform).start();
    let registration = platform.registration(SOON);
    assert_eq!(registration.name, "floor");
    assert_eq!(registration.events, [EventType::Invoke, EventType::Shutdown]);
    assert!(registration.at > before && registration.at < Instant::now());

    let first = platform.invoke(MINUTE);
    let second = platform.invoke(MINUTE);
    assert_ne!(first, second);
    platform.wait_for_next(SOON);
    assert!(platform.next_is_pending());
    platform.shutdown("spindown", Duration::from_secs(2));

    assert!(process.exit(SOON).success(), "{}", process.log());
    assert_eq!(platform.violations(), Vec::<String>::new());
    let calls = platform.calls();
    let calls: Vec<_> = calls.iter().map(|call| (call.path.as_str(), call.status)).collect();
    let next = ("/2020-01-01/extension/event/next", Some(200));
    assert_eq!(calls, [("/2020-01-01/extension/register", Some(200)), next, next, next]);
    assert_eq!((platform.connections(), platform.silent_connections()), (1, 0));
}

#[test]
fn the_answers_are_those_of_awss_daemon() {
    let platform = Platform::start();
    let mut client = Client::of(&platform);
    let answer = client.register(r#"{"events":["INVOKE","SHUTDOWN"]}"#);
    let body = "{\"functionName\":\"local-lambda-function\",\"functionVersion\":\"$LATEST\",\
                \"handler\":\"app.handler\"}\n";
    assert_eq!(String::from_utf8_lossy(&answer.body), body);
    client.identifier = answer.header("Lambda-Extension-Identifier").unwrap().to_owned();
    assert_eq!(
        headers(&answer),
        [
            ("Content-Type", "application/json"),
            ("Lambda-Extension-Identifier", client.identifier.as_str()),
            ("Content-Length", body.len().to_string().as_str()),
        ]
    );

    client.poll();
    let before = epoch_ms();
    let request_id = platform.invoke(MINUTE);
    let invoke = client.response();
    let names: Vec<&str> = headers(&invoke).iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["Content-Type", "Lambda-Extension-Event-Identifier", "Content-Length"]);
    assert_eq!(invoke.header("content-type"), Some("application/json"));
    let event = json(&invoke);
    assert_eq!(event["eventType"], "INVOKE");
    assert_eq!(event["requestId"], request_id);
    assert_eq!(event.as_object().unwrap().len(), 4, "no tracing: {event}");
    let deadline = u128::from(event["deadlineMs"].as_u64().unwrap());
    assert!((before..=epoch_ms()).contains(&(deadline - MINUTE.as_millis())), "{event}");

    client.poll();
    platform.shutdown("spindown", Duration::from_secs(2));
    let shutdown = client.response();
    let names: Vec<&str> = headers(&shutdown).iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["Content-Length", "Content-Type"]);
    assert_eq!(shutdown.header("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(json(&shutdown)["shutdownReason"], "spindown");
}

#[test]
fn a_second_next_is_refused_and_the_first_still_gets_its_event() {
    let platform = Platform::start();
    let mut first = Client::registered(&platform);
    first.poll();
    platform.wait_for_next(SOON);
    let mut second = Client::of(&platform);
    second.identifier.clone_from(&first.identifier);
    second.poll();

    let refusal = second.response();
    assert_eq!(refusal.status, 403);
    assert_eq!(json(&refusal)["errorType"], "Extension.InvalidExtensionState");
    let text = format!(
        "State transition from Ready to Ready failed for extension {}. \
         Error: State transition is not allowed",
        first.identifier
    );
    assert_eq!(json(&refusal)["errorMessage"], text);
    assert_eq!(platform.violations(), [text]);
    let request_id = platform.invoke(MINUTE);
    assert_eq!(json(&first.response())["requestId"], request_id);
}

#[test]
fn an_abandoned_next_is_recorded_and_can_not_be_replaced() {
    for abandon in [|client: Client| drop(client), |client: Client| client.connection.reset()] {
        let platform = Platform::start();
        let mut first = Client::registered(&platform);
        first.poll();
        platform.wait_for_next(SOON);
        let mut second = Client::of(&platform);
        second.identifier.clone_from(&first.identifier);
        abandon(first);

        let violation = "raw: connection 0 was closed while its next was pending";
        assert_eq!(platform.wait_for_violation(SOON), violation);
        assert!(!platform.next_is_pending());
        let message = panic_of(|| platform.invoke(MINUTE));
        assert!(message.contains("can't hand out INVOKE: the next was abandoned"), "{message}");
        second.poll();
        assert_eq!(second.response().status, 403);
        let violations = platform.violations();
        assert!(violations[1].contains("from Ready to Ready"), "{violations:?}");
        assert_eq!(violations.len(), 2, "{violations:?}");
    }
}

#[test]
fn after_shutdown_a_next_is_a_violation_and_hangs() {
    let platform = Platform::start();
    let mut client = Client::registered(&platform);
    client.poll();
    platform.shutdown("timeout", Duration::from_secs(2));
    assert_eq!(json(&client.response())["shutdownReason"], "timeout");
    client.poll();
    assert!(!client.is_closed(A_MOMENT));
    assert_eq!(platform.calls().last().unwrap().status, None);
    let violation = "GET /2020-01-01/extension/event/next after SHUTDOWN";
    assert_eq!(platform.violations(), [violation]);
}

#[test]
fn after_shutdown_an_extension_may_report_its_error() {
    let platform = Platform::start();
    let mut client = Client::registered(&platform);
    client.poll();
    platform.shutdown("timeout", Duration::from_secs(2));
    drop(client.response());
    let report = format!(
        "POST /2020-01-01/extension/exit/error HTTP/1.1\r\nHost: x\r\n\
         Lambda-Extension-Identifier: {}\r\n\
         Lambda-Extension-Function-Error-Type: Extension.Odd\r\n\r\n",
        client.identifier
    );
    assert_eq!(client.ask(&report).status, 202);
    assert_eq!(platform.violations(), Vec::<String>::new());
}

#[test]
fn an_extension_that_reads_no_answer_delays_nobody() {
    const NEVER_READ: usize = 16 * 1024 * 1024;
    for bytewise in [false, true] {
        let script = PlatformScript::default()
            .next_answer(1, 500, vec![b'x'; NEVER_READ])
            .wire(Wire { bytewise, ..Wire::default() });
        let platform = Platform::start_with(script);
        let mut deaf = Client::registered(&platform);
        deaf.poll_at_once(2);
        platform.invoke(MINUTE);
        assert_eq!(Client::of(&platform).register("{}").status, 403);
        assert_eq!(platform.calls().len(), 4);
    }
}

#[test]
fn answers_that_nobody_reads_arrive_in_their_order_once_somebody_does() {
    const MORE_THAN_SOCKETS_TAKE: usize = 16 * 1024 * 1024;
    let script = PlatformScript::default().next_answer(1, 500, vec![b'x'; MORE_THAN_SOCKETS_TAKE]);
    let platform = Platform::start_with(script);
    let mut slow = Client::registered(&platform);
    slow.poll_at_once(2);
    let request_id = platform.invoke(MINUTE);
    slow.poll();
    platform.shutdown("spindown", Duration::from_secs(2));
    assert_eq!(slow.response().body.len(), MORE_THAN_SOCKETS_TAKE);
    assert_eq!(json(&slow.response())["requestId"], request_id);
    assert_eq!(json(&slow.response())["eventType"], "SHUTDOWN");
}

#[test]
fn an_extension_that_asks_forever_without_reading_is_cut_off() {
    const TOO_MUCH: usize = 80 * 1024 * 1024;
    let script = PlatformScript::default().next_answer(1, 500, vec![b'x'; TOO_MUCH]);
    let platform = Platform::start_with(script);
    let mut greedy = Client::registered(&platform);
    greedy.poll_at_once(2);
    let closed = "raw: connection 0 was closed while its next was pending";
    assert_eq!(platform.wait_for_violation(SOON), closed);
}

#[test]
fn a_scripted_next_is_answered_without_an_event() {
    let script = PlatformScript::default().next_answer(2, 500, "garbage");
    let platform = Platform::start_with(script);
    let mut client = Client::registered(&platform);
    client.poll();
    platform.invoke(MINUTE);
    assert_eq!(client.response().status, 200);
    client.poll();
    let second = client.response();
    assert_eq!((second.status, second.body.as_slice()), (500, b"garbage".as_slice()));
    client.poll();
    platform.invoke(MINUTE);
    assert_eq!(client.response().status, 200);
    assert_eq!(platform.violations(), Vec::<String>::new());
}

#[test]
fn a_silent_connection_is_counted() {
    let platform = Platform::start();
    let silent = Client::of(&platform);
    let _client = Client::registered(&platform);
    assert_eq!((platform.connections(), platform.silent_connections()), (2, 1));
    drop(silent);
}

#[test]
fn a_wait_that_times_out_shows_what_was_seen_instead() {
    let platform = Platform::start();
    let message = panic_of(|| platform.registration(A_MOMENT));
    assert!(message.starts_with("no registration within 100ms; seen instead: 0 connections"));

    let _client = Client::registered(&platform);
    let message = panic_of(|| platform.wait_for_next(A_MOMENT));
    assert!(message.starts_with("no pending next within 100ms"), "{message}");
    assert!(message.contains("POST /2020-01-01/extension/register -> 200"), "{message}");
}

#[test]
fn an_event_that_was_not_asked_for_is_not_handed_out() {
    let platform = Platform::start();
    let mut client = Client::of(&platform);
    let answer = client.register(r#"{"events":["SHUTDOWN"]}"#);
    answer.header("lambda-extension-identifier").unwrap().clone_into(&mut client.identifier);
    client.poll();
    let message = panic_of(|| platform.invoke(MINUTE));
    assert!(message.contains("the extension never asked for INVOKE"), "{message}");
    platform.shutdown("failure", Duration::from_secs(2));
    assert_eq!(json(&client.response())["shutdownReason"], "failure");
}
