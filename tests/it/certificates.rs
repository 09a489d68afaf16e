//! The certificates of a remote that `SSL_CERT_FILE` makes trusted, in all forms of that file.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use local_lambda::{Authority, Identity, Platform, Remote};
use rstest::rstest;
use tempfile::TempDir;

use crate::support::fixture::{ARRAY, Fixture, PATIENCE, spawn};
use crate::support::protocol::Protocol::Otlp;

// Made by OpenSSL: `certificates/README.md`.
const SELF_SIGNED: &str = include_str!("certificates/self-signed.pem");
const SELF_SIGNED_KEY: &str = include_str!("certificates/self-signed.key");
const TRUSTED: &str = include_str!("certificates/self-signed.trusted.pem");
const P_521: &str = include_str!("certificates/p-521.pem");
const SIGNED_BY_P_521: &str = include_str!("certificates/signed-by-p-521.pem");
const SIGNED_BY_P_521_KEY: &str = include_str!("certificates/signed-by-p-521.key");

/// An extension with this `SSL_CERT_FILE` reports to a remote with this certificate.
fn report_to(identity: Identity, file: &[u8]) -> (TempDir, Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("remote.pem");
    fs::write(&path, file).unwrap();
    let remote = Remote::start_tls_as(identity);
    let environment = [("SSL_CERT_FILE", path.to_str().unwrap())];
    let fixture = Otlp.start_on(Platform::start(), remote, &environment);
    fixture.report(ARRAY, "[1]");
    (folder, fixture)
}

#[track_caller]
fn is_trusted(identity: Identity, file: &[u8]) {
    let (_folder, fixture) = report_to(identity, file);
    fixture.wait_for_items(&["1"]);
    assert_eq!(fixture.shut_down(), "");
}

#[track_caller]
fn is_refused(identity: Identity, file: &[u8], why: &str) {
    let (_folder, fixture) = report_to(identity, file);
    let line = fixture.process.wait_for_log("cannot deliver to", PATIENCE);
    assert!(line.contains(why), "{line}");
    assert_eq!(fixture.remote.received().len(), 0);
    fixture.shut_down();
}

fn utf_16(text: &str) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// As `openssl req -x509` makes it: the server's certificate is also an authority's.
#[rstest]
#[case::as_openssl_writes_it(SELF_SIGNED.into())]
#[case::with_a_byte_order_mark(format!("\u{feff}{SELF_SIGNED}").into())]
#[case::in_utf_16(utf_16(SELF_SIGNED))]
#[case::with_line_ends_of_windows(SELF_SIGNED.replace('\n', "\r\n").into())]
#[case::with_openssls_trust_behind_it(TRUSTED.into())]
#[case::after_another(format!("{P_521}{SELF_SIGNED}").into())]
fn a_self_signed_certificate_in_the_file_is_trusted(#[case] file: Vec<u8>) {
    is_trusted(Identity::of_pem(SELF_SIGNED, SELF_SIGNED_KEY), &file);
}

#[rstest]
#[case::signed_by_an_authority(Authority::new().issue(&Remote::NAMES))]
#[case::signed_by_itself(Identity::self_signed(&Remote::NAMES))]
#[case::an_authority_itself(Identity::own_authority(&Remote::NAMES))]
fn the_servers_own_certificate_is_trusted_whoever_signed_it(#[case] identity: Identity) {
    let file = identity.pem().to_owned();
    is_trusted(identity, file.as_bytes());
}

#[rstest]
#[case::expired(Identity::own_authority_expired(&Remote::NAMES), "expired")]
#[case::of_another_name(Identity::own_authority(&["example.com"]), "not valid for name")]
#[case::with_a_common_name_only(
    Identity::own_authority(&[]),
    "subjectAltName; a common name is not enough"
)]
fn the_servers_own_certificate_must_be_in_date_and_have_its_name(
    #[case] identity: Identity,
    #[case] why: &str,
) {
    let file = identity.pem().to_owned();
    is_refused(identity, file.as_bytes(), why);
}

#[test]
fn another_certificate_of_the_same_name_is_not_trusted() {
    let file = Identity::own_authority(&Remote::NAMES).pem().to_owned();
    let another = Identity::own_authority(&Remote::NAMES);
    is_refused(another, file.as_bytes(), "SSL_CERT_FILE has to hold that very certificate");
    is_refused(Authority::new().issue(&Remote::NAMES), file.as_bytes(), "UnknownIssuer");
}

#[test]
fn a_certificate_instead_of_its_path_is_named_and_not_logged() {
    let pasted = format!("{SELF_SIGNED_KEY}{SELF_SIGNED}");
    let remote = Remote::start_tls(&Authority::new());
    let fixture = Otlp.start_on(Platform::start(), remote, &[("SSL_CERT_FILE", &pasted)]);
    fixture.report(ARRAY, "[1]");
    fixture.process.wait_for_log("SSL_CERT_FILE: it is a certificate itself", PATIENCE);
    fixture.process.wait_for_log("cannot deliver to", PATIENCE);
    let log = fixture.shut_down();
    assert!(!log.contains("BEGIN"), "{log}");
}

/// ring does not support this curve.
#[test]
fn a_chain_with_a_key_of_p_521_is_refused_with_a_line_that_names_it() {
    let identity = Identity::of_pem(SIGNED_BY_P_521, SIGNED_BY_P_521_KEY);
    is_refused(identity, P_521.as_bytes(), "P-521");
}

/// OpenSSL ends a handshake in this way if it shares no cipher with the client.
#[test]
fn a_server_without_a_common_tls_algorithm_is_one_line_that_names_possible_causes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"\x15\x03\x03\x00\x02\x02\x28");
        }
    });
    let fixture = Otlp.start_with(&[(Otlp.url_variable(), &url)]);
    fixture.report(ARRAY, "[1]");
    let line = fixture.process.wait_for_log("cannot deliver to", PATIENCE);
    assert!(line.contains("HandshakeFailure (it may have a key of curve P-521"), "{line}");
    fixture.shut_down();
}
