//! Tests of the whole API, with subscribers on real sockets.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use serde_json::{Value, json};

use super::*;
use crate::answer::Answer;
use crate::http::{self, Response};
use crate::messages::Messages;
use crate::port::free_port;
use crate::remote::{Received, Remote};
use crate::telemetry::early::EARLY_EVENTS_MAX;
use crate::telemetry::record::{RuntimeDone, RuntimeDoneMetrics};
use crate::telemetry::vocabulary::Outcome;

/// Time limit of an event that must happen. It is long enough for a loaded machine.
const SOON: Duration = Duration::from_secs(60);
/// How long to watch for an event that must not happen.
const A_MOMENT: Duration = Duration::from_millis(100);
/// Longer than any test lasts.
const NEVER_MS: u64 = 30_000;

const ON_DEMAND: Rules = Rules {
    managed_instances: false,
    support: Support::Supported,
    log_format: LogFormat::Text,
    time_scale: TimeScale::REAL,
};
const MANAGED: Rules = Rules { managed_instances: true, ..ON_DEMAND };
const JSON: Rules = Rules { log_format: LogFormat::Json, ..ON_DEMAND };

fn hurried() -> TelemetryApi {
    TelemetryApi::new(Rules { time_scale: TimeScale::times_faster(1_000), ..ON_DEMAND })
}

fn port(remote: &Remote) -> u16 {
    remote.base_url().split([':', '/']).nth(4).unwrap().parse().unwrap()
}

/// A subscription without a limit that a test reaches, so that it sends nothing by itself.
fn request(port: u16, types: &[&str]) -> Value {
    json!({
        "schemaVersion": "2025-01-29",
        "types": types,
        "buffering": {"timeoutMs": NEVER_MS},
        "destination": {"protocol": "HTTP", "URI": format!("http://sandbox.localdomain:{port}")}
    })
}

fn buffering(mut request: Value, buffering: Value) -> Value {
    request["buffering"] = buffering;
    request
}

fn ask(api: &TelemetryApi, extension: &str, request: &Value) -> Response {
    answer(api.subscribe(extension, request.to_string().as_bytes()))
}

/// The reply in the form in which it arrives.
fn answer(reply: Reply) -> Response {
    Messages::new(reply.render().bytes()).response().unwrap()
}

#[track_caller]
fn check_answer(response: &Response, status: u16, content_type: &str, body: &str) {
    assert_eq!(String::from_utf8_lossy(&response.body), body);
    assert_eq!(response.status, status);
    assert_eq!(response.header("Content-Type"), Some(content_type));
}

#[track_caller]
fn subscribe(api: &TelemetryApi, extension: &str, request: &Value) {
    check_answer(&ask(api, extension, request), 200, TEXT, "\"OK\"");
}

const TEXT: &str = "text/plain; charset=utf-8";
const APPLICATION_JSON: &str = "application/json";

fn line(text: impl Into<String>) -> Event {
    Event::FunctionLine(text.into())
}

#[track_caller]
fn flush(api: &TelemetryApi) {
    assert!(api.flush(SOON), "not all was taken within {SOON:?}");
}

/// The records of each request.
fn batches(received: &[Received]) -> Vec<Vec<Value>> {
    let entries = |it: &Received| serde_json::from_slice::<Vec<Value>>(&it.body).unwrap();
    let record = |mut entry: Value| entry["record"].take();
    received.iter().map(|it| entries(it).into_iter().map(record).collect()).collect()
}

fn sizes(received: &[Received]) -> Vec<usize> {
    batches(received).iter().map(Vec::len).collect()
}

fn subscribed(name: &str, types: &[&str]) -> Value {
    json!({"name": name, "state": "Subscribed", "types": types})
}

#[test]
fn who_subscribes_gets_what_was_before_and_who_else_subscribes() {
    let (early, late) = (Remote::start(), Remote::start());
    let api = TelemetryApi::new(ON_DEMAND);
    api.record(line("1"));
    api.record(Event::ExtensionLine("2".to_owned()));
    subscribe(&api, "a", &request(port(&early), &["function", "platform"]));
    api.record(line("3"));
    subscribe(&api, "b", &request(port(&late), &["platform", "extension", "function"]));
    flush(&api);
    let a = subscribed("a", &["function", "platform"]);
    let b = subscribed("b", &["platform", "extension", "function"]);
    let expected = [json!("1"), a.clone(), json!("3"), b.clone()];
    assert_eq!(batches(&early.received()).concat(), expected);
    let expected = [json!("1"), json!("2"), a, json!("3"), b];
    assert_eq!(batches(&late.received()).concat(), expected);
}

