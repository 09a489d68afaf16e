//! The open connections, and orders to end them.

use std::collections::BTreeMap;
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

use socket2::SockRef;

use crate::moment::End;
use crate::watch::Watch;

/// How long a connection may take to end when it is told to; its thread is awake at once.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Connections(Watch<Table>);

#[derive(Default)]
struct Table {
    open: BTreeMap<usize, Open>,
    /// Connections still in the queue of the kernel get this order when they are accepted.
    order_to_all: Option<End>,
}

struct Open {
    stream: Weak<TcpStream>,
    thread: ThreadId,
    phase: Phase,
    order: Option<End>,
    /// As by a NAT: the next bytes are answered with a reset.
    forgotten: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waits for the first byte of a request.
    Idle,
    Busy,
    /// Within a write, which may last until the client reads.
    Writing,
}

/// One open connection, for the thread that serves it.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    pub number: usize,
    pub stream: &'a TcpStream,
    connections: &'a Connections,
}

impl Connections {
    /// Serves this connection on this thread. When others see that it has left, it is closed or
    /// reset for the client too.
    pub fn serve(&self, number: usize, stream: Arc<TcpStream>, talk: impl FnOnce(Line<'_>) -> End) {
        self.0.update(|table| {
            let open = Open {
                stream: Arc::downgrade(&stream),
                thread: thread::current().id(),
                phase: Phase::Idle,
                order: table.order_to_all,
                forgotten: false,
            };
            table.open.insert(number, open);
        });
        let end = talk(Line { number, stream: &stream, connections: self });
        if end == End::Reset {
            // With the last owner of the socket gone, no linger means a reset.
            let lingers = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
            lingers.expect("an option of every TCP socket");
        }
        drop(stream);
        self.0.update(|table| table.open.remove(&number));
    }

    /// Ends the idle connections, and returns when the clients' sides know.
    pub fn end_idle(&self, end: End) {
        self.order(end, |open| open.phase == Phase::Idle);
    }

    /// Ends all connections, now and to come, except the one that this thread serves: it ends
    /// once it goes on.
    pub fn end_all(&self, end: End) {
        self.0.update(|table| table.order_to_all = Some(end));
        self.order(end, |_| true);
    }

    /// Closes all connections, now and to come, without waiting.
    pub fn dismiss(&self) {
        self.0.update(|table| {
            table.order_to_all = Some(End::Close);
            table.open.values_mut().for_each(|open| open.tell(End::Close));
        });
    }

    pub fn allow(&self) {
        self.0.update(|table| table.order_to_all = None);
    }

    pub fn forget_idle(&self) {
        self.0.update(|table| {
            let idle = table.open.values_mut().filter(|open| open.phase == Phase::Idle);
            idle.for_each(|open| open.forgotten = true);
        });
    }

    fn order(&self, end: End, concerns: impl Fn(&Open) -> bool) {
        let told: Vec<usize> = self.0.update(|table| {
            let concerned = table.open.iter_mut().filter(|(_, open)| concerns(open));
            let others = concerned.filter_map(|(number, open)| {
                open.tell(end);
                (open.thread != thread::current().id()).then_some(*number)
            });
            others.collect()
        });
        let gone = |table: &mut Table| {
            told.iter().all(|number| !table.open.contains_key(number)).then_some(())
        };
        self.0.wait(ENDS_WITHIN, gone).unwrap_or_else(|| {
            panic!("connections {told:?} were told to end, and did not in {ENDS_WITHIN:?}")
        });
    }
}

impl Open {
    fn tell(&mut self, end: End) {
        self.order = Some(end);
        let Some(stream) = self.stream.upgrade() else { return };
        let direction = match self.phase {
            // Says nothing to the client: the thread decides how the connection ends.
            Phase::Idle | Phase::Busy => Shutdown::Read,
            Phase::Writing => Shutdown::Both,
        };
        // Fails if the client closed first, which ends the thread's wait too.
        let _ = stream.shutdown(direction);
    }
}

impl Line<'_> {
    /// The connection waits for its next request.
    pub fn rest(&self) {
        self.update(|open| open.phase = Phase::Idle);
    }

    /// A request has begun; the end if there is none to be.
    pub fn begin(&self) -> Option<End> {
        self.update(|open| {
            open.phase = Phase::Busy;
            open.order.or(open.forgotten.then_some(End::Reset))
        })
    }

    pub fn write<R>(&self, write: impl FnOnce() -> R) -> R {
        // A handshake writes too, on a connection that is idle.
        let phase = self.update(|open| mem::replace(&mut open.phase, Phase::Writing));
        let written = write();
        self.update(|open| open.phase = phase);
        written
    }

    pub fn order(&self) -> Option<End> {
        self.update(|open| open.order)
    }

    /// Lets the time pass, or gives the order that came meanwhile.
    pub fn pause(&self, pause: Duration) -> Option<End> {
        self.connections.0.wait(pause, |table| table.of(self.number).order)
    }

    fn update<R>(&self, update: impl FnOnce(&mut Open) -> R) -> R {
        self.connections.0.update(|table| update(table.of(self.number)))
    }
}

impl Table {
    fn of(&mut self, number: usize) -> &mut Open {
        self.open.get_mut(&number).expect("open while its thread serves it")
    }
}
