//! Actions and ends at a moment of a request.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use local_lambda::agent::Connection;
use local_lambda::{Authority, Cause, Cut, CutShort, End, Fate, Moment, Pace, Remote};

use crate::remote::{GET, check_closed, check_reset, connect, port};
use crate::{A_MOMENT, SOON, tls};

const POST: &[u8] = b"POST /v1/x HTTP/1.1\r\nContent-Length: 6\r\n\r\nabcdef";

/// Sends a post to a remote that ends its connection at this moment.
fn post_cut_at(moment: Moment, end: End) -> (Remote, TcpStream) {
    let remote = Remote::start();
    remote.cut_with(move |_| Some(Cut::at(moment, end)));
    let mut stream = connect(&remote);
    stream.write_all(POST).unwrap();
    (remote, stream)
}

#[track_caller]
fn check_cut_short(remote: &Remote, path: Option<&str>, body: &[u8], cause: &Cause) {
    let CutShort { connection, request, head, body: read, cause: seen } =
        &remote.wait_for_cut_short(1, SOON)[0];
    assert_eq!((*connection, *request), (0, Some(0)));
    assert_eq!(head.as_ref().map(|head| head.path.as_str()), path);
    assert_eq!((read.as_slice(), seen), (body, cause));
    assert_eq!(remote.received().len(), 0);
}

#[test]
fn a_reset_within_a_request_comes_after_the_given_number_of_bytes() {
    let cause = Cause::Remote(End::Reset);
    for (moment, path, body) in [
        (Moment::BytesRead(1), None, ""),
        (Moment::BytesRead(9), None, ""),
        (Moment::HeadRead, Some("/v1/x"), ""),
        (Moment::BodyRead(0), Some("/v1/x"), ""),
        (Moment::BodyRead(3), Some("/v1/x"), "abc"),
    ] {
        let (remote, mut stream) = post_cut_at(moment, End::Reset);
        check_reset(&mut stream);
        check_cut_short(&remote, path, body.as_bytes(), &cause);
    }
}

#[test]
fn a_close_within_a_request_is_no_reset_though_the_client_is_still_sending() {
    let (remote, mut stream) = post_cut_at(Moment::BodyRead(3), End::Close);
    check_closed(&mut stream);
    stream.write_all(POST).unwrap();
    check_cut_short(&remote, Some("/v1/x"), b"abc", &Cause::Remote(End::Close));
}

#[test]
fn a_hang_within_a_request_reads_no_more_and_lasts_until_the_remote_is_dropped() {
    let (remote, stream) = post_cut_at(Moment::BodyRead(3), End::Hang);
    check_cut_short(&remote, Some("/v1/x"), b"abc", &Cause::Remote(End::Hang));
    check_nobody_reads(&stream);
    drop(remote);
    let end = (&stream).read(&mut [0]).map_err(|error| error.kind());
    // A close with unread bytes becomes a reset.
    assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{end:?}");
}

