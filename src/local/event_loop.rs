//! The server of our own: one thread that polls all its listeners and connections.
//!
//! Invariants:
//! * The thread waits for bytes only. Answering a request never waits for the remote, and never for a client.
//! * A client that stalls delays nobody. Exception: if all places of [`clients::CONNECTIONS_MAX`] have a client
//!   that sends its body slowly, further clients wait for one of them.
//! * The thread ends with the process. An error of the system pauses it at most, and a panic costs a request.

pub mod connection;
mod framing;
mod http2;
mod receiving;
mod request_head;
mod clients;
pub mod running_time;

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, iter, mem, thread};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, write};
use rustix::net::{SocketFlags, accept_with, listen, sockopt};

use self::clients::{Clients, PANICKED};
use self::running_time::{RunningTime, WAIT_MAX};
use crate::local::port::Port;
use crate::local::receiver::Receiver;
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
    /// Closes telemetry's listener and its idle connections.
    Close(&'static Receiver),
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
    /// No thread or descriptor is free, or the listener cannot be prepared.
    pub fn order(&self, order: Order) -> io::Result<()> {
        if let Order::Listen(listener, _) = &order {
            prepare(listener)?;
        }
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

/// Prepares a listener.
///
/// # Errors
/// It would block the thread.
fn prepare(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    // Without these, a client may wait for longer. Connections inherit the second. Otherwise a response to the
    // second of two requests waits until the client's system has acknowledged the first response.
    let _ = listen(listener, BACKLOG);
    let _ = sockopt::set_tcp_nodelay(listener, true);
    Ok(())
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
    now: RunningTime,
    /// The end of the last wait, if a deadline was set in it.
    waited_until: Option<Instant>,
    /// No connection is accepted before this time, because no descriptor was free.
    paused_until: Option<RunningTime>,
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
            now: RunningTime::default(),
            waited_until: None,
            paused_until: None,
        }
    }

    /// Runs until the process ends. A panic costs one round at most.
    fn run(mut self) {
        let mut ready = Ready::default();
        loop {
            if catch_unwind(AssertUnwindSafe(|| self.round(&mut ready))).is_err() {
                logging::error!("{PANICKED}");
            }
            ready.clear();
        }
    }

    fn round(&mut self, ready: &mut Ready) {
        self.wait(ready);
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
    }

    fn wait(&mut self, ready: &mut Ready) {
        let deadline = [self.clients.deadline(), self.paused_until].into_iter().flatten().min();
        let asked = self.now.wait_until(deadline);
        let began = asked.map(|_| self.waited_until.unwrap_or_else(Instant::now));
        self.poll(asked, ready);
        self.waited_until = began.map(|began| {
            let now = Instant::now();
            self.now.pass(now.saturating_duration_since(began));
            now
        });
        self.paused_until = self.paused_until.filter(|it| *it > self.now);
    }

    fn poll(&self, asked: Option<Duration>, ready: &mut Ready) {
        let first_client = 1 + self.listeners.len();
        let listeners = self.listeners.iter().map(|it| PollFd::new(it.socket(), self.awaited(it)));
        let clients = self.clients.sockets().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags));
        let wake = PollFd::new(&self.inbox.wake, PollFlags::IN);
        let mut all: Vec<PollFd> = iter::once(wake).chain(listeners).chain(clients).collect();
        // Only a duration of more than 2^63 s is no timespec.
        let timeout = asked.and_then(|it| Timespec::try_from(it).ok());
        match poll(&mut all, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return,
            Err(error) => {
                // The system's limit of descriptors is lower than when the connections came.
                logging::debug!("cannot wait for agents: {error}; tries again in a second");
                thread::park_timeout(WAIT_MAX);
                ready.clients.extend(0..self.clients.len());
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

    /// What to wait for at a listener. A watched one takes no place of a client.
    fn awaited(&self, listener: &Listener) -> PollFlags {
        let accepts = match listener {
            Listener::Watches(..) => true,
            Listener::Serves(_, port) => {
                self.paused_until.is_none() && self.clients.has_room(*port)
            }
        };
        if accepts { PollFlags::IN } else { PollFlags::empty() }
    }

    /// Accepts a connection of this listener, if it has one.
    fn accept(&mut self, index: usize) {
        let Listener::Serves(listener, port) = &self.listeners[index] else {
            if let Listener::Watches(listener, on_client) = self.listeners.swap_remove(index) {
                on_client(listener);
            }
            return;
        };
        match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(client) => self.clients.add(client.into(), *port, self.now),
            // The client has gone (accept(2)).
            Err(
                Errno::AGAIN
                | Errno::INTR
                | Errno::CONNABORTED
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTUNREACH,
            ) => {}
            Err(error) => {
                logging::debug!("cannot accept a connection: {error}; tries again in a second");
                if !self.clients.close_one(*port, self.now) {
                    self.paused_until = Some(self.now + WAIT_MAX);
                }
            }
        }
    }

    fn take_orders(&mut self) {
        let mut count = [0; 8];
        let _ = read(&self.inbox.wake, &mut count); // it is readable
        for order in mem::take(&mut *lock(&self.inbox.orders)) {
            match order {
                Order::Listen(listener, port) => {
                    self.listeners.push(Listener::Serves(listener, port));
                }
                Order::Watch(listener, on_client) => {
                    self.listeners.push(Listener::Watches(listener, on_client));
                }
                Order::Close(receiver) => {
                    self.listeners.retain(|it| !it.is_of(receiver));
                    self.clients.close_idle_of(receiver);
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

    fn is_of(&self, receiver: &Receiver) -> bool {
        matches!(self, Self::Serves(_, port) if port.is_of(receiver))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