#[test]
fn a_batch_goes_out_when_it_has_the_items() {
    let remote = Remote::start();
    let api = TelemetryApi::new(ON_DEMAND);
    let few = json!({"maxItems": 1_000, "timeoutMs": NEVER_MS});
    subscribe(&api, "a", &buffering(request(port(&remote), &["function"]), few));
    (0..2_001).for_each(|number| api.record(line(number.to_string())));
    assert_eq!(sizes(&remote.wait_for(2, SOON)), [1_000, 1_000]);
    flush(&api);
    let received = batches(&remote.received());
    assert_eq!(received.last().unwrap(), &[json!("2000")]);
    let numbers = (0..2_001).map(|number| json!(number.to_string()));
    assert!(received.concat().into_iter().eq(numbers), "in the order of their recording");
}

#[test]
fn a_batch_goes_out_when_it_has_the_bytes() {
    let remote = Remote::start();
    let api = TelemetryApi::new(ON_DEMAND);
    subscribe(&api, "a", &request(port(&remote), &["function"]));
    (0..5).for_each(|_| api.record(line("x".repeat(100_000))));
    assert_eq!(sizes(&remote.wait_for(1, SOON)), [3]);
    flush(&api);
    assert_eq!(sizes(&remote.received()), [3, 2]);
}

#[test]
fn a_batch_goes_out_when_its_time_is_over_and_not_before() {
    let remote = Remote::start();
    let api = TelemetryApi::new(ON_DEMAND);
    let timeout = json!({"timeoutMs": 200});
    subscribe(&api, "a", &buffering(request(port(&remote), &["function"]), timeout));
    let recorded = Instant::now();
    api.record(line("1"));
    api.record(line("2"));
    let received = remote.wait_for(1, SOON);
    assert_eq!(sizes(&received), [2]);
    assert!(received[0].at.duration_since(recorded) >= Duration::from_millis(200));
}

#[test]
fn the_scale_shortens_the_timeout() {
    let remote = Remote::start();
    let api = hurried();
    subscribe(&api, "a", &request(port(&remote), &["function"]));
    api.record(line("1"));
    assert_eq!(sizes(&remote.wait_for(1, SOON)), [1]);
}

