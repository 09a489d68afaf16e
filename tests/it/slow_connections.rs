//! Connections that take longer than a second: through a proxy that looks up names itself, and with TLS over a
//! long distance.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use local_lambda::{Authority, Platform, Remote};
use rstest::rstest;

use crate::support::fixture::{ARRAY, Fixture, pass, spawn};
use crate::support::protocol::Protocol::Otlp;

/// One delay that fits into the first attempt, and one that fits only into a later one.
const SLOW: [Duration; 2] = [Duration::from_millis(1_300), Duration::from_secs(3)];

fn port_of(remote: &Remote) -> u16 {
    remote.origin().rsplit(':').next().unwrap().parse().unwrap()
}

/// Carries bytes to and from the remote at this port, after `prepare` has handled the client.
fn relay(port: u16, prepare: impl Fn(&mut TcpStream) + Copy + Send + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let own_port = listener.local_addr().unwrap().port();
    spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            spawn(move || {
                prepare(&mut client);
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                spawn(move || drop(std::io::copy(&mut from, &mut to)));
                drop(std::io::copy(&mut &server, &mut client));
            });
        }
    });
    own_port
}

fn check_delivers(fixture: Fixture) {
    fixture.report(ARRAY, "[1]");
    fixture.received(1);
    fixture.shut_down();
}

/// An extension that uses TLS to this port, through this proxy if there is one.
fn start(authority: &Authority, remote: Remote, (port, proxy): (u16, Option<u16>)) -> Fixture {
    let url = format!("https://localhost:{port}");
    let ca = authority.pem_file().to_str().unwrap().to_owned();
    let proxy = proxy.map(|port| format!("http://127.0.0.1:{port}")).unwrap_or_default();
    let environment =
        [("SSL_CERT_FILE", &*ca), (Otlp.url_variable(), &url), ("THUNDRA_EXTENSION_PROXY", &proxy)];
    Otlp.start_on(Platform::start(), remote, &environment)
}

#[rstest]
fn a_slow_handshake_may_take_its_share_of_an_attempt(#[values(SLOW[0], SLOW[1])] slow: Duration) {
    let authority = Authority::new();
    let remote = Remote::start_tls(&authority);
    let port = relay(port_of(&remote), move |_| pass(slow));
    check_delivers(start(&authority, remote, (port, None)));
}

#[rstest]
fn a_slow_proxy_may_take_its_share_of_an_attempt(#[values(SLOW[0], SLOW[1])] slow: Duration) {
    let authority = Authority::new();
    let remote = Remote::start_tls(&authority);
    let proxy = relay(port_of(&remote), move |client| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if client.read_exact(&mut byte).is_err() {
                return;
            }
            head.push(byte[0]);
        }
        pass(slow);
        let _ = client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
    });
    let port = port_of(&remote);
    check_delivers(start(&authority, remote, (port, Some(proxy))));
}
