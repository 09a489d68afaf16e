//! The threads that take requests off one tiny_http server.
//!
//! tiny_http reads all but the smallest bodies on the thread that asked for the request, without a
//! time limit, so one stalled client stalls that thread. Invariant: while a reader may be stalled,
//! another one is waiting for the next request, up to [`READERS_MAX`].
//!
//! It also has a pool of its own, one thread for each open connection, that miscounts: of
//! connections that are accepted before the idle threads of the pool have woken up, all but as many
//! as there are such threads wait until another connection is closed, which one that is kept alive
//! never is. See [`nudge`]. What it can't help: connections that come in one burst and send nothing
//! keep those behind them waiting. Nor has writing an answer a limit: a client that sends thousands
//! of requests and reads no answer can hold up readers too.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{array, io};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use tiny_http::{Request, Server};

use crate::body;
use crate::logging;
use crate::request::{is_last, is_upgrade};
use crate::threads;

/// Readers that stay for good.
const READERS_IDLE: usize = 2;

/// How long those beyond them wait for the next request before they leave. To start one for a request
/// takes longer than the rest of it; threads of tiny_http's pool leave after as long.
const READERS_LEAVE_AFTER: Duration = Duration::from_secs(5);

/// At most so many bodies are read at a time; beyond that requests wait for one that ends. As many as
/// there can be connections, which take two of the 1,024 descriptors that Lambda allows the function
/// and all extensions together ("Lambda quotas").
const READERS_MAX: usize = 512;

/// Connecting to this very process takes microseconds, unless the kernel's queue is full; then
/// there is no lack of connections to wake the pool.
const NUDGE_TIMEOUT: Duration = Duration::from_millis(100);

/// Where there are servers whose pools may need a nudge: the four doors', and telemetry's. Were there
/// more, they would get none.
static SERVED: [OnceLock<SocketAddr>; 5] = [const { OnceLock::new() }; 5];

/// What is done with a request. Behind a pointer, as the closures below: once for two servers is 4 kB
/// less.
pub type Take = Box<dyn Fn(Request) + Send + Sync>;
pub type Closed = Arc<dyn Fn(io::Error) + Send + Sync>;

/// Serves `listener`: each request goes to `take`, from one of several threads. `closed` is called
/// each time tiny_http stops accepting connections; those that are open go on being served.
///
/// # Errors
/// What kept tiny_http from starting: no thread or no descriptor was left.
pub fn serve(listener: TcpListener, take: Take, closed: Closed) -> io::Result<()> {
    spawn(&Readers::of(listener, take, closed)?)
}

/// As [`serve`], but until somebody connects it is one thread that waits for that, in place of the
/// six that tiny_http and the first reader take. `closed` is also called when tiny_http can't start.
///
/// # Errors
/// There is no thread left.
pub fn serve_when_called(listener: TcpListener, take: Take, closed: Closed) -> io::Result<()> {
    let life = move || {
        let readers =
            is_called(&listener).and_then(|()| Readers::of(listener, take, Arc::clone(&closed)));
        match readers {
            Ok(readers) => {
                readers.count_one_more();
                read(&readers);
            }
            Err(error) => closed(error),
        }
    };
    threads::start("reader", threads::SHALLOW, Box::new(life))
}

/// Waits until a connection can be accepted, and leaves it to be.
fn is_called(listener: &TcpListener) -> io::Result<()> {
    let mut listening = [PollFd::new(listener, PollFlags::IN)];
    retry_on_intr(|| poll(&mut listening, None))?; // no deadline: nobody may ever call
    Ok(())
}

impl Readers {
    fn of(listener: TcpListener, take: Take, closed: Closed) -> io::Result<Arc<Self>> {
        let address = listener.local_addr()?;
        // tiny_http panics where it cannot start its own thread.
        let server = catch_unwind(AssertUnwindSafe(|| Server::from_listener(listener, None)))
            .map_err(|_| io::Error::other("no thread for the accept loop"))?
            .map_err(io::Error::other)?;
        remember(address);
        let (waiting, alive) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let peers = Peers(array::from_fn(|_| AtomicU16::new(0)));
        Ok(Arc::new(Self { server, address, take, closed, peers, waiting, alive }))
    }

    /// The next request; none where it `stays` not, and none came in some time.
    fn next(&self, stays: bool) -> io::Result<Option<Request>> {
        if stays {
            return self.server.recv().map(Some);
        }
        // tiny_http gives up without a look at its queue where it is woken in the last millisecond.
        match self.server.recv_timeout(READERS_LEAVE_AFTER) {
            Ok(None) => self.server.try_recv(),
            received => received,
        }
    }

