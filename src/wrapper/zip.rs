//! Reads zip archives as far as the wrapper needs it: the names of the entries, and the bytes of a small entry
//! (APPNOTE.TXT).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use miniz_oxide::inflate;

use crate::files;

/// Size of the record at the end of an archive, in bytes, without its comment (4.3.16).
const END_RECORD: usize = 22;
/// Size of the record at the end of an archive, in bytes, with the longest comment.
const END_MAX: u64 = END_RECORD as u64 + 0xffff;
const END_SIGNATURE: &[u8] = b"PK\x05\x06";

/// Size of an entry's header in the directory, in bytes, without its name (4.3.12).
const ENTRY: usize = 46;
const ENTRY_SIGNATURE: &[u8] = b"PK\x01\x02";
/// Size of the header in front of an entry's bytes, without its name (4.3.7).
const LOCAL: usize = 30;

/// Limit of an archive's directory, in bytes. The rest of a longer one is ignored.
const DIRECTORY_MAX: u64 = 4 * 1024 * 1024;

/// Limit of an entry that is read, in bytes, both packed and unpacked.
const ENTRY_MAX: usize = 1024 * 1024;

/// Methods by which an entry's bytes are packed (4.4.5).
const STORED: usize = 0;
const DEFLATED: usize = 8;

pub struct Zip {
    file: File,
    /// The headers of all entries, with their names in plain text.
    directory: Vec<u8>,
}

struct Entry<'a> {
    name: &'a [u8],
    method: usize,
    packed_size: usize,
    /// Position of the header in front of the entry's bytes.
    offset: u64,
}

impl Zip {
    /// # Errors
    /// The file, and why it cannot be read, or that it is no zip archive.
    pub fn open(path: &Path) -> Result<Self, String> {
        Self::read(path).map_err(|error| files::unreadable(path, &error))
    }

    fn read(path: &Path) -> io::Result<Self> {
        let mut file = files::open(path)?;
        let length = file.metadata()?.len();
        let mut end = Vec::new();
        file.seek(SeekFrom::Start(length.saturating_sub(END_MAX)))?;
        (&file).take(END_MAX).read_to_end(&mut end)?;
        let no_zip = || io::Error::other("it is not a zip archive");
        let at = memchr::memmem::rfind(&end, END_SIGNATURE).ok_or_else(no_zip)?;
        let record = end.get(at..at + END_RECORD).ok_or_else(no_zip)?;
        let (size, offset) = (number(record, 12, 4) as u64, number(record, 16, 4) as u64);
        let mut directory = Vec::new();
        file.seek(SeekFrom::Start(offset))?;
        (&file).take(size.min(DIRECTORY_MAX)).read_to_end(&mut directory)?;
        Ok(Self { file, directory })
    }

    /// Whether the name of any entry contains `name`.
    pub fn names(&self, name: &str) -> bool {
        files::contains(&self.directory, name.as_bytes())
    }

    /// The bytes of an entry, whose name may be in any case. None if no entry has this name, or if it cannot
    /// be unpacked.
    pub fn entry(&mut self, name: &str) -> Option<Vec<u8>> {
        let is_it = |it: &Entry| it.name.eq_ignore_ascii_case(name.as_bytes());
        let Entry { method, packed_size, offset, .. } = entries(&self.directory).find(is_it)?;
        let mut header = [0; LOCAL];
        self.file.seek(SeekFrom::Start(offset)).ok()?;
        self.file.read_exact(&mut header).ok()?;
        let names = number(&header, 26, 2) + number(&header, 28, 2);
        self.file.seek(SeekFrom::Current(i64::try_from(names).ok()?)).ok()?;
        let mut packed = vec![0; Some(packed_size).filter(|&it| it <= ENTRY_MAX)?];
        self.file.read_exact(&mut packed).ok()?;
        match method {
            STORED => Some(packed),
            DEFLATED => inflate::decompress_to_vec_with_limit(&packed, ENTRY_MAX).ok(),
            _ => None,
        }
    }
}

