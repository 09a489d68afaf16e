//! The server of OTLP's port, with clients that tiny_http does not bear.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use local_lambda::agent::{self, Connection};
use local_lambda::otlp::{Encoding, Signal};
use rstest::rstest;
use serde_json::json;

use super::report;
use crate::support::fixture::{Fixture, PATIENCE, pass};
use crate::support::protocol::Protocol::Otlp;

/// How many connections the server keeps.
const CONNECTIONS_MAX: usize = 256;

fn export(headers: &str) -> Vec<u8> {
    report(Signal::Traces, Encoding::Protobuf, &["1"]).request(headers)
}

fn connect(fixture: &Fixture) -> TcpStream {
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, fixture.port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

fn read_to_end(mut client: &TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    answer
}

/// Sends these bytes, and returns everything up to the end of the connection.
fn exchange(fixture: &Fixture, bytes: &[u8]) -> Vec<u8> {
    let mut client = connect(fixture);
    client.write_all(bytes).unwrap();
    read_to_end(&client)
}

/// An exporter retries for seconds if it gets no response. RFC 9110, 5.5, allows any byte from 0x80.
#[test]
fn a_header_beyond_ascii_is_accepted() {
    let fixture = Otlp.start();
    for value in ["x-team: Zürich\r\n".as_bytes(), b"x-team: Z\xfcrich\r\n"] {
        let [before, after] = [export(""), export("")].map(|it| {
            let end = it.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 2;
            [it[..end].to_vec(), it[end..].to_vec()]
        });
        let request = [&before[0][..], value, &after[1]].concat();
        assert_eq!(agent::request(fixture.port, &request).status, 200);
    }
    fixture.items_received(2);
    fixture.shut_down();
}

/// The client for the remote cannot send it, so it would block all reports that come after it.
#[test]
fn a_key_beyond_ascii_is_refused_and_blocks_no_report() {
    let fixture = Otlp.start();
    for header in ["Authorization: Bearer Zürich\r\n", "Content-Encoding: gzip, é\r\n"] {
        let status = agent::request(fixture.port, &export(header)).status;
        assert_eq!(status, 400, "{header}");
    }
    assert_eq!(agent::request(fixture.port, &export("")).status, 200);
    fixture.items_received(1);
    assert_eq!(fixture.health()["otlp"]["refused"]["malformed"], 2);
    fixture.shut_down();
}

#[rstest]
#[case::the_preface_alone(b"")]
#[case::with_the_first_call(b"\0\0\x03\x01\x04\0\0\0\x01abc")]
fn http2_is_refused_with_a_status_of_grpc_a_count_and_one_line(#[case] call: &[u8]) {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const CALL: &[u8] = b"\0\0\x03\x01\x04\0\0\0\x01abc";
    let fixture = Otlp.start();
    for _ in 0..2 {
        let mut client = connect(&fixture);
        client.write_all(&[PREFACE, call].concat()).unwrap();
        if call.is_empty() {
            let mut settings = [0; 18];
            client.read_exact(&mut settings).unwrap();
            assert_eq!((settings[3], settings[12]), (4, 4));
            client.write_all(CALL).unwrap();
        }
        client.shutdown(Shutdown::Write).unwrap();
        let answer = read_to_end(&client);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains("grpc-status\u{2}12"), "{text:?}");
    }
    assert_eq!(fixture.health()["otlp"]["refused"]["http2"], 2);
    let log = fixture.shut_down();
    let line = "WARN cannot accept reports at the port for OTLP: an SDK exports over gRPC; set \
                OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, or create an exporter for HTTP in the code; \
                such reports are refused and lost";
    assert_eq!(log.matches(line).count(), 1, "{log}");
    assert!(log.contains("lost: 2 refused as http2 (HTTP/2 instead of HTTP/1.1)"), "{log}");
}

