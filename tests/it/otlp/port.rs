//! The port for OTLP, which is open only if OTLP is configured.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use local_lambda::otlp::{Encoding, Signal};
use local_lambda::{Footprint, Launch, Platform, Remote, free_port};
use rstest::rstest;

use super::responses::refused;

use crate::support::fixture::{ARRAY, Fixture, PATIENCE, SHUTDOWN, binary, pass};
use crate::support::protocol::Protocol::{Otlp, Thundra};
use crate::support::two_remotes::TwoRemotes;

fn is_closed(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port))
        .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn threads_and_descriptors(fixture: &Fixture) -> (usize, usize) {
    let footprint = Footprint::of(fixture.process.pid());
    (footprint.threads, footprint.descriptors)
}

#[test]
fn a_protocol_without_a_variable_has_no_thread_and_no_descriptor() {
    let (thundras, otlps, both) = (Fixture::start(), Otlp.start(), TwoRemotes::with(&[]));
    // The main thread, the event loop, and a sender for each remote. The port for Thundra's agents has a thread
    // pool, too: at once if no other port is configured, else from its first connection on.
    let waited = Instant::now();
    loop {
        let (threads, descriptors) = threads_and_descriptors(&otlps);
        let (alone, together) =
            (threads_and_descriptors(&thundras), threads_and_descriptors(&both.fixture));
        if threads == 3 && alone == (9, descriptors) && together == (4, descriptors + 2) {
            break;
        }
        assert!(waited.elapsed() < PATIENCE, "{threads}, {descriptors}; {alone:?}; {together:?}");
        pass(Duration::from_millis(10));
    }
    for fixture in [thundras, otlps, both.fixture] {
        assert_eq!(fixture.shut_down(), "");
    }
}

#[test]
fn a_port_without_a_remote_is_logged_and_exports_are_refused() {
    let port = free_port();
    let fixture = Fixture::with(&[(Otlp.port_variable(), &port.to_string())]);
    is_refused_for_good(port);
    let log = fixture.shut_down();
    let line = format!(
        "cannot forward the exports of an OpenTelemetry SDK to port {port}: \
         THUNDRA_EXTENSION_OTLP_ENDPOINT is not set; they are refused and lost"
    );
    assert!(log.contains(&line) && log.lines().count() == 2, "{log}");
}

/// A misspelt name opens the port as a correct one does, and so does an endpoint that is this port itself.
#[rstest]
#[case::this_very_port(
    Otlp.url_variable(),
    "http://localhost:{port}",
    "cannot use THUNDRA_EXTENSION_OTLP_ENDPOINT: it is the port of this"
)]
#[case::no_url(
    Otlp.url_variable(),
    "s3cret",
    "cannot use THUNDRA_EXTENSION_OTLP_ENDPOINT: it does not start with"
)]
#[case::no_endpoint(
    "THUNDRA_EXTENSION_OTLP_HEADERS",
    "a=s3cret",
    "THUNDRA_EXTENSION_OTLP_ENDPOINT is not set"
)]
#[case::a_misspelt_name(
    "thundra_extension_otlp_endpont",
    "http://s3cret",
    "did you mean THUNDRA_EXTENSION_OTLP_ENDPOINT?"
)]
fn with_any_mistake_in_its_variables_exports_are_refused_and_one_line_names_the_variable(
    #[case] name: &str,
    #[case] value: &str,
    #[case] line: &str,
) {
    let port = free_port();
    let value = value.replace("{port}", &port.to_string());
    let fixture =
        Fixture::with(&[(Otlp.port_variable(), &*port.to_string()), (name, value.as_str())]);
    is_refused_for_good(port);
    is_refused_for_good(port);
    assert_eq!(fixture.health()["otlp"]["refused"]["no_remote"], 2);
    let log = fixture.shut_down();
    assert_eq!(log.matches(line).count(), 1, "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn a_signal_without_an_endpoint_beside_others_is_one_line() {
    let (port, remote) = (free_port(), Remote::start());
    let traces = format!("{}/v1/traces", remote.origin());
    let fixture = Fixture::with(&[
        (Otlp.port_variable(), &port.to_string()),
        ("THUNDRA_EXTENSION_OTLP_TRACES_ENDPOINT", &traces),
    ]);
    for _ in 0..2 {
        let report = super::report(Signal::Logs, Encoding::Protobuf, &["1"]);
        refused(&report.post(port), 404, Encoding::Protobuf);
    }
    let log = fixture.shut_down();
    let line = "cannot forward logs: THUNDRA_EXTENSION_OTLP_LOGS_ENDPOINT is not set; they are refused and lost";
    assert_eq!((log.matches(line).count(), log.lines().count()), (1, 2), "{log}");
}

#[test]
fn an_invalid_endpoint_is_logged_and_exports_are_refused() {
    let port = free_port();
    let variables = [(Otlp.port_variable(), &*port.to_string()), (Otlp.url_variable(), "nowhere")];
    let fixture = Fixture::with(&variables);
    is_refused_for_good(port);
    assert_eq!(fixture.health()["otlp"]["refused"]["no_remote"], 1);
    fixture.report(ARRAY, "[1]");
    fixture.received(1);
    let log = fixture.shut_down();
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(log.contains("lost: 1 refused as no_remote"), "it is lost: {log}");
    assert!(log.contains(Otlp.url_variable()) && !log.contains("nowhere"), "{log}");
}

/// Whether an SDK gives up at once. It would retry a closed port and some other statuses within the invocation.
#[track_caller]
fn is_refused_for_good(port: u16) {
    let report = super::report(Signal::Traces, Encoding::Protobuf, &["1"]);
    refused(&report.post(port), 404, Encoding::Protobuf);
}

#[test]
fn a_disabled_extension_opens_its_port_only_to_refuse_exports() {
    let (platform, remote, port) = (Platform::start(), Remote::start(), free_port());
    let thundras = free_port();
    let variables = [
        Otlp.environment(port, &remote.origin()),
        Thundra.environment(thundras, &remote.base_url()),
    ]
    .concat();
    let launch = Launch::of(binary()).on(&platform).env("THUNDRA_EXTENSION_ENABLED", "false");
    let launch = variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
    let process = launch.start();
    platform.wait_for_next(PATIENCE);
    let waited = Instant::now();
    while is_closed(port) {
        assert!(waited.elapsed() < PATIENCE, "it is not opened");
    }
    is_refused_for_good(port);
    assert!(is_closed(thundras));
    platform.shutdown("spindown", SHUTDOWN);
    assert!(process.exit(PATIENCE).success());
}
