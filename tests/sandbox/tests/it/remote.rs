//! The remote collector, seen by a raw client.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use sandbox::agent::{self, Connection};
use sandbox::{Answer, Remote};

use crate::{A_MOMENT, SOON, panic_of};

const GET: &[u8] = b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n";

pub fn port(remote: &Remote) -> u16 {
    let url = remote.base_url();
    let port = url.rsplit(':').next().and_then(|rest| rest.strip_suffix("/v1"));
    port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("no port in {url}"))
}

/// A client with std's errors, which tell a reset from a close.
fn send_get(remote: &Remote) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port(remote))).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(GET).unwrap();
    stream
}

#[test]
fn a_post_is_answered_200_and_recorded_before() {
    let remote = Remote::start();
    let answer = agent::post(port(&remote), "/v1/monitoring-data", b"[1]");
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"{}".as_slice()));
    let received = remote.received();
    assert_eq!(received.len(), 1);
    assert_eq!(
        (received[0].method.as_str(), received[0].path.as_str()),
        ("POST", "/v1/monitoring-data")
    );
    assert_eq!(received[0].header("AUTHORIZATION"), Some("ApiKey test-key"));
    assert_eq!(received[0].body, b"[1]");
}

#[test]
fn requests_on_one_connection_share_its_number() {
    let remote = Remote::start();
    let mut first = Connection::open(port(&remote));
    first.send(&[GET, GET].concat());
    assert_eq!((first.response().status, first.response().status), (200, 200));
    let mut second = Connection::open(port(&remote));
    second.send(GET);
    let _ = second.response();
    let numbers: Vec<usize> = remote.wait_for(3, SOON).iter().map(|it| it.connection).collect();
    assert_eq!(numbers, [0, 0, 1]);
    assert_eq!(remote.connections(), 2);
}

#[test]
fn a_chunked_body_is_recorded_without_its_chunks() {
    let remote = Remote::start();
    let mut connection = Connection::open(port(&remote));
    connection.send(b"POST /v1/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: Chunked\r\n\r\n");
    connection.send(b"3;ext=1\r\nabc\r\n2");
    connection.send(b"\r\nde\r\n0\r\nTrailer: x\r\n\r\n");
    assert_eq!(connection.response().status, 200);
    assert_eq!(remote.received()[0].body, b"abcde");
}

#[test]
fn an_answer_is_what_the_test_says() {
    let remote = Remote::start();
    remote.answer_with(|received| {
        Answer::status(503).header("Retry-After", "7").body(received.body.clone())
    });
    let answer = agent::post(port(&remote), "/", b"echo");
    assert_eq!((answer.status, answer.body.as_slice()), (503, b"echo".as_slice()));
    assert_eq!(answer.header("retry-after"), Some("7"));
}

#[test]
fn a_delayed_answer_takes_its_time_and_no_longer_than_the_remote() {
    let remote = Remote::start_scripted([
        Answer::status(202).after(A_MOMENT),
        Answer::status(202).after(Duration::from_secs(3600)),
    ]);
    let started = Instant::now();
    assert_eq!(agent::post(port(&remote), "/", b"").status, 202);
    assert!(started.elapsed() >= A_MOMENT);

    let mut waiting = send_get(&remote);
    remote.wait_for(2, SOON);
    drop(remote);
    assert_eq!(waiting.read(&mut [0]).unwrap(), 0, "closed without an answer");
}

#[test]
fn scripted_answers_are_given_in_order_and_then_200() {
    let remote = Remote::start_scripted([Answer::status(500), Answer::status(204)]);
    let mut connection = Connection::open(port(&remote));
    let statuses = [(); 3].map(|()| {
        connection.send(GET);
        connection.response().status
    });
    assert_eq!(statuses, [500, 204, 200]);
}

#[test]
fn a_hanging_remote_says_nothing_until_it_is_dropped() {
    let remote = Remote::start_scripted([Answer::Hang]);
    let mut connection = Connection::open(port(&remote));
    connection.send(GET);
    remote.wait_for(1, SOON);
    assert!(!connection.is_closed(A_MOMENT));
    drop(remote);
    assert!(connection.is_closed(SOON));
}

#[test]
fn a_resetting_remote_ends_the_connection_in_an_error() {
    let remote = Remote::start_scripted([Answer::Reset]);
    let error = send_get(&remote).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn half_an_answer_ends_in_a_close() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec();
    let remote = Remote::start_scripted([Answer::HalfAnswer(half.clone())]);
    let mut seen = Vec::new();
    send_get(&remote).read_to_end(&mut seen).unwrap();
    assert_eq!(seen, half);
}

#[test]
fn who_asks_to_close_is_closed_on() {
    let remote = Remote::start_scripted([Answer::status(200).header("Connection", "close")]);
    let mut told = Connection::open(port(&remote));
    told.send(GET);
    let _ = told.response();
    assert!(told.is_closed(SOON));
    let mut asking = Connection::open(port(&remote));
    asking.send(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    let _ = asking.response();
    assert!(asking.is_closed(SOON));
}

#[test]
fn a_wait_that_runs_out_tells_what_was_seen_instead() {
    let remote = Remote::start();
    let _ = agent::post(port(&remote), "/v1/monitoring-data", b"[]");
    let mut cut_short = Connection::open(port(&remote));
    cut_short.send(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab");
    cut_short.half_close();
    assert!(cut_short.is_closed(SOON));
    let message = panic_of(|| remote.wait_for(2, A_MOMENT));
    assert!(message.starts_with("not 2 requests within 100ms; seen instead: 2 connections"));
    assert!(message.contains("connection 1: closed after 2 of 5 bytes of the body"), "{message}");
    assert!(message.contains("POST /v1/monitoring-data on 0, 2 bytes"), "{message}");
}
