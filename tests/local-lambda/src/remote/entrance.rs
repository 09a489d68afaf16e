//! The port of the remote, which can be closed for a while.

use std::iter;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::listener::Listener;
use crate::port::{free_port, hold};
use crate::watch::Watch;

/// The receive buffer of connections that are read slowly. Linux doubles it.
const SLOW_RECEIVE_BUFFER_BYTES: usize = 4096;
/// How many connections may wait to be accepted, as in std. Further ones wait at the client.
const BACKLOG: i32 = 128;

/// How long the port may stay taken. A child that another thread is starting has all descriptors, including
/// this port's, until it executes its program.
const FREED_WITHIN: Duration = Duration::from_secs(5);
const LOOKS_EVERY: Duration = Duration::from_millis(1);

pub struct Entrance {
    port: u16,
    serve: Arc<Serve>,
    door: Mutex<Door>,
}

type Serve = dyn Fn(usize, Arc<TcpStream>) + Send + Sync;

struct Door {
    /// `None` only during a change.
    state: Option<State>,
    /// How many connections were accepted before it was last opened.
    accepted_before: usize,
    reads_slowly: bool,
}

enum State {
    Open(Listener),
    /// Bound but not listening. The port refuses connections, and no other process can take it.
    Closed(Socket),
}

impl Entrance {
    /// Opens a free port of 127.0.0.1. `serve` gets each connection with its number, on a new thread.
    pub fn open(serve: impl Fn(usize, Arc<TcpStream>) + Send + Sync + 'static) -> Self {
        let serve: Arc<Serve> = Arc::new(serve);
        // The port is none that the kernel may give to an outgoing connection while this one is closed.
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).ok();
        let socket =
            iter::repeat_with(bind).flatten().next().expect("it goes on until there is one");
        let port = socket.local_addr().expect("a bound socket has an address").port();
        let state = Some(State::Open(listen(socket, 0, &serve)));
        let door = Door { state, accepted_before: 0, reads_slowly: false };
        Self { port, serve, door: Mutex::new(door) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        let door = self.door();
        match &door.state {
            Some(State::Open(listener)) => door.accepted_before + listener.accepted(),
            _ => door.accepted_before,
        }
    }

    /// From now on connections are refused.
    pub fn close(&self) {
        let mut door = self.door();
        door.state = match door.state.take() {
            Some(State::Open(listener)) => {
                door.accepted_before += listener.release();
                Some(State::Closed(self.hold()))
            }
            state => state,
        };
    }

    /// From now on connections are accepted again, on the same port.
    pub fn reopen(&self) {
        let mut door = self.door();
        door.state = match door.state.take() {
            Some(State::Closed(socket)) => {
                door.limit(&socket);
                socket.listen(BACKLOG).expect("listening on a held port");
                let listener = listen(socket.into(), door.accepted_before, &self.serve);
                Some(State::Open(listener))
            }
            state => state,
        };
    }

    /// Gives new connections a small receive buffer, so that the client soon notices when nobody reads.
    pub fn read_slowly(&self) {
        let mut door = self.door();
        door.reads_slowly = true;
        if let Some(State::Open(listener)) = &door.state {
            door.limit(&listener.socket());
        }
    }

    fn hold(&self) -> Socket {
        let deadline = Instant::now() + FREED_WITHIN;
        loop {
            match hold((Ipv4Addr::LOCALHOST, self.port).into()) {
                Ok(socket) => return socket,
                Err(error) => assert!(
                    Instant::now() < deadline,
                    "port {} is not free again: {error}",
                    self.port
                ),
            }
            Watch::<()>::default().wait(LOOKS_EVERY, |()| None::<()>);
        }
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().expect("opening or closing the port failed before")
    }
}

impl Door {
    fn limit(&self, socket: &Socket) {
        if self.reads_slowly {
            // Connections inherit the size. On a connection itself, it would be set after the first window was
            // sent.
            socket
                .set_recv_buffer_size(SLOW_RECEIVE_BUFFER_BYTES)
                .expect("an option of every TCP socket");
        }
    }
}

fn listen(socket: TcpListener, accepted_before: usize, serve: &Arc<Serve>) -> Listener {
    let serve = Arc::clone(serve);
    Listener::start_on(socket, "remote", move |accepted| {
        serve(accepted_before + accepted.number, accepted.stream);
    })
}
