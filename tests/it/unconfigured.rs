//! With no configuration, or too little, the extension contacts nobody, no client waits, and no other extension
//! loses a port to it. The ports are the default ones, so each test has its own network.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use local_lambda::agent::Connection;
use local_lambda::{Footprint, Launch, Platform, PlatformScript, Process, Remote};
use rstest::rstest;

use crate::support::fixture::{
    ARRAY, BETWEEN_LOOKS, PATIENCE, SHUTDOWN, binary, memory_is_its_own, pass, spawn,
};
use crate::support::name_server::{Question, Reply, serve};
use crate::support::namespaces::in_namespaces;
use crate::support::protocol::Protocol::{self, Otlp, Thundra};

/// The address of every name.
const ANYWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

const OTLP_PORT: u16 = 4318;
const GRPC_PORT: u16 = 4317;
const THUNDRAS_PORT: u16 = 3333;

/// Variables, and the statuses for reports of OTLP and of Thundra's, at start and after an INVOKE.
type Case<'a> = (&'a [(&'a str, &'a str)], [Option<u16>; 2], [Option<u16>; 2]);

fn start_on(platform: &Platform, variables: &[(&str, &str)]) -> Process {
    let launch = Launch::of(binary()).on(platform);
    let process =
        variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).start();
    platform.wait_for_next(PATIENCE);
    process
}

fn started(variables: &[(&str, &str)]) -> (Platform, Process) {
    let platform = Platform::start();
    let process = start_on(&platform, variables);
    (platform, process)
}

/// The status for a report with a key at this protocol's port. `None` if the port is closed.
fn report(protocol: Protocol) -> Option<u16> {
    let port = if protocol == Otlp { OTLP_PORT } else { THUNDRAS_PORT };
    let mut connection = Connection::try_open(port).ok()?;
    connection.send(&protocol.report(ARRAY, "[1]").request("Authorization: ApiKey s3cret\r\n"));
    Some(connection.response().status)
}

#[track_caller]
fn ended(platform: &Platform, process: &Process) -> String {
    platform.shutdown("spindown", SHUTDOWN);
    assert!(process.exit(PATIENCE).success());
    assert_eq!(platform.violations(), Vec::<String>::new());
    process.log()
}

fn is_open(address: impl Into<SocketAddr>) -> bool {
    TcpStream::connect(address.into()).is_ok()
}

