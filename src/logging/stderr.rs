//! Writes the log's lines to stderr. A thread that logs never waits for the reader of stderr.
//!
//! A full pipe blocks its writer until somebody reads. That could block the sender, and with the strategy `end`
//! the function. So lines wait here for a separate thread, which starts with the first line.
//!
//! Invariant: no other thread writes to stderr. If that thread cannot start, a thread that logs writes
//! itself, and may block.

use std::io::{self, Write};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::logging;
use crate::threads;

/// Limit of all waiting lines, in bytes. A line beyond it is left out and counted. A single longer line is cut.
const WAITING_MAX: usize = 16 * 1024;

static LINES: Mutex<Lines> =
    Mutex::new(Lines { waiting: Vec::new(), left_out: 0, is_started: false, is_writing: false });
static CHANGED: Condvar = Condvar::new();

struct Lines {
    waiting: Vec<u8>,
    left_out: usize,
    is_started: bool,
    is_writing: bool,
}

impl Lines {
    fn lock() -> MutexGuard<'static, Self> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The logger's target. Each write must be one or more complete lines.
#[derive(Debug)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = Lines::lock();
        if !lines.is_started {
            if threads::spawn("log", threads::STACK_SMALL, Box::new(write_all)).is_err() {
                drop(lines);
                return io::stderr().write(line);
            }
            lines.is_started = true;
        }
        let length = line.len().min(WAITING_MAX);
        if lines.waiting.len() + length <= WAITING_MAX {
            lines.waiting.extend_from_slice(&line[..length]);
            if length < line.len() {
                lines.waiting[WAITING_MAX - 1] = b'\n'; // a cut line fills the whole buffer
            }
            CHANGED.notify_all();
        } else {
            lines.left_out += 1;
        }
        Ok(line.len())
    }

    /// Does nothing, because a flush must not wait for the reader.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until all lines are written, or until `until`.
pub fn finish(until: Instant) {
    let is_busy = |lines: &mut Lines| lines.is_writing || !lines.waiting.is_empty();
    let left = until.saturating_duration_since(Instant::now());
    drop(CHANGED.wait_timeout_while(Lines::lock(), left, is_busy));
}

/// Runs the thread that writes.
fn write_all() {
    let mut lines = Lines::lock();
    loop {
        while lines.waiting.is_empty() {
            lines = CHANGED.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
        let waiting = mem::take(&mut lines.waiting);
        let left_out = mem::take(&mut lines.left_out);
        lines.is_writing = true;
        drop(lines);
        // An error of stderr cannot be logged.
        let _ = io::stderr().write_all(&waiting);
        if left_out > 0 {
            let lines = logging::Counted(left_out, "line");
            logging::warn!("left out {lines} here, because nobody read those before");
        }
        lines = Lines::lock();
        lines.is_writing = false;
        CHANGED.notify_all();
    }
}
