//! The cryptography that TLS uses: ring's, as rustls offers it by default, without what a client of
//! the remote never needs.
//!
//! rustls' own list refers to all of it, whatever is taken from that list; so this one is put together
//! from its parts, and a test holds it to the original.

use std::sync::Arc;

use rustix::io::retry_on_intr;
use rustix::rand::{GetRandomFlags, getrandom};
use rustls::crypto::ring::{ALL_KX_GROUPS, cipher_suite};
use rustls::crypto::{
    CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use rustls::{SignatureScheme, SupportedCipherSuite};
use webpki::ring as signed_with;

/// In order of preference. Not `ChaCha20`, which is 55 kB of the binary: every server that may use
/// TLS 1.3 has AES-128-GCM (RFC 8446, 9.1), none is known that lacks it for TLS 1.2, and the
/// processors of both architectures have instructions for it.
static CIPHER_SUITES: [SupportedCipherSuite; 6] = [
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// What certificates may be signed with, and by which of it each scheme is checked.
static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        signed_with::ECDSA_P256_SHA256,
        signed_with::ECDSA_P256_SHA384,
        signed_with::ECDSA_P384_SHA256,
        signed_with::ECDSA_P384_SHA384,
        signed_with::ED25519,
        signed_with::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        signed_with::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        signed_with::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        signed_with::RSA_PKCS1_2048_8192_SHA256,
        signed_with::RSA_PKCS1_2048_8192_SHA384,
        signed_with::RSA_PKCS1_2048_8192_SHA512,
        signed_with::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        signed_with::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        signed_with::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    // TLS 1.2 leaves the curve open, so that it has two for each.
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[signed_with::ECDSA_P384_SHA384, signed_with::ECDSA_P256_SHA384],
        ),
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[signed_with::ECDSA_P256_SHA256, signed_with::ECDSA_P384_SHA256],
        ),
        (SignatureScheme::ED25519, &[signed_with::ED25519]),
        (SignatureScheme::RSA_PSS_SHA512, &[signed_with::RSA_PSS_2048_8192_SHA512_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA384, &[signed_with::RSA_PSS_2048_8192_SHA384_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA256, &[signed_with::RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[signed_with::RSA_PKCS1_2048_8192_SHA512]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[signed_with::RSA_PKCS1_2048_8192_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[signed_with::RSA_PKCS1_2048_8192_SHA256]),
    ],
};

pub fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: CIPHER_SUITES.to_vec(),
        kx_groups: ALL_KX_GROUPS.to_vec(),
        signature_verification_algorithms: SIGNATURES,
        secure_random: &Kernel,
        key_provider: &NoKeys,
    }
}

/// The kernel's source of randomness, which is ring's too.
#[derive(Debug)]
struct Kernel;

impl SecureRandom for Kernel {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        let mut filled = 0;
        while filled < bytes.len() {
            // An interrupted call gives less than was asked for, or an error where it gives nothing.
            filled += retry_on_intr(|| getrandom(&mut bytes[filled..], GetRandomFlags::empty()))
                .map_err(|_| GetRandomFailed)?;
        }
        Ok(())
    }
}

/// The remote knows the function by its API key, so none is ever loaded for TLS; and what would sign
/// with one stays out of the binary, 50 kB of it.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(
        &self,
        _key: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("no certificate of a client is supported".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::ring::default_provider;

    #[test]
    fn it_is_what_rustls_offers_without_chacha20() {
        let (ours, theirs) = (provider(), default_provider());
        let suites = |of: &CryptoProvider| -> Vec<String> {
            let suites = of.cipher_suites.iter().map(|it| format!("{:?}", it.suite()));
            suites.filter(|it| !it.contains("CHACHA20")).collect()
        };
        assert_eq!(suites(&ours), suites(&theirs));
        assert!(ours.cipher_suites.len() < theirs.cipher_suites.len());
        let groups = |of: &CryptoProvider| format!("{:?}", of.kx_groups);
        assert_eq!(groups(&ours), groups(&theirs));
        let signatures = |of: &CryptoProvider| {
            let WebPkiSupportedAlgorithms { all, mapping } = of.signature_verification_algorithms;
            format!("{all:?} {mapping:?}")
        };
        assert_eq!(signatures(&ours), signatures(&theirs));
    }

    #[test]
    fn randomness_fills_what_it_is_given() {
        let mut bytes = [[0; 64]; 2];
        for part in &mut bytes {
            Kernel.fill(part).unwrap();
        }
        assert!(bytes[0] != bytes[1] && bytes.iter().all(|it| it.iter().any(|&byte| byte != 0)));
    }
}
