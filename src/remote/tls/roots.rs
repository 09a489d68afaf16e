//! The trusted roots: the compiled-in ones, and those of `SSL_CERT_FILE`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::logging;

/// How many bytes of the file are read. The rest is ignored. Debian's bundle of all public roots has a
/// twentieth of this.
const PEM_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Older names of a PEM section, which OpenSSL reads too. `openssl x509 -trustout` writes `TRUSTED` ones.
const OLD_LABELS: [&str; 2] = ["TRUSTED CERTIFICATE", "X509 CERTIFICATE"];

/// The identifier of the extension with the names of a server (RFC 5280, 4.2.1.6), in DER.
const SUBJECT_ALT_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x1d, 0x11];

/// Whether the line about a bad file is logged. Each remote reads the file.
static IS_LOGGED: AtomicBool = AtomicBool::new(false);

pub struct Roots {
    /// Roots that may have issued the certificate of a remote.
    pub anchors: RootCertStore,
    /// Certificates of the file with a server's name. A remote may use one of these itself. A bundle of roots
    /// has none.
    pub own: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// The compiled-in roots and those of this file. A bad file causes one warning, and adds no roots.
    pub fn with(file: Option<&Path>) -> Self {
        let anchors = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let mut roots = Self { anchors, own: Vec::new() };
        if let Some(path) = file {
            if let Err(error) = roots.add(path) {
                explain(path, &error);
            }
        }
        roots
    }

    fn add(&mut self, path: &Path) -> io::Result<()> {
        // A pipe or a device is refused, because reading it might never end.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let mut pem = Vec::new();
        File::open(path)?.take(PEM_BYTES_MAX).read_to_end(&mut pem)?;
        let certificates = certificates(pem);
        self.own.extend(certificates.iter().filter(|it| has_names(it)).cloned());
        let (added, ignored) = self.anchors.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(io::Error::other("it holds no certificate in pem form"));
        }
        logging::debug!("added {added} root certificates of SSL_CERT_FILE, ignored {ignored}");
        Ok(())
    }
}

/// Logs one line about a bad file, however many remotes there are.
#[cold]
fn explain(path: &Path, error: &io::Error) {
    if IS_LOGGED.swap(true, Ordering::Relaxed) {
        return;
    }
    let path = path.display().to_string();
    // If the value is a file's contents instead of its path, it may contain a private key.
    let (path, why) = if path.contains("-----BEGIN") {
        (String::new(), "it is a certificate itself, not the path of a file with one".to_owned())
    } else {
        ([" ", &path].concat(), error.to_string())
    };
    logging::warn!(
        "cannot use the certificates of SSL_CERT_FILE{path}: {why}; the compiled-in ones are used \
         alone"
    );
}

/// All certificates of a file in PEM form.
fn certificates(mut pem: Vec<u8>) -> Vec<CertificateDer<'static>> {
    // This also converts UTF-16, as Windows writes it, and removes byte order marks.
    pem.retain(|it| it.is_ascii() && *it != 0);
    let mut text = String::from_utf8(pem).unwrap_or_default();
    for label in OLD_LABELS {
        if text.contains(label) {
            text = text.replace(label, "CERTIFICATE");
        }
    }
    let certificates = CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok);
    certificates.map(|it| without_trust(&it)).collect()
}

/// The certificate without the data after it. OpenSSL appends the trusted uses to a `TRUSTED` certificate.
fn without_trust(der: &[u8]) -> CertificateDer<'static> {
    let length = element_length(der).unwrap_or(der.len()).min(der.len());
    der[..length].to_vec().into()
}

/// The length of the first element in DER, including its head (X.690, 8.1.3).
fn element_length(der: &[u8]) -> Option<usize> {
    let (first, rest) = der.get(1..)?.split_first()?;
    if *first < 0x80 {
        return Some(2 + usize::from(*first));
    }
    let octets = rest.get(..usize::from(first & 0x7f)).filter(|it| it.len() <= 3)?;
    let length = octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
    Some(2 + octets.len() + length)
}

fn has_names(certificate: &[u8]) -> bool {
    certificate.windows(SUBJECT_ALT_NAME.len()).any(|it| it == SUBJECT_ALT_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use local_lambda::Authority;

    /// OpenSSL made both files from the same certificate.
    const SELF_SIGNED: &str = include_str!("../../../tests/it/certificates/self-signed.pem");
    const TRUSTED: &str = include_str!("../../../tests/it/certificates/self-signed.trusted.pem");

    #[test]
    fn roots_of_a_file_are_added_to_the_compiled_in_ones() {
        let compiled_in = webpki_roots::TLS_SERVER_ROOTS.len();
        assert_eq!(Roots::with(None).anchors.len(), compiled_in);
        let authority = Authority::new();
        let roots = Roots::with(Some(authority.pem_file()));
        assert_eq!((roots.anchors.len(), roots.own.len()), (compiled_in + 1, 0));
    }

    #[test]
    fn a_file_without_certificates_adds_nothing_and_is_not_read_endlessly() {
        for path in ["/dev/zero", "/no/such/file", "/", "/proc/self/maps"] {
            let mut roots = Roots { anchors: RootCertStore::empty(), own: Vec::new() };
            assert!(roots.add(Path::new(path)).is_err(), "{path}");
            assert!(roots.anchors.is_empty());
        }
    }

    #[test]
    fn a_file_may_have_any_text_encoding_and_older_labels() {
        let utf_16 = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "\u{feff}".encode_utf16().chain(SELF_SIGNED.encode_utf16()).flat_map(bytes).collect()
        };
        let expected = certificates(SELF_SIGNED.into());
        assert!(has_names(&expected[0]));
        for (pem, times) in [
            (TRUSTED.into(), 1),
            (SELF_SIGNED.replace(" CERT", " X509 CERT").into(), 1),
            (SELF_SIGNED.replace('\n', "\r\n").into(), 1),
            (SELF_SIGNED.replace('\n', "\r").into(), 1),
            (SELF_SIGNED.trim_end().into(), 1),
            (format!("\u{feff}{SELF_SIGNED}").into(), 1),
            (format!("# täxt\n{SELF_SIGNED}\u{feff}{TRUSTED}").into(), 2),
            (utf_16(u16::to_le_bytes), 1),
            (utf_16(u16::to_be_bytes), 1),
        ] as [(Vec<u8>, usize); 9]
        {
            let text = String::from_utf8_lossy(&pem).into_owned();
            assert_eq!(certificates(pem), vec![expected[0].clone(); times], "{text}");
        }
    }

    #[test]
    fn an_element_has_its_declared_length() {
        for (der, length) in [
            ([0x30, 0x03, 1, 2, 3, 4].as_slice(), Some(5)),
            (&[0x30, 0x81, 0x80], Some(131)),
            (&[0x30, 0x82, 0x01, 0x02, 9], Some(262)),
            (&[0x30, 0x83, 0x01, 0x00, 0x00], Some(65_541)),
            (&[0x30, 0x84, 1, 0, 0, 0], None),
            (&[0x30, 0x82, 0x01], None),
            (&[0x30, 0xff], None),
            (&[0x30], None),
            (&[], None),
        ] {
            assert_eq!(element_length(der), length, "{der:?}");
            assert!(without_trust(der).len() <= der.len());
        }
    }
}