#[test]
fn tls_is_refused_with_a_count_and_one_line() {
    let fixture = Otlp.start();
    for _ in 0..2 {
        let answer = exchange(&fixture, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
        assert!(answer.starts_with(b"HTTP/1.1 400 Bad Request\r\n"));
    }
    assert_eq!(fixture.health()["otlp"]["refused"]["tls"], 2);
    let log = fixture.shut_down();
    let line = "WARN cannot accept reports at the port for OTLP: an SDK's endpoint begins with https://; \
                begin it with http://; such reports are refused and lost";
    assert_eq!(log.matches(line).count(), 1, "{log}");
}

/// It is the client's fault, and no line of the log may speak of a fault of the extension.
#[test]
fn a_client_that_resets_its_connection_inside_a_body_sends_a_malformed_report() {
    let fixture = Otlp.start();
    let request = export("");
    for cut in [request.len() - 1, 20] {
        let mut client = Connection::open(fixture.port);
        client.send(&request[..cut]);
        client.reset();
    }
    fixture.wait_for_health(|it| it["otlp"]["refused"]["malformed"] == 2);
    assert_eq!(fixture.health()["otlp"]["refused"]["failed"], 0);
    fixture.shut_down();
}

/// The client sends its whole body before it reads, as most do. A reset would take the response away.
#[test]
fn a_client_that_is_refused_by_its_head_reads_the_response_after_its_body() {
    const BODY: usize = 50_000_000;
    let fixture = Otlp.start();
    for (framing, chunked) in [
        (format!("Content-Length: {BODY}"), false),
        ("Transfer-Encoding: chunked".to_owned(), true),
    ] {
        for (path, status) in [("/v1/traces", 413), ("/v1/profiles", 404)] {
            let mut client = Connection::open(fixture.port);
            client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes());
            let piece = vec![b'x'; 1_000_000];
            for _ in 0..BODY / piece.len() {
                if chunked {
                    client.send(format!("{:x}\r\n", piece.len()).as_bytes());
                }
                client.send(&piece);
                if chunked {
                    client.send(b"\r\n");
                }
            }
            if chunked {
                client.send(b"0\r\n\r\n");
            }
            assert_eq!(client.response().status, status, "{path} {framing}");
            client.send(&export(""));
            assert_eq!(client.response().status, 200, "the connection goes on");
        }
    }
    fixture.shut_down();
}

#[test]
fn a_length_beyond_any_memory_is_answered_at_once_and_costs_nothing() {
    let fixture = Otlp.start();
    for length in ["128000001", "9223372036854775807", "99999999999999999999999999"] {
        let mut client = connect(&fixture);
        let head =
            format!("POST /v1/traces HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nhi");
        client.write_all(head.as_bytes()).unwrap();
        let answer = read_to_end(&client);
        assert!(answer.starts_with(b"HTTP/1.1 413 Content Too Large\r\n"), "{length}");
    }
    assert_eq!(fixture.health()["otlp"]["refused"]["too_large"], 3);
    // The main thread, the event loop, the sender and the log.
    assert!(fixture.threads().len() <= 4, "{:?}", fixture.threads());
    fixture.shut_down();
}

/// The clients are agents of other processes, or a pool of connections that an SDK never closes.
#[test]
fn beyond_the_limit_of_connections_one_between_two_requests_is_closed() {
    let fixture = Otlp.start();
    let post = |mut client: &TcpStream| {
        client.write_all(&export("")).unwrap();
        assert!(client.read(&mut [0; 1024]).unwrap() > 0);
    };
    let is_closed = |mut client: &TcpStream| client.read(&mut [0]).unwrap() == 0;
    // The connections are accepted in their order.
    let known: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| connect(&fixture)).collect();
    known.iter().for_each(post);
    let next = [connect(&fixture), connect(&fixture)];
    next.iter().for_each(post);
    assert!(is_closed(&known[0]) && is_closed(&known[1]), "they have been idle for longest");
    post(&known[2]);
    fixture.items_received(CONNECTIONS_MAX + 3);
    fixture.shut_down();
}

