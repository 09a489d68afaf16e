//! Connections of agents: which ones they keep, which addresses they try, and the cost of a failure.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::thread;

use local_lambda::agent::{Agent, Endpoint, Failure, Family, Localhost};
use local_lambda::{Answer, Authority, Remote, free_port};
use socket2::SockRef;

use super::{FAMILIES, OK, OTLP, receive, report};
use crate::remote::port;
use crate::{A_MOMENT, SOON};

#[test]
fn python_and_node_keep_their_connection_and_go_does_not() {
    for family in FAMILIES.into_iter().chain(OTLP) {
        let remote = Remote::start();
        let agent = Agent::local(family, port(&remote));
        let reused: Vec<bool> = (0..3).map(|_| report(&agent).attempts[0].reused).collect();
        let expected = if family == Family::Go { [false; 3] } else { [false, true, true] };
        assert_eq!(reused, expected, "{family:?}");
        assert_eq!(remote.connections(), if family == Family::Go { 3 } else { 1 }, "{family:?}");
    }
}

#[test]
fn go_closes_its_connection_without_waiting_for_the_server() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let agent = Agent::local(Family::Go, listener.local_addr().unwrap().port());
    thread::scope(|scope| {
        let reported = scope.spawn(|| report(&agent));
        let (_, mut stream) = receive(&listener);
        stream.write_all(OK).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        assert!(reported.join().unwrap().is_success());
    });
}

#[test]
fn an_agent_closes_a_connection_if_the_server_announces_it() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let agent = Agent::local(Family::Node, listener.local_addr().unwrap().port());
    let mut open = Vec::new();
    for _ in 0..2 {
        thread::scope(|scope| {
            let reported = scope.spawn(|| report(&agent));
            let (_, mut stream) = receive(&listener);
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n").unwrap();
            stream.write_all(b"Content-Length: 0\r\n\r\n").unwrap();
            assert!(reported.join().unwrap().is_success());
            open.push(stream);
        });
    }
}

#[test]
fn a_connection_that_the_server_closed_while_idle_is_replaced_without_a_failure() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let agent = Agent::local(Family::ThundraPython, listener.local_addr().unwrap().port());
    for _ in 0..2 {
        let reported = thread::scope(|scope| {
            let reported = scope.spawn(|| report(&agent));
            let (_, mut stream) = receive(&listener);
            stream.write_all(OK).unwrap();
            // With this the close waits until the agent's system has it.
            SockRef::from(&stream).set_linger(Some(SOON)).unwrap();
            reported.join().unwrap()
        });
        let outcomes: Vec<_> =
            reported.attempts.iter().map(|it| (it.reused, it.outcome.clone())).collect();
        assert_eq!(outcomes, [(false, Ok(200))]);
    }
}

#[track_caller]
pub fn check_attempts(family: Family, answers: &[Answer], expected: &[Result<u16, Failure>]) {
    let remote = Remote::start_scripted(answers.to_vec());
    let agent = Agent::local(family, port(&remote));
    let outcomes: Vec<_> = report(&agent).attempts.into_iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes, expected, "{family:?}");
    assert_eq!(remote.connections(), expected.len());
}

#[test]
fn only_node_and_opentelemetrys_python_retry_after_a_reset_and_only_once() {
    let reset = [Answer::Reset];
    for family in [Family::Node, Family::NodeComposite, Family::OtelPython] {
        check_attempts(family, &reset, &[Err(Failure::Reset), Ok(200)]);
        let closed = [Answer::HalfAnswer(Vec::new())];
        check_attempts(family, &closed, &[Err(Failure::Closed), Ok(200)]);
        let twice = [Answer::Reset, Answer::Reset];
        check_attempts(family, &twice, &[Err(Failure::Reset), Err(Failure::Reset)]);
    }
    for family in [Family::ThundraPython, Family::CatchpointPython, Family::Go, Family::OtelNode] {
        check_attempts(family, &reset, &[Err(Failure::Reset)]);
    }
}

#[test]
fn only_node_checks_the_status_and_accepts_only_200() {
    for family in FAMILIES {
        for status in [202, 401, 503] {
            let minds = matches!(family, Family::Node | Family::NodeComposite);
            let outcome = if minds { Err(Failure::Status(status)) } else { Ok(status) };
            check_attempts(family, &[Answer::status(status)], &[outcome]);
        }
    }
}