fn addresses(port: u16) -> [SocketAddr; 2] {
    [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
}

/// Servers at every address to which a name resolves, and at the usual ports of web servers.
struct Network {
    asked: Arc<Mutex<Vec<String>>>,
    contacts: Arc<Mutex<usize>>,
}

impl Network {
    /// For use in namespaces.
    fn start() -> Self {
        let it = Self { asked: Arc::default(), contacts: Arc::default() };
        let asked = Arc::clone(&it.asked);
        serve(move |name, question| {
            asked.lock().unwrap().push(name.to_owned());
            let addresses = if question == Question::A { vec![ANYWHERE.into()] } else { vec![] };
            Reply::Addresses(addresses)
        });
        for port in [80, 443] {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
            let contacts = Arc::clone(&it.contacts);
            spawn(move || listener.incoming().for_each(|_| *contacts.lock().unwrap() += 1));
        }
        it
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn contacts(&self) -> usize {
        *self.contacts.lock().unwrap()
    }
}

#[test]
fn nobody_but_the_runtime_api_is_looked_up_or_contacted() {
    in_namespaces("unconfigured::nobody_but_the_runtime_api_is_looked_up_or_contacted", || {
        let network = Network::start();
        let cases: [&[(&str, &str)]; 8] = [
            &[],
            &[("THUNDRA_APIKEY", "s3cret")],
            &[("CATCHPOINT_APIKEY", "s3cret")],
            &[("THUNDRA_AGENT_REPORT_REST_BASEURL", "http://localhost:3333/v1")],
            &[("THUNDRA_EXTENSION_COLLECTOR_URL", "https://collector.example.com/v1?key=s3cret")],
            &[("THUNDRA_EXTENSION_COLECTOR_URL", "https://collector.example.com/v1")],
            &[("THUNDRA_EXTENSION_OTLP_HEADERS", "key=s3cret")],
            &[
                ("THUNDRA_EXTENSION_OTLP_ENDPOINT", "otlp.example.com:4318"),
                ("THUNDRA_APIKEY", "s3cret"),
            ],
        ];
        for variables in cases {
            let (platform, process) = started(variables);
            platform.invoke(PATIENCE);
            platform.wait_for_next(PATIENCE);
            for protocol in [Thundra, Otlp] {
                assert!(matches!(report(protocol), None | Some(404)), "{variables:?}");
            }
            let log = ended(&platform, &process);
            assert!(!log.contains("s3cret"), "{log}");
            assert_eq!((network.asked(), network.contacts()), (vec![], 0), "{variables:?}: {log}");
        }
        // This proves that a contact would be noticed.
        let url = ("THUNDRA_EXTENSION_COLLECTOR_URL", "http://collector.example.com/v1");
        let (platform, process) = started(&[url]);
        assert_eq!(report(Thundra), Some(200));
        let waited = Instant::now();
        while network.contacts() == 0 {
            assert!(waited.elapsed() < PATIENCE, "{}", process.log());
            pass(BETWEEN_LOOKS);
        }
        assert!(network.asked().contains(&"collector.example.com".to_owned()));
        ended(&platform, &process);
    });
}

#[test]
fn both_ports_are_bound_by_the_end_of_the_first_invoke_and_refuse_with_one_line_each() {
    let test = "both_ports_are_bound_by_the_end_of_the_first_invoke_and_refuse_with_one_line_each";
    in_namespaces(&format!("unconfigured::{test}"), || {
        let (platform, process) = started(&[]);
        assert_eq!(
            [OTLP_PORT, THUNDRAS_PORT].map(|port| addresses(port).map(is_open)),
            [[false; 2]; 2]
        );
        for _ in 0..3 {
            platform.invoke(PATIENCE);
            platform.wait_for_next(PATIENCE);
            assert_eq!(
                [OTLP_PORT, THUNDRAS_PORT].map(|port| addresses(port).map(is_open)),
                [[true; 2]; 2]
            );
            assert_eq!([Otlp, Thundra].map(report), [Some(404); 2]);
        }
        let log = ended(&platform, &process);
        let lines = [
            "cannot forward the exports of an OpenTelemetry SDK: THUNDRA_EXTENSION_OTLP_ENDPOINT is not set",
            "cannot forward the reports of a Thundra or Catchpoint agent: THUNDRA_EXTENSION_COLLECTOR_URL is \
             not set",
        ];
        assert_eq!(lines.map(|line| log.matches(line).count()), [1, 1], "{log}");
        assert_eq!(
            (log.matches("3 refused as no_remote").count(), log.lines().count()),
            (2, 4),
            "{log}"
        );
    });
}

#[test]
fn a_function_without_reports_notices_nothing() {
    in_namespaces("unconfigured::a_function_without_reports_notices_nothing", || {
        let (platform, process) = started(&[("THUNDRA_EXTENSION_FLUSH", "end")]);
        platform.invoke(PATIENCE);
        assert_eq!(ended(&platform, &process), "");
    });
}

/// Another extension may listen on one address of a port, or on both. The port is left to it.
#[test]
fn a_port_of_another_extension_is_left_to_it_without_a_line() {
    in_namespaces("unconfigured::a_port_of_another_extension_is_left_to_it_without_a_line", || {
        let thundra = [("THUNDRA_EXTENSION_COLLECTOR_URL", "bad")];
        for variables in [&[][..], &thundra] {
            for others in ["127.0.0.1:4318", "[::1]:4318", "0.0.0.0:4318", "[::]:4318"] {
                let (platform, process) = started(variables);
                // The other extension binds its port later than this one started, because its init may be slow.
                let other = TcpListener::bind(others).unwrap();
                platform.invoke(PATIENCE);
                platform.wait_for_next(PATIENCE);
                assert_eq!(report(Thundra), Some(404), "the other port is free");
                drop(other);
                platform.invoke(PATIENCE);
                platform.wait_for_next(PATIENCE);
                assert_eq!(addresses(OTLP_PORT).map(is_open), [false; 2], "nor later: {others}");
                let log = ended(&platform, &process);
                assert!(!log.contains("listen") && log.lines().count() == 2, "{log}");
            }
        }
    });
}

/// A switched-off extension is not called at invocations. It leaves Thundra's port closed, because agents do
/// not wait for that one.
#[rstest]
#[case::nothing_set("case_1_nothing_set", &[], true, None, Some(404))]
#[case::bad_url(
    "case_2_bad_url",
    &[("THUNDRA_EXTENSION_COLLECTOR_URL", "bad")],
    true,
    Some(404),
    Some(404)
)]
#[case::off("case_3_off", &[("THUNDRA_EXTENSION_ENABLED", "false")], false, None, None)]
fn without_invoke_events_the_ports_are_bound_after_some_seconds(
    #[case] name: &str,
    #[case] variables: &[(&str, &str)],
    #[case] is_managed: bool,
    #[case] at_once: Option<u16>,
    #[case] later: Option<u16>,
) {
    let test = "without_invoke_events_the_ports_are_bound_after_some_seconds";
    in_namespaces(&format!("unconfigured::{test}::{name}"), || {
        let script = PlatformScript::default().managed_instances(is_managed);
        let platform = Platform::start_with(script);
        let process = start_on(&platform, variables);
        let answers = [Otlp, Thundra].map(report);
        assert_eq!(answers, [None, at_once], "other extensions may be starting");
        let waited = Instant::now();
        while [Otlp, Thundra].map(report) != [Some(404), later] {
            assert!(waited.elapsed() < PATIENCE, "{}", process.log());
            pass(BETWEEN_LOOKS);
        }
        ended(&platform, &process);
    });
}