    /// A reader that is about to wait.
    fn count_one_more(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.alive.fetch_add(1, Ordering::SeqCst);
    }
}

struct Readers {
    server: Server,
    address: SocketAddr,
    take: Take,
    closed: Closed,
    peers: Peers,
    /// Readers that wait for a request, or are about to.
    waiting: AtomicUsize,
    alive: AtomicUsize,
}

fn spawn(readers: &Arc<Readers>) -> io::Result<()> {
    let theirs = Arc::clone(readers);
    readers.count_one_more();
    let spawned = threads::start("reader", threads::SHALLOW, Box::new(move || read(&theirs)));
    if spawned.is_err() {
        readers.waiting.fetch_sub(1, Ordering::SeqCst);
        readers.alive.fetch_sub(1, Ordering::SeqCst);
    }
    spawned
}

/// The life of one reader. It starts counted as waiting.
fn read(readers: &Arc<Readers>) {
    let mut stays = true; // it was started because too few were waiting
    loop {
        let request = match readers.next(stays) {
            Ok(Some(request)) => request,
            Ok(None) if leave(&readers.waiting) => break,
            Ok(None) => {
                stays = true;
                continue;
            }
            Err(error) => {
                (readers.closed)(error);
                continue;
            }
        };
        let was_last = readers.waiting.fetch_sub(1, Ordering::SeqCst) == 1;
        if catch_unwind(AssertUnwindSafe(|| serve_one(readers, request, was_last))).is_err() {
            logging::error!("a request could not be handled; the collector goes on");
        }
        stays = readers.waiting.fetch_add(1, Ordering::SeqCst) < READERS_IDLE;
    }
    readers.alive.fetch_sub(1, Ordering::SeqCst);
}

/// `was_last`: no other reader waits for the next request.
fn serve_one(readers: &Arc<Readers>, request: Request, was_last: bool) {
    let may_stall = !body::is_read_ahead(&request);
    if was_last && may_stall && readers.alive.load(Ordering::SeqCst) < READERS_MAX {
        if let Err(error) = spawn(readers) {
            logging::debug!("cannot start another reader: {error}");
        }
    }
    // A connection that ends with this request frees its thread by itself once it is answered. A
    // client that stalls until then is the exception, but a nudge for each report of an agent that
    // closes its connections (Go) would cost more than it is worth.
    let stays = !is_last(&request) || is_upgrade(&request);
    let needs_nudge = stays && readers.peers.is_new(&request);
    if needs_nudge && may_stall {
        nudge(readers.address);
    }
    (readers.take)(request);
    if needs_nudge && !may_stall {
        nudge(readers.address);
    }
}

/// Takes the caller out of those that wait, unless it is one of those that stay.
fn leave(waiting: &AtomicUsize) -> bool {
    let one_less = |now: usize| (now > READERS_IDLE).then(|| now - 1);
    waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
}

/// Gives the pool of the tiny_http server at `address` a free thread, and so a connection that may be
/// waiting there its turn, by a connection that is closed at once. One nudge for each new connection
/// that stays is enough, as each that is served lets the next one in; and one for each thread of the
/// pool that panics, as that thread would have taken the next one.
fn nudge(address: SocketAddr) {
    if let Err(error) = TcpStream::connect_timeout(&address, NUDGE_TIMEOUT) {
        logging::debug!("cannot connect to the own port {address}: {error}");
    }
}

/// In the first place that is free, unless one before has it already.
fn remember(address: SocketAddr) {
    for place in &SERVED {
        if *place.get_or_init(|| address) == address {
            return;
        }
    }
}

/// As [`nudge`], where it is not known which server needs it.
pub fn nudge_all() {
    SERVED.iter().filter_map(OnceLock::get).copied().for_each(nudge);
}

/// The connections that were seen last, by the port at their other end.
struct Peers([AtomicU16; 64]);

impl Peers {
    /// Whether a request is the first of its connection. Now and then a connection counts as new
    /// again, when another one had its place, or a new one as known, when its port was used before.
    fn is_new(&self, request: &Request) -> bool {
        let port = request.remote_addr().map_or(0, SocketAddr::port);
        let place = &self.0[usize::from(port) % self.0.len()];
        place.swap(port, Ordering::Relaxed) != port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_beyond_the_idle_ones_leave() {
        let waiting = AtomicUsize::new(4);
        let left: Vec<bool> = (0..4).map(|_| leave(&waiting)).collect();
        assert_eq!(left, [true, true, false, false]);
        assert_eq!(waiting.load(Ordering::SeqCst), READERS_IDLE);
    }
}
