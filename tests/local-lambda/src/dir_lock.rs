//! A lock that a live process has on a directory. The system releases the lock when the process ends in any
//! way. So a directory without a lock has no owner any more.
//!
//! A pid in the name is not enough, because other pid namespaces see the same directories, and pids are reused.
//! A name is not enough to show that a directory is a local Lambda's. So each one also has a [`Proof`].

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;

use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use uuid::Uuid;

/// The prefix of all directories with an owner, by which a later process finds them.
pub const PREFIX: &str = "local-lambda-";

/// The file of [`Proof::Marker`].
const MARKER: &str = ".made-by-local-lambda";

/// Distinguishes a directory of a local Lambda from others whose name begins with [`PREFIX`], such as a user's
/// directory of reports.
#[derive(Debug, Clone, Copy)]
pub enum Proof {
    /// A file in the directory. This user owns both. The file is made before the lock. If another process finds
    /// the directory before it has the file, it leaves the directory alone, for ever if the owner dies then.
    Marker,
    /// A name from [`new_name`]. In a cgroup nobody can make a file.
    Name,
}

/// Limit of attempts to make a directory. Another process may remove one before it is locked, but not each
/// time.
const TRIES_MAX: usize = 100;

/// A lock. While it exists, no other process removes the directory as abandoned.
pub struct DirLock {
    /// `None` if the file system has no locks. There, no process ever removes another one's directory.
    _lock: Option<OwnedFd>,
}

impl DirLock {
    /// Makes a directory and locks it. If another process removed it in between, makes another one.
    pub fn make<D: AsRef<Path>>(
        proof: Proof,
        mut make: impl FnMut() -> io::Result<D>,
    ) -> io::Result<(D, Self)> {
        for _ in 0..TRIES_MAX {
            let directory = make()?;
            proof.give(directory.as_ref())?;
            if let Some(dir_lock) = Self::of_a_new_one(directory.as_ref())? {
                return Ok((directory, dir_lock));
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
        // The earlier holder of the lock has removed the directory.
        Ok(directory.exists().then_some(Self { _lock: lock }))
    }

    fn inherit(directory: &Path) -> Option<Self> {
        Some(Self { _lock: Some(lock(directory).ok()?) })
    }
}

impl Proof {
    fn give(self, directory: &Path) -> io::Result<()> {
        match self {
            Self::Marker => fs::write(directory.join(MARKER), ""),
            Self::Name => Ok(()),
        }
    }

    /// Whether this directory has the proof. Its name must begin with [`PREFIX`].
    fn holds(self, directory: &Path) -> bool {
        match self {
            Self::Marker => {
                let user = rustix::process::geteuid().as_raw();
                let is_ours = |it: fs::Metadata| it.uid() == user;
                let is_file = |it: fs::Metadata| it.is_file() && is_ours(it);
                fs::symlink_metadata(directory).is_ok_and(is_ours)
                    && fs::symlink_metadata(directory.join(MARKER)).is_ok_and(is_file)
            }
            Self::Name => directory.file_name().and_then(|it| it.to_str()).is_some_and(is_a_name),
        }
    }
}

/// A name with this process's pid, for people, and a number that makes it unique.
pub fn new_name() -> String {
    format!("{PREFIX}{}-{}", process::id(), Uuid::new_v4())
}

fn is_a_name(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
    rest.is_some_and(|(pid, id)| {
        pid.parse::<u32>().is_ok_and(|it| it.to_string() == pid)
            && Uuid::parse_str(id).is_ok_and(|it| it.to_string() == id)
    })
}

/// The directories here with this proof whose owners are dead. Each comes with a lock, so only this process
/// removes it.
pub fn inheritance(parent: &Path, proof: Proof) -> impl Iterator<Item = (PathBuf, DirLock)> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let named =
        entries.filter(|it| it.file_name().to_str().is_some_and(|it| it.starts_with(PREFIX)));
    let ours = named.map(|it| it.path()).filter(move |it| proof.holds(it));
    ours.filter_map(|it| DirLock::inherit(&it).map(|dir_lock| (it, dir_lock)))
}

/// The lock closes when a child executes its program. Until then the child holds it too.
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

    fn inherited(parent: &Path, proof: Proof) -> Vec<PathBuf> {
        inheritance(parent, proof).map(|(path, _)| path).collect()
    }

    #[test]
    fn a_locked_directory_is_inherited_when_its_lock_is_gone() {
        for proof in [Proof::Marker, Proof::Name] {
            let home = tempfile::TempDir::new().unwrap();
            make(home.path(), "another").unwrap();
            let (path, dir_lock) = DirLock::make(proof, || make(home.path(), &new_name())).unwrap();
            assert!(inherited(home.path(), proof).is_empty());
            drop(dir_lock);
            assert_eq!(inherited(home.path(), proof), [path], "{proof:?}");
        }
    }

    #[test]
    fn a_directory_that_only_has_the_name_is_not_inherited() {
        let home = tempfile::TempDir::new().unwrap();
        let path = make(home.path(), &new_name()).unwrap();
        fs::create_dir(path.join(MARKER)).unwrap();
        assert!(inherited(home.path(), Proof::Marker).is_empty(), "the marker is a file");
        fs::remove_dir(path.join(MARKER)).unwrap();
        fs::write(path.join(MARKER), "").unwrap();
        assert_eq!(inherited(home.path(), Proof::Marker), [path.as_path()]);
        // Only root can change the owner.
        if std::os::unix::fs::chown(&path, Some(993), None).is_ok() {
            assert!(inherited(home.path(), Proof::Marker).is_empty(), "another user's");
        }
    }

    #[test]
    fn a_name_has_a_pid_and_a_uuid_and_nothing_else() {
        let id = Uuid::nil();
        assert!(is_a_name(&new_name()) && is_a_name(&format!("{PREFIX}1-{id}")));
        for rest in ["", "1", "1-", "collector", &format!("+1-{id}"), &format!("-{id}")] {
            assert!(!is_a_name(&format!("{PREFIX}{rest}")), "{rest}");
        }
        for rest in [format!("1-{id}x"), format!("01-{id}"), format!("1-{}", id.simple())] {
            assert!(!is_a_name(&format!("{PREFIX}{rest}")), "{rest}");
        }
    }

    #[test]
    fn a_new_directory_that_another_process_took_is_left_to_it() {
        let home = tempfile::TempDir::new().unwrap();
        let (mut made, mut heirs) = (Vec::new(), Vec::new());
        let (path, _dir_lock) = DirLock::make(Proof::Name, || {
            let path = make(home.path(), &new_name())?;
            made.push(path.clone());
            match made.len() {
                // First locked, then locked and removed.
                1 => heirs.extend(inheritance(home.path(), Proof::Name)),
                2 => fs::remove_dir(&path)?,
                _ => {}
            }
            Ok(path)
        })
        .unwrap();
        assert_eq!((made.len(), &path), (3, &made[2]));
        assert_eq!(heirs.len(), 1);
    }
}
