//! Starts this program's own threads. tiny_http starts further ones itself.

use std::{io, thread};

/// Stack size of a thread with shallow calls, in bytes. std's default of 2 MiB would only use up address space.
pub const STACK_SMALL: usize = 256 * 1024;

/// Stack size of a thread that uses TLS, in bytes: std's default.
pub const STACK_DEFAULT: usize = 2 * 1024 * 1024;

/// Starts a thread. The closure is boxed, because each closure type would otherwise add 2 kB of code.
///
/// # Errors
/// The system allows no further thread, or has no memory for its stack.
pub fn spawn(name: &str, stack: usize, run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(stack);
    thread.spawn(run).map(drop)
}
