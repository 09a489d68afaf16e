//! The local addresses, two for each protocol, each served by a tiny_http server of its own: the first
//! at once, and the others once they are called.
//!
//! tiny_http stops accepting connections for good when one cannot be accepted, and ends its thread
//! with a panic when no descriptor or thread is left for one. Invariant: a door that closed in
//! either way, or could not be opened, is tried again: at the next invocation, or soon where there
//! are none.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use std::{io, mem, thread};

use crate::collector::Collector;
use crate::dialect::Dialect;
use crate::logging;
use crate::readers;
use crate::threads;

/// Descriptors that a connection takes until its first request is answered. A server that cannot
/// have as many would close again at once, and its threads would stay.
const SPARE_DESCRIPTORS: usize = 4;

/// How often to look where nothing tells of invocations.
const LOOKS_EVERY: Duration = Duration::from_secs(5);

/// How often a port may have closed without another sign.
static SUSPICIONS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static END: ThreadEnd = const { ThreadEnd };
}

/// Is dropped when a thread that touched it is at its end: all that the thread held is closed then,
/// a listener too. Before, a look at the door would still find it open.
struct ThreadEnd;

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        SUSPICIONS.fetch_add(1, Ordering::Relaxed);
    }
}

/// What somebody knows of ports that may have closed.
#[derive(Debug, Default)]
pub struct Suspicion(u32);

impl Suspicion {
    /// Whether there was a sign since it was asked last.
    pub fn arises(&mut self) -> bool {
        let signs = SUSPICIONS.load(Ordering::Relaxed);
        mem::replace(&mut self.0, signs) != signs
    }

    /// To be called where nothing was learned, as when there is no descriptor to look with.
    pub fn stays(&mut self) {
        self.0 = self.0.wrapping_sub(1);
    }
}

/// To be called by a thread of tiny_http that panics. It takes connections along that wait for it,
/// and a door may close with it without another sign.
pub fn server_panicked() {
    let _ = END.try_with(|_| ()); // an error only where the thread is at its end already
    readers::nudge_all();
}

#[derive(Debug)]
pub struct Doors {
    doors: Vec<Door>,
    suspicion: Suspicion,
}

/// One local address.
#[derive(Debug)]
struct Door {
    address: SocketAddr,
    dialect: Dialect,
    /// Few agents look for any but the first address, and what nobody uses costs a thread only.
    waits_to_be_called: bool,
    /// Bound, and not served yet.
    listener: Option<TcpListener>,
    is_open: Arc<AtomicBool>,
    /// Whether it was said why it is not open.
    is_explained: bool,
}

impl Doors {
    /// Binds these ports at both addresses, that which most agents are expected at first. From then
    /// on the kernel holds connections until [`Self::open`].
    pub fn bind(ports: &[(u16, Dialect)]) -> Self {
        let mut doors = Vec::with_capacity(ports.len() * 2);
        for &(port, dialect) in ports {
            // Agents that resolve `localhost` to `::1` first (Node.js 17 to 19) find nothing on
            // 127.0.0.1.
            for address in [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
            {
                let mut door = Door::at(address, dialect, !doors.is_empty());
                door.bind();
                doors.push(door);
            }
        }
        Self { doors, suspicion: Suspicion::default() }
    }

    /// Serves every address that is not served. Cheap when all are.
    pub fn open(&mut self, collector: &Arc<Collector>) {
        let is_suspect = self.suspicion.arises();
        for door in &mut self.doors {
            if is_suspect || !door.is_open.load(Ordering::Relaxed) {
                if !door.bind() {
                    self.suspicion.stays();
                }
                door.serve(collector);
            }
        }
    }

    /// As [`Self::open`], from a thread of its own, which lasts as long as the process.
    pub fn keep_open(mut self, collector: &Arc<Collector>) {
        let collector = Arc::clone(collector);
        let look = move || {
            loop {
                self.open(&collector);
                thread::park_timeout(LOOKS_EVERY);
            }
        };
        if let Err(error) = threads::start("doors", threads::SHALLOW, Box::new(look)) {
            logging::debug!(
                "cannot start a thread: {error}; what can't be listened on now never is"
            );
        }
    }
}

impl Door {
    fn at(address: SocketAddr, dialect: Dialect, waits_to_be_called: bool) -> Self {
        let is_open = Arc::new(AtomicBool::new(false));
        Self { address, dialect, waits_to_be_called, listener: None, is_open, is_explained: false }
    }

    /// False where nothing was learned of whether it is open.
    fn bind(&mut self) -> bool {
        if self.listener.is_some() {
            return true;
        }
        let is_open = self.is_open.load(Ordering::Relaxed);
        match TcpListener::bind(self.address) {
            Ok(listener) => self.listener = Some(listener),
            // By this very process: the door is open.
            Err(error) if is_open && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(_) if is_open => return false,
            Err(error) => self.explain(&error),
        }
        true
    }

    fn serve(&mut self, collector: &Arc<Collector>) {
        let Some(listener) = self.listener.take() else { return };
        let collector = Arc::clone(collector);
        // A new one: what an earlier server has still to say concerns that server alone.
        self.is_open = Arc::new(AtomicBool::new(true));
        let is_open = Arc::clone(&self.is_open);
        let closed = move |error| {
            logging::debug!("no connection can be accepted any more: {error}");
            is_open.store(false, Ordering::Relaxed);
        };
        let served = spare_descriptors(&listener).and_then(|()| {
            let serve =
                if self.waits_to_be_called { readers::serve_when_called } else { readers::serve };
            let dialect = self.dialect;
            let take = Box::new(move |request| collector.take(request, dialect));
            serve(listener, take, Arc::new(closed))
        });
        match served {
            Ok(()) => self.is_explained = false,
            Err(error) => {
                self.is_open.store(false, Ordering::Relaxed);
                self.explain(&error);
            }
        }
    }

    /// Once is enough: it is tried again at each invocation.
    fn explain(&mut self, error: &io::Error) {
        if mem::replace(&mut self.is_explained, true) {
            return;
        }
        let address = self.address;
        // Without 127.0.0.1 nearly all agents are lost; without ::1 a few, where it exists at all.
        let level = if address.is_ipv4() { log::Level::Warn } else { log::Level::Debug };
        logging::at!(
            level,
            "cannot listen on {address}: {error}; agents' reports are not taken there, and it is \
             tried again"
        );
    }
}

/// An error if there are none.
fn spare_descriptors(listener: &TcpListener) -> io::Result<()> {
    let spare: io::Result<Vec<_>> = (0..SPARE_DESCRIPTORS).map(|_| listener.try_clone()).collect();
    spare.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn doors_are_looked_at_when_a_thread_that_panicked_has_ended_and_not_before() {
        let mut suspicion = Suspicion::default();
        suspicion.arises();
        let (told, is_told) = mpsc::channel();
        let (end, may_end) = mpsc::channel::<()>();
        let panicked = move || {
            server_panicked();
            told.send(()).unwrap();
            may_end.recv().unwrap_err();
        };
        let panicking = thread::Builder::new().spawn(panicked).unwrap();
        is_told.recv().unwrap();
        assert!(!suspicion.arises());
        drop(end);
        panicking.join().unwrap();
        assert!(suspicion.arises() && !suspicion.arises());
    }
}
