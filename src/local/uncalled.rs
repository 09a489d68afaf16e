//! Listeners without any connection so far. One thread waits for all of them. Each of their tiny_http servers
//! would need six threads, its first worker included.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::retry_on_intr;

use crate::local::workers::{self, ServerHandle, Take};
use crate::threads;

static UNCALLED: Mutex<Uncalled> = Mutex::new(Uncalled { calls: None, all: Vec::new() });

struct Uncalled {
    /// The epoll instance on which the thread waits. `None` without a thread.
    calls: Option<Arc<OwnedFd>>,
    all: Vec<Server>,
}

/// A server that starts at its first connection.
struct Server {
    listener: TcpListener,
    take: Take,
    handle: Arc<ServerHandle>,
}

/// As [`workers::serve`], but the server starts at the first connection. If it cannot start then, `handle` is
/// notified.
///
/// # Errors
/// No thread or descriptor is free.
pub fn serve_when_called(
    listener: TcpListener,
    take: Take,
    handle: Arc<ServerHandle>,
) -> io::Result<()> {
    let mut uncalled = lock();
    let calls = if let Some(calls) = &uncalled.calls {
        Arc::clone(calls)
    } else {
        let calls = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        let theirs = Arc::clone(&calls);
        threads::spawn(
            "uncalled",
            threads::STACK_SMALL,
            Box::new(move || serve_the_called(theirs)),
        )?;
        uncalled.calls.insert(calls).clone()
    };
    let key = EventData::new_u64(key_of(&listener));
    epoll::add(&calls, &listener, key, EventFlags::IN | EventFlags::ONESHOT)?;
    uncalled.all.push(Server { listener, take, handle });
    Ok(())
}

/// Runs the thread. After the last listener's first connection, the thread becomes a worker of that server.
fn serve_the_called(calls: Arc<OwnedFd>) {
    let mut is_last = false;
    while !is_last {
        let called = wait_for_one(&calls);
        let mut uncalled = lock();
        let place = uncalled.all.iter().position(|it| key_of(&it.listener) == called);
        // `epoll` cannot fail here. If it did, an unneeded server would start, which does no harm.
        let server = uncalled.all.swap_remove(place.unwrap_or_default());
        is_last = uncalled.all.is_empty();
        if is_last {
            uncalled.calls = None;
        }
        drop(uncalled);
        let Server { listener, take, handle } = server;
        let serve = if is_last { workers::serve_here } else { workers::serve };
        if let Err(error) = serve(listener, take, Arc::clone(&handle)) {
            handle.closed(error);
        }
    }
    drop(calls);
}

/// Waits for a connection to any listener, and returns that listener's key. The connection is not accepted yet.
fn wait_for_one(calls: &OwnedFd) -> u64 {
    let mut called = [Event { flags: EventFlags::empty(), data: EventData::new_u64(u64::MAX) }];
    let _ = retry_on_intr(|| epoll::wait(calls, &mut called, None)); // no time limit: no client may ever connect
    let [Event { data, .. }] = called;
    data.u64()
}

/// The key of a listener: its descriptor, which is unique.
fn key_of(listener: &TcpListener) -> u64 {
    u64::from(listener.as_raw_fd().unsigned_abs())
}

fn lock() -> MutexGuard<'static, Uncalled> {
    UNCALLED.lock().unwrap_or_else(PoisonError::into_inner)
}
