//! The remote's connections: idle ones, limits, outages, and slow ones.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::panic;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use local_lambda::agent::{self, Connection};
use local_lambda::{Answer, Authority, End, KeepAlive, Moment, Pace, Remote};

use crate::remote::{GET, check_closed, check_reset, connect, port};
use crate::{A_MOMENT, SOON, panic_of, tls};

/// An idle connection that has had one answer.
fn idle(remote: &Remote) -> TcpStream {
    let before = remote.received().len();
    let mut stream = connect(remote);
    exchange(&mut stream);
    assert_eq!(remote.received().len(), before + 1);
    stream
}

/// Sends one request and reads the answer of [`Answer::ok`].
fn exchange(stream: &mut (impl Read + Write)) {
    stream.write_all(GET).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"{}") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
}

#[test]
fn idle_connections_are_closed_and_busy_ones_are_not() {
    let remote = Remote::start();
    let (mut idle, mut unused) = (idle(&remote), connect(&remote));
    remote.wait_for_connections(2, SOON);
    let mut busy = Connection::open(port(&remote));
    remote.answer_with(|_| Answer::ok().after(A_MOMENT));
    busy.send(GET);
    remote.wait_for(2, SOON);
    remote.close_idle();
    for stream in [&mut idle, &mut unused] {
        stream.set_nonblocking(true).unwrap();
        check_closed(stream);
    }
    assert_eq!(busy.response().status, 200);
    assert_eq!(remote.cut_short().len(), 0);
}

#[test]
fn idle_connections_are_reset_at_once() {
    let remote = Remote::start();
    let mut idle = idle(&remote);
    remote.reset_idle();
    idle.set_nonblocking(true).unwrap();
    check_reset(&mut idle);
}

#[test]
fn a_forgotten_connection_is_silent_until_the_client_sends() {
    let remote = Remote::start();
    let mut idle = idle(&remote);
    remote.forget_idle();
    idle.set_read_timeout(Some(A_MOMENT)).unwrap();
    let silence = idle.read(&mut [0]).unwrap_err();
    assert_eq!(silence.kind(), ErrorKind::WouldBlock);
    idle.set_read_timeout(Some(SOON)).unwrap();
    idle.write_all(GET).unwrap();
    check_reset(&mut idle);
    assert_eq!((remote.received().len(), remote.cut_short().len()), (1, 0));
    exchange(&mut connect(&remote));
}

#[test]
fn a_connection_is_closed_after_its_number_of_requests() {
    let remote = Remote::start();
    remote.keep_alive(KeepAlive::default().requests(2));
    let mut stream = connect(&remote);
    exchange(&mut stream);
    exchange(&mut stream);
    check_closed(&mut stream);
}

/// On a busy machine a client needs time for its first byte.
const IDLE_MAX: Duration = Duration::from_secs(2);

#[test]
fn a_connection_is_closed_when_it_is_idle_for_too_long() {
    let remote = Remote::start();
    remote.keep_alive(KeepAlive::default().idle(IDLE_MAX));
    let mut stream = connect(&remote);
    exchange(&mut stream);
    check_closed(&mut stream);
    assert_eq!(remote.cut_short().len(), 0);
}

