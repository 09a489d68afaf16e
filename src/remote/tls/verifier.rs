//! Verifies the certificates of remotes.

use std::fmt;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::roots::Roots;

/// Checks certificates and the signatures of handshakes.
pub struct Verifier {
    pub algorithms: WebPkiSupportedAlgorithms,
    /// `None` accepts any certificate, for `THUNDRA_EXTENSION_TRUST_ALL_CERTIFICATES`. The handshake's
    /// signatures are checked even then. That costs nothing, and detects a broken peer.
    pub roots: Option<Roots>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer,
        intermediates: &[CertificateDer],
        server_name: &ServerName,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(Roots { anchors, own }) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let verify = verify_server_cert_signed_by_trust_anchor;
            if own.contains(end_entity) {
                // Without issuers, webpki checks only the certificate itself, its dates first.
                match verify(&certificate, &RootCertStore::empty(), &[], now, &[]) {
                    Err(error) if is_about_the_issuer(&error) => {}
                    checked => checked?,
                }
            } else {
                verify(&certificate, anchors, intermediates, now, self.algorithms.all)?;
            }
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether the error is only that the issuer is missing, or that the certificate is an authority's. `openssl
/// req -x509` marks a self-signed certificate as an authority's.
fn is_about_the_issuer(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        Error::InvalidCertificate(CertificateError::Other(OtherError(error))) => {
            matches!(error.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
        }
        _ => false,
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Verifier")
    }
}