/// The entries of the directory. Ends at the first bytes that are no entry.
fn entries(directory: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut rest = directory;
    std::iter::from_fn(move || {
        let header = rest.get(..ENTRY).filter(|it| it.starts_with(ENTRY_SIGNATURE))?;
        let end = ENTRY + number(header, 28, 2);
        let name = rest.get(ENTRY..end)?;
        rest = rest.get(end + number(header, 30, 2) + number(header, 32, 2)..)?;
        let (method, packed_size) = (number(header, 10, 2), number(header, 20, 4));
        Some(Entry { name, method, packed_size, offset: number(header, 42, 4) as u64 })
    })
}

/// The number in `size` bytes, the lowest byte first.
fn number(bytes: &[u8], at: usize, size: usize) -> usize {
    bytes[at..at + size].iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::files::tests::write;
    use tempfile::TempDir;

    /// An archive of these files, deflated or stored.
    pub fn packed(entries: &[(&str, &[u8])], is_deflated: bool) -> Vec<u8> {
        let (mut zip, mut directory) = (Vec::new(), Vec::new());
        for (name, bytes) in entries {
            let bytes = if is_deflated {
                miniz_oxide::deflate::compress_to_vec(bytes, 6)
            } else {
                bytes.to_vec()
            };
            let method: u16 = if is_deflated { 8 } else { 0 };
            let size = u32::try_from(bytes.len()).unwrap().to_le_bytes();
            let name_size = u16::try_from(name.len()).unwrap().to_le_bytes();
            let offset = u32::try_from(zip.len()).unwrap().to_le_bytes();
            let shared = [&[20, 0, 0, 0][..], &method.to_le_bytes(), &[0; 8], &size, &[0; 4]];
            let shared = [&shared.concat()[..], &name_size].concat();
            zip.extend(
                [b"PK\x03\x04", &shared[..], &[2, 0], name.as_bytes(), b"??", &bytes].concat(),
            );
            let more = [&[1, 0, 2, 0][..], &[0; 8], &offset, name.as_bytes(), b"?", b"!!"];
            directory.extend([&b"PK\x01\x02\x14\0"[..], &shared[..], &more.concat()].concat());
        }
        let offset = u32::try_from(zip.len()).unwrap().to_le_bytes();
        let size = u32::try_from(directory.len()).unwrap().to_le_bytes();
        [&zip[..], &directory, END_SIGNATURE, &[0; 8], &size, &offset, &[0; 2]].concat()
    }

    /// An archive of empty files with these names.
    pub fn zip(names: &[&str]) -> Vec<u8> {
        packed(&names.iter().map(|&it| (it, &b""[..])).collect::<Vec<_>>(), false)
    }

    #[test]
    fn a_zip_has_the_names_of_its_entries_and_their_bytes() {
        let home = TempDir::new().unwrap();
        let path = home.path().join("zip");
        for is_deflated in [false, true] {
            let entries = [("META-INF/MANIFEST.MF", &b"Main: x\n"[..]), ("a/B.class", b"")];
            let good = packed(&entries, is_deflated);
            for bytes in [&good[..], &[&good[..], b"a comment"].concat()] {
                std::fs::write(&path, bytes).unwrap();
                let mut zip = Zip::open(&path).unwrap();
                assert!(zip.names("a/B.class") && !zip.names("Main"));
                assert_eq!(zip.entry("meta-inf/manifest.mf").unwrap(), b"Main: x\n");
                assert_eq!(zip.entry("a/B.class").unwrap(), b"");
                assert_eq!(zip.entry("a/C.class"), None);
            }
        }
    }

    #[test]
    fn no_bytes_in_place_of_a_zip_do_any_harm() {
        let home = TempDir::new().unwrap();
        let path = home.path().join("zip");
        let good = packed(&[("a", b"some text, some text"), ("b", b"more")], true);
        for at in 0..good.len() {
            for flipped in [0x01, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= flipped;
                write(home.path(), &[("zip", &bytes)]);
                if let Ok(mut zip) = Zip::open(&path) {
                    let _ = (zip.entry("a"), zip.entry("b"));
                }
            }
            write(home.path(), &[("zip", &good[..at])]);
            assert!(Zip::open(&path).is_err(), "{at}");
        }
    }
}
