//! The threads that this program starts; those of tiny_http come on top.

use std::{io, thread};

/// Of a thread whose calls are shallow, in bytes; the usual 2 MiB each would only fill the address
/// space.
pub const SHALLOW: usize = 256 * 1024;

/// Of a thread that does TLS, in bytes: what a thread has by default.
pub const DEEP: usize = 2 * 1024 * 1024;

/// Starts one. Boxed, as each type of closure would make 2 kB of code of its own.
///
/// # Errors
/// There is no thread left, or no memory for its stack.
pub fn start(name: &str, stack: usize, life: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(stack);
    thread.spawn(life).map(drop)
}
