//! The worker threads of one tiny_http server.
//!
//! tiny_http reads all bodies except the smallest on the worker's thread, without a time limit. So a stalled
//! client stalls its worker. Invariant: while a worker may be stalled, another one waits for the next
//! request, up to [`WORKERS_MAX`].
//!
//! tiny_http also has its own pool, with one thread for each open connection. The pool miscounts its idle
//! threads. If more connections arrive than idle threads can wake up for, the others wait until a connection
//! closes. A connection that is kept alive never closes, so [`nudge`] helps.
//!
//! Two limits remain. A burst of connections that send nothing delays the connections after them. Writing a
//! response has no time limit, so a client that sends thousands of requests and reads no response can stall
//! workers too.

mod handle;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{array, io};

use tiny_http::{Request, Server};

use crate::local::PANICKED;
use crate::local::thread_pool::body;
use crate::local::thread_pool::request::{is_last, is_upgrade};
use crate::logging;
use crate::threads;

pub use self::handle::ServerHandle;

/// How many workers wait for requests as long as the server is open.
const WORKERS_IDLE: usize = 2;

/// How long further workers wait for the next request before they leave. Starting a worker takes longer than
/// handling a request. Threads of tiny_http's pool leave after the same time.
const WORKERS_LEAVE_AFTER: Duration = Duration::from_secs(5);

/// How often the last worker of a closed server checks whether a client is still connected.
const CLIENTS_CHECK_EVERY: Duration = Duration::from_secs(1);

/// How many bodies are read at the same time. Further requests wait for a free worker. There cannot be more
/// connections: each needs two of the 1,024 descriptors that Lambda allows the function and all extensions
/// together ("Lambda quotas").
const WORKERS_MAX: usize = 512;

/// How many descriptors a connection needs until its first request is answered. A server does not start with
/// fewer free ones, because it would close again at once.
const SPARE_DESCRIPTORS: usize = 4;

/// Time limit of the connect of a [`nudge`]. It usually takes microseconds. It takes longer only if the
/// kernel's queue is full, and then other connections wake the pool.
const NUDGE_TIMEOUT: Duration = Duration::from_millis(100);

/// Addresses of servers whose pools may need a nudge: both addresses of one port. Further servers would get
/// none.
static SERVED: [OnceLock<SocketAddr>; 2] = [const { OnceLock::new() }; 2];

/// Handles a request.
pub type Take = Box<dyn Fn(Request) + Send + Sync>;

/// Serves `listener`: several workers call `take` with each request. If tiny_http stops accepting
/// connections, `handle` is notified. Open connections are still served then.
///
/// # Errors
/// tiny_http cannot start, because no thread or descriptor is free.
pub fn serve(listener: TcpListener, take: Take, handle: Arc<ServerHandle>) -> io::Result<()> {
    spawn(&Workers::of(listener, take, handle)?)
}

impl Workers {
    fn of(listener: TcpListener, take: Take, handle: Arc<ServerHandle>) -> io::Result<Arc<Self>> {
        let address = listener.local_addr()?;
        spare_descriptors(&listener)?;
        // tiny_http panics if it cannot start its own thread.
        let server = catch_unwind(AssertUnwindSafe(|| Server::from_listener(listener, None)))
            .map_err(|_| io::Error::other("no thread for the accept loop"))?
            .map_err(io::Error::other)?;
        remember(address);
        let (waiting, alive) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let peers = Peers(array::from_fn(|_| AtomicU16::new(0)));
        let workers = Self { server, address, take, handle, peers, waiting, alive };
        let workers = Arc::new(workers);
        workers.handle.serves(Arc::downgrade(&workers));
        Ok(workers)
    }

    /// Waits for the next request. A worker that `stays` waits without a limit until the server closes.
    /// Otherwise `None` means that no request arrived in time.
    fn next(&self, stays: bool) -> io::Result<Option<Request>> {
        if stays && !self.handle.is_closing() {
            let received = self.server.recv().map(Some);
            return if self.handle.is_closing() { received.or(Ok(None)) } else { received };
        }
        let closes = self.handle.is_closing();
        let within = if closes { CLIENTS_CHECK_EVERY } else { WORKERS_LEAVE_AFTER };
        // If tiny_http is woken in the last millisecond, it gives up without checking its queue.
        match self.server.recv_timeout(within) {
            // A check of a closing server's queue would take the token with which tiny_http wakes another
            // worker.
            Ok(None) if !self.handle.is_closing() => self.server.try_recv(),
            received => received,
        }
    }

