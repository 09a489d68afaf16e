//! The local addresses, two for each port, and their servers. The event loop serves any number of them. The
//! thread pool starts once for each address: at once for the very first one, else at its first connection.
//!
//! tiny_http stops for good if it cannot accept a connection. Its thread panics if no descriptor or thread is
//! left for a connection.
//!
//! Invariant: a listener that closed or could not open is opened again at the next invocation. If Lambda
//! reports no invocations, it is opened again after a few seconds.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, mem};

use crate::local::collector::Collector;
use crate::local::event_loop::{EventLoop, Order};
use crate::local::port::Port;
use crate::local::thread_pool::exchange;
use crate::local::thread_pool::panics::PanicWatch;
use crate::local::thread_pool::workers::{self, ServerHandle};
use crate::logging;
use crate::net::kernel_table::clients_of;
use crate::payload::protocol::{OTLP_GRPC_PORT, OTLP_HTTP_PORT, Protocol};

/// The servers of local ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    EventLoop,
    ThreadPool,
}

/// Which server serves the port of a protocol. The event loop could serve both.
fn server_of(protocol: Protocol) -> Server {
    match protocol {
        Protocol::Otlp => Server::EventLoop,
        Protocol::Thundra => Server::ThreadPool,
    }
}

pub struct Listeners {
    all: Vec<Listener>,
    panics: PanicWatch,
    event_loop: EventLoop,
}

/// One local address.
struct Listener {
    address: SocketAddr,
    protocol: Protocol,
    /// Whether a thread pool starts at the first connection. Few agents use any address except the first.
    starts_on_first_connection: bool,
    /// A bound socket that is not served yet.
    socket: Option<TcpListener>,
    is_open: Arc<AtomicBool>,
    server: Option<Arc<ServerHandle>>,
    /// Whether the log has a line why the listener is not open.
    is_explained: bool,
    /// Whether the log has a warning that the listener closed, and no invocation has found it open since. Each
    /// invocation may open it only for it to close again.
    is_close_logged: Arc<AtomicBool>,
    /// Whether the log never mentions this listener, because nobody configured it.
    is_quiet: bool,
}

impl Listeners {
    /// Binds both addresses of these ports, the most used address first. From then on, connections wait in
    /// the kernel until [`Self::open`].
    pub fn bind(ports: &[(u16, Protocol)], event_loop: EventLoop) -> Self {
        let mut listeners = Vec::with_capacity(ports.len() * 2);
        for &(port, protocol) in ports {
            // Agents on Node.js 17 to 19 resolve `localhost` to `::1`, and do not try 127.0.0.1.
            for address in addresses(port) {
                let mut listener = Listener::at(address, protocol, !listeners.is_empty());
                listener.bind();
                listeners.push(listener);
            }
        }
        Self { all: listeners, panics: PanicWatch::default(), event_loop }
    }

    /// Binds ports that nobody configured. If another process uses one address of a port, the port is left to
    /// that process for good, without a line in the log. Otherwise a client of that process could reach this
    /// one.
    pub fn claim(&mut self, ports: &[(u16, Protocol)]) {
        for &(port, protocol) in ports {
            // A process that has OTLP's port for HTTP may open its port for gRPC later.
            if port == OTLP_GRPC_PORT && !self.has(OTLP_HTTP_PORT) {
                continue;
            }
            let quiet =
                |address| Listener { is_quiet: true, ..Listener::at(address, protocol, true) };
            let [mut v4, mut v6] = addresses(port).map(quiet);
            if v4.try_bind().is_err() {
                continue;
            }
            match v6.try_bind() {
                Ok(()) => self.all.extend([v4, v6]),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(_) => self.all.push(v4), // the system has no IPv6
            }
        }
    }

