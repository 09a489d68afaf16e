//! Reads files whose content is unknown. It opens regular files only, and reads up to a limit.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Limit of a file that is read into memory, in bytes. The rest of a longer file is ignored.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Limit of a file that is searched, in bytes: Lambda's limit of a function's unpacked package. A search of a
/// larger file fails.
const SEARCHED_MAX: u64 = 250 * 1024 * 1024;

/// Size of the buffer that a search reads into, in bytes.
const CHUNK: usize = 64 * 1024;

/// The bytes of a file, up to a limit.
///
/// # Errors
/// The file, and why it cannot be read. Pipes and devices are not opened, because they may never end.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = open(path).and_then(|file| {
        // One read gets all bytes, and the last one finds the end. A buffer that grows needs many reads.
        let size = file.metadata()?.len().min(BYTES_MAX);
        bytes.reserve(usize::try_from(size).unwrap_or_default() + 64);
        file.take(BYTES_MAX).read_to_end(&mut bytes)
    });
    read.map(|_| bytes).map_err(|error| unreadable(path, &error))
}

/// Whether a file contains these bytes. It is searched in pieces, because a large bundle may not fit into the
/// memory of a small function.
///
/// # Errors
/// The file, and why it cannot be read, or that it is too large.
pub fn holds(path: &Path, part: &[u8]) -> Result<bool, String> {
    holds_any(path, &[part])
}

/// Whether a file contains any of these byte strings.
///
/// # Errors
/// As [`holds`].
pub fn holds_any(path: &Path, parts: &[&[u8]]) -> Result<bool, String> {
    let longest = parts.iter().map(|it| it.len()).max().unwrap_or_default();
    search(path, longest, &mut |piece| parts.iter().any(|it| contains(piece, it)))
}

/// Whether `is_in` accepts one of the file's pieces. The pieces overlap, so that each `longest` bytes of the
/// file are together in one piece.
///
/// # Errors
/// As [`holds`].
pub fn search(
    path: &Path,
    longest: usize,
    is_in: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<bool, String> {
    open(path)
        .and_then(|file| search_pieces(file, longest, is_in))
        .map_err(|error| unreadable(path, &error))
}

fn search_pieces(
    file: File,
    longest: usize,
    is_in: &mut dyn FnMut(&[u8]) -> bool,
) -> io::Result<bool> {
    if file.metadata()?.len() > SEARCHED_MAX {
        return Err(io::Error::other("it is too large to search"));
    }
    let mut file = file.take(SEARCHED_MAX);
    // The last bytes of each piece stay in the buffer, in front of the next piece.
    let kept_max = longest.saturating_sub(1);
    let mut buffer = vec![0; CHUNK + kept_max];
    let mut kept = 0;
    loop {
        let count = file.read(&mut buffer[kept..])?;
        let filled = kept + count;
        if is_in(&buffer[..filled]) {
            return Ok(true);
        }
        if count == 0 {
            return Ok(false);
        }
        kept = filled.min(kept_max);
        buffer.copy_within(filled - kept..filled, 0);
    }
}

/// Checks that a file can be read and is not empty.
///
/// # Errors
/// The file, and why it cannot be read, or that it is empty.
pub fn check(path: &Path) -> Result<(), String> {
    let mut first = [0];
    open(path)
        .and_then(|mut file| file.read_exact(&mut first))
        .map_err(|error| unreadable(path, &error))
}

pub fn contains(bytes: &[u8], part: &[u8]) -> bool {
    find(bytes, part).is_some()
}

#[inline(never)] // Each copy of the search takes a kilobyte.
pub fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, part)
}

pub fn open(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

pub fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use tempfile::TempDir;

    /// Writes files below `root`, and creates their directories.
    pub fn write(root: &Path, files: &[(&str, &[u8])]) {
        for (path, bytes) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    #[test]
    fn only_regular_files_are_read_and_only_up_to_the_limit() {
        let home = TempDir::new().unwrap();
        write(home.path(), &[("large", &vec![b'x'; 5 << 20]), ("empty", b"")]);
        let of = |name: &str| read(&home.path().join(name));
        assert_eq!(of("large").unwrap().len(), 4 << 20);
        for path in ["/dev/zero", "/no/such/file", "/"] {
            let (whole, checked) = (read(Path::new(path)), check(Path::new(path)));
            assert!(whole.unwrap_err().starts_with(&format!("cannot read {path}: ")));
            assert!(checked.is_err() && holds(Path::new(path), b"x").is_err());
        }
        assert!(of("empty").is_ok() && check(&home.path().join("empty")).is_err());
    }

    #[test]
    fn bytes_are_found_at_each_position_of_a_file() {
        let home = TempDir::new().unwrap();
        let path = home.path().join("bundle");
        let size = 5 << 20;
        for at in [0, 1, CHUNK - 3, CHUNK - 1, CHUNK, 2 * CHUNK + 2, (4 << 20) - 2, size - 5] {
            let mut bytes = vec![b'-'; size];
            bytes[at..at + 5].copy_from_slice(b"found");
            fs::write(&path, &bytes).unwrap();
            assert_eq!(holds(&path, b"found"), Ok(true), "{at}");
            assert_eq!(holds_any(&path, &[b"not there", b"found"]), Ok(true), "{at}");
            assert_eq!(holds(&path, b"founds"), Ok(false), "{at}");
        }
        fs::write(&path, b"").unwrap();
        assert_eq!(holds(&path, b"found"), Ok(false));
    }

    #[test]
    fn a_file_larger_than_any_functions_is_not_searched() {
        let home = TempDir::new().unwrap();
        let path = home.path().join("bundle");
        File::create(&path).unwrap().set_len(SEARCHED_MAX + 1).unwrap();
        assert!(holds(&path, b"found").unwrap_err().ends_with("it is too large to search"));
    }
}
