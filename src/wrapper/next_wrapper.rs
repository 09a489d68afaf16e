//! Starts the next wrapper, which then starts the runtime. If that wrapper cannot be executed, the runtime
//! starts without it.

use std::env::{self, consts};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::files;

const ENOEXEC: i32 = 8;

/// First bytes of a program ("ELF-64 Object File Format", file header).
const ELF: &[u8] = b"\x7fELF";
/// Position of the number of its processor, in the same header.
const MACHINE_AT: usize = 18;

/// Limit of the bytes that are read from the start of a file to find its kind.
const HEAD: u64 = 512;

/// Replaces this process by the next wrapper. `prepare` adds arguments and environment to its command.
///
/// # Returns
/// Why the wrapper did not start.
pub fn start(wrapper: &OsStr, prepare: impl Fn(&mut Command)) -> String {
    let path = located(wrapper);
    let head = head(&path).unwrap_or_default();
    let is_elf = head.starts_with(ELF);
    if let Err(why) = check(&path, &head) {
        return why.to_owned();
    }
    let run = |mut command: Command| {
        prepare(&mut command);
        command.exec()
    };
    let mut error = run(Command::new(&path));
    // This may be a script whose first line names no shell. Shells run such a script by themselves.
    if error.raw_os_error() == Some(ENOEXEC) && !is_elf {
        let mut shell = Command::new("/bin/sh");
        shell.arg(&path);
        error = run(shell);
    }
    if error.kind() == io::ErrorKind::NotFound && path.exists() {
        return "a program that it needs does not exist, such as one in its first line".to_owned();
    }
    error.to_string()
}

/// The file of this name. A name without a slash is looked for in `PATH`.
fn located(wrapper: &OsStr) -> PathBuf {
    let path = PathBuf::from(wrapper);
    if wrapper.as_encoded_bytes().contains(&b'/') {
        return path;
    }
    let directories = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&directories).map(|it| it.join(&path)).find(|it| it.is_file());
    found.unwrap_or(path)
}

/// The first bytes of a file. Fails for a file that may be executed, but not read.
fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    files::open(path)?.take(HEAD).read_to_end(&mut head)?;
    Ok(head)
}

/// Refuses files that the kernel cannot execute. The C library would hand them to a shell, as scripts.
fn check(path: &Path, head: &[u8]) -> Result<(), &'static str> {
    let is_empty = head.iter().all(u8::is_ascii_whitespace);
    if is_empty && files::open(path).is_ok() {
        return Err("it is empty");
    }
    let machine = head.get(MACHINE_AT..MACHINE_AT + 2).unwrap_or_default();
    match head {
        _ if head.starts_with(ELF) && is_foreign(machine) => {
            Err("it is a program for another processor")
        }
        _ if head.starts_with(ELF) || head.starts_with(b"#!") => Ok(()),
        _ if head.contains(&0) => Err("it is neither a script nor a program for Linux"),
        _ => Ok(()),
    }
}

fn is_foreign(machine: &[u8]) -> bool {
    // Lambda's processors store the lower byte first.
    match consts::ARCH {
        // The kernel may also execute programs of 32 bits.
        "x86_64" => machine != [62, 0] && machine != [3, 0],
        "aarch64" => machine != [183, 0],
        _ => false,
    }
}