    /// Whether this port is bound at the address that nearly all clients use.
    fn has(&self, port: u16) -> bool {
        let mut bound = self.all.iter().filter(|it| it.is_bound());
        bound.any(|it| it.address == SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Serves each address that is not served. This is cheap if all are served.
    pub fn open(&mut self, collector: &'static Collector) {
        let has_panicked = self.panics.take_change();
        for listener in &mut self.all {
            let may_have_closed =
                has_panicked && server_of(listener.protocol) == Server::ThreadPool;
            if may_have_closed || !listener.is_open.load(Ordering::Relaxed) {
                if !listener.bind() {
                    self.panics.recheck();
                }
                listener.serve(collector, &self.event_loop);
            } else {
                listener.is_close_logged.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Closes bound sockets that are not served, so that no client waits there in vain. [`Self::open`] binds
    /// them again.
    pub fn close_unserved(&mut self) {
        self.all.iter_mut().for_each(|it| it.socket = None);
    }
}

/// Both addresses of a port. Nearly all clients try the first one first.
fn addresses(port: u16) -> [SocketAddr; 2] {
    [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
}

impl Listener {
    fn at(address: SocketAddr, protocol: Protocol, starts_on_first_connection: bool) -> Self {
        let is_open = Arc::new(AtomicBool::new(false));
        Self {
            address,
            protocol,
            starts_on_first_connection,
            socket: None,
            is_open,
            server: None,
            is_explained: false,
            is_close_logged: Arc::default(),
            is_quiet: false,
        }
    }

    fn is_bound(&self) -> bool {
        self.socket.is_some() || self.is_open.load(Ordering::Relaxed)
    }

    /// Binds the address, unless it is open. False if it remains unknown whether the listener is open.
    fn bind(&mut self) -> bool {
        if self.socket.is_some() {
            return true;
        }
        let is_open = self.is_open.load(Ordering::Relaxed);
        match self.try_bind() {
            // The server's own thread has panicked, and has not reported that.
            Ok(()) if is_open => self.on_close()("no thread or descriptor was left"),
            Ok(()) => {}
            // This process itself uses the address, so the listener is open.
            Err(error) if is_open && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(_) if is_open => return false,
            Err(error) => self.explain(&error),
        }
        true
    }

    fn try_bind(&mut self) -> io::Result<()> {
        self.socket = Some(TcpListener::bind(self.address)?);
        Ok(())
    }

    fn serve(&mut self, collector: &'static Collector, event_loop: &EventLoop) {
        let Some(listener) = self.socket.take() else { return };
        // A new flag for this server. The earlier server may still change its own one.
        self.is_open = Arc::new(AtomicBool::new(true));
        let served = match server_of(self.protocol) {
            Server::EventLoop => {
                let port = Port::Reports(collector, self.protocol);
                event_loop.order(Order::Listen(listener, port))
            }
            Server::ThreadPool => self.serve_by_threads(listener, collector, event_loop),
        };
        match served {
            Ok(()) => self.is_explained = false,
            Err(error) => {
                self.is_open.store(false, Ordering::Relaxed);
                self.explain(&error);
            }
        }
    }

    fn serve_by_threads(
        &mut self,
        listener: TcpListener,
        collector: &'static Collector,
        event_loop: &EventLoop,
    ) -> io::Result<()> {
        let (is_open, on_close) = (Arc::clone(&self.is_open), self.on_close());
        let server = ServerHandle::new(move |error| {
            on_close(&error.to_string());
            is_open.store(false, Ordering::Relaxed);
        });
        // The earlier server has closed its port, because the address could be bound.
        if let Some(earlier) = self.server.replace(Arc::clone(&server)) {
            earlier.close(clients_of(self.address).ok());
        }
        let protocol = self.protocol;
        let take = Box::new(move |request| exchange::serve(collector, request, protocol));
        if !self.starts_on_first_connection {
            return workers::serve(listener, take, server);
        }
        event_loop.order(Order::Watch(
            listener,
            Box::new(move |listener| {
                if let Err(error) = workers::serve(listener, take, Arc::clone(&server)) {
                    server.closed(error);
                }
            }),
        ))
    }

    /// Logs the reason why an open listener closed. If it closes before each invocation, only the first line is a
    /// warning.
    fn on_close(&self) -> impl Fn(&str) + Send + Sync + 'static {
        let (address, is_logged) = (self.address, Arc::clone(&self.is_close_logged));
        let level = if self.is_quiet { log::Level::Debug } else { self.level() };
        move |why| {
            let is_news = !is_logged.swap(true, Ordering::Relaxed);
            logging::at!(
                if is_news { level } else { log::Level::Debug },
                "cannot accept connections at {address}: {why}; agents' reports are refused there \
                 until it opens again"
            );
        }
    }

    /// The level of a line about this listener. Nearly all agents need 127.0.0.1. Few need `::1`, and not every
    /// system has it.
    fn level(&self) -> log::Level {
        if self.address.is_ipv4() { log::Level::Warn } else { log::Level::Debug }
    }

    /// Logs the reason, but only once, because each invocation tries again.
    fn explain(&mut self, error: &io::Error) {
        if self.is_quiet || mem::replace(&mut self.is_explained, true) {
            return;
        }
        let address = self.address;
        logging::at!(
            self.level(),
            "cannot listen on {address}: {error}; agents' reports are refused there, until a later \
             attempt succeeds"
        );
    }
}
