//! Every variable with good and bad values, with the real binary.

use std::fs;
use std::net::TcpListener;

use local_lambda::{Authority, EventType, Launch, Platform, Proxy, Remote, agent, free_port};
use rstest::rstest;

use crate::support::fixture::{
    ARRAY, Fixture, PATIENCE, SHUTDOWN, binary, items_at, report_of, retry_after_standstill,
};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};
use crate::support::two_remotes::TwoRemotes;

#[test]
fn enabled_false_registers_and_polls_and_does_nothing_else() {
    let platform = Platform::start();
    let port = free_port();
    let process = Launch::of(binary())
        .on(&platform)
        .env("thundra_extension_enabled", "False")
        .env("THUNDRA_EXTENSION_PORT", port.to_string())
        .start();
    assert_eq!(
        platform.registration(PATIENCE).events,
        [EventType::Shutdown],
        "no wake-up per invocation"
    );
    platform.wait_for_next(PATIENCE);
    TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    platform.shutdown("spindown", SHUTDOWN);
    assert!(process.exit(PATIENCE).success());
    assert_eq!(process.log(), "");
}

#[test]
fn collector_url_names_the_remote_with_and_without_a_trailing_slash() {
    let other = Remote::start();
    let url = format!("{}/", other.base_url());
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_COLLECTOR_URL", &url)]);
    fixture.report(ARRAY, "[1]");
    assert_eq!(other.wait_for(1, PATIENCE)[0].path, ARRAY);
    assert_eq!(fixture.shut_down(), "");
    assert_eq!(other.received().len(), 1);
}

#[test]
fn the_agents_base_url_is_the_remote_in_any_spelling_unless_it_is_this_collector() {
    for name in [
        "THUNDRA_AGENT_REPORT_REST_BASEURL",
        "thundra_agent_lambda_report_rest_baseUrl",
        "CATCHPOINT_REPORT_REST_BASEURL",
    ] {
        let (platform, remote, port) = (Platform::start(), Remote::start(), free_port());
        let process = Launch::of(binary())
            .on(&platform)
            .env("THUNDRA_EXTENSION_PORT", port.to_string())
            .env(name, remote.base_url())
            .start();
        platform.wait_for_next(PATIENCE);
        assert_eq!(agent::post(port, ARRAY, b"[1]").status, 200);
        remote.wait_for(1, PATIENCE);
        platform.shutdown("spindown", SHUTDOWN);
        assert!(process.exit(PATIENCE).success());
    }
}

/// The proxy sees the host, which does not exist.
#[rstest]
#[case::of_the_collector("eu-west-2", "HTTPS_PROXY", "127.0.0.1")]
#[case::of_the_proxy_too("localhost", "THUNDRA_EXTENSION_PROXY", "{region}")]
fn the_region_replaces_its_placeholder_in_the_url(
    #[case] region: &str,
    #[case] variable: &str,
    #[case] host: &str,
) {
    let proxy = Proxy::start();
    let url = proxy.url().replace("127.0.0.1", host);
    let fixture = Fixture::with(&[
        ("AWS_REGION", region),
        ("THUNDRA_EXTENSION_COLLECTOR_URL", "https://{region}.collector.example.com/v1"),
        (variable, &url),
    ]);
    fixture.report(ARRAY, "[1]");
    fixture.wait_for_log("cannot deliver to");
    // On a busy machine the extension may ask more than once.
    let asked = format!("{region}.collector.example.com:443");
    let tunnels = proxy.tunnels();
    assert!(!tunnels.is_empty() && tunnels.iter().all(|it| *it == asked), "{tunnels:?}");
    fixture.shut_down();
}

/// Checks that a report is refused at once and counted, and that one line of the log contains `part`. The
/// extension must not use an agent's own base URL instead.
#[track_caller]
fn refuses_with(variables: &[(&str, &str)], part: &str) {
    let other = Remote::start();
    let agents = ("THUNDRA_AGENT_REPORT_REST_BASEURL", other.base_url());
    let with_agents = [variables, &[(agents.0, agents.1.as_str())]].concat();
    let fixture = Fixture::with(&with_agents);
    for _ in 0..3 {
        assert_eq!(fixture.post(ARRAY, "[1]").status, 404);
    }
    assert_eq!(fixture.health()["reports"]["refused"]["no_remote"], 3);
    let log = fixture.shut_down();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(part)).collect();
    assert!(lines.len() == 1 && log.contains("lost: 3 refused as no_remote"), "{log}");
    assert!(
        lines[0].contains("THUNDRA_EXTENSION_COLLECTOR_URL") && !log.contains("s3cret"),
        "{log}"
    );
    assert_eq!((log.lines().count(), other.connections()), (2, 0), "{log}");
}

