//! Stderr, for the log: who writes a line never waits for who reads it.
//!
//! A pipe that is full stops its writer, for as long as nobody reads: the sender, and with the
//! strategy `end` the function. So lines wait here for a thread of their own, which starts with the
//! first one. Invariant: no other thread writes, unless that one could not be started: then who writes
//! a line may wait after all.

use std::io::{self, Write};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::logging;
use crate::threads;

/// What may wait, in bytes; lines beyond that are left out and counted, as nobody reads those before
/// them, and a line that is longer is cut.
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
        let length = line.len().min(WAITING_MAX);
        if lines.waiting.len() + length <= WAITING_MAX {
            lines.waiting.extend_from_slice(&line[..length]);
            if length < line.len() {
                lines.waiting[WAITING_MAX - 1] = b'\n'; // nothing was before it
            }
            CHANGED.notify_all();
        } else {
            lines.left_out += 1;
        }
        Ok(line.len())
    }

    /// Nothing: a line is out when it can be.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until no line is left, or until then.
pub fn finish(until: Instant) {
    let is_busy = |lines: &mut Lines| lines.is_writing || !lines.waiting.is_empty();
    let left = until.saturating_duration_since(Instant::now());
    drop(CHANGED.wait_timeout_while(Lines::lock(), left, is_busy));
}

/// The life of the thread.
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
        // There is nobody to tell.
        let _ = io::stderr().write_all(&waiting);
        if left_out > 0 {
            logging::warn!("{left_out} lines were left out here, as nobody read those before them");
        }
        lines = Lines::lock();
        lines.is_writing = false;
        CHANGED.notify_all();
    }
}