/// Writes until the buffers of both sides are full, which proves that nobody reads.
fn check_nobody_reads(mut stream: &TcpStream) {
    stream.set_write_timeout(Some(A_MOMENT)).unwrap();
    let piece = vec![0; 1024 * 1024];
    let written = (0..64).try_for_each(|_| stream.write_all(&piece));
    assert_eq!(written.unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_request_that_arrived_can_be_reset_before_and_after_its_answer() {
    let (remote, mut stream) = post_cut_at(Moment::BeforeAnswer, End::Reset);
    check_reset(&mut stream);
    let received = &remote.wait_for_fates(1, SOON)[0];
    assert_eq!((received.status, received.fate), (Some(200), Fate::Withheld));

    let (remote, mut stream) = post_cut_at(Moment::AfterAnswer, End::Reset);
    let mut answer = Vec::new();
    let error = stream.read_to_end(&mut answer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(answer.ends_with(b"{}"), "{answer:?}");
    assert_eq!(remote.wait_for_fates(1, SOON)[0].fate, Fate::Answered);
}

#[test]
fn a_connection_can_end_before_anything_is_read() {
    let remote = Remote::start();
    remote.refuse_with(|connection| match connection {
        0 => Some(End::Reset),
        1 => Some(End::Close),
        2 => Some(End::Hang),
        _ => None,
    });
    check_reset(&mut connect(&remote));
    check_closed(&mut connect(&remote));
    let hung = connect(&remote);
    check_nobody_reads(&hung);
    let mut served = Connection::open(port(&remote));
    served.send(GET);
    assert_eq!(served.response().status, 200);
    assert_eq!((remote.received().len(), remote.cut_short().len()), (1, 0));
}

/// Adds an action that reports when it runs, and waits for permission to end.
fn standstill(remote: &Remote, moment: Moment, request: usize) -> (Receiver<()>, Sender<()>) {
    let (stands, is_standing) = mpsc::channel();
    let (go_on, told_to_go_on) = mpsc::channel();
    remote.at(moment, request, move |_| {
        stands.send(()).unwrap();
        told_to_go_on.recv_timeout(SOON).unwrap();
    });
    (is_standing, go_on)
}

#[test]
fn the_conversation_stands_still_while_an_action_runs_and_then_goes_on() {
    let remote = Remote::start();
    let in_body = standstill(&remote, Moment::BodyRead(3), 0);
    let before_answer = standstill(&remote, Moment::BeforeAnswer, 0);
    let after_answer = standstill(&remote, Moment::AfterAnswer, 0);
    let mut client = Connection::open(port(&remote));
    client.send(POST);

    in_body.0.recv_timeout(SOON).unwrap();
    assert_eq!(remote.received().len(), 0, "not read whole");
    in_body.1.send(()).unwrap();

    before_answer.0.recv_timeout(SOON).unwrap();
    let received = &remote.received()[0];
    assert_eq!((received.body.as_slice(), received.fate), (b"abcdef".as_slice(), Fate::Pending));
    assert!(received.head_at < received.at);
    assert!(!client.is_closed(A_MOMENT));
    before_answer.1.send(()).unwrap();

    after_answer.0.recv_timeout(SOON).unwrap();
    assert_eq!(client.response().status, 200);
    client.send(POST);
    assert_eq!(remote.received().len(), 1, "the connection's thread stands still");
    after_answer.1.send(()).unwrap();
    assert_eq!(client.response().status, 200);
}

#[test]
fn an_action_belongs_to_one_request_also_when_two_come_at_once() {
    let remote = Remote::start();
    let (ran, runs) = mpsc::channel();
    remote.at(Moment::BodyRead(3), 1, move |interruption| {
        ran.send((interruption.request, interruption.connection)).unwrap();
        interruption.end(End::Reset);
    });
    let mut client = Connection::open(port(&remote));
    client.send(&[POST, POST].concat());
    assert_eq!(client.response().status, 200);
    assert_eq!(runs.recv_timeout(SOON).unwrap(), (1, 0));
    assert!(client.is_closed(SOON));
    assert_eq!(remote.cut_short()[0].request, Some(1));
    assert_eq!(remote.received().len(), 1);
}

#[test]
fn a_request_cut_short_by_its_client_is_recorded_up_to_the_cut() {
    let remote = Remote::start();
    let mut stream = connect(&remote);
    stream.write_all(&POST[..POST.len() - 2]).unwrap();
    drop(stream);
    let cause = Cause::Client("closed after 4 of 6 bytes of the body".to_owned());
    check_cut_short(&remote, Some("/v1/x"), b"abcd", &cause);
}

#[test]
fn with_tls_moments_count_the_bytes_of_the_request() {
    let authority = Authority::new();
    let remote = Remote::start_tls(&authority);
    remote.refuse_with(|connection| (connection == 0).then_some(End::Reset));
    let client = || tls::connect(authority.pem_file(), "localhost", port(&remote)).unwrap();
    let refused = client().write_all(POST).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionReset);
    let (in_body, go_on) = standstill(&remote, Moment::BodyRead(2), 0);
    remote.cut_with(|_| Some(Cut::at(Moment::BodyRead(3), End::Reset)));
    remote.read_at(Pace::new(256, Duration::from_millis(1)));
    let mut stream = client();
    stream.write_all(POST).unwrap();
    in_body.recv_timeout(SOON).unwrap();
    go_on.send(()).unwrap();
    check_reset(&mut stream);
    let cut_short = &remote.wait_for_cut_short(1, SOON)[0];
    assert_eq!((cut_short.connection, cut_short.body.as_slice()), (1, b"abc".as_slice()));
    assert_eq!(cut_short.cause, Cause::Remote(End::Reset));
}
