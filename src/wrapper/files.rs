//! Looks into files of which nothing is known: only regular ones, and no more than so much.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Of what is read whole, in bytes; the largest is an agent's bundle for Node.js, of some 700 kB. What is
/// beyond that is not looked at.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Of the record at the end of a zip, and the longest comment behind it (APPNOTE.TXT, 4.3.16).
const END_RECORD: usize = 22;
const END_MAX: u64 = END_RECORD as u64 + 0xffff;
const END_SIGNATURE: &[u8] = b"PK\x05\x06";

/// The bytes of a file, up to a limit.
///
/// # Errors
/// That and why it can't be read. Pipes and devices, which may never end, are not even opened.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = open(path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|error| unreadable(path, &error))
}

/// # Errors
/// That and why it can't be read, or that nothing is in it.
pub fn check(path: &Path) -> Result<(), String> {
    let mut first = [0];
    open(path)
        .and_then(|mut file| file.read_exact(&mut first))
        .map_err(|error| unreadable(path, &error))
}

pub fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

/// The directory of a zip, which holds the names of all that is in it as they are.
///
/// # Errors
/// That and why it can't be read, or that it is no zip.
pub fn zip_directory(path: &Path) -> Result<Vec<u8>, String> {
    let read = open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        let from = length.saturating_sub(END_MAX);
        let mut end = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        (&file).take(END_MAX).read_to_end(&mut end)?;
        let no_zip = || io::Error::other("it is no zip");
        let at = memchr::memmem::rfind(&end, END_SIGNATURE).ok_or_else(no_zip)?;
        let record = end.get(at..at + END_RECORD).ok_or_else(no_zip)?;
        let number = |at: usize| {
            let bytes = [record[at], record[at + 1], record[at + 2], record[at + 3]];
            u64::from(u32::from_le_bytes(bytes))
        };
        let (size, offset) = (number(12), number(16));
        let mut directory = Vec::new();
        file.seek(SeekFrom::Start(offset))?;
        file.take(size.min(BYTES_MAX)).read_to_end(&mut directory)?;
        Ok(directory)
    });
    read.map_err(|error| unreadable(path, &error))
}

fn open(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::other("it is no file"))
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use tempfile::TempDir;

    /// Writes files below a directory, and the directories that they take.
    pub fn write(root: &Path, files: &[(&str, &[u8])]) {
        for (path, bytes) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// A zip in which there are empty files of these names, as far as its directory tells.
    pub fn zip(names: &[&str]) -> Vec<u8> {
        let mut directory = Vec::new();
        for name in names {
            directory.extend(b"PK\x01\x02".iter().chain(&[0; 24]));
            directory.extend([u8::try_from(name.len()).unwrap(), 0].iter().chain(&[0; 16]));
            directory.extend(name.bytes());
        }
        let mut zip = b"PK\x03\x04 what is in the files".to_vec();
        let offset = u32::try_from(zip.len()).unwrap();
        let size = u32::try_from(directory.len()).unwrap();
        zip.extend(directory);
        zip.extend(END_SIGNATURE.iter().chain(&[0; 8]));
        zip.extend(size.to_le_bytes().into_iter().chain(offset.to_le_bytes()).chain([0; 2]));
        zip
    }

    #[test]
    fn only_files_are_read_and_only_so_far() {
        let home = TempDir::new().unwrap();
        write(home.path(), &[("large", &vec![b'x'; 5 << 20]), ("empty", b"")]);
        let of = |name: &str| read(&home.path().join(name));
        assert_eq!(of("large").unwrap().len(), 4 << 20);
        for path in ["/dev/zero", "/no/such/file", "/"] {
            let (whole, checked) = (read(Path::new(path)), check(Path::new(path)));
            assert!(whole.unwrap_err().starts_with(&format!("cannot read {path}: ")));
            assert!(checked.is_err());
        }
        assert!(of("empty").is_ok() && check(&home.path().join("empty")).is_err());
    }

    #[test]
    fn a_zip_tells_what_is_in_it() {
        let home = TempDir::new().unwrap();
        let good = zip(&["META-INF/MANIFEST.MF", "a/B.class"]);
        let with_comment = [&good[..], b"a comment"].concat();
        write(home.path(), &[("good", &good), ("comment", &with_comment), ("cut", &good[..40])]);
        for name in ["good", "comment"] {
            let directory = zip_directory(&home.path().join(name)).unwrap();
            assert!(contains(&directory, b"a/B.class") && !contains(&directory, b"what is in"));
        }
        for bad in ["cut", "none"] {
            assert!(zip_directory(&home.path().join(bad)).is_err());
        }
    }
}
