//! What reaches the remote, in which order, and what becomes of what does not.

use std::time::{Duration, Instant};

use sandbox::{Answer, Authority, Platform, Remote, agent};

use crate::trial::{ARRAY, COMPOSITE, PATIENCE, SHUTDOWN, Trial, nowhere, text};

#[test]
fn reports_arrive_in_order_on_one_connection_each_at_its_own_route() {
    let trial = Trial::start();
    let bodies: Vec<String> = (0..40).map(|n| format!("[{n}]")).collect();
    for (n, body) in bodies.iter().enumerate() {
        trial.report(if n % 2 == 0 { ARRAY } else { COMPOSITE }, body);
    }
    let received = trial.received(40);
    for (n, (request, body)) in received.iter().zip(&bodies).enumerate() {
        assert_eq!(request.path, if n % 2 == 0 { ARRAY } else { COMPOSITE });
        assert_eq!(text(&request.body), body);
    }
    assert_eq!(trial.remote.connections(), 1);
    trial.shut_down();
}

#[test]
fn over_tls_too_one_connection_serves_all_reports() {
    let authority = Authority::new();
    let ca = authority.pem_file().to_str().unwrap().to_owned();
    let remote = Remote::start_tls(&authority);
    let trial = Trial::on(Platform::start(), remote, &[("SSL_CERT_FILE", &ca)]);
    for _ in 0..10 {
        trial.report(ARRAY, r#"["täxt"]"#);
    }
    assert_eq!(trial.bodies_received(10), [r#"["täxt"]"#; 10]);
    assert_eq!(trial.remote.connections(), 1);
    trial.shut_down();
}

#[test]
fn only_three_headers_travel_on() {
    let trial = Trial::start();
    let request = "POST /v1/monitoring-data?x=1 HTTP/1.1\r\nhost: a\r\nCONTENT-TYPE: application/x\r\n\
                   authorization: ApiKey mine\r\nContent-Encoding: gzip\r\nX-Thundra-Trace-Id: t\r\n\
                   Cookie: c\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngzip";
    assert_eq!(agent::request(trial.port, request.as_bytes()).status, 200);
    let received = trial.received(1).pop().unwrap();
    assert_eq!(received.path, ARRAY);
    assert_eq!(received.header("Content-Type"), Some("application/x"));
    assert_eq!(received.header("Authorization"), Some("ApiKey mine"));
    assert_eq!(received.header("Content-Encoding"), Some("gzip"));
    assert_eq!(received.headers.len(), 6, "{:?}", received.headers);
    trial.shut_down();
}

#[test]
fn a_remote_that_refuses_does_not_slow_agents_and_is_one_line() {
    let trial = Trial::with(&[("THUNDRA_EXTENSION_COLLECTOR_URL", &nowhere())]);
    for _ in 0..5 {
        trial.platform.invoke(PATIENCE);
        trial.report(ARRAY, "[1]");
    }
    let log = trial.shut_down();
    assert_eq!(log.matches("cannot deliver to the remote").count(), 1, "{log}");
    assert!(log.contains("delivered 0 of 5 accepted reports, lost: 5 unsent"), "{log}");
}

#[test]
fn a_remote_that_never_answers_holds_up_neither_agents_nor_invocations_nor_the_end() {
    let trial = Trial::start();
    trial.remote.answer_with(|_| Answer::Hang);
    for _ in 0..5 {
        trial.platform.invoke(PATIENCE);
        let posted = Instant::now();
        trial.report(ARRAY, "[1]");
        assert!(posted.elapsed() < SHUTDOWN, "the attempt itself takes 3 s");
        trial.platform.wait_for_next(PATIENCE);
    }
    trial.received(1);
    let asked = Instant::now();
    let log = trial.shut_down();
    assert!(asked.elapsed() < Duration::from_secs(3), "an attempt alone may take 3 s");
    assert!(log.contains("delivered 0 of 5 accepted reports, lost: 5 unsent"), "{log}");
}

#[test]
fn one_answer_that_never_comes_does_not_cost_the_reports_behind_it_at_shutdown() {
    let trial = Trial::with(&[("THUNDRA_EXTENSION_LOG_LEVEL", "info")]);
    trial.remote.answer_with(|it| if it.connection == 0 { Answer::Hang } else { Answer::ok() });
    for n in 1..=4 {
        trial.report(ARRAY, &format!("[{n}]"));
    }
    trial.received(1);
    trial.platform.shutdown("spindown", SHUTDOWN);
    assert!(trial.process.exit(PATIENCE).success());
    assert_eq!(trial.bodies_received(5), ["[1]", "[1]", "[2]", "[3]", "[4]"]);
    let log = trial.process.log();
    assert!(log.contains("INFO delivered 4 of 4 accepted reports"), "{log}");
    assert!(log.contains("no answer when the sandbox ended"), "{log}");
}

#[test]
fn a_report_that_the_remote_refuses_does_not_cost_those_behind_it_at_shutdown() {
    let trial = Trial::start();
    trial.remote.answer_with(|it| Answer::status(if it.body == b"[1]" { 500 } else { 200 }));
    for n in 1..=3 {
        trial.report(ARRAY, &format!("[{n}]"));
        trial.received(n);
    }
    let log = trial.shut_down();
    assert!(log.contains("delivered 2 of 3 accepted reports, lost: 1 unsent"), "{log}");
}

#[test]
fn an_answer_whose_body_never_ends_is_an_answer_and_holds_up_nothing() {
    let trial = Trial::start();
    trial.remote.answer_with(|_| {
        Answer::HalfAnswer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec())
    });
    for n in 1..=3 {
        trial.report(ARRAY, &format!("[{n}]"));
    }
    assert_eq!(trial.bodies_received(3), ["[1]", "[2]", "[3]"]);
    assert_eq!(trial.shut_down(), "");
}

#[test]
fn what_a_failing_remote_did_not_take_is_sent_again_in_order_when_it_is_back() {
    let trial = Trial::start();
    trial.remote.answer_with(|_| Answer::status(500));
    trial.report(ARRAY, "[1]");
    trial.received(1);
    trial.report(ARRAY, "[2]");
    trial.received(2);
    trial.remote.answer_with(|_| Answer::ok());
    trial.platform.invoke(PATIENCE);
    let bodies = trial.bodies_received(4);
    assert_eq!(bodies, ["[1]", "[1]", "[1]", "[2]"]);
    let log = trial.shut_down();
    assert!(log.contains("cannot deliver to the remote: it answered 500"), "{log}");
    assert!(log.contains("the remote is back") && !log.contains("lost"), "{log}");
}

#[test]
fn what_is_left_is_sent_at_shutdown() {
    let trial = Trial::with(&[("THUNDRA_EXTENSION_LOG_LEVEL", "info")]);
    trial.remote.answer_with(|_| Answer::status(503));
    for n in 1..=3 {
        trial.report(ARRAY, &format!("[{n}]"));
        trial.received(n);
    }
    let remote = &trial.remote;
    remote.answer_with(|_| Answer::ok());
    trial.platform.shutdown("spindown", SHUTDOWN);
    assert!(trial.process.exit(PATIENCE).success());
    let bodies = trial.bodies_received(6);
    assert_eq!(bodies[3..], ["[1]", "[2]", "[3]"]);
    let log = trial.process.log();
    assert!(log.contains("INFO delivered 3 of 3 accepted reports"), "{log}");
}

#[test]
fn a_slow_remote_at_shutdown_gets_what_fits_and_the_rest_is_counted_in_time() {
    let trial = Trial::start();
    trial.remote.answer_with(|_| Answer::ok().after(Duration::from_millis(600)));
    for n in 0..5 {
        trial.report(ARRAY, &format!("[{n}]"));
    }
    let log = trial.shut_down();
    assert!(log.contains(" of 5 accepted reports, lost: "), "{log}");
    assert!(!log.contains("delivered 0 of 5"), "{log}");
}

#[test]
fn what_the_remote_will_never_take_is_dropped_and_counted_with_its_reason() {
    for (status, reason) in
        [(401, "unauthorized"), (403, "unauthorized"), (413, "too_large"), (400, "rejected")]
    {
        let trial = Trial::start();
        trial
            .remote
            .answer_with(move |it| Answer::status(if it.body == b"[1]" { status } else { 200 }));
        trial.report(ARRAY, "[1]");
        trial.report(ARRAY, "[2]");
        assert_eq!(trial.bodies_received(2), ["[1]", "[2]"], "{status} is not tried again");
        let log = trial.shut_down();
        assert!(log.contains(&format!("the remote answered {status}")), "{log}");
        let line = format!("delivered 1 of 2 accepted reports, lost: 1 {reason}");
        assert!(log.contains(&line), "{log}");
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Remote::start();
    let target = format!("{}/monitoring-data", elsewhere.base_url());
    let trial = Trial::start();
    trial.remote.answer_with(move |_| Answer::status(302).header("Location", target.clone()));
    trial.report(ARRAY, "[1]");
    trial.received(1);
    let log = trial.shut_down();
    assert!(log.contains("lost: 1 rejected"), "{log}");
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn a_connection_that_died_while_idle_costs_no_report_and_no_line() {
    let trial = Trial::start();
    trial.remote.answer_with(|it| {
        // The first connection dies after its first answer.
        if it.connection == 0 && it.body == b"[2]" { Answer::Reset } else { Answer::ok() }
    });
    trial.report(ARRAY, "[1]");
    trial.received(1);
    trial.report(ARRAY, "[2]");
    trial.report(ARRAY, "[3]");
    let bodies = trial.bodies_received(4);
    assert_eq!(bodies, ["[1]", "[2]", "[2]", "[3]"]);
    assert_eq!(trial.shut_down(), "");
}

#[test]
fn a_remote_that_comes_and_goes_is_not_a_line_each_time() {
    let trial = Trial::start();
    for n in 0..10 {
        trial.remote.answer_with(|_| Answer::status(503));
        trial.report(ARRAY, "[1]");
        trial.received(3 * n + 1);
        trial.remote.answer_with(|_| Answer::ok());
        trial.report(ARRAY, "[2]");
        trial.received(3 * n + 3);
    }
    let log = trial.shut_down();
    assert_eq!(log.matches("cannot deliver to the remote").count(), 1, "{log}");
    assert_eq!(log.matches("the remote is back").count(), 1, "{log}");
}

#[test]
fn half_an_answer_is_no_answer() {
    let trial = Trial::start();
    trial.remote.answer_with(|_| Answer::HalfAnswer(b"HTTP/1.1 200 O".to_vec()));
    trial.report(ARRAY, "[1]");
    trial.received(1);
    trial.remote.answer_with(|_| Answer::ok());
    trial.report(ARRAY, "[2]");
    let bodies = trial.bodies_received(3);
    assert_eq!(bodies, ["[1]", "[1]", "[2]"]);
    trial.shut_down();
}
