//! The remote collector, from the view of a raw client.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use local_lambda::agent::{self, Connection};
use local_lambda::{Answer, End, Fate, Moment, Pace, Remote};

use crate::{A_MOMENT, SOON, panic_of};

pub const GET: &[u8] = b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n";

pub fn port(remote: &Remote) -> u16 {
    let url = remote.base_url();
    let port = url.rsplit(':').next().and_then(|rest| rest.strip_suffix("/v1"));
    port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("no port in {url}"))
}

/// A client with std's errors, which distinguish a reset from a close.
pub fn connect(remote: &Remote) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port(remote))).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

fn send_get(remote: &Remote) -> TcpStream {
    let mut stream = connect(remote);
    stream.write_all(GET).unwrap();
    stream
}

#[track_caller]
pub fn check_reset(stream: &mut impl Read) {
    let end = stream.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}

#[track_caller]
pub fn check_closed(stream: &mut impl Read) {
    let end = stream.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(end, Ok(0));
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
fn an_answer_is_the_one_of_the_test() {
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
    check_closed(&mut waiting);
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
fn a_hanging_remote_sends_nothing_until_it_is_dropped() {
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
    check_reset(&mut send_get(&remote));
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
fn a_cut_answer_ends_after_the_given_number_of_bytes() {
    let remote = Remote::start_scripted([
        Answer::status(200).body("whole").cut_after(12, End::Reset),
        Answer::status(200).body("whole").cut_after(12, End::Close),
    ]);
    let mut twelve = [0; 12];
    let mut reset = send_get(&remote);
    reset.read_exact(&mut twelve).unwrap();
    assert_eq!(&twelve, b"HTTP/1.1 200");
    check_reset(&mut reset);
    let mut closed = send_get(&remote);
    closed.read_exact(&mut twelve).unwrap();
    check_closed(&mut closed);
    let fates: Vec<Fate> = remote.wait_for_fates(2, SOON).iter().map(|it| it.fate).collect();
    assert_eq!(fates, [Fate::Withheld, Fate::Withheld]);
}

#[test]
fn a_paced_answer_comes_byte_by_byte() {
    let pause = Duration::from_millis(2);
    let remote = Remote::start_scripted([Answer::ok().at_pace(Pace::byte_by_byte(pause))]);
    let started = Instant::now();
    let mut stream = send_get(&remote);
    let mut answer = Vec::new();
    let mut reads = 0;
    while !answer.ends_with(b"{}") {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "closed within the answer");
        answer.extend_from_slice(&buffer[..count]);
        reads += 1;
    }
    assert!(reads > 1, "the answer came at once");
    let pauses = u32::try_from(answer.len()).unwrap() - 1;
    assert!(started.elapsed() >= pause * pauses);
    assert_eq!(remote.wait_for_fates(1, SOON)[0].fate, Fate::Answered);
}

#[test]
fn an_answer_to_a_client_that_has_gone_is_accepted_and_undelivered() {
    let remote = Remote::start();
    let (left, has_left) = mpsc::channel();
    remote.at(Moment::BeforeAnswer, 0, move |_| has_left.recv_timeout(SOON).unwrap());
    let client = send_get(&remote);
    remote.wait_for(1, SOON);
    // Unlike a close, this works while a process that another test has just forked still has the descriptor.
    rustix::net::connect_unspec(&client).unwrap();
    left.send(()).unwrap();
    let received = remote.wait_for_fates(1, SOON);
    assert_eq!((received[0].status, received[0].fate), (Some(200), Fate::Undelivered));
    assert!(received[0].is_accepted());
}

#[test]
fn a_client_that_only_stops_sending_gets_its_answer() {
    let remote = Remote::start();
    let mut client = Connection::open(port(&remote));
    client.send(GET);
    client.half_close();
    assert_eq!(client.response().status, 200);
    assert_eq!(remote.wait_for_fates(1, SOON)[0].fate, Fate::Answered);
}

#[test]
fn a_request_that_is_hung_or_reset_is_not_accepted() {
    let remote = Remote::start_scripted([Answer::Hang, Answer::Reset]);
    let _hung = send_get(&remote);
    assert_eq!(remote.wait_for_fates(1, SOON)[0].fate, Fate::Withheld);
    let _reset = send_get(&remote);
    let received = remote.wait_for_fates(2, SOON);
    assert_eq!((received[1].fate, received[1].status), (Fate::Withheld, None));
}

#[test]
fn a_client_that_asks_to_close_is_closed() {
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
fn a_wait_that_times_out_shows_what_was_seen_instead() {
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
