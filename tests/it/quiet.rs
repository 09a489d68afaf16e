//! What is logged, and what never is.

use rstest::rstest;
use sandbox::{Answer, Authority, Launch, Platform, Proxy, Remote};

use crate::dialect::Dialect::{self, Otlp, Thundra};
use crate::trial::{ARRAY, COMPOSITE, PATIENCE, Trial, binary};

#[rstest]
fn a_healthy_sandbox_logs_nothing_at_the_default_level(#[values(Thundra, Otlp)] dialect: Dialect) {
    let trial = dialect.start();
    for _ in 0..5 {
        trial.platform.invoke(PATIENCE);
        trial.report(ARRAY, "[1]");
        trial.report(COMPOSITE, r#"{"a":1}"#);
    }
    trial.items_received(10);
    assert_eq!(trial.shut_down(), "");
}

#[rstest]
fn no_line_at_any_level_holds_a_key_a_header_or_a_body(#[values(Thundra, Otlp)] dialect: Dialect) {
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
    for status in [200, 401, dialect.failure()] {
        let remote = Remote::start_tls(&authority);
        let trial = dialect.start_on(Platform::start(), remote, &environment);
        trial.remote.answer_with(move |_| Answer::status(status));
        trial.platform.invoke(PATIENCE);
        trial.report(ARRAY, r#"["bodys-secret"]"#);
        trial.received(1);
        let headers = "X-Secret: headers-secret\r\nConnection: close\r\n";
        assert_eq!(trial.post_with(headers, ARRAY, "[1]").status, 200);
        trial.received(2);
        let health = trial.health().to_string();
        let log = trial.shut_down();
        let took = format!("took {} bytes", dialect.report(ARRAY, "[1]").body.len());
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
fn lines_are_json_where_the_functions_log_format_is() {
    let trial = Trial::with(&[
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ("AWS_LAMBDA_LOG_LEVEL", "DEBUG"),
        ("THUNDRA_EXTENSION_FLUSH", "say \"never\""),
    ]);
    trial.report(ARRAY, "[1]");
    trial.received(1);
    let log = trial.shut_down();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let levels: Vec<&str> = lines.iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert!(levels.contains(&"WARN") && levels.contains(&"DEBUG"), "{log}");
    for line in lines {
        assert_eq!(line["logger"], "thundra-lambda-extension");
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(timestamp.starts_with("20") && timestamp.ends_with('Z'), "{timestamp}");
    }
}

#[test]
fn lines_are_text_and_carry_the_extensions_name_otherwise() {
    let trial = Trial::with(&[("THUNDRA_EXTENSION_LOG_LEVEL", "info")]);
    trial.report(ARRAY, "[1]");
    trial.received(1);
    let line = "[thundra-lambda-extension] INFO delivered 1 of 1 accepted reports\n";
    assert_eq!(trial.shut_down(), line);
}

#[test]
fn at_level_off_not_even_an_error_is_logged() {
    let process = Launch::of(binary()).env("THUNDRA_EXTENSION_LOG_LEVEL", "off").start();
    assert!(!process.exit(PATIENCE).success());
    assert_eq!(process.log(), "");
}