#[test]
fn a_collector_that_hangs_costs_the_agents_timeout() {
    for family in FAMILIES.into_iter().chain(OTLP) {
        let remote = Remote::start_scripted([Answer::Hang]);
        let reported = report(&Agent::local(family, port(&remote)).patience(A_MOMENT));
        assert_eq!(reported.failure(), Some(&Failure::TimedOut), "{family:?}");
        assert!(reported.took >= A_MOMENT, "{:?}", reported.took);
        assert_eq!(reported.attempts.len(), 1, "{family:?}");
    }
}

#[test]
fn go_waits_until_the_collector_closes() {
    let remote = Remote::start_scripted([Answer::Hang]);
    let agent = Agent::local(Family::Go, port(&remote));
    let reported = thread::scope(|scope| {
        let reported = scope.spawn(|| report(&agent));
        remote.wait_for(1, SOON);
        drop(remote);
        reported.join().unwrap()
    });
    assert_eq!(reported.failure(), Some(&Failure::Closed));
}

#[test]
fn nobody_listening_is_a_failure_at_once() {
    for family in FAMILIES {
        let reported = report(&Agent::local(family, free_port()));
        assert_eq!(reported.failure(), Some(&Failure::Refused), "{family:?}");
    }
}

#[test]
fn an_agent_that_tries_one_address_never_reaches_a_collector_without_ipv6() {
    let remote = Remote::start();
    let to = |localhost| Agent::to(Family::Node, Endpoint::local(port(&remote), localhost));
    assert!(!report(&to(Localhost::V6Only)).is_success());
    assert_eq!(remote.connections(), 0);
    assert!(report(&to(Localhost::V6First)).is_success());
    assert!(report(&to(Localhost::V4First)).is_success());
}

#[test]
fn the_first_address_of_localhost_is_tried_first() {
    let port = free_port();
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    // On a machine without IPv6, no order can be tested.
    let Ok(v6) = TcpListener::bind((Ipv6Addr::LOCALHOST, port)) else { return };
    for (localhost, listener) in [(Localhost::V6First, &v6), (Localhost::V4First, &v4)] {
        let agent = Agent::to(Family::Node, Endpoint::local(port, localhost)).patience(SOON);
        thread::scope(|scope| {
            let reported = scope.spawn(|| report(&agent));
            let (_, mut stream) = receive(listener);
            stream.write_all(OK).unwrap();
            assert!(reported.join().unwrap().is_success());
        });
    }
}

#[test]
fn a_remote_with_tls_is_reached_once_its_authority_is_trusted() {
    let authority = Authority::new();
    let remote = Remote::start_tls(&authority);
    let endpoint = Endpoint::remote(&remote.base_url()).unwrap();
    let reported = report(&Agent::to(Family::ThundraPython, endpoint.clone()));
    assert_eq!(reported.failure(), Some(&Failure::Other("no authority is trusted".to_owned())));
    let other = endpoint.clone().trusting(Authority::new().pem_file()).unwrap();
    let reported = report(&Agent::to(Family::ThundraPython, other));
    let failure = reported.failure().unwrap().to_string();
    assert!(failure.contains("invalid peer certificate"), "{failure}");
    let endpoint = endpoint.trusting(authority.pem_file()).unwrap();
    let agent = Agent::to(Family::ThundraPython, endpoint);
    let attempts = [report(&agent), report(&agent)].map(|it| it.attempts[0].clone());
    assert_eq!(attempts.clone().map(|attempt| attempt.outcome), [Ok(200), Ok(200)]);
    assert_eq!(attempts.map(|attempt| attempt.reused), [false, true]);
}

#[test]
fn a_file_without_certificates_can_not_be_trusted() {
    let endpoint = Endpoint::remote("https://localhost/v1").unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let message = endpoint.trusting(file.as_ref()).unwrap_err();
    let expected = format!("cannot trust the certificates in {file}: there are none");
    assert_eq!(message, expected);
}

#[test]
fn a_report_may_go_straight_to_a_remote() {
    let remote = Remote::start();
    let url = remote.base_url();
    let agent = Agent::to(Family::Node, Endpoint::remote(&url).unwrap());
    assert!(report(&agent).is_success());
    let received = &remote.received()[0];
    assert_eq!(received.path, "/v1/monitoring-data");
    assert_eq!(received.header("host"), Some(format!("127.0.0.1:{}", port(&remote)).as_str()));
    assert_eq!(received.header("x-catchpoint-resource-name"), Some("127.0.0.1/v1"));
}
