//! Accepts connections on a free port and serves each on its own thread, until it is dropped.

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use crate::watch::Watch;

/// Any free port on loopback.
pub const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub struct Listener {
    socket: Arc<TcpListener>,
    address: SocketAddr,
    connections: Arc<Watch<Connections>>,
    thread: Option<JoinHandle<()>>,
}

/// One accepted connection; the socket closes when the last clone is gone.
#[derive(Clone)]
pub struct Accepted {
    pub stream: Arc<TcpStream>,
    /// Counts from 0, in the order of acceptance.
    pub number: usize,
}

#[derive(Default)]
struct Connections {
    /// Weak, so that a connection closes, or is reset, when the thread that serves it says so.
    accepted: Vec<Weak<TcpStream>>,
    closing: bool,
}

impl Listener {
    pub fn start(name: &str, serve: impl Fn(Accepted) + Send + Sync + 'static) -> Self {
        let socket = TcpListener::bind(ANY_PORT).expect("a free port on loopback");
        Self::start_on(socket, name, serve)
    }

    pub fn start_on(
        socket: TcpListener,
        name: &str,
        serve: impl Fn(Accepted) + Send + Sync + 'static,
    ) -> Self {
        let socket = Arc::new(socket);
        let address = socket.local_addr().expect("a bound socket has an address");
        let connections = Arc::new(Watch::<Connections>::default());
        let (thread_name, accepting) = (name.to_owned(), Arc::clone(&connections));
        let listening = Arc::clone(&socket);
        let thread = thread::Builder::new()
            .name(thread_name.clone())
            .spawn(move || accept(&listening, &thread_name, &accepting, &Arc::new(serve)))
            .expect("a thread to accept connections");
        Self { socket, address, connections, thread: Some(thread) }
    }

    /// Accepts no more, but leaves the accepted connections, so many, to those who serve them.
    pub fn release(self) -> usize {
        self.connections.update(|connections| {
            connections.closing = true;
            mem::take(&mut connections.accepted).len()
        })
    }

    /// For options of the connections to come.
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(&*self.socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.connections.read(|connections| connections.accepted.len())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.connections.update(|connections| {
            connections.closing = true;
            for stream in connections.accepted.iter().filter_map(Weak::upgrade) {
                // Fails if the other side closed first, which is what is wanted.
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        // Wakes the thread in accept, which then sees `closing`.
        let _ = TcpStream::connect(self.address);
        // So that the port is free when this returns. A panic of the thread was printed by itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn accept<S>(
    listener: &TcpListener,
    name: &str,
    connections: &Arc<Watch<Connections>>,
    serve: &Arc<S>,
) where
    S: Fn(Accepted) + Send + Sync + 'static,
{
    for stream in listener.incoming() {
        let stream = Arc::new(stream.expect("accepting on loopback"));
        let number = connections.update(|connections| {
            if connections.closing {
                return None;
            }
            connections.accepted.push(Arc::downgrade(&stream));
            Some(connections.accepted.len() - 1)
        });
        let Some(number) = number else {
            // As the kernel does with those behind it in its queue. Fails if the client has gone.
            let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
            return;
        };
        let accepted = Accepted { stream, number };
        let serve = Arc::clone(serve);
        thread::Builder::new()
            .name(format!("{name} {number}"))
            .spawn(move || serve(accepted))
            .expect("a thread for a connection");
    }
}
