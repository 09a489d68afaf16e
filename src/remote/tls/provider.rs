//! The cryptography of TLS: rustls' default provider with ring, reduced to the parts that this client needs.
//!
//! Any use of rustls' own list links everything in the list. So this list is assembled from single parts. A
//! test compares it with the original.

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

/// The cipher suites in order of preference. `ChaCha20` is missing, because it is 55 kB of the binary. Each
/// server with TLS 1.3 has AES-128-GCM (RFC 8446, 9.1). No server with TLS 1.2 is known to lack it.
/// Processors of both architectures have instructions for it.
static CIPHER_SUITES: [SupportedCipherSuite; 6] = [
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// The supported signature algorithms of certificates, and those that check each scheme.
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
    // A scheme of TLS 1.2 does not fix the curve, so each ECDSA scheme has two algorithms.
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

/// The kernel's random numbers. ring uses the same source.
#[derive(Debug)]
struct Kernel;

impl SecureRandom for Kernel {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        let mut filled = 0;
        while filled < bytes.len() {
            // An interrupted call returns fewer bytes than requested, or an error instead of none.
            filled += retry_on_intr(|| getrandom(&mut bytes[filled..], GetRandomFlags::empty()))
                .map_err(|_| GetRandomFailed)?;
        }
        Ok(())
    }
}

/// Loads no private keys. The remote identifies the function by its API key, so TLS needs no client
/// certificate. Without code for signatures, the binary is 50 kB smaller.
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
    fn the_provider_is_rustls_default_without_chacha20() {
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
    fn random_bytes_fill_the_whole_buffer() {
        let mut bytes = [[0; 64]; 2];
        for part in &mut bytes {
            Kernel.fill(part).unwrap();
        }
        assert!(bytes[0] != bytes[1] && bytes.iter().all(|it| it.iter().any(|&byte| byte != 0)));
    }
}
