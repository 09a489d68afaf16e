//! The responses of the local collector: a test for each promise to agents. `otlp/responses.rs` has the
//! responses to OTLP.

use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use local_lambda::agent::{self, Connection, Response};
use local_lambda::otlp::Encoding;
use rstest::rstest;
use serde_json::{Value, json};

use crate::otlp::responses;
use crate::support::fixture::{
    ARRAY, COLLECTS, COMPOSITE, Fixture, PATIENCE, array_of, nowhere, pass, report_of,
    retry_after_standstill, text,
};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};

fn raw(fixture: &Fixture, request: &str) -> Response {
    agent::request(fixture.port, request.as_bytes())
}

/// The head of a report without a declared length.
fn chunked_head(protocol: Protocol) -> String {
    protocol.report(ARRAY, "[1]").framed("Transfer-Encoding: chunked\r\n")
}

#[track_caller]
fn refused(protocol: Protocol, response: &Response, status: u16) {
    if protocol == Otlp {
        return responses::refused(response, status, Encoding::Protobuf);
    }
    assert_eq!(response.status, status);
    assert_eq!(response.header("Content-Type"), Some("application/json"));
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert!(body["error"].is_string(), "{body}");
}

#[test]
fn both_routes_are_taken_with_and_without_base_path_trailing_slash_and_query() {
    let fixture = Fixture::start();
    let arrays = [ARRAY, "/monitoring-data", "/v1/monitoring-data/", "/v1/monitoring-data?a=b"];
    let composites = [COMPOSITE, "/composite-monitoring-data", "/composite-monitoring-data/?"];
    for path in arrays.into_iter().chain(composites) {
        let response = agent::post(fixture.port, path, b"[1]");
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.header("Content-Type"), Some("application/json"));
        assert_eq!(text(&response.body), "{}");
    }
    fixture.items_received(7);
    let routes = fixture.remote.received().into_iter().map(|it| it.path);
    let composites = routes.filter(|it| *it != ARRAY).collect::<Vec<_>>();
    assert_eq!(composites, [COMPOSITE; 3]);
    fixture.shut_down();
}

#[test]
fn an_empty_report_is_answered_counted_and_dropped() {
    let fixture = Fixture::start();
    let without_length =
        "POST /v1/monitoring-data HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(&fixture, without_length).status, 200);
    for body in ["", "[]", " [ ] \n"] {
        fixture.report(ARRAY, body);
    }
    let chunked = "POST /v1/monitoring-data HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
                   Connection: close\r\n\r\n";
    for chunks in ["0\r\n\r\n", "2\r\n[]\r\n0\r\n\r\n"] {
        assert_eq!(raw(&fixture, &format!("{chunked}{chunks}")).status, 200);
    }
    let reports = &fixture.health()["reports"];
    assert_eq!((&reports["accepted"], &reports["dropped"]["empty"]), (&json!(6), &json!(6)));
    assert_eq!(fixture.shut_down(), "");
}

#[rstest]
fn a_full_buffer_refuses_a_report_and_keeps_what_it_has(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let fixture = protocol.start_with(&[
        ("THUNDRA_EXTENSION_BUFFER", "64KiB"),
        (protocol.url_variable(), &nowhere()),
    ]);
    // Three quarters of the buffer may wait while the remote is down, so no report is dropped.
    fixture.report(ARRAY, &array_of(30_000));
    refused(protocol, &fixture.post(ARRAY, &array_of(40_000)), protocol.full());
    fixture.report(ARRAY, &array_of(10_000));
    let health = fixture.health();
    assert_eq!(health[protocol.account()]["refused"]["full"], 1);
    assert_eq!(health[protocol.account()]["pending"], 2);
    assert_eq!(health["buffer"]["size"], 65_536);
    let held = health["buffer"]["held"].as_u64().unwrap();
    let beside = held - 40_000; // the overhead of the reports
    assert!((2 * 500..2 * 1_500).contains(&beside), "{health}");
    let log = fixture.shut_down();
    assert!(log.contains("lost: 2 unsent (the end came first), 1 refused as full"), "{log}");
}

