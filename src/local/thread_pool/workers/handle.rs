//! The handle of a server. It notifies the server's owner when the port closes, and lets the owner close it.
//!
//! tiny_http cannot count its connections. A server without workers never answers requests on open connections.
//! Invariant: after the close, one worker stays as long as the kernel's table shows a client.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};

use super::Workers;
use crate::net::kernel_table::clients_of;

pub struct ServerHandle {
    closed: Box<dyn Fn(io::Error) + Send + Sync>,
    workers: OnceLock<Weak<Workers>>,
    /// Set by the close: the clients that count, in the format of [`clients_of`]. The inner `None` means all
    /// clients of the port.
    clients: OnceLock<Option<Vec<Vec<u8>>>>,
}

impl ServerHandle {
    /// `closed` is called when tiny_http stops accepting connections.
    pub fn new(closed: impl Fn(io::Error) + Send + Sync + 'static) -> Arc<Self> {
        let (workers, clients) = (OnceLock::new(), OnceLock::new());
        Arc::new(Self { closed: Box::new(closed), workers, clients })
    }

    /// Makes the workers and the server end after the last client. `clients` are those that were connected
    /// when the port closed. Others are clients of a later server.
    pub fn close(&self, clients: Option<Vec<Vec<u8>>>) {
        let Some(workers) = self.workers.get().and_then(Weak::upgrade) else { return };
        let _ = self.clients.set(clients); // an earlier close has priority
        for _ in 0..workers.alive.load(Ordering::SeqCst) {
            workers.server.unblock(); // wakes one worker, which waits now or later
        }
    }

    pub fn is_closing(&self) -> bool {
        self.clients.get().is_some()
    }

    pub fn closed(&self, error: io::Error) {
        (self.closed)(error);
    }

    /// Whether a client is still connected. `None` before the close.
    pub(super) fn has_clients(&self, address: SocketAddr) -> Option<bool> {
        let counted = self.clients.get()?;
        let counts = |client: &Vec<u8>| counted.as_ref().is_none_or(|all| all.contains(client));
        Some(clients_of(address).map_or(true, |now| now.iter().any(counts)))
    }

    pub(super) fn serves(&self, workers: Weak<Workers>) {
        let _ = self.workers.set(workers); // a handle has one server
    }
}
