//! The form in which OTLP reports reach the remote: alone and unchanged, or merged with exactly their items.

use local_lambda::otlp::{Encoding, Signal, resources, span_names};
use local_lambda::{Answer, Item, Received, agent, gzip};
use rstest::rstest;

use super::{ENCODINGS, report};
use crate::support::fixture::{ARRAY, COLLECTS, array_of};
use crate::support::protocol::Protocol::Otlp;
use crate::support::report::Report;

fn items(received: &[Received]) -> Vec<Item> {
    received.iter().flat_map(Received::items).collect()
}

#[rstest]
fn a_report_that_goes_alone_arrives_byte_for_byte_at_the_path_of_its_signal(
    #[values(Signal::Traces, Signal::Metrics, Signal::Logs)] signal: Signal,
    #[values(Encoding::Protobuf, Encoding::Json)] encoding: Encoding,
    #[values(false, true)] is_packed: bool,
) {
    let fixture = Otlp.start();
    for (nth, names) in [["1", "2"], ["täxt", "\"]}"]].iter().enumerate() {
        let report = report(signal, encoding, names);
        let report = if is_packed { report.packed() } else { report };
        assert_eq!(report.post(fixture.port).status, 200);
        let received = &fixture.received(nth + 1)[nth];
        assert_eq!((&*received.path, &received.body), (signal.path(), &report.body));
        assert_eq!(received.header("Content-Type"), Some(encoding.content_type()));
        assert_eq!(received.header("Content-Encoding"), is_packed.then_some("gzip"));
        assert_eq!(received.header("Authorization"), Some("ApiKey test-key"));
        fixture.wait_for_an_empty_buffer();
    }
    assert_eq!(fixture.shut_down(), "");
}

#[test]
fn waiting_reports_are_merged_by_signal_and_encoding_with_exactly_their_content() {
    let fixture = Otlp.start_with(&[COLLECTS]);
    let mut expected = Vec::new();
    for n in 0..10 {
        for signal in Signal::ALL {
            for encoding in ENCODINGS {
                let report = report(signal, encoding, &[&format!("{n}a"), &format!("{n}b")]);
                assert_eq!(report.post(fixture.port).status, 200);
                expected.push((signal, encoding, report.body));
            }
        }
    }
    let (log, received) = fixture.shut_down_leaving(|fixture| fixture.remote.received());
    assert_eq!((log.as_str(), received.len()), ("", 6));
    for signal in Signal::ALL {
        for encoding in ENCODINGS {
            let is_it = |it: &&Received| {
                it.path == signal.path()
                    && it.header("Content-Type") == Some(encoding.content_type())
            };
            let found = received.iter().find(is_it).unwrap();
            let bodies = expected.iter().filter(|it| (it.0, it.1) == (signal, encoding));
            let expected = bodies.flat_map(|(_, _, body)| {
                resources(&Received { body: body.clone(), ..found.clone() })
            });
            assert_eq!(resources(found), expected.collect::<Vec<_>>());
        }
    }
}

#[test]
fn compressed_and_plain_reports_are_not_merged() {
    let fixture = Otlp.start_with(&[COLLECTS]);
    for names in [["1"], ["2"]] {
        for report in [
            report(Signal::Traces, Encoding::Protobuf, &names),
            report(Signal::Traces, Encoding::Protobuf, &names).packed(),
        ] {
            assert_eq!(report.post(fixture.port).status, 200);
        }
    }
    let (_, received) = fixture.shut_down_leaving(|fixture| fixture.remote.received());
    let mut names: Vec<Vec<String>> = received.iter().map(span_names).collect();
    names.sort();
    assert_eq!(names, [vec!["1"], vec!["1", "2"], vec!["2"]]);
    assert!(received.iter().filter(|it| gzip::unpack(&it.body).is_ok()).count() == 2);
}

