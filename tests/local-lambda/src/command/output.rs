//! Standard output. Its reader may leave at any moment, as in `local-lambda run … | grep -q INIT`. That is no
//! error, because the exit code still matters.

use std::io::{self, ErrorKind, IsTerminal, Write};

/// Writes the whole text.
///
/// # Errors
///
/// When it cannot be written, such as on a full disk. A reader that has left is no error.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    unless_unread(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Turns the error of a reader that has left into success.
///
/// # Errors
///
/// Any other error.
pub fn unless_unread(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Replaces the last line on standard error, if that is a terminal. An empty line erases it.
///
/// # Errors
///
/// When it cannot be written.
pub fn progress(line: &str) -> io::Result<()> {
    const ERASE_LINE: &str = "\r\x1b[K";
    let mut out = io::stderr();
    if out.is_terminal() { write!(out, "{ERASE_LINE}{line}") } else { Ok(()) }
}
