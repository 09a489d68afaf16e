//! Remotes that answer before they have read the request, and leave the rest unread.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use local_lambda::{Answer, Authority, Cut, End, Moment, Pace, Platform, Remote};
use rstest::rstest;

use crate::support::fixture::{
    ARRAY, Fixture, PATIENCE, SHUTDOWN, array_of, pass, retry_after_standstill, spawn,
};
use crate::support::protocol::Protocol::Otlp;

/// More bytes than all buffers on the way hold.
const LARGE: usize = 12_000_000;

fn remote_over(transport: &str, authority: &Authority) -> Remote {
    match transport {
        "http" => Remote::start(),
        "TLS 1.2" => Remote::start_tls12(authority),
        _ => Remote::start_tls(authority),
    }
}

/// A remote that stops reading and does not close.
fn start(remote: Remote, authority: &Authority, answer: Answer) -> Fixture {
    remote.cut_with(|number| (number == 0).then_some(Cut::at(Moment::HeadRead, End::Hang)));
    remote.answer_cut_with(move || answer.clone());
    let ca = authority.pem_file().to_str().unwrap();
    let environment = [("SSL_CERT_FILE", ca), ("THUNDRA_EXTENSION_BUFFER", "16MiB")];
    Otlp.start_on(Platform::start(), remote, &environment)
}

#[rstest]
fn an_early_response_counts_while_the_connection_is_open_and_the_body_unread(
    #[values(200, 401, 413)] status: u16,
    #[values("http", "TLS 1.2", "TLS 1.3")] transport: &str,
) {
    let authority = Authority::new();
    let remote = remote_over(transport, &authority);
    let fixture = start(remote, &authority, Answer::status(status));
    fixture.report(ARRAY, &array_of(LARGE));
    fixture.wait_for_an_empty_buffer();
    fixture.report(ARRAY, "[2]");
    fixture.wait_for_an_empty_buffer();
    fixture.platform.shutdown("spindown", SHUTDOWN);
    assert!(fixture.process.exit(PATIENCE).success());
    let log = fixture.process.log();
    assert!(!log.contains("tried again"), "{log}");
    // The connection is in the middle of a request, so it can serve no other.
    let connections: Vec<usize> =
        fixture.remote.received().iter().map(|it| it.connection).collect();
    let lost = match status {
        200 => "",
        401 => "unauthorized",
        _ => "too_large",
    };
    assert_eq!(connections, if status == 401 { vec![] } else { vec![1] }, "{log}");
    assert!(log.contains(lost) && (status != 200 || log.is_empty()), "{log}");
}

/// Reads the head of a request, sends an interim answer, and reads on later. The delay is longer than the
/// extension writes without checking for an answer.
fn answers_in_two_steps(client: &TcpStream) -> io::Result<()> {
    const A_WHILE: Duration = Duration::from_secs(1);
    let (mut requests, mut client) = (BufReader::new(client), client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        requests.read_line(&mut head)?;
    }
    client.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")?;
    pass(A_WHILE);
    let length = head.to_ascii_lowercase();
    let length = length.split_once("content-length: ").unwrap().1.split_once("\r\n").unwrap().0;
    io::copy(&mut requests.take(length.parse().unwrap()), &mut io::sink())?;
    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
}

#[test]
fn after_an_interim_response_the_rest_of_the_request_is_sent() {
    retry_after_standstill(|| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = Otlp.url_at(&format!("http://{}", listener.local_addr().unwrap()));
        let (outcomes, outcome) = mpsc::channel();
        spawn(move || {
            for client in listener.incoming() {
                let is_served = answers_in_two_steps(&client.unwrap()).is_ok();
                // The receiver is dropped if the test has panicked.
                let _ = outcomes.send(is_served);
            }
        });
        let environment =
            [(Otlp.url_variable(), url.as_str()), ("THUNDRA_EXTENSION_BUFFER", "16MiB")];
        let fixture = Otlp.start_with(&environment);
        fixture.report(ARRAY, &array_of(LARGE));
        assert!(outcome.recv_timeout(PATIENCE).unwrap(), "it breaks off");
        fixture.wait_for_account(|it| it["delivered"] == 1);
        assert_eq!(fixture.shut_down(), "");
        assert!(outcome.try_recv().is_err(), "it is sent twice");
    });
}

#[rstest]
fn an_early_response_counts_after_interim_ones_and_in_pieces(
    #[values("", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n")]
    interim: &str,
    #[values((200, 1_000), (413, 8))] (status, piece): (u16, usize),
    #[values("http", "TLS 1.2", "TLS 1.3")] transport: &str,
) {
    retry_after_standstill(|| {
        let authority = Authority::new();
        let answer = format!("{interim}HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
        let pace = Pace::new(piece, Duration::from_millis(5));
        let length = answer.len();
        let answer = Answer::HalfAnswer(answer.into()).cut_after(length, End::Hang).at_pace(pace);
        let fixture = start(remote_over(transport, &authority), &authority, answer);
        fixture.report(ARRAY, &array_of(LARGE));
        fixture.wait_for_an_empty_buffer();
        let log = fixture.shut_down();
        let lost = if status == 200 { "" } else { "too_large" };
        assert!(!log.contains("tried again") && log.contains(lost), "{log}");
        assert_eq!(log.is_empty(), status == 200, "{log}");
    });
}
