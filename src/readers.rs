//! The threads that take requests off one tiny_http server.
//!
//! tiny_http reads all but the smallest bodies on the thread that asked for the request, without a
//! time limit, so one stalled client stalls that thread. Invariant: while a reader may be stalled,
//! another one is waiting for the next request, up to [`READERS_MAX`].

use std::io;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tiny_http::{Request, Server};

/// Readers that stay when nothing is to be done.
const READERS_IDLE: usize = 2;

/// At most so many bodies are read at a time; beyond that requests wait for one that ends.
/// Lambda allows 1,024 threads for the function and all extensions together ("Lambda quotas").
const READERS_MAX: usize = 128;

/// Of a reader thread, in bytes: twice what the deepest call needs in a debug build.
const READER_STACK: usize = 256 * 1024;

/// What tiny_http reads of a body before it hands the request over, in bytes.
const READ_AHEAD: usize = 1024;

/// Serves `listener`: each request goes to `take`, from one of several threads. `closed` is called
/// each time tiny_http stops accepting connections; those that are open go on being served.
///
/// # Errors
/// What kept tiny_http from starting: no thread or no descriptor was left.
pub fn serve<T, C>(listener: TcpListener, take: T, closed: C) -> io::Result<()>
where
    T: Fn(Request) + Send + Sync + 'static,
    C: Fn(io::Error) + Send + Sync + 'static,
{
    // tiny_http panics where it cannot start its own thread.
    let server = catch_unwind(AssertUnwindSafe(|| Server::from_listener(listener, None)))
        .map_err(|_| io::Error::other("no thread for the accept loop"))?
        .map_err(io::Error::other)?;
    let (waiting, alive) = (AtomicUsize::new(0), AtomicUsize::new(0));
    spawn(&Arc::new(Readers { server, take, closed, waiting, alive }))
}

struct Readers<T, C> {
    server: Server,
    take: T,
    closed: C,
    /// Readers that wait for a request, or are about to.
    waiting: AtomicUsize,
    alive: AtomicUsize,
}

fn spawn<T, C>(readers: &Arc<Readers<T, C>>) -> io::Result<()>
where
    T: Fn(Request) + Send + Sync + 'static,
    C: Fn(io::Error) + Send + Sync + 'static,
{
    let theirs = Arc::clone(readers);
    readers.waiting.fetch_add(1, Ordering::SeqCst);
    readers.alive.fetch_add(1, Ordering::SeqCst);
    let thread = thread::Builder::new().name("reader".to_owned()).stack_size(READER_STACK);
    let spawned = thread.spawn(move || read(&theirs));
    if spawned.is_err() {
        readers.waiting.fetch_sub(1, Ordering::SeqCst);
        readers.alive.fetch_sub(1, Ordering::SeqCst);
    }
    spawned.map(drop)
}

/// The life of one reader. It starts counted as waiting.
fn read<T, C>(readers: &Arc<Readers<T, C>>)
where
    T: Fn(Request) + Send + Sync + 'static,
    C: Fn(io::Error) + Send + Sync + 'static,
{
    loop {
        let request = match readers.server.recv() {
            Ok(request) => request,
            Err(error) => {
                (readers.closed)(error);
                continue;
            }
        };
        let was_last = readers.waiting.fetch_sub(1, Ordering::SeqCst) == 1;
        if was_last && may_stall(&request) && readers.alive.load(Ordering::SeqCst) < READERS_MAX {
            if let Err(error) = spawn(readers) {
                log::debug!("cannot start another reader: {error}");
            }
        }
        if catch_unwind(AssertUnwindSafe(|| (readers.take)(request))).is_err() {
            log::error!("a request could not be handled; the collector goes on");
        }
        if !keep_waiting(&readers.waiting) {
            readers.alive.fetch_sub(1, Ordering::SeqCst);
            return;
        }
    }
}

/// Counts the caller as waiting, unless enough others are: then it is to leave.
fn keep_waiting(waiting: &AtomicUsize) -> bool {
    let counted = |now: usize| (now < READERS_IDLE).then_some(now + 1);
    waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, counted).is_ok()
}

fn may_stall(request: &Request) -> bool {
    request.body_length().is_none_or(|length| length > READ_AHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_beyond_the_idle_ones_leave() {
        let waiting = AtomicUsize::new(0);
        let stays: Vec<bool> = (0..4).map(|_| keep_waiting(&waiting)).collect();
        assert_eq!(stays, [true, true, false, false]);
        assert_eq!(waiting.load(Ordering::SeqCst), READERS_IDLE);
    }
}