/// An exporter of OTLP retries a closed port for seconds. An agent of Thundra's does not.
#[test]
fn with_thundra_configured_the_otlp_port_is_bound_at_the_first_invoke_and_not_the_reverse() {
    let test =
        "with_thundra_configured_the_otlp_port_is_bound_at_the_first_invoke_and_not_the_reverse";
    in_namespaces(&format!("unconfigured::{test}"), || {
        let remote = Remote::start();
        let (collector, origin) = (remote.base_url(), remote.origin());
        let cases: [Case; 6] = [
            (&[("THUNDRA_APIKEY", "k")], [None, Some(404)], [Some(404); 2]),
            (
                &[("THUNDRA_EXTENSION_COLLECTOR_URL", &collector)],
                [None, Some(200)],
                [Some(404), Some(200)],
            ),
            (&[("THUNDRA_EXTENSION_OTLP_ENDPOINT", &origin)], [Some(200), None], [Some(200), None]),
            (&[("thundra_extension_otlp_endpont", &origin)], [Some(404), None], [Some(404), None]),
            (&[("THUNDRA_EXTENSION_ENABLED", "false")], [None; 2], [None; 2]),
            (
                &[
                    ("THUNDRA_EXTENSION_ENABLED", "false"),
                    ("THUNDRA_EXTENSION_COLLECTOR_URL", &collector),
                ],
                [None; 2],
                [None; 2],
            ),
        ];
        for (variables, at_start, later) in cases {
            let (platform, process) = started(variables);
            assert_eq!([Otlp, Thundra].map(report), at_start, "{variables:?}");
            if !variables[0].0.ends_with("ENABLED") {
                platform.invoke(PATIENCE);
                platform.wait_for_next(PATIENCE);
            }
            assert_eq!([Otlp, Thundra].map(report), later, "{variables:?}");
            let log = ended(&platform, &process);
            let was_bound_later = at_start[0] != later[0];
            let line = "cannot forward the exports of an OpenTelemetry SDK: THUNDRA_EXTENSION_OTLP_ENDPOINT is not set";
            assert_eq!(log.matches(line).count(), usize::from(was_bound_later), "{log}");
        }
    });
}

#[test]
fn a_disabled_extension_logs_why_it_refuses_and_how_many() {
    in_namespaces("unconfigured::a_disabled_extension_logs_why_it_refuses_and_how_many", || {
        let remote = Remote::start();
        let (platform, process) = started(&[
            ("THUNDRA_EXTENSION_ENABLED", "false"),
            ("THUNDRA_EXTENSION_OTLP_ENDPOINT", &remote.origin()),
        ]);
        assert_eq!([report(Otlp), report(Otlp), report(Thundra)], [Some(404), Some(404), None]);
        let log = ended(&platform, &process);
        let lines = [
            "cannot forward the exports of an OpenTelemetry SDK: THUNDRA_EXTENSION_ENABLED is false",
            "OTLP without a remote: 0 accepted, 0 delivered, lost: 2 refused as no_remote",
        ];
        assert_eq!(lines.map(|line| log.matches(line).count()), [1, 1], "{log}");
        assert_eq!((log.lines().count(), remote.connections()), (2, 0), "{log}");
    });
}

