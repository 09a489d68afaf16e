//! The open connections, and orders to end them.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Weak};
use std::time::Duration;

use socket2::{SockFilter, SockRef};

use crate::moment::End;
use crate::watch::Watch;

/// How long a connection may take to end after an order. Its thread wakes up at once.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// How long to wait for answers that are being written. A client that does not read would delay them for ever.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// The instruction of a packet filter that returns how much of the packet to keep (`linux/bpf_common.h`).
const RETURN: u16 = 0x06;

#[derive(Default)]
pub struct Connections(Watch<Table>);

#[derive(Default)]
struct Table {
    open: BTreeMap<usize, Open>,
    /// The number of connections, including ended ones.
    served: usize,
    /// Connections that are still in the kernel's queue get this order when they are accepted.
    order_to_all: Option<End>,
}

struct Open {
    stream: Weak<TcpStream>,
    phase: Phase,
    /// Whether a write is running, which may last until the client reads.
    writes: bool,
    /// Whether an action of the test is running on its thread.
    stands_still: bool,
    order: Option<End>,
    /// Whether it is forgotten, as by a NAT. The next bytes are answered with a reset.
    forgotten: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waits for the first byte of a request.
    Idle,
    Busy,
    /// The client may already have the answer, and consider the connection idle.
    Answering,
}

/// One open connection, for the thread that serves it.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    pub number: usize,
    pub stream: &'a TcpStream,
    connections: &'a Connections,
}

impl Connections {
    /// Serves this connection on this thread. When it is removed from the table, it is already closed or reset
    /// for the client.
    pub fn serve(&self, number: usize, stream: Arc<TcpStream>, talk: impl FnOnce(Line<'_>) -> End) {
        self.0.update(|table| {
            let open = Open {
                stream: Arc::downgrade(&stream),
                phase: Phase::Idle,
                writes: false,
                stands_still: false,
                order: table.order_to_all,
                forgotten: false,
            };
            table.open.insert(number, open);
            table.served += 1;
        });
        let end = talk(Line { number, stream: &stream, connections: self });
        if end == End::Reset {
            // When the last owner drops the socket, a linger time of zero resets it.
            let lingers = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
            lingers.expect("an option of every TCP socket");
        }
        drop(stream);
        self.0.update(|table| table.open.remove(&number));
    }

    /// Waits until this many connections were accepted. False when the time is over.
    pub fn wait_for(&self, count: usize, within: Duration) -> bool {
        self.0.wait(within, |table| (table.served >= count).then_some(())).is_some()
    }

    /// Ends the idle connections, and returns when the clients can see it. A connection with a running action
    /// ends after the action.
    pub fn end_idle(&self, end: End) {
        let told = self.when(Open::has_answered, |table| table.tell(end, Open::is_idle));
        self.wait_for_end_of(&told);
    }

    /// Ends all connections, present and future. A connection with a running action ends after the action.
    pub fn end_all(&self, end: End) {
        // In the middle of a write, the client would see a close before the reset.
        let told = self.when(Open::has_written, |table| {
            table.order_to_all = Some(end);
            table.tell(end, |_| true)
        });
        self.wait_for_end_of(&told);
    }

    /// Closes all connections, present and future, without waiting.
    pub fn dismiss(&self) {
        self.0.update(|table| {
            table.order_to_all = Some(End::Close);
            table.tell(End::Close, |_| true);
        });
    }

    pub fn allow(&self) {
        self.0.update(|table| table.order_to_all = None);
    }

    pub fn forget_idle(&self) {
        self.when(Open::has_answered, |table| {
            let idle = table.open.values_mut().filter(|open| open.is_idle());
            idle.for_each(|open| open.forgotten = true);
        });
    }

    /// Makes the kernel drop all bytes for the idle connections, as a firewall on the way would.
    pub fn lose_idle(&self) {
        let nothing_passes = [SockFilter::new(RETURN, 0, 0, 0)];
        self.when(Open::has_answered, |table| {
            let idle = table.open.values().filter(|open| open.is_idle());
            for stream in idle.filter_map(|open| open.stream.upgrade()) {
                let filtered = SockRef::from(&*stream).attach_filter(&nothing_passes);
                filtered.expect("a filter of one valid instruction");
            }
        });
    }

    /// Acts when all connections are ready, or when this takes too long.
    fn when<R>(&self, is_ready: fn(&Open) -> bool, act: impl Fn(&mut Table) -> R) -> R {
        let acted = self
            .0
            .wait(WRITTEN_WITHIN, |table| table.open.values().all(is_ready).then(|| act(table)));
        acted.unwrap_or_else(|| self.0.update(act))
    }

    fn wait_for_end_of(&self, told: &[usize]) {
        let gone = |table: &mut Table| {
            told.iter().all(|number| !table.open.contains_key(number)).then_some(())
        };
        self.0.wait(ENDS_WITHIN, gone).unwrap_or_else(|| {
            panic!("connections {told:?} were told to end, and did not in {ENDS_WITHIN:?}")
        });
    }
}

impl Open {
    fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    fn has_answered(&self) -> bool {
        self.phase != Phase::Answering
    }

    fn has_written(&self) -> bool {
        !self.writes
    }

    fn tell(&mut self, end: End) {
        self.order = Some(end);
        let Some(stream) = self.stream.upgrade() else { return };
        // The client does not notice that reading has ended. The thread decides how the connection ends.
        let direction = if self.writes { Shutdown::Both } else { Shutdown::Read };
        // This fails if the client closed first, which also ends the thread's wait.
        let _ = stream.shutdown(direction);
    }
}

impl Line<'_> {
    /// The connection waits for its next request.
    pub fn rest(&self) {
        self.update(|open| open.phase = Phase::Idle);
    }

    /// A request has begun. Returns the end if the connection must not take it.
    pub fn begin(&self) -> Option<End> {
        self.update(|open| {
            open.phase = Phase::Busy;
            open.order.or(open.forgotten.then_some(End::Reset))
        })
    }

    /// The answer to the request is about to be written.
    pub fn answer(&self) {
        self.update(|open| open.phase = Phase::Answering);
    }

    pub fn write<R>(&self, write: impl FnOnce() -> R) -> R {
        self.update(|open| open.writes = true);
        let written = write();
        self.update(|open| open.writes = false);
        written
    }

    /// Runs actions of the test. Other threads do not wait for them.
    pub fn stand_still<R>(&self, actions: impl FnOnce() -> R) -> R {
        self.update(|open| open.stands_still = true);
        let done = actions();
        self.update(|open| open.stands_still = false);
        done
    }

    pub fn order(&self) -> Option<End> {
        self.update(|open| open.order)
    }

    /// Waits for this time. Returns the order if one comes meanwhile.
    pub fn pause(&self, pause: Duration) -> Option<End> {
        self.connections.0.wait(pause, |table| table.of(self.number).order)
    }

    fn update<R>(&self, update: impl FnOnce(&mut Open) -> R) -> R {
        self.connections.0.update(|table| update(table.of(self.number)))
    }
}

impl Table {
    /// Orders connections to end. Returns those that can be waited for.
    fn tell(&mut self, end: End, concerns: impl Fn(&Open) -> bool) -> Vec<usize> {
        let concerned = self.open.iter_mut().filter(|(_, open)| concerns(open));
        let told = concerned.filter_map(|(number, open)| {
            open.tell(end);
            (!open.stands_still).then_some(*number)
        });
        told.collect()
    }

    fn of(&mut self, number: usize) -> &mut Open {
        self.open.get_mut(&number).expect("open while its thread serves it")
    }
}
