//! The proxy, from the view of a raw client.

use local_lambda::agent::Connection;
use local_lambda::{Proxy, Remote};

use crate::SOON;
use crate::remote::port;

fn open(proxy: &Proxy) -> Connection {
    let address = proxy.url();
    Connection::open_at(address.trim_start_matches("http://").parse().unwrap())
}

#[test]
fn bytes_go_through_a_tunnel_both_ways() {
    let (proxy, remote) = (Proxy::start(), Remote::start());
    let target = format!("localhost:{}", port(&remote));
    let mut connection = open(&proxy);
    let get = "GET /v1/x HTTP/1.1\r\nConnection: close\r\n\r\n";
    // In one write, because a client that knows the proxy need not wait for its answer.
    connection.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n{get}").as_bytes());
    assert_eq!(remote.wait_for(1, SOON)[0].path, "/v1/x");
    assert!(connection.is_closed(SOON), "the remote's close is passed on");
    assert_eq!(proxy.tunnels(), [target]);
    assert_eq!(proxy.authorizations(), [None]);
}

#[test]
fn a_tunnel_ends_with_its_client() {
    let (proxy, remote) = (Proxy::start(), Remote::start());
    remote.answer_with(|_| local_lambda::Answer::Hang);
    let mut connection = open(&proxy);
    connection.send(format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n\r\n", port(&remote)).as_bytes());
    connection.send(b"GET / HTTP/1.1\r\n\r\n");
    remote.wait_for(1, SOON);
    connection.half_close();
    assert!(connection.is_closed(SOON));
}

#[test]
fn missing_credentials_are_demanded() {
    let (proxy, remote) = (Proxy::start().requiring("aladdin", "opensesame"), Remote::start());
    let connect = format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n", port(&remote));
    let mut connection = open(&proxy);
    connection.send(format!("{connect}\r\n").as_bytes());
    let refusal = connection.response();
    assert_eq!(refusal.status, 407);
    assert_eq!(refusal.header("proxy-authenticate"), Some("Basic realm=\"local-lambda\""));

    // The credentials from RFC 7617, section 2.
    let basic = "Basic YWxhZGRpbjpvcGVuc2VzYW1l";
    let get = "GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
    connection.send(format!("{connect}Proxy-Authorization: {basic}\r\n\r\n{get}").as_bytes());
    remote.wait_for(1, SOON);
    assert_eq!(proxy.authorizations(), [None, Some(basic.to_owned())]);
}

#[test]
fn an_unreachable_target_is_a_bad_gateway() {
    let proxy = Proxy::start();
    let target = format!("127.0.0.1:{}", local_lambda::free_port());
    let mut connection = open(&proxy);
    connection.send(format!("CONNECT {target} HTTP/1.1\r\n\r\n").as_bytes());
    assert_eq!(connection.response().status, 502);
    connection.send(format!("GET http://{target}/ HTTP/1.1\r\n\r\n").as_bytes());
    assert_eq!(connection.response().status, 502);
    connection.send(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(connection.response().status, 400, "it is no server");
    assert_eq!(proxy.tunnels(), [target]);
}

#[test]
fn requests_with_a_whole_url_are_forwarded_on_a_connection_that_is_kept() {
    let proxy = Proxy::start().refusing_tunnels().requiring("aladdin", "opensesame");
    let remote = Remote::start();
    remote.answer_with(|it| local_lambda::Answer::status(201).body(it.body.clone()));
    let target = format!("127.0.0.1:{}", port(&remote));
    let basic = "Proxy-Authorization: Basic YWxhZGRpbjpvcGVuc2VzYW1l\r\n";
    let mut connection = open(&proxy);
    for body in ["a", "bc"] {
        let length = body.len();
        let head = format!("POST http://{target}/v1/x?y HTTP/1.1\r\nHost: {target}\r\n{basic}");
        connection.send(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes());
        let response = connection.response();
        assert_eq!((response.status, &*response.body), (201, body.as_bytes()));
    }
    let received = remote.received();
    assert_eq!(received[0].path, "/v1/x?y");
    assert_eq!(received[0].header("Host"), Some(&*target));
    assert_eq!(received[0].header("Proxy-Authorization"), None);
    connection.send(format!("CONNECT {target} HTTP/1.1\r\n{basic}\r\n").as_bytes());
    assert_eq!(connection.response().status, 403);
    assert_eq!(proxy.forwarded().len(), 2);
    assert_eq!((proxy.tunnels(), proxy.connections()), (vec![target], vec![0; 3]));
}
