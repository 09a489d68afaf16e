//! Standard output, whose reader may leave at any moment: whoever did has enough of it, but the exit
//! code still counts, as in `local-lambda run … | grep -q INIT`.

use std::io::{self, ErrorKind, IsTerminal, Write};

/// Writes the text whole.
///
/// # Errors
///
/// When it can't be written, such as on a full disk; not when nobody reads on.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    unless_unread(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// What came of writing, but well where nobody reads on.
///
/// # Errors
///
/// Any other than that.
pub fn unless_unread(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// One line on standard error, over and over, where that is a terminal; an empty one erases it.
///
/// # Errors
///
/// When it can't be written.
pub fn progress(line: &str) -> io::Result<()> {
    const ERASE_LINE: &str = "\r\x1b[K";
    let mut out = io::stderr();
    if out.is_terminal() { write!(out, "{ERASE_LINE}{line}") } else { Ok(()) }
}
