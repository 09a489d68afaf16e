//! The server of our own: one thread that waits for all its listeners and connections.
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
mod poller;
pub mod running_time;

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::{io, mem};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};
use rustix::net::{SocketFlags, accept_with, listen, sockopt};

use self::clients::Clients;
use self::poller::{Interest, Key, Poller};
use self::running_time::{RunningTime, WAIT_MAX};
use crate::local::PANICKED;
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
    let poller = Poller::new()?;
    poller.add(&wake, Interest::Read)?;
    let inbox = Arc::new(Inbox { orders: Mutex::default(), wake });
    let theirs = Arc::clone(&inbox);
    let run = Box::new(move || Server::new(theirs, poller).run());
    threads::spawn("event_loop", threads::STACK_SMALL, run)?;
    Ok(inbox)
}

/// The thread's own state.
struct Server {
    inbox: Arc<Inbox>,
    poller: Arc<Poller>,
    listeners: Vec<Listener>,
    clients: Clients,
    now: RunningTime,
    /// The end of the last wait, if a deadline was set in it.
    waited_until: Option<Instant>,
    /// No connection is accepted before this time, because no descriptor was free.
    paused_until: Option<RunningTime>,
}

/// A listener, and whether the poller waits for its clients.
struct Listener {
    socket: TcpListener,
    takes_clients: bool,
    then: Then,
}

/// What happens at a connection.
enum Then {
    Serve(Port),
    Call(OnClient),
}

impl Server {
    fn new(inbox: Arc<Inbox>, poller: Poller) -> Self {
        let poller = Arc::new(poller);
        Self {
            inbox,
            clients: Clients::with(Arc::clone(&poller)),
            poller,
            listeners: Vec::new(),
            now: RunningTime::default(),
            waited_until: None,
            paused_until: None,
        }
    }

    /// Runs until the process ends. A panic costs one round at most.
    fn run(mut self) {
        let mut ready = Vec::new();
        loop {
            if catch_unwind(AssertUnwindSafe(|| self.round(&mut ready))).is_err() {
                logging::error!("{PANICKED}");
            }
            ready.clear();
        }
    }

    fn round(&mut self, ready: &mut Vec<Key>) {
        self.change_interests();
        self.wait(ready);
        // First the clients, so that one of them whose request has come is not taken for an idle one.
        for key in &*ready {
            self.clients.serve(*key, self.now);
        }
        self.clients.expire(self.now);
        for key in &*ready {
            if let Some(index) = self.listeners.iter().position(|it| Key::of(&it.socket) == *key) {
                self.accept(index);
            } else if Key::of(&self.inbox.wake) == *key {
                self.take_orders();
            }
        }
    }

    /// Waits for new clients only while there is room for one.
    fn change_interests(&mut self) {
        for Listener { socket, takes_clients, then } in &mut self.listeners {
            let may_take = match then {
                Then::Call(_) => true,
                Then::Serve(port) => self.paused_until.is_none() && self.clients.has_room(*port),
            };
            if may_take != *takes_clients {
                let interest = if may_take { Interest::Read } else { Interest::Nothing };
                // It cannot fail, because the listener was added.
                *takes_clients =
                    self.poller.modify(socket, interest).map_or(!may_take, |()| may_take);
            }
        }
    }

    fn wait(&mut self, ready: &mut Vec<Key>) {
        let deadline = [self.clients.deadline(), self.paused_until].into_iter().flatten().min();
        let asked = self.now.wait_until(deadline);
        let began = asked.map(|_| self.waited_until.unwrap_or_else(Instant::now));
        self.poller.wait(asked, ready);
        self.waited_until = began.map(|began| {
            let now = Instant::now();
            self.now.pass(now.saturating_duration_since(began));
            now
        });
        self.paused_until = self.paused_until.filter(|it| *it > self.now);
    }

    /// Accepts a connection of this listener, if it has one.
    fn accept(&mut self, index: usize) {
        let Listener { socket: listener, then: Then::Serve(port), .. } = &self.listeners[index]
        else {
            let Listener { socket, then, .. } = self.listeners.swap_remove(index);
            self.poller.remove(&socket);
            if let Then::Call(on_client) = then {
                on_client(socket);
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
        let orders = mem::take(&mut *lock(&self.inbox.orders));
        for order in orders {
            match order {
                Order::Listen(listener, port) => self.listen(listener, Then::Serve(port)),
                Order::Watch(listener, on_client) => self.listen(listener, Then::Call(on_client)),
                Order::Close(receiver) => {
                    self.listeners.retain(|it| !it.is_of(receiver));
                    self.clients.close_idle_of(receiver);
                }
            }
        }
    }

    fn listen(&mut self, socket: TcpListener, then: Then) {
        match self.poller.add(&socket, Interest::Read) {
            Ok(()) => self.listeners.push(Listener { socket, takes_clients: true, then }),
            Err(error) => logging::warn!("cannot wait for agents: {error}; they are refused"),
        }
    }
}

impl Listener {
    fn is_of(&self, receiver: &Receiver) -> bool {
        matches!(&self.then, Then::Serve(port) if port.is_of(receiver))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
