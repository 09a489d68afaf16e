//! Accepts connections on a free port and serves each on its own thread, until it is dropped.

use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crate::watch::Watch;

pub struct Listener {
    address: SocketAddr,
    connections: Arc<Watch<Connections>>,
}

/// One accepted connection; the socket closes when the last clone is gone.
#[derive(Clone)]
pub struct Accepted {
    pub stream: Arc<TcpStream>,
    /// Counts from 0, in the order of acceptance.
    pub number: usize,
    connections: Arc<Watch<Connections>>,
}

#[derive(Default)]
struct Connections {
    /// Weak, so that a connection closes, or is reset, when the thread that serves it says so.
    accepted: Vec<Weak<TcpStream>>,
    closing: bool,
}

impl Listener {
    pub fn start(name: &str, serve: impl Fn(Accepted) + Send + Sync + 'static) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let connections = Arc::new(Watch::<Connections>::default());
        let (thread_name, accepting) = (name.to_owned(), Arc::clone(&connections));
        thread::Builder::new()
            .name(thread_name.clone())
            .spawn(move || accept(&listener, &thread_name, &accepting, &Arc::new(serve)))
            .expect("a thread to accept connections");
        Self { address, connections }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.connections.read(|connections| connections.accepted.len())
    }
}

impl Accepted {
    /// Lets the time pass; false if the listener was dropped meanwhile.
    pub fn delay(&self, delay: Duration) -> bool {
        let closing = |connections: &mut Connections| connections.closing.then_some(());
        self.connections.wait(delay, closing).is_none()
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
        let Some(number) = number else { return };
        let accepted = Accepted { stream, number, connections: Arc::clone(connections) };
        let serve = Arc::clone(serve);
        thread::Builder::new()
            .name(format!("{name} {number}"))
            .spawn(move || serve(accepted))
            .expect("a thread for a connection");
    }
}
