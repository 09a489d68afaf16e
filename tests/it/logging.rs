//! The lines that are logged, and text that never is.

use local_lambda::{Answer, Authority, Launch, Platform, Proxy, Remote, agent, free_port};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::fixture::{ARRAY, COMPOSITE, Fixture, PATIENCE, binary};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};

#[rstest]
fn a_healthy_environment_logs_nothing_at_the_default_level(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let fixture = protocol.start();
    for _ in 0..5 {
        fixture.platform.invoke(PATIENCE);
        fixture.report(ARRAY, "[1]");
        fixture.report(COMPOSITE, r#"{"a":1}"#);
    }
    fixture.items_received(10);
    assert_eq!(fixture.shut_down(), "");
}

#[rstest]
fn no_line_at_any_level_holds_a_key_a_header_or_a_body(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let authority = Authority::new();
    let ca = authority.pem_file().to_str().unwrap().to_owned();
    let proxy = Proxy::start().requiring("proxy-user", "proxy-password");
    let proxy_url = proxy.url().replace("http://", "http://proxy-user:proxy-password@");
    let environment = [
        ("THUNDRA_EXTENSION_LOG_LEVEL", "trace"),
        ("THUNDRA_APIKEY", "environments-key"),
        ("SSL_CERT_FILE", &ca),
        ("THUNDRA_EXTENSION_PROXY", &proxy_url),
        ("THUNDRA_EXTENSION_OTLP_HEADERS", "x-more=configureds-secret"),
    ];
    for status in [200, 401, protocol.failure()] {
        let remote = Remote::start_tls(&authority);
        let fixture = protocol.start_on(Platform::start(), remote, &environment);
        fixture.remote.answer_with(move |_| Answer::status(status));
        fixture.platform.invoke(PATIENCE);
        fixture.report(ARRAY, r#"["bodys-secret"]"#);
        fixture.received(1);
        let headers = "X-Secret: headers-secret\r\nConnection: close\r\n";
        assert_eq!(fixture.post_with(headers, ARRAY, "[1]").status, 200);
        fixture.received(2);
        let health = fixture.health().to_string();
        let log = fixture.shut_down();
        let took = format!("took {} bytes", protocol.report(ARRAY, "[1]").body.len());
        assert!(log.contains("TRACE") && log.contains(&took), "{log}");
        for secret in ["test-key", "environments-key", "proxy-user", "proxy-password", "s-secret"] {
            assert!(
                !log.contains(secret) && !health.contains(secret),
                "{secret} in\n{log}\n{health}"
            );
        }
    }
}

#[test]
fn lines_are_json_if_the_functions_log_format_is() {
    let fixture = Fixture::with(&[
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ("AWS_LAMBDA_LOG_LEVEL", "DEBUG"),
        ("THUNDRA_EXTENSION_FLUSH", "say \"never\""),
    ]);
    fixture.report(ARRAY, "[1]");
    fixture.received(1);
    let log = fixture.shut_down();
    let lines = json_lines(&log);
    let levels: Vec<&str> = lines.iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert!(levels.contains(&"WARN") && levels.contains(&"DEBUG"), "{log}");
    for line in lines {
        assert_eq!(line["logger"], "thundra-lambda-extension");
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(timestamp.starts_with("20") && timestamp.ends_with('Z'), "{timestamp}");
    }
}

#[track_caller]
fn json_lines(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[rstest]
fn json_lines_have_the_members_that_an_alarm_needs(#[values(Thundra, Otlp)] protocol: Protocol) {
    let fixture = protocol
        .start_with(&[("AWS_LAMBDA_LOG_FORMAT", "JSON"), ("THUNDRA_EXTENSION_LOG_LEVEL", "info")]);
    let statuses = [200, protocol.failure(), 200, 404, 401];
    fixture.remote.answer_with(move |it| Answer::status(statuses[it.number.min(4)]));
    for n in 1..=4 {
        fixture.report(ARRAY, "[1]");
        fixture.wait_for_account(|it| it["accepted"] == n && it["pending"] == 0);
    }
    for (path, status) in [(protocol.path(ARRAY), 200), ("/nowhere", 404)] {
        let head = "Host: a\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0";
        let empty = format!("POST {path} HTTP/1.1\r\n{head}\r\n\r\n");
        assert_eq!(agent::request(fixture.port, empty.as_bytes()).status, status);
    }
    let remote = fixture.remote.origin();
    let log = fixture.shut_down();
    let lines = json_lines(&log);
    let line = |part: &str| {
        let is_it = |line: &&Value| line["message"].as_str().unwrap().contains(part);
        lines.iter().find(is_it).unwrap_or_else(|| panic!("no {part} in {log}"))
    };
    assert_eq!(line("version ")["version"], env!("CARGO_PKG_VERSION"));
    for part in ["first delivery to ", "reports are kept and tried again", " is back"] {
        assert_eq!(line(part)["remote"], *remote, "{part}");
    }
    for (part, reason) in [("answered 404", "rejected"), ("answered 401", "unauthorized")] {
        assert_eq!(
            (&line(part)["remote"], &line(part)["reason"]),
            (&json!(remote), &json!(reason))
        );
    }
    let closing = line(&format!("{} to {remote}: 5 accepted", protocol.name()));
    let mut members = closing.as_object().unwrap().clone();
    members.retain(|name, _| !["timestamp", "logger", "message"].contains(&&**name));
    let expected = json!({
        "level": "WARN",
        "remote": remote,
        "protocol": protocol.name(),
        "accepted": 5,
        "refused": 1,
        "delivered": 2,
        "empty": 1,
        "lost": 3,
        "rejected_items": 0,
        "reason": "1 unauthorized (the remote refused the key), 1 rejected (the remote refused the report), 1 refused as unknown_path (nothing is at that path)",
        "version": env!("CARGO_PKG_VERSION"),
    });
    assert_eq!(Value::Object(members), expected);
}

/// Three lines: the configuration, the first delivery, and the counts at the end.
#[rstest]
fn a_healthy_environment_logs_at_info_its_configuration_and_first_delivery(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let otlp_port = free_port().to_string();
    let mut variables = vec![
        ("THUNDRA_EXTENSION_LOG_LEVEL", "info"),
        ("THUNDRA_EXTENSION_OTLP_HEADERS", "key=s3cret"),
        ("THUNDRA_EXTENSION_BUFFER", "2MiB"),
        ("THUNDRA_EXTENSION_FLUSH", "continuously"),
    ];
    if protocol == Thundra {
        // The headers open this port too. All tests share the default port, so this one needs another.
        variables.push((Otlp.port_variable(), &otlp_port));
    }
    let fixture = protocol.start_with(&variables);
    for n in 1..=5 {
        fixture.platform.invoke(PATIENCE);
        fixture.report(ARRAY, "[1]");
        fixture.wait_for_account(|it| it["delivered"] == n);
    }
    let (place, origin, port) = (fixture.place(), fixture.remote.origin(), fixture.port);
    let log = fixture.shut_down();
    let name = protocol.name();
    let of_its = |line: &&str| !line.contains(&format!("{} to ", protocol.other().name()));
    let lines: Vec<&str> = log.lines().filter(of_its).collect();
    let begins = "[thundra-lambda-extension] INFO ";
    let version = env!("CARGO_PKG_VERSION");
    let start = log.lines().next().unwrap();
    for part in [
        &*format!("{begins}version {version}: listens on port "),
        &format!("{port} for {name}"),
        &format!("{name} to {origin} (/v1/"),
        "; flush continuously; buffer 2048 KiB",
    ] {
        assert!(start.contains(part), "{part} is not in {log}");
    }
    let delivery = format!("{begins}first delivery to {place}: 1 report, ");
    let is_first = |line: &&&str| line.starts_with(&delivery) && line.ends_with(" acceptance");
    assert_eq!(lines.iter().filter(is_first).count(), 1, "{log}");
    let closing = format!("{begins}{name} to {origin}: 5 accepted, 5 delivered");
    assert_eq!(lines.last(), Some(&&*closing), "{log}");
    assert!(log.lines().count() <= 4 && !log.contains("s3cret"), "{log}");
}

#[test]
fn at_level_off_not_even_an_error_is_logged() {
    let process = Launch::of(binary()).env("THUNDRA_EXTENSION_LOG_LEVEL", "off").start();
    assert!(!process.exit(PATIENCE).success());
    assert_eq!(process.log(), "");
}