#[rstest]
#[case::without_a_scheme("s3cret", "it does not start with http:// or https://")]
#[case::with_a_password("https://user:s3cret@example.com/v1", "a user name or a password")]
#[case::with_a_query("https://example.com/v1?key=s3cret", "a query")]
#[case::with_a_region_that_is_no_label("https://{region}.example.com/v1", "AWS_REGION")]
fn an_invalid_collector_url_is_replaced_by_no_other(#[case] url: &str, #[case] why: &str) {
    refuses_with(&[("THUNDRA_EXTENSION_COLLECTOR_URL", url), ("AWS_REGION", "a.b")], why);
}

#[test]
fn a_port_of_the_extension_itself_is_no_remote() {
    let port = free_port().to_string();
    let own = format!("http://localhost:{port}/v1");
    for name in ["THUNDRA_EXTENSION_PORT", "THUNDRA_EXTENSION_OTLP_PORT"] {
        let variables = [
            (name, port.as_str()),
            ("THUNDRA_EXTENSION_OTLP_ENDPOINT", "http://127.0.0.1:9"),
            ("THUNDRA_EXTENSION_COLLECTOR_URL", &own),
        ];
        let platform = Platform::start();
        let launch = Launch::of(binary())
            .on(&platform)
            .env("THUNDRA_EXTENSION_PORT", free_port().to_string());
        let process =
            variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).start();
        platform.wait_for_next(PATIENCE);
        platform.shutdown("spindown", SHUTDOWN);
        assert!(process.exit(PATIENCE).success());
        let line =
            "cannot use THUNDRA_EXTENSION_COLLECTOR_URL: it is the port of this extension itself";
        assert!(process.log().contains(line), "{name}: {}", process.log());
    }
}

#[test]
fn flush_accepts_its_names_and_logs_the_replacement_of_any_other() {
    for known in ["default", "continuously"] {
        let fixture = Fixture::with(&[("THUNDRA_EXTENSION_FLUSH", known)]);
        fixture.report(ARRAY, "[1]");
        fixture.received(1);
        assert_eq!(fixture.shut_down(), "");
    }
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_FLUSH", "hourly")]);
    fixture.report(ARRAY, "[1]");
    fixture.received(1);
    let log = fixture.shut_down();
    assert!(log.contains("THUNDRA_EXTENSION_FLUSH holds \"hourly\""), "{log}");
}

#[rstest]
#[case::as_configured("THUNDRA_EXTENSION_BUFFER", "512KiB", 512 * 1024)]
#[case::of_128_mb("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128", 4 << 20)]
#[case::of_256_mb("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256", 8 << 20)]
#[case::of_10_gb("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "10240", 16 << 20)]
fn health_shows_the_buffer_which_is_by_default_a_share_of_the_functions_memory(
    #[case] name: &str,
    #[case] value: &str,
    #[case] size: usize,
) {
    let fixture = Fixture::with(&[(name, value)]);
    assert_eq!(fixture.health()["buffer"]["size"], size);
    fixture.shut_down();
}

#[test]
fn port_is_where_the_collector_listens() {
    // Every fixture sets this variable. This test checks that the extension opens no other port.
    let fixture = Fixture::start();
    let own = [fixture.port];
    assert_eq!(listening_ports(fixture.process.pid()), own);
    fixture.shut_down();
}

/// The local TCP ports on which a process listens, from procfs.
fn listening_ports(pid: u32) -> Vec<u16> {
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|it| fs::read_link(it.ok()?.path()).ok()?.to_str().map(ToOwned::to_owned))
        .collect();
    let mut ports = Vec::new();
    for table in ["tcp", "tcp6"] {
        for line in fs::read_to_string(format!("/proc/net/{table}")).unwrap().lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let is_listening = columns[3] == "0A";
            if is_listening && sockets.contains(&format!("socket:[{}]", columns[9])) {
                let port = columns[1].rsplit_once(':').unwrap().1;
                ports.push(u16::from_str_radix(port, 16).unwrap());
            }
        }
    }
    ports.dedup();
    ports
}

