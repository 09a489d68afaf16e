//! Bodies in gzip.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// # Panics
///
/// Never, because memory takes all bytes.
#[must_use]
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory takes all bytes");
    encoder.finish().expect("memory takes all bytes")
}

/// Joins several members into one result, as RFC 1952 requires.
///
/// # Errors
///
/// When it is not gzip, or not complete.
pub fn unpack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_data_is_restored_member_by_member() {
        assert_eq!(unpack(&[pack(b"a"), pack(b"bc")].concat()).unwrap(), b"abc");
    }

    #[test]
    fn data_that_is_no_gzip_or_is_cut_short_is_an_error() {
        assert!(unpack(b"abc").is_err());
        assert!(unpack(&pack(b"abc")[..12]).is_err());
    }
}
