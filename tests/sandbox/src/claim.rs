//! Whether the owner of a directory still lives: it holds a lock on it, which the system releases
//! with the process, however that ends.
//!
//! A number in the name would not tell: processes of other pid namespaces see the same directories,
//! and numbers are used again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

/// How all directories with an owner are named, so that an heir finds them.
pub const PREFIX: &str = "lambda-sandbox-";

/// An heir may come between the making of a directory and its lock, but not each time.
const TRIES_MAX: usize = 100;

/// As long as it lives, nobody inherits the directory.
pub struct Claim {
    /// `None` where the file system knows no locks: there nobody ever inherits.
    _lock: Option<OwnedFd>,
}

impl Claim {
    /// Makes a directory and claims it. One that an heir took meanwhile is left to it.
    pub fn make<D: AsRef<Path>>(mut make: impl FnMut() -> io::Result<D>) -> io::Result<(D, Self)> {
        for _ in 0..TRIES_MAX {
            let directory = make()?;
            if let Some(claim) = Self::of_a_new_one(directory.as_ref())? {
                return Ok((directory, claim));
            }
        }
        Err(io::Error::other("each new directory was taken for one of a dead process"))
    }

    fn of_a_new_one(directory: &Path) -> io::Result<Option<Self>> {
        let lock = match lock(directory) {
            Ok(lock) => Some(lock),
            Err(Errno::WOULDBLOCK | Errno::NOENT) => return Ok(None),
            Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::INVAL) => None,
            Err(error) => return Err(error.into()),
        };
        // Whoever had the lock before has removed it.
        Ok(directory.exists().then_some(Self { _lock: lock }))
    }

    fn inherit(directory: &Path) -> Option<Self> {
        Some(Self { _lock: Some(lock(directory).ok()?) })
    }
}

/// The directories here whose owners are dead, each with the claim to remove it.
pub fn inheritance(parent: &Path) -> impl Iterator<Item = (PathBuf, Claim)> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let ours =
        entries.filter(|it| it.file_name().to_str().is_some_and(|it| it.starts_with(PREFIX)));
    ours.filter_map(|it| Some((it.path(), Claim::inherit(&it.path())?)))
}

/// Closed when a child executes its program; until then the child holds it as well.
fn lock(directory: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = open(directory, flags, Mode::empty())?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(parent: &Path, name: &str) -> io::Result<PathBuf> {
        let path = parent.join(name);
        fs::create_dir(&path).map(|()| path)
    }

    fn inherited(parent: &Path) -> Vec<PathBuf> {
        inheritance(parent).map(|(path, _)| path).collect()
    }

    #[test]
    fn what_is_claimed_is_inherited_when_the_claim_is_gone() {
        let home = tempfile::TempDir::new().unwrap();
        let name = format!("{PREFIX}1");
        make(home.path(), "another").unwrap();
        let (path, claim) = Claim::make(|| make(home.path(), &name)).unwrap();
        assert!(inherited(home.path()).is_empty());
        drop(claim);
        assert_eq!(inherited(home.path()), [path]);
    }

    #[test]
    fn a_new_directory_that_an_heir_took_meanwhile_is_left_to_it() {
        let home = tempfile::TempDir::new().unwrap();
        let (mut count, mut heirs) = (0, Vec::new());
        let (path, _claim) = Claim::make(|| {
            count += 1;
            let path = make(home.path(), &format!("{PREFIX}{count}"))?;
            match count {
                // Locked, and locked and removed.
                1 => heirs.extend(inheritance(home.path())),
                2 => fs::remove_dir(&path)?,
                _ => {}
            }
            Ok(path)
        })
        .unwrap();
        assert_eq!(path, home.path().join(format!("{PREFIX}3")));
        assert_eq!(heirs.len(), 1);
    }
}