#[test]
fn log_level_is_its_variable_then_the_agents_debug_switch_then_lambdas() {
    let cases: [(&[(&str, &str)], bool); 5] = [
        (&[], false),
        (&[("AWS_LAMBDA_LOG_LEVEL", "DEBUG")], true),
        (&[("THUNDRA_AGENT_DEBUG_ENABLE", "true")], true),
        (&[("thundra_lambda_debug_enable", "true"), ("AWS_LAMBDA_LOG_LEVEL", "ERROR")], true),
        (&[("THUNDRA_EXTENSION_LOG_LEVEL", "warn"), ("AWS_LAMBDA_LOG_LEVEL", "DEBUG")], false),
    ];
    for (environment, is_debug) in cases {
        let log = Fixture::with(environment).shut_down();
        assert_eq!(log.contains("DEBUG"), is_debug, "{environment:?}:\n{log}");
    }
}

#[test]
fn proxy_is_used_for_the_remote_and_never_for_the_runtime_api() {
    let authority = Authority::new();
    let ca = authority.pem_file().to_str().unwrap().to_owned();
    let proxy = Proxy::start().requiring("user", "pass word");
    let url = proxy.url().replace("http://", "http://user:pass%20word@");
    let remote = Remote::start_tls(&authority);
    let target = remote.base_url().replace("https://", "").replace("/v1", "");
    let environment = [
        ("SSL_CERT_FILE", ca.as_str()),
        ("THUNDRA_EXTENSION_PROXY", &url),
        ("HTTP_PROXY", "http://127.0.0.1:9"),
        ("HTTPS_PROXY", "http://127.0.0.1:9"),
        ("NO_PROXY", "*"),
    ];
    let fixture = Fixture::on(Platform::start(), remote, &environment);
    fixture.report(ARRAY, "[1]");
    assert_eq!(fixture.bodies_received(1), ["[1]"]);
    assert_eq!(proxy.tunnels(), [target]);
    assert_eq!(fixture.shut_down(), "");
}

/// By default, Squid allows a tunnel only to port 443.
#[rstest]
fn a_proxy_gets_the_whole_url_of_a_plain_http_remote_and_only_its_own_credentials(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let proxy = Proxy::start().refusing_tunnels().requiring("user", "pass word");
    let url = proxy.url().replace("http://", "http://user:pass%20word@");
    // The SDK needs this, because it reaches the extension at localhost. The remote's host is 127.0.0.1.
    let fixture = protocol.start_with(&[("HTTP_PROXY", &url), ("NO_PROXY", "localhost")]);
    for nth in 1..=3 {
        fixture.report(ARRAY, "[1]");
        fixture.received(nth);
        fixture.wait_for_an_empty_buffer();
    }
    let target = fixture.remote.origin().replace("http://", "");
    let path = protocol.path(ARRAY);
    assert_eq!(proxy.forwarded(), vec![format!("http://{target}{path}"); 3]);
    assert_eq!((proxy.tunnels(), proxy.connections()), (Vec::<String>::new(), vec![0; 3]));
    for received in fixture.remote.received() {
        assert_eq!((&*received.path, received.header("Host")), (path, Some(&*target)));
        assert_eq!(received.header("Proxy-Authorization"), None);
        assert_eq!(received.header("Authorization"), Some("ApiKey test-key"));
    }
    assert_eq!(fixture.shut_down(), "");
}

/// A proxy that requires other credentials has forwarded nothing, so the report waits.
#[rstest]
fn a_proxy_that_refuses_the_credentials_costs_no_report(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let proxy = Proxy::start().requiring("user", "password");
    let url = proxy.url().replace("http://", "http://user:s3cret@");
    let fixture = protocol.start_with(&[("HTTP_PROXY", &url)]);
    fixture.report(ARRAY, "[1]");
    let line = fixture.process.wait_for_log("407 Proxy Authentication Required", PATIENCE);
    assert!(!line.contains("s3cret"), "{line}");
    assert_eq!(fixture.health()[protocol.account()]["pending"], 1);
    fixture.shut_down();
}

