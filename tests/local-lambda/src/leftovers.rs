//! Processes, cgroups and temporary directories, which a local Lambda must not leave behind.
//!
//! Each leaves by its own drop. A signal that ends the program runs no drop, so each is entered
//! here as well, and [`on_interrupt`] removes what is entered. SIGKILL leaves them. The next local
//! Lambda removes those that have a [`DirLock`]: cgroups with their processes, temporary directories.

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

/// How long an interrupt tries to remove a directory, which any thread fills within a moment.
const FILLED_WITHIN: Duration = Duration::from_secs(1);

/// From now on SIGINT, SIGTERM and SIGHUP kill every process of every local Lambda, remove every
/// cgroup and temporary directory, and exit with 128 and the signal's number, as in a shell.
///
/// # Panics
///
/// When the system gives neither a handler nor a thread.
pub fn on_interrupt() {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).expect("handlers of three signals");
    let end = move || {
        if let Some(signal) = signals.forever().next() {
            // Held to the exit: what would be made from here on waits for it instead.
            let mut registry = registry();
            while let Some((_, remove)) = registry.entries.pop_first() {
                remove();
            }
            process::exit(128 + signal);
        }
    };
    thread::Builder::new().name("interrupt".to_owned()).spawn(end).expect("a thread for signals");
}

/// In the order of removal: a container kills what runs in it, frozen or not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Container,
    Process,
    Directory,
}

/// What removes a leftover. It must not enter anything, nor wait for a thread that does.
pub type Remove = Box<dyn FnOnce() + Send>;

/// Leaves by drop.
pub struct Entry {
    key: (Kind, u64),
}

/// Makes and enters in one step, so that no signal comes between.
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

/// For a thread that finds its things removed: it must not get to tell of it.
pub fn wait_for_the_exit() {
    drop(registry());
}

impl Drop for Entry {
    fn drop(&mut self) {
        registry().entries.remove(&self.key);
    }
}

/// A temporary directory that an interrupt removes as well, and after a SIGKILL the next process
/// that makes one.
pub struct TempDir {
    directory: tempfile::TempDir,
    _entry: Entry,
    /// Given up last.
    _dir_lock: DirLock,
}

impl TempDir {
    /// # Errors
    ///
    /// When it can't be made.
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

/// A thread may be putting a file into it, at which one removal fails; when one was whole, the
/// thread's next file does. Of what can't be removed the exit status has no room to tell.
fn remove_filling(directory: &Path) {
    let is_filled = |error: io::Error| error.kind() == io::ErrorKind::DirectoryNotEmpty;
    container::until(FILLED_WITHIN, || !fs::remove_dir_all(directory).is_err_and(is_filled));
}

fn remove_inherited() {
    for (directory, _dir_lock) in dir_lock::inheritance(&env::temp_dir(), Proof::Marker) {
        // What can't be removed is left.
        drop(fs::remove_dir_all(directory));
    }
}

struct Registry {
    next: u64,
    entries: BTreeMap<(Kind, u64), Remove>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { next: 0, entries: BTreeMap::new() });

fn registry() -> MutexGuard<'static, Registry> {
    // A panic while something is made leaves the registry as it was.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}