#[test]
fn delivered_reports_free_their_room_in_the_buffer() {
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_BUFFER", "64KiB")]);
    for n in 1..=20 {
        fixture.report(ARRAY, &array_of(40_000));
        fixture.received(n);
        fixture.wait_for_an_empty_buffer();
    }
    fixture.shut_down();
}

#[test]
fn a_body_over_the_limit_is_read_to_its_end_and_answered_413() {
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_BUFFER", "64KiB")]);
    let limit = 64 * 1024 / 4 * 3;
    let largest = limit - 1000; // headers and the payload itself count too
    fixture.report(ARRAY, &array_of(largest));
    fixture.received(1);
    fixture.wait_for_an_empty_buffer();
    // The largest report that fits, to the byte.
    let (mut fits, mut exceeds) = (largest, limit);
    while exceeds - fits > 1 {
        let bytes = usize::midpoint(fits, exceeds);
        match fixture.post(ARRAY, &array_of(bytes)).status {
            200 => fits = bytes,
            413 => exceeds = bytes,
            status => panic!("{status} for {bytes} bytes"),
        }
        fixture.wait_for_an_empty_buffer();
    }
    let too_large =
        || fixture.health()[Thundra.account()]["refused"]["too_large"].as_u64().unwrap_or_default();
    let before = too_large();
    for bytes in [exceeds, limit, 64 * 1024, 5_000_000] {
        refused(Thundra, &fixture.post(ARRAY, &array_of(bytes)), 413);
    }
    let mut connection = Connection::open(fixture.port);
    connection.send(chunked_head(Thundra).as_bytes());
    for _ in 0..20 {
        connection.send(format!("{:x}\r\n{}\r\n", 10_000, "x".repeat(10_000)).as_bytes());
    }
    connection.send(b"0\r\n\r\n");
    refused(Thundra, &connection.response(), 413);
    connection.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(connection.response().status, 200, "the connection goes on");
    assert_eq!(too_large() - before, 5);
    fixture.shut_down();
}

#[test]
fn a_body_without_a_declared_length_leaves_room_for_others_while_it_is_read() {
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_BUFFER", "64KiB"), COLLECTS]);
    let chunk = |bytes: usize| format!("{bytes:x}\r\n{}\r\n", "x".repeat(bytes));
    let mut connection = Connection::open(fixture.port);
    connection.send(chunked_head(Thundra).as_bytes());
    connection.send(chunk(20 * 1024).as_bytes());
    fixture.wait_for_health(|it| it["buffer"]["held"].as_u64().unwrap() > 20 * 1024);
    fixture.report(ARRAY, &array_of(5_000));
    connection.send(chunk(40_000).as_bytes());
    connection.send(b"0\r\n\r\n");
    refused(Thundra, &connection.response(), 413);
    fixture.shut_down();
}

