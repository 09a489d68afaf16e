//! Stderr, for the log: who writes a line never waits for who reads it.
//!
//! A pipe that is full stops its writer, for as long as nobody reads: the sender, and with the
//! strategy `end` the function. So lines wait here for a thread of their own, which starts with the
//! first one. Invariant: no other thread writes, unless that one could not be started.

use std::io::{self, Write};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::threads;

/// What may wait, in bytes; lines beyond that are left out, as nobody reads those before them.
const WAITING_MAX: usize = 16 * 1024;

/// How long the last lines are waited for.
const LAST_LINES: Duration = Duration::from_millis(50);

static LINES: Mutex<Lines> =
    Mutex::new(Lines { waiting: Vec::new(), is_started: false, is_writing: false });
static CHANGED: Condvar = Condvar::new();

struct Lines {
    waiting: Vec<u8>,
    is_started: bool,
    is_writing: bool,
}

impl Lines {
    fn lock() -> MutexGuard<'static, Self> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the logger writes to: one line, or several whole ones, at a time.
#[derive(Debug)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = Lines::lock();
        if !lines.is_started {
            if threads::start("log", threads::SHALLOW, Box::new(write_all)).is_err() {
                drop(lines);
                return io::stderr().write(line);
            }
            lines.is_started = true;
        }
        if lines.waiting.len() + line.len() <= WAITING_MAX {
            lines.waiting.extend_from_slice(line);
            CHANGED.notify_all();
        }
        Ok(line.len())
    }

    /// Nothing: a line is out when it can be.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until no line is left, or for as long as last lines are waited for.
pub fn finish() {
    let is_busy = |lines: &mut Lines| lines.is_writing || !lines.waiting.is_empty();
    drop(CHANGED.wait_timeout_while(Lines::lock(), LAST_LINES, is_busy));
}

/// The life of the thread.
fn write_all() {
    let mut lines = Lines::lock();
    loop {
        while lines.waiting.is_empty() {
            lines = CHANGED.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
        let waiting = mem::take(&mut lines.waiting);
        lines.is_writing = true;
        drop(lines);
        // There is nobody to tell.
        let _ = io::stderr().write_all(&waiting);
        lines = Lines::lock();
        lines.is_writing = false;
        CHANGED.notify_all();
    }
}