#[test]
fn a_request_that_takes_long_is_not_idle() {
    let remote = Remote::start();
    remote.keep_alive(KeepAlive::default().idle(IDLE_MAX));
    let mut stream = connect(&remote);
    stream.write_all(&GET[..1]).unwrap();
    stream.set_read_timeout(Some(IDLE_MAX * 2)).unwrap();
    let silence = stream.read(&mut [0]).unwrap_err();
    assert_eq!(silence.kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(&GET[1..]).unwrap();
    assert_eq!(remote.wait_for(1, SOON)[0].path, "/v1/health");
}

#[test]
fn a_remote_that_is_down_resets_and_refuses_until_it_comes_back_on_its_port() {
    let remote = Remote::start();
    remote.answer_with(|_| Answer::ok().after(Duration::from_secs(3600)));
    let mut waiting = connect(&remote);
    waiting.write_all(GET).unwrap();
    remote.wait_for(1, SOON);
    let mut unused = connect(&remote);
    remote.wait_for_connections(2, SOON);
    remote.go_down();
    check_reset(&mut waiting);
    check_reset(&mut unused);
    for _ in 0..2 {
        let refused = TcpStream::connect(("127.0.0.1", port(&remote))).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        remote.go_down();
    }
    remote.come_back();
    remote.come_back();
    remote.answer_with(|_| Answer::ok());
    exchange(&mut connect(&remote));
    assert_eq!(remote.received()[1].connection, 2, "connections are still counted");
    assert_eq!(remote.connections(), 3);
}

#[test]
fn a_remote_can_go_down_in_the_middle_of_a_request() {
    let remote = Arc::new(Remote::start());
    let (same, (down, is_down)) = (Arc::clone(&remote), mpsc::channel());
    remote.at(Moment::BodyRead(1), 0, move |_| {
        same.go_down();
        down.send(()).unwrap();
    });
    let mut stream = connect(&remote);
    stream.write_all(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab").unwrap();
    is_down.recv_timeout(SOON).unwrap();
    check_reset(&mut stream);
    assert_eq!(remote.wait_for_cut_short(1, SOON)[0].body, b"a");
}

/// How many bytes of a body the client can write before a write has to wait.
fn taken(remote: &Remote) -> usize {
    let mut stream = connect(remote);
    stream.set_write_timeout(Some(A_MOMENT)).unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nContent-Length: 64000000\r\n\r\n").unwrap();
    let piece = [b'x'; 4096];
    let pieces = 64_000_000 / piece.len();
    (0..pieces).take_while(|_| stream.write_all(&piece).is_ok()).count() * piece.len()
}

#[test]
fn a_slow_reader_blocks_its_client_sooner_than_one_that_reads_nothing() {
    let remote = Remote::start();
    remote.refuse_with(|connection| (connection == 0).then_some(End::Hang));
    let by_buffers = taken(&remote);
    remote.read_at(Pace::new(1, Duration::from_secs(3600)));
    let slowly = taken(&remote);
    assert!(slowly < by_buffers, "{slowly} bytes read slowly, {by_buffers} not read");
}

#[test]
fn a_slowly_read_request_arrives_whole() {
    let remote = Remote::start();
    remote.read_at(Pace::new(64, Duration::from_millis(1)));
    let body = vec![b'x'; 4096];
    let answer = agent::post(port(&remote), "/v1/monitoring-data", &body);
    assert_eq!(answer.status, 200);
    let received = &remote.received()[0];
    assert_eq!(received.body, body);
    // There are 63 pauses, because the read of the head's end comes before the first one.
    assert!(received.at - received.head_at >= Duration::from_millis(60));
}

#[test]
fn a_pace_of_zero_is_refused() {
    let message = panic::catch_unwind(|| Pace::new(0, SOON)).unwrap_err();
    assert_eq!(message.downcast_ref::<&str>(), Some(&"a pace of no bytes never ends"));
}

#[test]
fn a_missing_cut_fails_with_what_was_seen() {
    let remote = Remote::start();
    let _ = agent::post(port(&remote), "/v1/monitoring-data", b"[]");
    let message = panic_of(|| remote.wait_for_cut_short(1, A_MOMENT));
    assert!(message.starts_with("not 1 requests cut short within 100ms; seen instead: "));
    remote.wait_for_fates(1, SOON);
    let message = panic_of(|| remote.wait_for_fates(2, A_MOMENT));
    assert!(message.contains("POST /v1/monitoring-data on 0, 2 bytes, Answered"), "{message}");
}

#[test]
fn connections_with_tls_end_in_the_same_ways() {
    let authority = Authority::new();
    let remote = Remote::start_tls(&authority);
    let idle = || {
        let mut stream = tls::connect(authority.pem_file(), "localhost", port(&remote)).unwrap();
        exchange(&mut stream);
        stream
    };
    let mut closed = idle();
    remote.close_idle();
    check_closed(&mut closed);
    let mut reset = idle();
    remote.reset_idle();
    check_reset(&mut reset);
    let mut forgotten = idle();
    remote.forget_idle();
    forgotten.write_all(GET).unwrap();
    check_reset(&mut forgotten);
    let mut cut_off = idle();
    remote.go_down();
    check_reset(&mut cut_off);
    remote.come_back();
    remote.keep_alive(KeepAlive::default().requests(1));
    check_closed(&mut idle());
}