#[test]
fn a_delivery_goes_where_the_uri_says_with_the_time_of_each_event() {
    let remote = Remote::start();
    let api = TelemetryApi::new(ON_DEMAND);
    let mut request = request(port(&remote), &["function"]);
    request["destination"]["URI"] = json!(format!("http://sandbox:{}/a?b=c", port(&remote)));
    subscribe(&api, "a", &request);
    let before = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    api.record(line("1"));
    let after = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    flush(&api);
    let received = remote.received().remove(0);
    assert_eq!((&*received.method, &*received.path), ("POST", "/a?b=c"));
    assert_eq!(received.header("Host"), Some(&*format!("sandbox:{}", port(&remote))));
    let body = String::from_utf8(received.body).unwrap();
    let time = body.strip_prefix(r#"[{"time":""#).unwrap().split_once('"').unwrap().0;
    assert_eq!(body, format!(r#"[{{"time":"{time}","type":"function","record":"1"}}]"#));
    assert!(*before <= *time && *time <= *after, "{before} {time} {after}");
}

#[test]
fn what_failed_is_tried_again_before_what_came_later() {
    let failures = [Answer::status(500), Answer::Reset, Answer::status(429)];
    let remote = Remote::start_scripted(failures);
    let api = hurried();
    subscribe(&api, "a", &request(port(&remote), &["function"]));
    api.record(line("1"));
    remote.wait_for(1, SOON);
    api.record(line("2"));
    flush(&api);
    let received = remote.received();
    let delivered = [["1"], ["1"], ["1"], ["1"], ["2"]].map(|it| it.map(Value::from).to_vec());
    assert_eq!(batches(&received), delivered);
    let sequence_ids: Vec<_> = received.iter().map(|it| it.header("Sequence-Id")).collect();
    assert!(sequence_ids[..4].iter().all(|id| *id == sequence_ids[0]), "{sequence_ids:?}");
    assert_ne!(sequence_ids[4], sequence_ids[0]);
}

#[test]
fn what_nobody_listened_to_is_delivered_when_somebody_does() {
    let api = hurried();
    let port = free_port();
    subscribe(&api, "a", &request(port, &["function"]));
    api.record(line("1"));
    assert!(!api.flush(A_MOMENT), "nobody listens on {port}");
    api.record(line("2"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut messages = Messages::new(listener.accept().unwrap().0);
    for expected in ["\"record\":\"1\"", "\"record\":\"2\""] {
        let body = messages.request().unwrap().unwrap().body;
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains(expected), "{body}");
        messages.stream().write_all(&http::render(200, &[], b"")).unwrap();
    }
    flush(&api);
}

/// Sends a request from the test itself, which separates earlier requests from later ones.
fn mark(remote: &Remote) {
    let mut messages =
        Messages::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port(remote))).unwrap());
    messages.stream().write_all(b"POST /mark HTTP/1.1\r\nContent-Length: 2\r\n\r\n[]").unwrap();
    assert_eq!(messages.response().unwrap().status, 200);
}

#[test]
fn nothing_is_delivered_while_it_is_frozen() {
    let remote = Remote::start();
    let api = hurried();
    subscribe(&api, "a", &request(port(&remote), &["function"]));
    api.record(line("1"));
    flush(&api);
    api.hold();
    api.record(line("2"));
    assert!(!api.flush(A_MOMENT), "it is frozen");
    mark(&remote);
    api.release();
    flush(&api);
    let paths: Vec<_> = remote.received().into_iter().map(|it| it.path).collect();
    assert_eq!(paths, ["/", "/mark", "/"]);
}

#[test]
fn who_subscribes_while_it_is_frozen_waits_too() {
    let remote = Remote::start();
    let api = hurried();
    api.hold();
    subscribe(&api, "a", &request(port(&remote), &["platform"]));
    assert!(!api.flush(A_MOMENT), "it is frozen");
    mark(&remote);
    api.release();
    flush(&api);
    let paths: Vec<_> = remote.received().into_iter().map(|it| it.path).collect();
    assert_eq!(paths, ["/mark", "/"]);
}

#[test]
fn a_flush_waits_for_every_subscriber_until_its_time_is_over() {
    let (quick, slow) = (Remote::start(), Remote::start_scripted([Answer::Hang]));
    let api = TelemetryApi::new(ON_DEMAND);
    subscribe(&api, "a", &request(port(&quick), &["function"]));
    subscribe(&api, "b", &request(port(&slow), &["function"]));
    flush(&api);
    assert_eq!(quick.received().len(), 0, "there was nothing to deliver");
    api.record(line("1"));
    assert!(!api.flush(A_MOMENT));
    assert_eq!(sizes(&quick.wait_for(1, SOON)), [1]);
    slow.wait_for(1, SOON);
}

#[test]
fn what_is_dropped_is_told_and_with_what_is_delivered_adds_up() {
    const MIB: usize = 1024 * 1024;
    let remote = Remote::start();
    let api = hurried();
    subscribe(&api, "a", &request(port(&remote), &["platform", "function"]));
    flush(&api);
    api.hold();
    (0..20).for_each(|number| api.record(line(format!("{number:02}{}", "x".repeat(MIB)))));
    api.release();
    flush(&api);
    let records = batches(&remote.received()).concat();
    let told: Vec<_> = records.iter().filter(|it| it.get("reason").is_some()).collect();
    let sum = |field: &str| told.iter().map(|it| it[field].as_u64().unwrap()).sum::<u64>();
    let lines: Vec<_> = records.iter().filter_map(|it| it.as_str().map(|it| &it[..2])).collect();
    assert_eq!(sum("droppedRecords") + lines.len() as u64, 20);
    // The thread may have taken a batch of one event before the others came.
    assert!((12..=13).contains(&sum("droppedRecords")), "{told:?}");
    let entry =
        r#"{"time":"2006-01-02T15:04:05.000Z","type":"function","record":"00"}"#.len() + MIB;
    assert_eq!(sum("droppedBytes"), sum("droppedRecords") * entry as u64);
    assert_eq!(lines[lines.len() - 7..], ["13", "14", "15", "16", "17", "18", "19"]);
    let reason = "Some logs were dropped because the downstream consumer is slower than the logs \
                  production rate";
    assert!(told.iter().all(|it| it["reason"] == reason), "{told:?}");
}

#[test]
fn who_takes_no_platform_events_is_not_told_what_was_dropped() {
    let remote = Remote::start();
    let api = hurried();
    subscribe(&api, "a", &request(port(&remote), &["function"]));
    api.hold();
    (0..12).for_each(|_| api.record(line("x".repeat(1024 * 1024))));
    api.release();
    flush(&api);
    let records = batches(&remote.received()).concat();
    assert!(records.len() < 12, "something was dropped");
    assert!(records.iter().all(Value::is_string));
}

#[test]
fn of_too_many_early_events_the_oldest_are_forgotten() {
    let remote = Remote::start();
    let api = TelemetryApi::new(ON_DEMAND);
    (0..=EARLY_EVENTS_MAX).for_each(|number| api.record(line(number.to_string())));
    subscribe(&api, "a", &request(port(&remote), &["function"]));
    flush(&api);
    let records = batches(&remote.received()).concat();
    assert_eq!((records.len(), &records[0]), (EARLY_EVENTS_MAX, &json!("1")));
}

#[test]
fn a_json_line_is_an_object_from_the_second_schema_on_if_the_log_format_is_json() {
    for (rules, schema, expected) in [
        (JSON, "2022-07-01", json!("{\"a\":1}")),
        (JSON, "2022-12-13", json!({"a": 1})),
        (JSON, "2025-01-29", json!({"a": 1})),
        (ON_DEMAND, "2025-01-29", json!("{\"a\":1}")),
    ] {
        let remote = Remote::start();
        let api = TelemetryApi::new(rules);
        let mut request = request(port(&remote), &["function", "extension"]);
        request["schemaVersion"] = json!(schema);
        subscribe(&api, "a", &request);
        api.record(line("{\"a\":1}"));
        api.record(Event::ExtensionLine("{\"a\":1}".to_owned()));
        api.record(line("plain"));
        flush(&api);
        let records = [expected.clone(), expected, json!("plain")];
        assert_eq!(batches(&remote.received()).concat(), records, "{schema} {rules:?}");
    }
}

#[test]
fn over_tcp_events_are_lines_on_one_connection() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let api = TelemetryApi::new(ON_DEMAND);
    let mut request = request(port, &["function"]);
    request["destination"] = json!({"protocol": "TCP", "port": port});
    subscribe(&api, "a", &request);
    api.record(line("1"));
    api.record(line("2"));
    flush(&api);
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!([next()["record"].take(), next()["record"].take()], [json!("1"), json!("2")]);
    api.record(line("3"));
    flush(&api);
    assert_eq!(next()["record"], "3");
}

