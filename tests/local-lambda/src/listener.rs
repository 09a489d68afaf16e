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

    /// Accepts no more, but leaves the accepted connections, so many, to those who serve them.
    pub fn release(self) -> usize {
        self.acceptor.release()
    }

    /// For options of the connections to come.
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
        // So that the port is free when this returns. A panic of the thread was printed by itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// # Errors
///
/// When the address can't be listened on; says which, and why.
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
            // The connection went with the closure, so the client sees its end.
            eprintln!("local-lambda: connection {number} of {name} has no thread: {error}");
        }
    }
}
