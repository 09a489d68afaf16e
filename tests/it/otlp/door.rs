//! The port, which is there only where OTLP is asked for.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use sandbox::otlp::{Encoding, Signal};
use sandbox::{Footprint, Launch, Platform, Remote, free_port};

use super::answers::refused;
use crate::dialect::Dialect::Otlp;
use crate::trial::{ARRAY, PATIENCE, SHUTDOWN, Trial, binary, pass};

fn is_closed(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port))
        .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn threads_and_descriptors(trial: &Trial) -> (usize, usize) {
    let footprint = Footprint::of(trial.process.pid());
    (footprint.threads, footprint.descriptors)
}

#[test]
fn without_a_variable_for_it_no_thread_and_no_descriptor_is_there_for_it() {
    let (thundras, both) = (Trial::start(), Otlp.start());
    assert!(thundras.health().get("otlp").is_none(), "{}", thundras.health());
    assert!(both.health()["otlp"].is_object());
    // Two addresses that wait to be called, and a sender; beside them each may have a reader, and what
    // it reads, that leave when nothing comes.
    let waited = Instant::now();
    loop {
        let (threads, descriptors) = threads_and_descriptors(&thundras);
        let with_it = threads_and_descriptors(&both);
        if with_it == (threads + 3, descriptors + 2) {
            break;
        }
        assert!(waited.elapsed() < PATIENCE, "{with_it:?}, without {threads}, {descriptors}");
        pass(Duration::from_millis(10));
    }
    assert_eq!(thundras.shut_down(), "");
    both.shut_down();
}

#[test]
fn its_port_alone_is_told_to_lack_a_remote_and_what_is_exported_is_refused() {
    let port = free_port();
    let trial = Trial::with(&[(Otlp.port_variable(), &port.to_string())]);
    is_refused_for_good(port);
    let log = trial.shut_down();
    assert!(log.contains("there is no remote for OTLP that can be used; OTLP is refused"), "{log}");
}

#[test]
fn an_endpoint_that_is_none_is_told_of_and_what_is_exported_is_refused() {
    let port = free_port();
    let variables = [(Otlp.port_variable(), &*port.to_string()), (Otlp.url_variable(), "nowhere")];
    let trial = Trial::with(&variables);
    is_refused_for_good(port);
    assert_eq!(trial.health()["otlp"]["refused"]["no_remote"], 1);
    trial.report(ARRAY, "[1]");
    trial.received(1);
    let log = trial.shut_down();
    assert_eq!(log.lines().count(), 3, "{log}");
    assert!(log.contains("lost: 1 refused as no_remote"), "it is lost: {log}");
    assert!(log.contains(Otlp.url_variable()) && !log.contains("nowhere"), "{log}");
    assert!(log.contains("there is no remote for OTLP that can be used; OTLP is refused"), "{log}");
}

/// A closed port would be tried again, as would some other statuses, within the invocation.
#[track_caller]
fn is_refused_for_good(port: u16) {
    let report = super::report(Signal::Traces, Encoding::Protobuf, &["1"]);
    refused(&report.post(port), 404, Encoding::Protobuf);
}

#[test]
fn an_extension_that_is_turned_off_opens_no_port_but_to_refuse_what_is_exported() {
    let (platform, remote, port) = (Platform::start(), Remote::start(), free_port());
    let variables = Otlp.environment(port, &remote.origin());
    let launch = Launch::of(binary()).on(&platform).env("THUNDRA_EXTENSION_ENABLED", "false");
    let launch = variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
    let process = launch.start();
    platform.wait_for_next(PATIENCE);
    let waited = Instant::now();
    while is_closed(port) {
        assert!(waited.elapsed() < PATIENCE, "it is not opened");
    }
    is_refused_for_good(port);
    let others = variables.iter().filter_map(|(_, it)| it.parse().ok()).filter(|it| *it != port);
    assert!(others.map(is_closed).eq([true]));
    platform.shutdown("spindown", SHUTDOWN);
    assert!(process.exit(PATIENCE).success());
}