/// The codings that SDKs and collectors offer, and others. Only the remote must know them.
#[rstest]
fn each_content_coding_passes_unopened_with_its_name(
    #[values(Encoding::Protobuf, Encoding::Json)] encoding: Encoding,
) {
    let fixture = Otlp.start();
    fixture.remote.answer_with(|_| Answer::status(200));
    let gzip = gzip::pack(b"x");
    for (nth, (codings, sent, body)) in [
        ("deflate", "deflate", b"\x78\x9c{}".as_slice()),
        ("zstd", "zstd", b"\x28\xb5\x2f\xfd{}"),
        ("x-gzip", "x-gzip", &gzip),
        ("br", "br", b"\x0b{}"),
        ("snappy", "snappy", b"{}"),
        ("gzip, zstd", "gzip, zstd", b"\x28\xb5\x2f\xfd{}"),
        ("zstd\r\nContent-Encoding: gzip", "zstd, gzip", &gzip),
        ("identity,GZIP", "GZIP", &gzip),
    ]
    .into_iter()
    .enumerate()
    {
        let report = Report::of(Signal::Logs, encoding, body.to_vec());
        let headers = format!("Content-Encoding: {codings}\r\nConnection: close\r\n");
        let request = report.request(&headers);
        assert_eq!(agent::request(fixture.port, &request).status, 200, "{codings}");
        let received = &fixture.received(nth + 1)[nth];
        assert_eq!((received.header("Content-Encoding"), &*received.body), (Some(sent), body));
    }
    assert_eq!(fixture.shut_down(), "");
}

#[test]
fn a_report_of_more_than_a_mebibyte_goes_alone() {
    let fixture = Otlp.start_with(&[COLLECTS]);
    let large = "x".repeat(1024 * 1024);
    for name in ["1", &large, "2"] {
        assert_eq!(
            report(Signal::Traces, Encoding::Protobuf, &[name]).post(fixture.port).status,
            200
        );
    }
    let (log, received) = fixture.shut_down_leaving(|fixture| fixture.remote.received());
    let names: Vec<Vec<String>> = received.iter().map(span_names).collect();
    assert!(names.contains(&vec![large]), "{}", received.len());
    assert!(received.iter().all(|it| it.body.len() < 1024 * 1024 + 100));
    assert_eq!((log.as_str(), names.concat().len()), ("", 3));
}

#[test]
fn many_reports_fill_requests_of_a_mebibyte_at_most() {
    const BYTES_MAX: usize = 1024 * 1024;
    let fixture = Otlp.start_with(&[COLLECTS, ("THUNDRA_EXTENSION_BUFFER", "16MiB")]);
    for _ in 0..30 {
        fixture.report(ARRAY, &array_of(100_000));
    }
    let (_, received) = fixture.shut_down_leaving(|fixture| fixture.remote.received());
    let lengths: Vec<usize> = received.iter().map(|it| it.body.len()).collect();
    assert!(lengths.iter().all(|it| *it <= BYTES_MAX), "{lengths:?}");
    assert_eq!((lengths.len(), items(&received).len()), (3, 30));
}

/// Valid fields of a Protobuf message, so the extension accepts it. They are not OTLP's, so no receiver can
/// decode it.
const GARBAGE: &[u8] = b"\x0a\x02\xff\xff";

#[test]
fn garbage_beside_good_reports_costs_none_of_them() {
    let fixture = Otlp.start();
    let is_garbage = |it: &Received| it.body.windows(GARBAGE.len()).any(|part| part == GARBAGE);
    fixture.remote.answer_with(move |it| {
        if is_garbage(it) { Answer::status(400) } else { Answer::accepting(it) }
    });
    fixture.while_the_remote_is_busy(|| {
        fixture.report(ARRAY, "[1]");
        let garbage = Report::of(Signal::Traces, Encoding::Protobuf, GARBAGE.to_vec());
        assert_eq!(garbage.post(fixture.port).status, 200, "nobody looks inside");
        fixture.report(ARRAY, "[2]");
    });
    fixture.wait_for_items(&["0", "1", "2"]);
    let log = fixture.shut_down();
    assert!(log.contains("4 accepted, 3 delivered, lost: 1 rejected"), "{log}");
}
