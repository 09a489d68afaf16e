//! TLS to the remote, with rustls.
//!
//! ureq's own connector for TLS can only replace the compiled-in roots. This one can add roots.

mod provider;
mod roots;
mod transport;
mod verifier;

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::unversioned::transport::{ConnectionDetails, Transport, TransportAdapter};

use crate::remote::destination::Destination;
use crate::remote::tls::provider::provider;
use crate::remote::tls::roots::Roots;
use crate::remote::tls::transport::TlsTransport;
use crate::remote::tls::verifier::Verifier;

/// The TLS settings of one remote. Clones share them.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Reads `SSL_CERT_FILE`, if it is set. A bad file causes one warning, and adds no roots.
    pub fn to(destination: &Destination) -> Self {
        let provider = provider();
        let is_checked = !destination.trust_all_certificates;
        let verifier = Verifier {
            algorithms: provider.signature_verification_algorithms,
            roots: is_checked.then(|| Roots::with(destination.extra_roots.as_deref())),
        };
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default protocol versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Self(Arc::new(config))
    }

    /// Makes a TLS handshake with the remote through this connection.
    ///
    /// # Errors
    /// The handshake failed, or the remote's certificate is not trusted.
    pub fn around(
        &self,
        transport: Box<dyn Transport>,
        details: &ConnectionDetails,
    ) -> Result<Box<dyn Transport>, ureq::Error> {
        let host = details.uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|_| ureq::Error::Tls("not a host name"))?;
        let connection =
            ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        let mut socket = TransportAdapter::new(transport, Arc::clone(&details.current_time));
        // The socket's own clock has already counted the time before the handshake.
        socket.set_timeout(details.timeout);
        let mut stream = StreamOwned::new(connection, socket);
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(Box::new(TlsTransport::new(stream, details.config)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Tls")
    }
}