#[test]
fn the_usual_proxy_variables_count_and_no_proxy_exempts() {
    let proxy = Proxy::start();
    let fixture =
        Fixture::with(&[("http_proxy", &proxy.url()), ("HTTPS_PROXY", "http://127.0.0.1:9")]);
    fixture.report(ARRAY, "[1]");
    fixture.received(1);
    assert_eq!(proxy.forwarded().len(), 1);
    fixture.shut_down();
    let exempt =
        Fixture::with(&[("HTTP_PROXY", &proxy.url()), ("no_proxy", "example.com,127.0.0.1")]);
    exempt.report(ARRAY, "[1]");
    exempt.received(1);
    assert_eq!(proxy.forwarded().len(), 1, "not asked again");
    exempt.shut_down();
}

#[test]
fn ssl_cert_file_adds_roots_and_without_it_a_private_authority_is_not_trusted() {
    retry_after_standstill(|| {
        let authority = Authority::new();
        let fixture = Fixture::on(Platform::start(), Remote::start_tls(&authority), &[]);
        fixture.report(ARRAY, "[1]");
        let line = fixture.process.wait_for_log("cannot deliver to http", PATIENCE);
        assert!(line.contains("UnknownIssuer"), "{line}");
        let log = fixture.shut_down();
        assert!(log.contains("1 unsent"), "{log}");
        // `delivery::one_tls_connection_serves_all_reports` proves that the file makes it trusted.
    });
}

#[test]
fn a_bad_ssl_cert_file_is_one_line_when_it_is_first_needed() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "no certificate").unwrap();
    let missing = folder.path().join("missing.pem");
    for (path, why) in [(&empty, "no certificate in pem form"), (&missing, "No such file")] {
        let authority = Authority::new();
        let path = path.to_str().unwrap();
        let environment = [("SSL_CERT_FILE", path)];
        let fixture = Fixture::on(Platform::start(), Remote::start_tls(&authority), &environment);
        assert_eq!(fixture.process.log(), "", "not looked at before a report has to be sent");
        fixture.report(ARRAY, "[1]");
        let line = fixture.process.wait_for_log("SSL_CERT_FILE", PATIENCE);
        assert!(line.contains(path) && line.contains(why), "{line}");
        // At the end the extension sends all reports again, on a new connection.
        let log = fixture.shut_down();
        assert_eq!(log.matches("SSL_CERT_FILE").count(), 1, "{log}");
    }
}

#[test]
fn a_bad_ssl_cert_file_is_one_line_however_many_remotes_there_are() {
    let both = TwoRemotes::with(&[("SSL_CERT_FILE", "/no/such/file")]);
    for protocol in [Thundra, Otlp] {
        both.report(protocol, "[1]");
    }
    both.fixture
        .wait_for_health(|it| ["reports", "otlp"].iter().all(|name| it[name]["delivered"] == 1));
    let log = both.fixture.shut_down();
    assert_eq!(log.matches("SSL_CERT_FILE").count(), 1, "{log}");
}

#[test]
fn trust_all_certificates_accepts_any_and_warns() {
    let remote = Remote::start_tls(&Authority::new());
    let environment = [("THUNDRA_EXTENSION_TRUST_ALL_CERTIFICATES", "true")];
    let fixture = Fixture::on(Platform::start(), remote, &environment);
    fixture.report(ARRAY, "[1]");
    assert_eq!(fixture.bodies_received(1), ["[1]"]);
    let log = fixture.shut_down();
    assert!(log.contains("the remote's certificate is not checked"), "{log}");
}

#[test]
fn the_key_is_the_requests_own_or_else_the_environments() {
    for (name, key) in [("thundra_apiKey", "k1"), ("CATCHPOINT_APIKEY", "k2")] {
        let fixture = Fixture::with(&[(name, key)]);
        for (nth, header) in ["", "Authorization: \r\n"].into_iter().enumerate() {
            let request = report_of(3, header, "[1]");
            assert_eq!(agent::request(fixture.port, request.as_bytes()).status, 200);
            fixture.received(nth + 1);
        }
        fixture.report(ARRAY, "[2]");
        let keys: Vec<_> = fixture
            .received(3)
            .iter()
            .map(|it| it.header("Authorization").unwrap().to_owned())
            .collect();
        let own = format!("ApiKey {key}");
        assert_eq!(keys, [&own, &own, "ApiKey test-key"]);
        fixture.shut_down();
    }
}

