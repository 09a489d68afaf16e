//! The server of our own: one thread that polls all its listeners and connections.
//!
//! Invariants:
//! * The thread waits for bytes only. Answering a request never waits for the remote, and never for a client.
//! * A client that stalls delays nobody. At most [`clients::CONNECTIONS_MAX`] are connected.
//! * The thread ends with the process. An error of the system pauses it at most.

pub mod connection;
mod framing;
mod http2;
mod receiving;
mod message;
mod clients;
pub mod running;

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, iter, mem, thread};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, write};
use rustix::net::{SocketFlags, accept_with, listen, sockopt};

use self::clients::Clients;
use self::running::{Running, WAIT_MAX};
use crate::local::port::Port;
use crate::logging;
use crate::threads;

/// How many connections the kernel keeps until they are accepted. The kernel cuts this to its own limit. A
/// client beyond it waits for a second.
const BACKLOG: i32 = 4096;

/// The handle of the event loop. Its thread starts with the first listener. Clones share it.
#[derive(Clone, Default)]
pub struct EventLoop(Arc<Mutex<Option<Arc<Inbox>>>>);

/// A change of what the thread listens on.
pub enum Order {
    Listen(TcpListener, Port),
    /// Calls this at the first connection, which is not accepted yet.
    Watch(TcpListener, OnClient),
    /// Closes the listeners of this port and its idle connections.
    Close(Port),
}

/// Gets a listener at its first connection.
pub type OnClient = Box<dyn FnOnce(TcpListener) + Send>;

/// Orders that the thread has not taken, and the descriptor that wakes it.
struct Inbox {
    orders: Mutex<Vec<Order>>,
    wake: OwnedFd,
}

impl EventLoop {
    /// Gives an order to the thread. Starts the thread if it does not run yet.
    ///
    /// # Errors
    /// No thread or descriptor is free.
    pub fn order(&self, order: Order) -> io::Result<()> {
        let mut inbox = lock(&self.0);
        let inbox = match &mut *inbox {
            Some(inbox) => inbox,
            none => none.insert(start()?),
        };
        lock(&inbox.orders).push(order);
        let _ = write(&inbox.wake, &1_u64.to_ne_bytes()); // fails only if the thread is being woken already
        Ok(())
    }
}

fn start() -> io::Result<Arc<Inbox>> {
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let inbox = Arc::new(Inbox { orders: Mutex::default(), wake });
    let theirs = Arc::clone(&inbox);
    let run = Box::new(move || Server::new(theirs).run());
    threads::spawn("event_loop", threads::STACK_SMALL, run)?;
    Ok(inbox)
}

/// The thread's own state.
struct Server {
    inbox: Arc<Inbox>,
    listeners: Vec<Listener>,
    clients: Clients,
    now: Running,
    /// No connection is accepted before this time, because no descriptor was free.
    paused_until: Option<Running>,
}

enum Listener {
    Serves(TcpListener, Port),
    Watches(TcpListener, OnClient),
}

/// What a wait has found.
#[derive(Default)]
struct Ready {
    has_orders: bool,
    listeners: Vec<usize>,
    clients: Vec<usize>,
}

impl Ready {
    /// Empties it, and keeps its memory for the next wait.
    fn clear(&mut self) {
        self.has_orders = false;
        self.listeners.clear();
        self.clients.clear();
    }
}

impl Server {
    fn new(inbox: Arc<Inbox>) -> Self {
        Self {
            inbox,
            listeners: Vec::new(),
            clients: Clients::default(),
            now: Running::default(),
            paused_until: None,
        }
    }

    fn run(mut self) {
        let mut ready = Ready::default();
        loop {
            self.wait(&mut ready);
            // First the clients, so that one of them whose request has come is not taken for an idle one.
            self.clients.serve(&ready.clients, self.now);
            self.clients.expire(self.now);
            // From the last to the first, because a watched listener leaves.
            for index in ready.listeners.iter().rev() {
                self.accept(*index);
            }
            if ready.has_orders {
                self.take_orders();
            }
            ready.clear();
        }
    }

    fn wait(&mut self, ready: &mut Ready) {
        let deadline = [self.clients.deadline(), self.paused_until].into_iter().flatten().min();
        let asked = self.now.wait_until(deadline);
        let began = asked.map(|_| Instant::now());
        self.poll(asked, ready);
        self.now.waited(asked, began.map_or(Duration::ZERO, |it| it.elapsed()));
        self.paused_until = self.paused_until.filter(|it| *it > self.now);
    }

    fn poll(&self, asked: Option<Duration>, ready: &mut Ready) {
        let accepts = self.paused_until.is_none() && self.clients.has_room();
        let of_listeners = if accepts { PollFlags::IN } else { PollFlags::empty() };
        let first_client = 1 + self.listeners.len();
        let listeners = self.listeners.iter().map(|it| PollFd::new(it.socket(), of_listeners));
        let clients = self.clients.sockets().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags));
        let wake = PollFd::new(&self.inbox.wake, PollFlags::IN);
        let mut all: Vec<PollFd> = iter::once(wake).chain(listeners).chain(clients).collect();
        // Only a duration of more than 2^63 s is no timespec.
        let timeout = asked.and_then(|it| Timespec::try_from(it).ok());
        match poll(&mut all, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return,
            Err(error) => {
                logging::debug!("cannot wait for agents: {error}; tries again in a second");
                thread::park_timeout(WAIT_MAX);
                return;
            }
        }
        for (index, _) in all.iter().enumerate().filter(|(_, it)| !it.revents().is_empty()) {
            match index.checked_sub(first_client) {
                Some(client) => ready.clients.push(client),
                None if index == 0 => ready.has_orders = true,
                None => ready.listeners.push(index - 1),
            }
        }
    }

    /// Accepts a connection of this listener, if it has one.
    fn accept(&mut self, index: usize) {
        let Listener::Serves(listener, port) = &self.listeners[index] else {
            if let Listener::Watches(listener, on_client) = self.listeners.swap_remove(index) {
                on_client(listener);
            }
            return;
        };
        if !self.clients.make_room() {
            return;
        }
        match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(client) => self.clients.add(client.into(), *port, self.now),
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                if !self.clients.close_longest_idle() {
                    self.paused_until = Some(self.now + WAIT_MAX);
                }
            }
            Err(_) => {} // the client has gone
        }
    }

    fn take_orders(&mut self) {
        let mut count = [0; 8];
        let _ = read(&self.inbox.wake, &mut count); // it is readable
        for order in mem::take(&mut *lock(&self.inbox.orders)) {
            match order {
                Order::Listen(listener, port) => {
                    prepare(&listener);
                    self.listeners.push(Listener::Serves(listener, port));
                }
                Order::Watch(listener, on_client) => {
                    self.listeners.push(Listener::Watches(listener, on_client));
                }
                Order::Close(port) => {
                    self.listeners.retain(|it| !it.is_of(port));
                    self.clients.close_idle(port);
                }
            }
        }
    }
}

impl Listener {
    fn socket(&self) -> &TcpListener {
        match self {
            Self::Serves(listener, _) | Self::Watches(listener, _) => listener,
        }
    }

    fn is_of(&self, port: Port) -> bool {
        matches!(self, Self::Serves(_, it) if *it == port)
    }
}

/// Prepares a listener. An error does no harm: a client may wait for longer.
fn prepare(listener: &TcpListener) {
    let _ = listener.set_nonblocking(true);
    let _ = listen(listener, BACKLOG);
    // Connections inherit it. Otherwise a response to the second of two requests waits until the client's system
    // has acknowledged the first response.
    let _ = sockopt::set_tcp_nodelay(listener, true);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