#[test]
fn six_megabytes_are_accepted_in_a_large_function() {
    retry_after_standstill(|| {
        let fixture = Fixture::with(&[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")]);
        let body = array_of(6_000_000);
        fixture.report(ARRAY, &body);
        assert!(fixture.bodies_received(1) == [body]);
        assert_eq!(fixture.shut_down(), "");
    });
}

#[test]
fn malformed_lengths_and_chunks_are_answered_400_and_counted() {
    let fixture = Fixture::start();
    let heads = [
        "Content-Length: -1\r\n",
        "Content-Length: five\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
    ];
    for head in heads {
        let request = format!("{}[1]\n", Thundra.report(ARRAY, "[1]").framed(head));
        let response = raw(&fixture, &request);
        refused(Thundra, &response, 400);
        // The server cannot know where the next request starts.
        assert_eq!(response.header("Connection"), Some("close"));
    }
    for chunks in ["zz\r\n[1]\r\n0\r\n\r\n", "3\r\n[1]XX0\r\n\r\n", "-3\r\n[1]\r\n0\r\n\r\n"] {
        let request = format!("{}{chunks}", chunked_head(Thundra));
        refused(Thundra, &raw(&fixture, &request), 400);
    }
    assert_eq!(fixture.health()[Thundra.account()]["refused"]["malformed"], 7);
    assert_eq!(fixture.health()[Thundra.account()]["accepted"], 0);
    fixture.shut_down();
}

#[test]
fn a_chunked_body_without_an_end_is_refused_and_its_connection_closes() {
    const CHUNK_BYTES: usize = 64 * 1024;
    /// Four times as many chunks as the extension reads, including those in buffers.
    const CHUNKS_MAX: usize = 4 * 128_000_000 / CHUNK_BYTES;
    let fixture = Fixture::start();
    let chunk = format!("{CHUNK_BYTES:x}\r\n{}\r\n", "x".repeat(CHUNK_BYTES));
    for path in [ARRAY, "/nowhere"] {
        let mut stream = TcpStream::connect(("127.0.0.1", fixture.port)).unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let sent = (0..CHUNKS_MAX).take_while(|_| stream.write_all(chunk.as_bytes()).is_ok());
        assert!(sent.count() < CHUNKS_MAX, "{path}");
    }
    let refused = &fixture.health()[Thundra.account()]["refused"];
    assert_eq!([&refused["malformed"], &refused["unknown_path"]], [1, 1]);
    fixture.shut_down();
}

#[test]
fn a_body_cut_short_is_answered_400_counted_and_not_forwarded() {
    let fixture = Fixture::start();
    let framings = [
        ("Content-Length: 5000\r\n", "[\"half"),
        ("Transfer-Encoding: chunked\r\n", "1000\r\n[{\"a\":[1]}"),
        ("Transfer-Encoding: chunked\r\n", "3\r\n[1,\r\n"),
        ("Transfer-Encoding: chunked\r\n", "3\r\n[1]"),
    ];
    for (framing, part) in framings {
        let mut connection = Connection::open(fixture.port);
        let head = Thundra.report(ARRAY, "[1]").framed(framing);
        connection.send(format!("{head}{part}").as_bytes());
        connection.half_close();
        refused(Thundra, &connection.response(), 400);
    }
    assert_eq!(fixture.health()[Thundra.account()]["refused"]["malformed"], 4);
    fixture.report(ARRAY, "[2]");
    assert_eq!(fixture.bodies_received(1), ["[2]"]);
    fixture.shut_down();
}

#[rstest]
fn health_is_the_ledger_as_json(#[values(Thundra, Otlp)] protocol: Protocol) {
    let fixture = protocol.start();
    fixture.report(ARRAY, "[1]");
    fixture.received(1);
    let expected = json!({
        "accepted": 1, "delivered": 1, "pending": 0,
        "dropped": { "empty": 0, "unauthorized": 0, "too_large": 0, "rejected": 0, "evicted": 0, "unsent": 0, "failed": 0 },
        "refused": { "full": 0, "too_large": 0, "malformed": 0, "unknown_path": 0, "no_remote": 0, "wrong_method": 0, "unknown_media_type": 0, "http2": 0, "tls": 0, "failed": 0 },
        "rejected_items": 0,
    });
    fixture.wait_for_account(|it| *it == expected);
    fixture.shut_down();
}

/// The health of a remote: its counts, and the time of its last delivery.
#[rstest]
fn health_names_the_version_and_each_remote_with_its_last_delivery(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let fixture = protocol.start();
    let remote = |fixture: &Fixture| {
        let health = fixture.health();
        assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
        let remotes = health["remotes"].as_array().unwrap();
        let is_its = |it: &&Value| it["protocol"] == protocol.name();
        remotes.iter().find(is_its).unwrap_or_else(|| panic!("{health}")).clone()
    };
    let before = remote(&fixture);
    assert_eq!(
        (&before["remote"], &before["last_delivery"]),
        (&json!(fixture.remote.origin()), &json!(null))
    );
    let mut last = String::new();
    for n in 1..=2 {
        pass(Duration::from_millis(2)); // a delivery within the same millisecond would have the same time
        fixture.report(ARRAY, &format!("[{n}]"));
        fixture.wait_for_account(|it| it["delivered"] == n);
        let after = remote(&fixture);
        let delivery = after["last_delivery"].as_str().unwrap().to_owned();
        assert!(delivery > last && delivery.ends_with('Z') && delivery.len() == 24, "{after}");
        assert_eq!(after["reports"], fixture.health()[protocol.account()], "the only remote");
        last = delivery;
    }
    fixture.shut_down();
}

#[test]
fn another_path_is_404_and_another_method_405_with_allow() {
    let fixture = Fixture::start();
    for path in ["/", "/v1", "/v1/other", "/v2/monitoring-data", "/../etc/passwd"] {
        refused(Thundra, &agent::post(fixture.port, path, b"[1]"), 404);
    }
    for (method, path, allowed) in [
        ("GET", ARRAY, "POST"),
        ("PUT", COMPOSITE, "POST"),
        ("DELETE", ARRAY, "POST"),
        ("POST", "/health", "GET"),
    ] {
        let body = array_of(3_000);
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n{body}");
        let response = raw(&fixture, &request);
        refused(Thundra, &response, 405);
        assert_eq!(response.header("Allow"), Some(allowed));
    }
    // A probe contains no report, so it is no loss.
    for (line, status) in [
        ("GET /", 404),
        ("OPTIONS *", 404),
        ("GET /v1/monitoring-data", 405),
        ("DELETE /health", 405),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        refused(Thundra, &raw(&fixture, &request), status);
    }
    let refusals = &fixture.health()["reports"]["refused"];
    assert_eq!((&refusals["unknown_path"], &refusals["wrong_method"]), (&json!(5), &json!(4)));
    let log = fixture.shut_down();
    let line = "0 accepted, 0 delivered, lost: 5 refused as unknown_path (nothing is at that path), \
                4 refused as wrong_method (the path takes another method)\n";
    assert!(log.ends_with(line), "{log}");
}

/// A client that is set up wrongly reports in vain each time, and the closing line comes hours later.
#[rstest]
fn a_mistake_of_a_client_is_one_line_at_its_first_report(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let fixture = protocol.start_with(&[("THUNDRA_EXTENSION_BUFFER", "64KiB")]);
    let (path, large) = (protocol.path(ARRAY), "a".repeat(60_000));
    let paths = match protocol {
        Thundra => "/v1/monitoring-data and /v1/composite-monitoring-data",
        Otlp => "/v1/traces, /v1/metrics and /v1/logs",
    };
    let cases = [
        ("POST", "/", "{}", 404, &*format!("this port has only the paths {paths}")),
        ("PUT", path, "{}", 405, "this path takes another method"),
        ("POST", path, &large, 413, "larger than three quarters of its remote"),
    ];
    for _ in 0..3 {
        for (method, path, body, status, _) in cases {
            let length = body.len();
            let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}");
            let response = raw(&fixture, &format!("{head}\r\n\r\n{body}"));
            assert_eq!(response.status, status, "{method} {path}");
        }
    }
    let log = fixture.shut_down();
    for (_, path, _, _, why) in cases {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(why)).collect();
        let [line] = lines[..] else { panic!("{why:?} is not in one line of {log}") };
        let begin = format!("WARN cannot accept a report at {path:?} of the port for ");
        assert!(line.contains(&begin) && line.ends_with("are refused and lost"), "{line}");
    }
}