/// A user who sets another port for OTLP may forget to set it in the SDK.
#[test]
fn the_default_otlp_port_is_bound_in_addition_to_another_unless_it_is_a_remotes() {
    let test = "the_default_otlp_port_is_bound_in_addition_to_another_unless_it_is_a_remotes";
    in_namespaces(&format!("unconfigured::{test}"), || {
        let remote = Remote::start();
        let here = format!("http://127.0.0.1:{OTLP_PORT}");
        for (endpoint, later) in [(remote.origin(), Some(200)), (here, None)] {
            let (platform, process) = started(&[
                ("THUNDRA_EXTENSION_OTLP_PORT", "5000"),
                ("THUNDRA_EXTENSION_OTLP_ENDPOINT", &endpoint),
            ]);
            assert_eq!((report(Otlp), addresses(5000).map(is_open)), (None, [true; 2]));
            platform.invoke(PATIENCE);
            platform.wait_for_next(PATIENCE);
            assert_eq!(report(Otlp), later, "{endpoint}");
            assert_eq!(ended(&platform, &process), "");
        }
        assert_eq!(remote.received().len(), 1);
    });
}

/// The first bytes of a client of gRPC. The response begins with a frame of SETTINGS.
fn speaks_http2(port: u16) -> bool {
    let Ok(mut client) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let mut frame = [0; 9];
    client.read_exact(&mut frame).is_ok_and(|()| frame == *b"\0\0\0\x04\0\0\0\0\0")
}

#[test]
fn the_port_for_grpc_is_bound_at_the_first_invoke_where_the_one_for_http_is_ours() {
    let test = "the_port_for_grpc_is_bound_at_the_first_invoke_where_the_one_for_http_is_ours";
    in_namespaces(&format!("unconfigured::{test}"), || {
        let remote = Remote::start();
        let (collector, origin) = (remote.base_url(), remote.origin());
        let configured: [&[(&str, &str)]; 3] = [
            &[],
            &[("THUNDRA_EXTENSION_OTLP_ENDPOINT", &origin)],
            &[("THUNDRA_EXTENSION_COLLECTOR_URL", &collector)],
        ];
        let of_another = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        for variables in configured {
            for (taken, is_ours) in
                [(None, true), (Some(GRPC_PORT), false), (Some(OTLP_PORT), false)]
            {
                let _other = taken.map(of_another);
                let (platform, process) = started(variables);
                assert_eq!(is_open((Ipv4Addr::LOCALHOST, GRPC_PORT)), taken == Some(GRPC_PORT));
                platform.invoke(PATIENCE);
                platform.wait_for_next(PATIENCE);
                if taken != Some(GRPC_PORT) {
                    assert_eq!(speaks_http2(GRPC_PORT), is_ours, "{variables:?} {taken:?}");
                }
                let log = ended(&platform, &process);
                assert!(!log.contains("4317"), "{log}");
            }
        }
        assert_eq!(remote.connections(), 0);
    });
}

/// One thread waits for all clients.
#[test]
fn a_port_that_nobody_uses_costs_no_thread() {
    in_namespaces("unconfigured::a_port_that_nobody_uses_costs_no_thread", || {
        let remote = Remote::start();
        let (collector, origin) = (remote.base_url(), remote.origin());
        let thundras = ("THUNDRA_EXTENSION_COLLECTOR_URL", &*collector);
        let otlps = ("THUNDRA_EXTENSION_OTLP_ENDPOINT", &*origin);
        let cases: [(&[(&str, &str)], _, _); 4] =
            [(&[thundras], 9, 9), (&[otlps], 3, 3), (&[thundras, otlps], 4, 4), (&[], 1, 2)];
        for (variables, at_start, later) in cases {
            let (platform, process) = started(variables);
            // One of the threads may be starting or ending.
            let come_to = |expected| {
                let waited = Instant::now();
                while Footprint::of(process.pid()).threads != expected {
                    assert!(
                        waited.elapsed() < PATIENCE,
                        "{variables:?}: {:?}",
                        Footprint::of(process.pid())
                    );
                    pass(BETWEEN_LOOKS);
                }
            };
            // An emulator has another thread.
            let others = usize::from(!memory_is_its_own());
            come_to(at_start + others);
            for _ in 0..3 {
                platform.invoke(PATIENCE);
                platform.wait_for_next(PATIENCE);
            }
            come_to(later + others);
            ended(&platform, &process);
        }
    });
}
