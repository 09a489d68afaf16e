//! Accepts connections on a free port and serves each on its own thread, until it is dropped.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use socket2::SockRef;

use crate::acceptor::{Accepted, Acceptor};

/// Any free port on loopback.
pub const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub struct Listener {
    socket: Arc<TcpListener>,
    acceptor: Acceptor,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    pub fn start(name: &str, serve: impl Fn(Accepted) + Send + Sync + 'static) -> Self {
        let socket = bind(ANY_PORT).expect("a free port on loopback");
        Self::start_on(socket, name, serve)
    }

    pub fn start_on(
        socket: TcpListener,
        name: &str,
        serve: impl Fn(Accepted) + Send + Sync + 'static,
    ) -> Self {
        let socket = Arc::new(socket);
        let acceptor = Acceptor::on(&socket);
        let (thread_name, accepting) = (name.to_owned(), acceptor.clone());
        let thread = thread::Builder::new()
            .name(thread_name.clone())
            .spawn(move || accept(&accepting, &thread_name, &Arc::new(serve)))
            .expect("a thread to accept connections");
        Self { socket, acceptor, thread: Some(thread) }
    }

    /// Accepts no more connections. The accepted ones stay with their threads. Returns how many were accepted.
    pub fn release(self) -> usize {
        self.acceptor.release()
    }

    /// The listening socket. Later connections inherit its options.
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(&*self.socket)
    }

    pub fn acceptor(&self) -> &Acceptor {
        &self.acceptor
    }

    pub fn address(&self) -> SocketAddr {
        self.acceptor.address()
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.acceptor.accepted()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.acceptor.close();
        // Afterwards the port is free. A thread that panicked has already printed its message.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// # Errors
///
/// When the address cannot be listened on. The error has the address and the reason.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        io::Error::new(error.kind(), format!("can't listen on {address}: {error}"))
    })
}

fn accept<S>(acceptor: &Acceptor, name: &str, serve: &Arc<S>)
where
    S: Fn(Accepted) + Send + Sync + 'static,
{
    let next = || acceptor.next().expect("only a mistake of ours ends a listening socket");
    while let Some(accepted) = next() {
        let (serve, number) = (Arc::clone(serve), accepted.number);
        let serving =
            thread::Builder::new().name(format!("{name} {number}")).spawn(move || serve(accepted));
        if let Err(error) = serving {
            // The closure owned the connection, so it has closed, and the client sees that.
            eprintln!("local-lambda: connection {number} of {name} has no thread: {error}");
        }
    }
}