#[test]
fn ipv6_localhost_is_served_too() {
    let fixture = Fixture::start();
    let mut connection = Connection::open_at(SocketAddr::from((Ipv6Addr::LOCALHOST, fixture.port)));
    connection.send(&Thundra.report(ARRAY, "[6]").request(""));
    assert_eq!(connection.response().status, 200);
    assert_eq!(fixture.bodies_received(1), ["[6]"]);
    fixture.shut_down();
}

#[test]
fn a_connection_is_kept_for_many_reports_and_closed_when_asked() {
    let fixture = Fixture::start();
    let mut connection = Connection::open(fixture.port);
    let report = Thundra.report(ARRAY, "[1]");
    for request in [report.request(""), report.chunked()] {
        for _ in 0..10 {
            connection.send(&request);
            assert_eq!(connection.response().status, 200);
        }
    }
    connection.send(&report.request("Connection: close\r\n"));
    let last = connection.response();
    assert_eq!((last.status, last.header("Connection")), (200, Some("close")));
    assert!(connection.is_closed(Duration::from_secs(10)));
    assert_eq!(fixture.items_received(21), ["1"; 21]);
    fixture.shut_down();
}

#[test]
fn a_client_of_http_1_0_is_answered_with_connection_close() {
    let fixture = Fixture::start();
    let mut connection = Connection::open(fixture.port);
    let request = Thundra.report(ARRAY, "[1]").request("");
    let at = request.windows(3).position(|it| it == b"1.1").unwrap();
    connection.send(&[&request[..at], b"1.0", &request[at + 3..]].concat());
    let response = connection.response();
    assert_eq!((response.status, response.header("Connection")), (200, Some("close")));
    assert!(connection.is_closed(PATIENCE));
    fixture.received(1);
    fixture.shut_down();
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let fixture = Fixture::start();
    let mut connection = Connection::open(fixture.port);
    let report = Thundra.report(ARRAY, "[1]");
    connection.send(report.head("Expect: 100-continue\r\n").as_bytes());
    assert_eq!(connection.response().status, 100);
    connection.send(&report.body);
    assert_eq!(connection.response().status, 200);
    assert_eq!(fixture.bodies_received(1), ["[1]"]);
    fixture.shut_down();
}