/// Neither a part of a head nor a body that is refused keeps a place.
#[rstest]
#[case::stalled_heads(b"POST /v1/traces HTTP/1.1\r\n")]
#[case::refused_bodies(b"POST /nothing HTTP/1.1\r\nContent-Length: 9\r\n\r\nx")]
#[case::http2(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")]
#[case::no_http(b"hello\r\n\r\n")]
fn as_many_stalled_clients_as_there_are_places_keep_nobody_waiting(#[case] sent: &[u8]) {
    let fixture = Otlp.start();
    let stalled: Vec<TcpStream> = (0..CONNECTIONS_MAX)
        .map(|_| {
            let mut client = connect(&fixture);
            client.write_all(sent).unwrap();
            client
        })
        .collect();
    let started = Instant::now();
    for _ in 0..3 {
        assert_eq!(agent::request(fixture.port, &export("")).status, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    drop(stalled);
    fixture.items_received(3);
    fixture.shut_down();
}

#[test]
fn connections_with_a_request_in_hand_stay_and_the_next_one_waits() {
    let fixture = Otlp.start();
    let request = export("");
    let (begin, end) = request.split_at(request.len() - 1);
    let mut busy: Vec<Connection> = (0..CONNECTIONS_MAX)
        .map(|_| {
            let mut client = Connection::open(fixture.port);
            client.send(begin);
            client
        })
        .collect();
    let mut next = Connection::open(fixture.port);
    next.send(&request);
    for client in &mut busy {
        client.send(end);
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(next.response().status, 200);
    fixture.shut_down();
}

/// The time is real here. Unit tests check the limits in virtual time.
#[test]
fn a_client_that_stops_is_answered_after_ten_seconds_and_its_descriptor_is_free() {
    let fixture = Otlp.start();
    let started = Instant::now();
    let request = export("");
    let clients = [5, request.len() - 1].map(|length| {
        let mut client = connect(&fixture);
        client.write_all(&request[..length]).unwrap();
        client
    });
    let answers = clients.each_ref().map(read_to_end);
    assert!(answers[0].starts_with(b"HTTP/1.1 400 Bad Request\r\n"));
    assert!(answers[1].starts_with(b"HTTP/1.1 400 Bad Request\r\n"));
    assert!(started.elapsed().as_secs() >= 10);
    assert_eq!(fixture.health()["otlp"]["refused"]["malformed"], 2);
    fixture.shut_down();
}

#[test]
fn requests_in_one_piece_are_answered_in_their_order_by_a_client_that_reads_late() {
    const COUNT: usize = 20_000;
    let fixture = Otlp.start();
    let request = b"GET /health HTTP/1.1\r\n\r\n";
    let client = connect(&fixture);
    let mut writer = client.try_clone().unwrap();
    std::thread::scope(|scope| {
        // The responses fill all buffers, so that the server stops reading.
        let written = scope.spawn(move || {
            writer.write_all(&request.repeat(COUNT)).unwrap();
            writer.write_all(b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
        });
        let waited = Instant::now();
        let mut last = 0;
        loop {
            pass(Duration::from_millis(20));
            let unread = unread(&client);
            if unread == last {
                break;
            }
            assert!(waited.elapsed() < PATIENCE);
            last = unread;
        }
        let answer = String::from_utf8(read_to_end(&client)).unwrap();
        assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), COUNT);
        let (_, last) = answer.rsplit_once("HTTP/1.1 ").unwrap();
        assert!(last.starts_with("404 Not Found\r\n"), "{last}");
        written.join().unwrap();
    });
    assert_eq!(
        fixture.health()["otlp"]["refused"],
        json!({ "full": 0, "too_large": 0, "malformed": 0,
        "unknown_path": 0, "no_remote": 0, "wrong_method": 0, "unknown_media_type": 0, "http2": 0,
        "tls": 0, "failed": 0 })
    );
    fixture.shut_down();
}

/// How many bytes wait to be read.
fn unread(client: &TcpStream) -> usize {
    let mut buffer = vec![0; 8 << 20];
    client.peek(&mut buffer).unwrap()
}
