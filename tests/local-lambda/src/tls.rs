//! The test's own certificate authority, and servers with its certificates.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::TLS12;
use rustls::{
    DEFAULT_VERSIONS, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
};

use crate::leftovers::TempDir;

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pem_file: PathBuf,
    _home: TempDir,
}

/// The certificate and key that a server presents.
pub struct Identity {
    config: Arc<ServerConfig>,
    pem: String,
}

#[expect(clippy::missing_panics_doc, reason = "making keys and files fails only with the machine")]
impl Authority {
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "each authority is another; none is the default"
    )]
    pub fn new() -> Self {
        Self::create().expect("writing to an own temporary directory")
    }

    /// # Errors
    ///
    /// When its certificate cannot be written to a temporary directory.
    pub fn create() -> io::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "local-lambda authority");
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("valid parameters");
        let home = TempDir::new()?;
        let pem_file = home.path().join("ca.pem");
        fs::write(&pem_file, issuer.pem())?;
        Ok(Self { issuer, pem_file, _home: home })
    }

    /// The file with the authority's certificate, for `SSL_CERT_FILE`. It is removed when the authority is
    /// dropped.
    #[must_use]
    pub fn pem_file(&self) -> &Path {
        &self.pem_file
    }

    /// Issues a certificate for these hosts and addresses.
    #[must_use]
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.sign(&params(names))
    }

    /// As [`Self::issue`], for a server without TLS 1.3.
    pub(crate) fn issue_for_tls12(&self, names: &[&str]) -> Identity {
        let key = key();
        let certificate = params(names).signed_by(&key, &self.issuer).expect("valid parameters");
        Identity::speaking(&certificate, &key, &[&TLS12])
    }

    /// As [`Self::issue`], but expired long ago.
    pub(crate) fn issue_expired(&self, names: &[&str]) -> Identity {
        self.sign(&expired(params(names)))
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).expect("valid parameters");
        Identity::of(&certificate, &key)
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&it| it.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("host names and addresses");
    // Python 3.13 and later accept no certificate without it.
    params.use_authority_key_identifier_extension = true;
    params
}

fn of_an_authority(names: &[&str]) -> CertificateParams {
    let mut params = params(names);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("the system gives random numbers")
}

#[expect(clippy::missing_panics_doc, reason = "making keys fails only with the machine")]
impl Identity {
    /// With a self-signed certificate.
    #[must_use]
    pub fn self_signed(names: &[&str]) -> Self {
        Self::signed_by_itself(&params(names))
    }

    /// With a self-signed certificate that is also an authority's, as `openssl req -x509` makes it.
    #[must_use]
    pub fn own_authority(names: &[&str]) -> Self {
        Self::signed_by_itself(&of_an_authority(names))
    }

    /// As [`Self::own_authority`], but expired long ago.
    #[must_use]
    pub fn own_authority_expired(names: &[&str]) -> Self {
        Self::signed_by_itself(&expired(of_an_authority(names)))
    }

    /// With this certificate and its private key.
    ///
    /// # Panics
    ///
    /// When they are not in PEM form, or do not match.
    #[must_use]
    pub fn of_pem(certificate: &str, key: &str) -> Self {
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
        let chain = chain.map(|it| it.expect("a certificate")).collect();
        Self::with(chain, key, certificate.to_owned(), DEFAULT_VERSIONS)
    }

    /// The certificate, in PEM form.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    fn signed_by_itself(params: &CertificateParams) -> Self {
        let key = key();
        let certificate = params.self_signed(&key).expect("valid parameters");
        Self::of(&certificate, &key)
    }

    fn of(certificate: &Certificate, key: &KeyPair) -> Self {
        Self::speaking(certificate, key, DEFAULT_VERSIONS)
    }

    fn speaking(
        certificate: &Certificate,
        key: &KeyPair,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Self::with(vec![certificate.der().clone()], key, certificate.pem(), versions)
    }

    fn with(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        pem: String,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        // Given explicitly, because another crate of the same build may bring a second provider.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("ring does TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("the key is the certificate's");
        Self { config: Arc::new(config), pem }
    }

    /// The handshake happens with the first read.
    pub fn accept<S: Read + Write>(&self, stream: S) -> StreamOwned<ServerConnection, S> {
        let config = Arc::clone(&self.config);
        let connection = ServerConnection::new(config).expect("a complete configuration");
        StreamOwned::new(connection, stream)
    }
}