#[test]
fn on_managed_instances_no_runtime_is_done() {
    let remote = Remote::start();
    for (rules, records) in [(ON_DEMAND, 2), (MANAGED, 1)] {
        let api = TelemetryApi::new(rules);
        let before = remote.received().len();
        subscribe(&api, "a", &request(port(&remote), &["platform"]));
        api.record(Event::RuntimeDone(RuntimeDone {
            request_id: "1".to_owned(),
            outcome: Outcome::Success,
            metrics: RuntimeDoneMetrics { duration: A_MOMENT, produced_bytes: None },
            tracing: None,
            spans: Vec::new(),
            tenant_id: None,
        }));
        flush(&api);
        assert_eq!(batches(&remote.received()[before..]).concat().len(), records, "{rules:?}");
    }
}

#[test]
fn a_request_that_is_not_valid_is_a_400_that_says_why() {
    let api = TelemetryApi::new(ON_DEMAND);
    let mut request = request(4243, &[]);
    request["destination"]["URI"] = json!("http://sandbox.localdomain");
    let expected = r#"{"errorType": "ValidationError", "errorMessage": "URI port is not provided; types should not be empty"}"#;
    check_answer(&ask(&api, "a", &request), 400, TEXT, expected);
}

#[test]
fn managed_instances_refuse_an_older_schema_without_escaping_their_message() {
    let api = TelemetryApi::new(MANAGED);
    let mut request = request(4243, &["platform"]);
    request["schemaVersion"] = json!("2022-12-13");
    let body = String::from_utf8(ask(&api, "a", &request).body).unwrap();
    let start = r#"{"errorType": "ValidationError", "errorMessage": "schema validation error: "#;
    assert!(body.starts_with(start), "{body}");
    assert!(body.ends_with(r#"/schemaVersion/enum: value must be "2025-01-29""}"#), "{body}");
}

#[test]
fn after_init_nobody_can_subscribe_but_who_did_is_told() {
    let remote = Remote::start();
    let api = TelemetryApi::new(ON_DEMAND);
    subscribe(&api, "a", &request(port(&remote), &["function"]));
    api.close_subscriptions();
    let expected = "{\"errorMessage\":\"Telemetry API subscription is closed\",\
                    \"errorType\":\"Telemetry.SubscriptionClosed\"}\n";
    let late = ask(&api, "b", &request(4243, &["function"]));
    check_answer(&late, 403, APPLICATION_JSON, expected);
    assert_eq!(ask(&api, "b", &request(4243, &[])).status, 400, "what is asked is looked at first");
    api.record(line("1"));
    flush(&api);
    assert_eq!(batches(&remote.received()).concat(), [json!("1")]);
}

#[test]
fn a_second_subscription_is_an_error_and_changes_nothing() {
    let (first, second) = (Remote::start(), Remote::start());
    let api = TelemetryApi::new(ON_DEMAND);
    subscribe(&api, "a", &request(port(&first), &["function"]));
    let expected =
        "{\"errorMessage\":\"Internal Server Error\",\"errorType\":\"InternalServerError\"}\n";
    let again = ask(&api, "a", &request(port(&second), &["function"]));
    check_answer(&again, 500, APPLICATION_JSON, expected);
    api.record(line("1"));
    flush(&api);
    assert_eq!((sizes(&first.received()), second.connections()), (vec![1], 0));
}

#[test]
fn unsupported_is_a_202_whatever_is_asked() {
    let remote = Remote::start();
    let api = TelemetryApi::new(Rules { support: Support::Unsupported, ..ON_DEMAND });
    let expected = "{\"errorMessage\":\"Telemetry API is not supported\",\
                    \"errorType\":\"Telemetry.NotSupported\"}\n";
    let valid = request(port(&remote), &["platform"]);
    for body in [&*valid.to_string().into_bytes(), b"{"] {
        check_answer(&answer(api.subscribe("a", body)), 202, APPLICATION_JSON, expected);
    }
    flush(&api);
    assert_eq!(remote.connections(), 0);
}

#[test]
fn the_logs_api_is_not_supported_and_on_managed_instances_not_there() {
    let expected = "{\"errorMessage\":\"Logs API is not supported\",\
                    \"errorType\":\"Logs.NotSupported\"}\n";
    let on_demand = answer(TelemetryApi::new(ON_DEMAND).subscribe_logs());
    check_answer(&on_demand, 202, APPLICATION_JSON, expected);
    assert_eq!(answer(TelemetryApi::new(MANAGED).subscribe_logs()).status, 404);
}

#[test]
fn the_end_of_the_api_waits_for_no_subscriber() {
    let hanging = Remote::start_scripted([Answer::Hang]);
    let api = TelemetryApi::new(ON_DEMAND);
    subscribe(&api, "hangs", &request(port(&hanging), &["function"]));
    subscribe(&api, "is away", &request(free_port(), &["function"]));
    subscribe(&api, "is frozen", &request(port(&hanging), &["function"]));
    api.record(line("1"));
    assert!(!api.flush(A_MOMENT));
    hanging.wait_for(1, SOON);
    api.hold();
    let ended = Instant::now();
    drop(api);
    // Less than the time limit of a delivery, and less than the limit of idle waits.
    assert!(ended.elapsed() < Duration::from_secs(4), "{:?}", ended.elapsed());
}
