//! The directory `/opt/extensions` of an execution environment.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::leftovers::TempDir;
use crate::setup::ExtensionFile;

pub struct Opt {
    home: TempDir,
}

impl Opt {
    /// Makes the directory, with links to the files. If other users run them, `open_to_all`, it makes copies. A
    /// missing file gets a link that leads nowhere, so that its start fails.
    pub fn with(files: &[ExtensionFile], open_to_all: bool) -> io::Result<Self> {
        let opt = Self { home: TempDir::new()? };
        let directory = opt.directory();
        fs::create_dir(&directory)?;
        for ExtensionFile { name, path, .. } in files {
            let place = directory.join(name);
            match fs::canonicalize(path) {
                Ok(path) if open_to_all => drop(fs::copy(path, place)?),
                Ok(path) => symlink(path, place)?,
                Err(_) => symlink(path, place)?,
            }
        }
        if open_to_all {
            for directory in [opt.home.path(), &directory] {
                fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
            }
        }
        Ok(opt)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    fn directory(&self) -> PathBuf {
        self.home.path().join("extensions")
    }
}

/// Whether any user could execute this file, by its permissions and those of its directories.
pub fn is_open_to_all(path: &Path) -> io::Result<bool> {
    const READ_EXECUTE: u32 = 0o5;
    const ENTER: u32 = 0o1;
    let path = fs::canonicalize(path)?;
    let allows = |path: &Path, bits: u32| -> io::Result<bool> {
        Ok(fs::metadata(path)?.permissions().mode() & bits == bits)
    };
    let mut open = allows(&path, READ_EXECUTE)?;
    for directory in path.ancestors().skip(1) {
        open &= allows(directory, ENTER)?;
    }
    Ok(open)
}