#[test]
fn each_obvious_mistake_in_a_name_or_value_is_one_line() {
    let remote = Remote::start();
    let quoted = format!("\"{}/monitoring-data\"", remote.base_url());
    let fixture = Fixture::with(&[
        ("THUNDRA_EXTENSION_COLLECTOR_URL", &quoted),
        ("THUNDRA_EXTENSION_FLUSH", "'continuously'"),
        ("THUNDRA_EXTENSION_LOG_LEVLE", "trace"),
        ("THUNDRA_EXTENSION_WRAPPER_OPTIONS", "-v"),
    ]);
    fixture.report(ARRAY, "[1]");
    assert_eq!(remote.wait_for(1, PATIENCE)[0].path, ARRAY);
    let log = fixture.shut_down();
    for part in [
        "THUNDRA_EXTENSION_LOG_LEVLE is not a variable of this extension, and is ignored; did you mean THUNDRA_EXTENSION_LOG_LEVEL?",
        "THUNDRA_EXTENSION_FLUSH holds quotation marks",
        "THUNDRA_EXTENSION_COLLECTOR_URL holds quotation marks",
        "THUNDRA_EXTENSION_COLLECTOR_URL ends in /monitoring-data",
    ] {
        assert!(log.contains(part), "{log}");
    }
    assert_eq!(log.lines().count(), 4, "{log}");
}

#[test]
fn with_invalid_values_in_all_variables_it_delivers_and_logs_the_defaults() {
    let rubbish = "\u{1}s3cret rubbish \u{fffd}\"{}";
    let names = [
        "THUNDRA_EXTENSION_ENABLED",
        "THUNDRA_EXTENSION_FLUSH",
        "THUNDRA_EXTENSION_BUFFER",
        "THUNDRA_EXTENSION_LOG_LEVEL",
        "THUNDRA_EXTENSION_PROXY",
        "THUNDRA_EXTENSION_TRUST_ALL_CERTIFICATES",
    ];
    let others = [
        "THUNDRA_APIKEY",
        "CATCHPOINT_APIKEY",
        "SSL_CERT_FILE",
        "HTTPS_PROXY",
        "NO_PROXY",
        "AWS_REGION",
        "AWS_LAMBDA_LOG_FORMAT",
        "AWS_LAMBDA_LOG_LEVEL",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "CATCHPOINT_DEBUG_ENABLE",
    ];
    let (platform, remote, port) = (Platform::start(), Remote::start(), free_port());
    let launch = Launch::of(binary())
        .on(&platform)
        .env("THUNDRA_EXTENSION_PORT", port.to_string())
        .env("THUNDRA_AGENT_REPORT_REST_BASEURL", remote.base_url());
    let process =
        names.iter().chain(&others).fold(launch, |launch, name| launch.env(name, rubbish)).start();
    for _ in 0..3 {
        platform.invoke(PATIENCE);
        assert_eq!(agent::post(port, ARRAY, b"[1]").status, 200);
    }
    items_at(&remote, 3);
    platform.shutdown("spindown", SHUTDOWN);
    assert!(process.exit(PATIENCE).success());
    let log = process.log();
    for name in names {
        let lines = log.lines().filter(|line| line.contains(name)).count();
        assert_eq!(lines, 1, "{name} in\n{log}");
    }
    for name in ["THUNDRA_EXTENSION_PROXY", "APIKEY"] {
        let leaking = log.lines().any(|line| line.contains(name) && line.contains("s3cret"));
        assert!(!leaking, "{log}");
    }
    assert_eq!(platform.violations(), Vec::<String>::new());
}

#[test]
fn a_bad_port_is_one_line() {
    let platform = Platform::start();
    let process = Launch::of(binary()).on(&platform).env("THUNDRA_EXTENSION_PORT", "80000").start();
    platform.wait_for_next(PATIENCE);
    platform.invoke(PATIENCE);
    platform.shutdown("spindown", SHUTDOWN);
    assert!(process.exit(PATIENCE).success());
    let line =
        "THUNDRA_EXTENSION_PORT holds \"80000\", which is not a port from 1 to 65535; 3333 is used";
    assert!(process.log().contains(line), "{}", process.log());
}