    /// How many workers stay. A closing server keeps one while its clients are connected.
    fn least_waiting(&self) -> usize {
        self.handle.has_clients(self.address).map_or(WORKERS_IDLE, usize::from)
    }

    /// Wakes another worker of a closing server. tiny_http puts one token for each worker into its queue, but a
    /// worker that waits again may take several.
    fn wake_next(&self) {
        if self.handle.is_closing() {
            self.server.unblock();
        }
    }

    /// Counts a worker that is about to wait.
    fn count_one_more(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.alive.fetch_add(1, Ordering::SeqCst);
    }
}

struct Workers {
    server: Server,
    address: SocketAddr,
    take: Take,
    handle: Arc<ServerHandle>,
    peers: Peers,
    /// How many workers wait for a request, or are about to.
    waiting: AtomicUsize,
    alive: AtomicUsize,
}

fn spawn(workers: &Arc<Workers>) -> io::Result<()> {
    let theirs = Arc::clone(workers);
    workers.count_one_more();
    let spawned = threads::spawn("worker", threads::STACK_SMALL, Box::new(move || work(&theirs)));
    if spawned.is_err() {
        workers.waiting.fetch_sub(1, Ordering::SeqCst);
        workers.alive.fetch_sub(1, Ordering::SeqCst);
    }
    spawned
}

/// Runs one worker. The caller has already counted it as waiting.
fn work(workers: &Arc<Workers>) {
    let mut stays = true; // a worker is started only if too few are waiting
    loop {
        let request = match workers.next(stays) {
            Ok(Some(request)) => request,
            Ok(None) if leave(&workers.waiting, workers.least_waiting()) => {
                workers.wake_next();
                break;
            }
            Ok(None) => {
                stays = true;
                continue;
            }
            Err(error) => {
                workers.handle.closed(error);
                continue;
            }
        };
        let was_last = workers.waiting.fetch_sub(1, Ordering::SeqCst) == 1;
        if catch_unwind(AssertUnwindSafe(|| serve_one(workers, request, was_last))).is_err() {
            logging::error!("{PANICKED}");
        }
        stays = workers.waiting.fetch_add(1, Ordering::SeqCst) < WORKERS_IDLE;
    }
    workers.alive.fetch_sub(1, Ordering::SeqCst);
}

/// Handles a request, and starts another worker if necessary. `was_last` is true if no other worker waits for
/// the next request.
fn serve_one(workers: &Arc<Workers>, request: Request, was_last: bool) {
    let may_stall = !body::is_read_ahead(&request);
    if was_last && may_stall && workers.alive.load(Ordering::SeqCst) < WORKERS_MAX {
        if let Err(error) = spawn(workers) {
            logging::debug!("cannot start another worker: {error}; requests wait for a free one");
        }
    }
    // A connection that ends with this request frees its thread after the response. A client may stall before
    // that. But a nudge for each report of an agent that closes its connections (Go) would cost more than it
    // helps.
    let stays = !is_last(&request) || is_upgrade(&request);
    let needs_nudge = stays && workers.peers.is_new(&request);
    if needs_nudge && may_stall {
        nudge(workers.address);
    }
    (workers.take)(request);
    if needs_nudge && !may_stall {
        nudge(workers.address);
    }
}

/// Checks that enough descriptors are free.
///
/// # Errors
/// Fewer than [`SPARE_DESCRIPTORS`] are free.
fn spare_descriptors(listener: &TcpListener) -> io::Result<()> {
    let spare: io::Result<Vec<_>> = (0..SPARE_DESCRIPTORS).map(|_| listener.try_clone()).collect();
    spare.map(drop)
}

/// Removes the calling worker from the waiting ones, unless only `least` are waiting. True if it was removed.
fn leave(waiting: &AtomicUsize, least: usize) -> bool {
    let one_less = |now: usize| (now > least).then(|| now - 1);
    waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
}

