//! Processes, cgroups and temporary directories that a local Lambda must not leave behind.
//!
//! Each is removed by its own drop. A signal that ends the program runs no drop, so each one is registered here
//! too, and [`on_interrupt`] removes it. After a SIGKILL they remain. The next local Lambda then removes those
//! that have a [`DirLock`]: cgroups with their processes, and temporary directories.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::container;
use crate::dir_lock::{self, DirLock, PREFIX, Proof};

/// How long an interrupt tries to remove a directory into which threads still write.
const FILLED_WITHIN: Duration = Duration::from_secs(1);

/// From now on SIGINT, SIGTERM and SIGHUP kill every process of every local Lambda, and remove every cgroup and
/// temporary directory. Then this process exits with 128 plus the signal's number, as in a shell.
///
/// # Panics
///
/// When the system refuses a handler or a thread.
pub fn on_interrupt() {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).expect("handlers of three signals");
    let end = move || {
        if let Some(signal) = signals.forever().next() {
            // The lock is held until the exit, so that no thread registers anything new.
            let mut registry = registry();
            while let Some((_, remove)) = registry.entries.pop_first() {
                remove();
            }
            process::exit(128 + signal);
        }
    };
    thread::Builder::new().name("interrupt".to_owned()).spawn(end).expect("a thread for signals");
}

/// The kinds, in the order of removal. A container comes first, because it kills the processes in it, frozen or
/// not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Container,
    Process,
    Directory,
}

/// Removes a leftover. It must not register anything, nor wait for a thread that does.
pub type Remove = Box<dyn FnOnce() + Send>;

/// A registration. Its drop removes it.
pub struct Entry {
    key: (Kind, u64),
}

/// Makes a thing and registers it in one step, so that no signal comes between.
pub fn enter<T, E>(
    kind: Kind,
    make: impl FnOnce() -> Result<(T, Remove), E>,
) -> Result<(T, Entry), E> {
    let mut registry = registry();
    let (value, remove) = make()?;
    let key = (kind, registry.next);
    registry.next += 1;
    registry.entries.insert(key, remove);
    Ok((value, Entry { key }))
}

/// Waits until the process exits. A thread calls this when an interrupt has removed its files, so that it
/// reports no error.
pub fn wait_for_the_exit() {
    drop(registry());
}

impl Drop for Entry {
    fn drop(&mut self) {
        registry().entries.remove(&self.key);
    }
}

/// A temporary directory. An interrupt removes it too. After a SIGKILL, the next process that makes one removes
/// it.
pub struct TempDir {
    directory: tempfile::TempDir,
    _entry: Entry,
    /// Declared last, and so released last.
    _dir_lock: DirLock,
}

impl TempDir {
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn new() -> io::Result<Self> {
        static INHERITED: Once = Once::new();
        INHERITED.call_once(remove_inherited);
        let make = || {
            let new = || tempfile::Builder::new().prefix(PREFIX).tempdir();
            let (directory, dir_lock) = DirLock::make(Proof::Marker, new)?;
            let path = directory.path().to_owned();
            let remove: Remove = Box::new(move || remove_filling(&path));
            Ok::<_, io::Error>(((directory, dir_lock), remove))
        };
        let ((directory, dir_lock), entry) = enter(Kind::Directory, make)?;
        Ok(Self { directory, _entry: entry, _dir_lock: dir_lock })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes a directory into which a thread may be writing. A new file makes one removal fail. After a complete
/// removal, the thread's next write fails. If the directory remains, the exit status has no room to report it.
fn remove_filling(directory: &Path) {
    let is_filled = |error: io::Error| error.kind() == io::ErrorKind::DirectoryNotEmpty;
    container::until(FILLED_WITHIN, || !fs::remove_dir_all(directory).is_err_and(is_filled));
}

fn remove_inherited() {
    for (directory, _dir_lock) in dir_lock::inheritance(&env::temp_dir(), Proof::Marker) {
        // A directory that cannot be removed stays.
        drop(fs::remove_dir_all(directory));
    }
}

struct Registry {
    next: u64,
    entries: BTreeMap<(Kind, u64), Remove>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { next: 0, entries: BTreeMap::new() });

fn registry() -> MutexGuard<'static, Registry> {
    // A panic while a thing is made leaves the registry unchanged.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}
