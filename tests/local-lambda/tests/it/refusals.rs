//! The refusals of the Extensions API, with their texts.

use local_lambda::{Platform, PlatformScript};
use serde_json::{Value, json};

use crate::platform::Client;

fn plain() -> PlatformScript {
    PlatformScript::default()
}

#[track_caller]
fn check(script: PlatformScript, request: &str, expected: &Value) {
    let platform = Platform::start_with(script);
    let answer = Client::of(&platform).ask(request);
    let body = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 403, "{request}\n{body}");
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    assert_eq!(body, format!("{expected}\n"), "{request}");
}

fn register(name: &str, body: &str) -> String {
    format!(
        "POST /2020-01-01/extension/register HTTP/1.1\r\nHost: x\r\n{name}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn refusal(error_type: &str, message: &str) -> Value {
    json!({ "errorMessage": message, "errorType": error_type })
}

const NAMED: &str = "Lambda-Extension-Name: raw\r\n";

#[test]
fn a_register_without_a_name_is_refused() {
    let expected = refusal("Extension.InvalidExtensionName", "Empty extension name");
    check(plain(), &register("", r#"{"events":["INVOKE"]}"#), &expected);
    check(plain(), &register("Lambda-Extension-Name:\r\n", "{}"), &expected);
}

#[test]
fn an_unknown_event_is_refused() {
    let expected = refusal("Extension.InvalidEventType", "BOGUS: ErrorInvalidEventType");
    check(plain(), &register(NAMED, r#"{"events":["INVOKE","BOGUS"]}"#), &expected);
}

#[test]
fn a_body_that_is_not_json_is_refused() {
    let platform = Platform::start();
    let mut client = Client::of(&platform);
    for body in ["", "{'events': ['INVOKE']}", r#"{"configurationKeys":["x"]}"#] {
        let answer = client.ask(&register(NAMED, body));
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 403, "{body}");
        assert!(text.contains(r#""errorType":"InvalidRequestFormat""#), "{text}");
    }
    assert_eq!(client.ask(&register(NAMED, "{}")).status, 200, "no events are no error");
}

#[test]
fn on_managed_instances_invoke_is_refused_and_shutdown_alone_is_accepted() {
    let platform = Platform::start_with(PlatformScript::default().managed_instances(true));
    let mut client = Client::of(&platform);
    let refused = client.register(r#"{"events":["INVOKE","SHUTDOWN"]}"#);
    assert_eq!(refused.status, 403);
    let expected = refusal("Extension.InvalidEventType", "INVOKE: ErrorInvalidEventType");
    assert_eq!(String::from_utf8_lossy(&refused.body), format!("{expected}\n"));
    assert_eq!(client.register(r#"{"events":["SHUTDOWN"]}"#).status, 200, "same connection");
    assert_eq!(platform.violations(), Vec::<String>::new());
}

#[test]
fn a_name_that_is_not_the_files_is_an_internal_extension() {
    let script = PlatformScript::default().expected_name("file");
    let message = "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension";
    let expected = refusal("Extension.InvalidEventType", message);
    check(script.clone(), &register(NAMED, r#"{"events":["INVOKE","SHUTDOWN"]}"#), &expected);
    let message = "No events allowed for internal extensions";
    let expected = refusal("Extension.InvalidEventType", message);
    let managed = script.managed_instances(true);
    check(managed, &register(NAMED, r#"{"events":["SHUTDOWN"]}"#), &expected);
}

#[test]
fn a_second_register_is_refused() {
    let platform = Platform::start();
    let answer = Client::registered(&platform).register("{}");
    let message = "State transition from Registered to Registered failed for extension raw. \
                   Error: State transition is not allowed";
    let expected = refusal("Extension.InvalidExtensionState", message);
    assert_eq!(String::from_utf8_lossy(&answer.body), format!("{expected}\n"));
    assert_eq!(platform.violations(), [message]);
}

#[test]
fn a_scripted_register_can_fail() {
    let platform =
        Platform::start_with(PlatformScript::default().register_answer(500, "container error"));
    let answer = Client::of(&platform).register("{}");
    assert_eq!((answer.status, answer.body.as_slice()), (500, b"container error".as_slice()));
    assert_eq!(answer.header("Lambda-Extension-Identifier"), None);
}

#[test]
fn a_next_needs_the_identifier_of_the_register() {
    let next = |header: &str| {
        format!("GET /2020-01-01/extension/event/next HTTP/1.1\r\nHost: x\r\n{header}\r\n")
    };
    let message = "Missing Lambda-Extension-Identifier header";
    check(plain(), &next(""), &refusal("Extension.MissingExtensionIdentifier", message));
    let message = "Invalid Lambda-Extension-Identifier";
    let header = "Lambda-Extension-Identifier: 7\r\n";
    check(plain(), &next(header), &refusal("Extension.InvalidExtensionIdentifier", message));
    let message = "Unknown extension 11111111-2222-3333-4444-555555555555";
    let header = "Lambda-Extension-Identifier: 11111111-2222-3333-4444-555555555555\r\n";
    check(plain(), &next(header), &refusal("Extension.UnknownExtensionIdentifier", message));

    let platform = Platform::start();
    Client::registered(&platform).ask(&next(""));
    let violation =
        "GET /2020-01-01/extension/event/next: Missing Lambda-Extension-Identifier header";
    assert_eq!(platform.violations(), [violation]);
}

#[test]
fn a_report_without_a_type_is_refused_before_its_identifier_is_checked() {
    let report = |header: &str| {
        format!("POST /2020-01-01/extension/init/error HTTP/1.1\r\nHost: x\r\n{header}\r\n")
    };
    let message = "Lambda-Extension-Function-Error-Type not found";
    let header = "Lambda-Extension-Identifier: 11111111-2222-3333-4444-555555555555\r\n";
    check(plain(), &report(header), &refusal("Extension.MissingHeader", message));
    let message = "Missing Lambda-Extension-Identifier header";
    check(plain(), &report(""), &refusal("Extension.MissingExtensionIdentifier", message));
}

#[test]
fn a_reported_error_ends_the_extensions_calls() {
    for (report, state) in [("init/error", "InitError"), ("exit/error", "ExitError")] {
        let platform = Platform::start();
        let mut client = Client::registered(&platform);
        let report = |headers: &str| {
            format!("POST /2020-01-01/extension/{report} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
        };
        let identified = format!("Lambda-Extension-Identifier: {}\r\n", client.identifier);
        let answer = client.ask(&report(&identified));
        let message = "Lambda-Extension-Function-Error-Type not found";
        let expected = refusal("Extension.MissingHeader", message);
        assert_eq!(String::from_utf8_lossy(&answer.body), format!("{expected}\n"));

        let typed = format!("{identified}Lambda-Extension-Function-Error-Type: Extension.Odd\r\n");
        let answer = client.ask(&report(&typed));
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (202, b"{\"status\":\"OK\"}\n".as_slice())
        );
        client.poll();
        let refused = String::from_utf8_lossy(&client.response().body).into_owned();
        assert!(refused.contains(&format!("from {state} to Ready failed")), "{refused}");
    }
}

#[test]
fn wrong_paths_methods_and_heads_have_different_statuses() {
    let platform = Platform::start();
    let mut client = Client::of(&platform);
    let slash = client.ask("POST /2020-01-01/extension/register/ HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((slash.status, slash.body.as_slice()), (404, b"404 page not found\n".as_slice()));
    let get = client.ask("GET /2020-01-01/extension/register HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((get.status, get.header("Allow")), (405, Some("POST")));
    let hostless = client.ask("POST /2020-01-01/extension/register HTTP/1.1\r\n\r\n");
    assert_eq!(hostless.status, 400);
    assert!(client.is_closed(crate::SOON));
}
