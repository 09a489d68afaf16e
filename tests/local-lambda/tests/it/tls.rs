//! The remote's TLS, from the view of a client that checks certificates.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use local_lambda::{Answer, Authority, Remote};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::SOON;
use crate::remote::port;

/// A client of 127.0.0.1 with this host name. The handshake happens with the first write.
pub fn connect(
    ca: &Path,
    host: &'static str,
    port: u16,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_reader_iter(BufReader::new(File::open(ca)?)) {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = TcpStream::connect(("127.0.0.1", port))?;
    tcp.set_read_timeout(Some(SOON))?;
    Ok(StreamOwned::new(connection, tcp))
}

/// Sends the request to 127.0.0.1 with this host name, and reads to the end.
pub fn exchange(ca: &Path, host: &'static str, port: u16, request: &[u8]) -> io::Result<String> {
    let mut stream = connect(ca, host, port)?;
    stream.write_all(request)?;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(answer),
    }
}

const GET: &[u8] = b"GET /v1/x HTTP/1.1\r\nConnection: close\r\n\r\n";

#[test]
fn a_client_that_trusts_the_authority_is_served_under_both_names() {
    let authority = Authority::new();
    let remote = Remote::start_tls(&authority);
    assert!(remote.base_url().starts_with("https://localhost:"), "{}", remote.base_url());
    for host in ["localhost", "127.0.0.1"] {
        let answer = exchange(authority.pem_file(), host, port(&remote), GET).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{host}: {answer}");
    }
    assert_eq!(remote.received().len(), 2);
}

#[test]
fn a_client_of_another_authority_refuses_the_certificate() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let remote = Remote::start_tls(&authority);
    let error = exchange(stranger.pem_file(), "localhost", port(&remote), GET).unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    assert_eq!(remote.received().len(), 0);
}

#[test]
fn a_certificate_is_for_no_other_name() {
    let authority = Authority::new();
    let remote = Remote::start_tls(&authority);
    let error = exchange(authority.pem_file(), "example.com", port(&remote), GET).unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
}

#[test]
fn half_an_answer_and_a_reset_pass_through_tls() {
    let authority = Authority::new();
    let remote = Remote::start_tls(&authority);
    remote.answer_with(|_| Answer::HalfAnswer(b"HTTP/1.1 2".to_vec()));
    let half = exchange(authority.pem_file(), "localhost", port(&remote), GET).unwrap();
    assert_eq!(half, "HTTP/1.1 2");
    remote.answer_with(|_| Answer::Reset);
    let error = exchange(authority.pem_file(), "localhost", port(&remote), GET).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}