/// Connects to the tiny_http server at `address`, and closes the connection at once. The thread that serves
/// this connection then serves a waiting one. One nudge for each new connection that stays open is enough,
/// because each served connection lets the next one in. A panic of a pool's thread needs one too, because
/// that thread would have served the next connection.
fn nudge(address: SocketAddr) {
    if let Err(error) = TcpStream::connect_timeout(&address, NUDGE_TIMEOUT) {
        logging::debug!("cannot connect to our own port {address}: {error}; clients may wait");
    }
}

/// Adds an address to [`SERVED`], unless it is already listed.
fn remember(address: SocketAddr) {
    for place in &SERVED {
        if *place.get_or_init(|| address) == address {
            return;
        }
    }
}

/// Nudges all servers, if it is unknown which one needs it.
pub fn nudge_all() {
    SERVED.iter().filter_map(OnceLock::get).copied().for_each(nudge);
}

/// The connections of recent requests, as the ports of their clients.
struct Peers([AtomicU16; 64]);

impl Peers {
    /// Whether a request is the first of its connection. The result is wrong at times. A known connection
    /// counts as new if another one has replaced its entry. A new one counts as known if its port was used
    /// before.
    fn is_new(&self, request: &Request) -> bool {
        let port = request.remote_addr().map_or(0, SocketAddr::port);
        let place = &self.0[usize::from(port) % self.0.len()];
        place.swap(port, Ordering::Relaxed) != port
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Ipv4Addr;
    use std::sync::Weak;
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::local::response::Response;
    use crate::local::thread_pool::exchange;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn is_answered(client: &mut TcpStream) -> bool {
        const ANSWER: &[u8] =
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = [0; ANSWER.len()];
        client.read_exact(&mut answer).is_ok_and(|()| answer == *ANSWER)
    }

    fn start(
        listener: TcpListener,
        take: Take,
        handle: &Arc<ServerHandle>,
        count: usize,
    ) -> Weak<Workers> {
        let workers = Workers::of(listener, take, Arc::clone(handle)).unwrap();
        (0..count).for_each(|_| spawn(&workers).unwrap());
        Arc::downgrade(&workers)
    }

    /// Returns once the last worker has ended.
    fn wait_for_end(workers: &Weak<Workers>) {
        let waited = Instant::now();
        while workers.strong_count() > 0 {
            assert!(waited.elapsed() < PATIENCE, "the workers have not ended");
            thread::yield_now();
        }
    }

    #[test]
    fn the_workers_of_a_closed_server_serve_its_clients_and_end_after_the_last() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let handle = ServerHandle::new(|_| {});
        let take = Box::new(|request| exchange::send(&Response::ACCEPTED, request));
        let lives = start(listener, take, &handle, 1);
        let mut client = TcpStream::connect(address).unwrap();
        assert!(is_answered(&mut client));
        handle.close(None);
        assert!(is_answered(&mut client));
        drop(client);
        wait_for_end(&lives);
    }

    #[test]
    fn clients_of_a_later_server_do_not_keep_an_earlier_servers_workers_alive() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let _client_of_the_later = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let handle = ServerHandle::new(|_| {});
        let lives = start(listener, Box::new(drop), &handle, 1);
        handle.close(Some(Vec::new()));
        wait_for_end(&lives);
    }

    #[test]
    fn a_close_ends_workers_that_wait_for_ever_and_those_that_wait_for_a_time() {
        for _ in 0..20 {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let handle = ServerHandle::new(|_| {});
            let take = Box::new(|request| exchange::send(&Response::ACCEPTED, request));
            let lives = start(listener, take, &handle, WORKERS_IDLE + 1);
            // From then on, one worker more than the idle ones is waiting.
            assert!(is_answered(&mut TcpStream::connect(address).unwrap()));
            handle.close(Some(Vec::new()));
            wait_for_end(&lives);
        }
    }

    #[test]
    fn workers_beyond_the_idle_ones_leave() {
        let waiting = AtomicUsize::new(4);
        let left: Vec<bool> = (0..4).map(|_| leave(&waiting, WORKERS_IDLE)).collect();
        assert_eq!(left, [true, true, false, false]);
        assert_eq!(waiting.load(Ordering::SeqCst), WORKERS_IDLE);
    }
}
