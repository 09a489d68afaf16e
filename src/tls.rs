//! TLS to the remote: rustls as a link in ureq's chain of connectors.
//!
//! ureq has such a link of its own, but can only replace the compiled-in roots, not add to them.

mod provider;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    TransportAdapter,
};

use crate::destination::Destination;
use crate::logging;
use crate::tls::provider::provider;

/// Debian's bundle of all public roots is a twentieth of this; what is beyond it is not read.
const PEM_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Wraps what the chain connected so far in TLS, where the URL asks for it. Clones share all.
#[derive(Clone)]
pub struct TlsConnector(Arc<ClientConfig>);

impl TlsConnector {
    /// Reads `SSL_CERT_FILE`, if one is set; a bad file is one warning, and adds nothing.
    pub fn to(destination: &Destination) -> Self {
        let provider = Arc::new(provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default protocol versions");
        let config = if destination.trust_all_certificates {
            let verifier = Arc::new(TrustAll(provider));
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        } else {
            let roots = roots(destination.extra_roots.as_deref());
            builder.with_root_certificates(roots).with_no_client_auth()
        };
        Self(Arc::new(config))
    }
}

fn roots(extra: Option<&Path>) -> RootCertStore {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = extra {
        if let Err(error) = add_roots(&mut roots, path) {
            let path = path.display();
            logging::warn!(
                "cannot use the certificates of SSL_CERT_FILE {path}: {error}; the compiled-in \
                 ones are used alone"
            );
        }
    }
    roots
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> io::Result<()> {
    // Not from a pipe or a device, which might never end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut pem = Vec::new();
    File::open(path)?.take(PEM_BYTES_MAX).read_to_end(&mut pem)?;
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
    let (added, ignored) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(io::Error::other("it holds no certificate in pem form"));
    }
    logging::debug!("added {added} root certificates of SSL_CERT_FILE, ignored {ignored}");
    Ok(())
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|_| ureq::Error::Tls("not a host name"))?;
        let connection =
            ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        let mut socket =
            TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        // Of which the socket takes what went before.
        socket.set_timeout(details.timeout);
        let mut stream = StreamOwned::new(connection, socket);
        stream.conn.complete_io(&mut stream.sock)?;
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(Some(Either::B(TlsTransport { buffers, stream })))
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("TlsConnector")
    }
}

/// A connection inside TLS.
pub struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        Ok(self.stream.write_all(&self.buffers.output()[..amount])?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

/// Takes any certificate, for `THUNDRA_EXTENSION_TRUST_ALL_CERTIFICATES`. Signatures are checked
/// all the same: that costs nothing and finds a broken peer.
#[derive(Debug)]
struct TrustAll(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer,
        _intermediates: &[CertificateDer],
        _server_name: &ServerName,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox::Authority;

    #[test]
    fn roots_of_a_file_are_added_to_the_compiled_in_ones() {
        let compiled_in = webpki_roots::TLS_SERVER_ROOTS.len();
        assert_eq!(roots(None).len(), compiled_in);
        let authority = Authority::new();
        assert_eq!(roots(Some(authority.pem_file())).len(), compiled_in + 1);
    }

    #[test]
    fn what_holds_no_certificate_adds_nothing_and_is_not_read_for_ever() {
        for path in ["/dev/zero", "/no/such/file", "/", "/proc/self/maps"] {
            let mut roots = RootCertStore::empty();
            assert!(add_roots(&mut roots, Path::new(path)).is_err(), "{path}");
            assert!(roots.is_empty());
        }
    }
}