#[test]
fn a_request_for_an_upgrade_is_answered_as_any_other() {
    let fixture = Fixture::start();
    // Java's HTTP client sends this.
    let upgrade =
        "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\n";
    for body in ["[1]", &array_of(3_000)] {
        let mut connection = Connection::open(fixture.port);
        connection.send(&Thundra.report(ARRAY, body).request(upgrade));
        let response = connection.response();
        assert_eq!((response.status, response.header("Connection")), (200, Some("close")));
    }
    fixture.items_received(2);
    fixture.shut_down();
}

#[rstest]
fn a_header_too_long_to_forward_is_refused_and_blocks_no_report(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let fixture = protocol.start();
    let names: &[&str] = match protocol {
        Thundra => &["Authorization", "Content-Type", "Content-Encoding"],
        // Thundra's collector ignores any other type or coding.
        Otlp => &["Authorization"],
    };
    for name in names {
        for (length, status) in [(8 * 1024, 200), (8 * 1024 + 1, 400), (20_000, 400)] {
            let header = format!("{name}: {}\r\n", "x".repeat(length));
            let response = match protocol {
                Thundra => raw(&fixture, &report_of(3, &header, "[1]")),
                Otlp => fixture.post_with(&header, ARRAY, "[1]"),
            };
            assert_eq!(response.status, status, "{name} of {length} bytes");
        }
    }
    fixture.report(ARRAY, "[2]");
    assert_eq!(fixture.bodies_received(names.len() + 1)[names.len()], "[2]");
    fixture.shut_down();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let fixture = Fixture::start();
    let mut connection = Connection::open(fixture.port);
    let others: String = ["GET /health", "POST /nowhere"]
        .map(|line| format!("{line} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n[1]"))
        .concat();
    let first = Thundra.report(ARRAY, "[1]").request("");
    connection.send(&[&first, others.as_bytes()].concat());
    let statuses: Vec<u16> = (0..3).map(|_| connection.response().status).collect();
    assert_eq!(statuses, [200, 200, 404]);
    fixture.shut_down();
}
