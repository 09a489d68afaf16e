//! Looks up host names within a time limit.
//!
//! musl's `getaddrinfo` for both families fails if one of its two questions fails. Then a resolver that cannot
//! answer for IPv6 would hide all IPv4 addresses. So each family has its own question and thread. Nothing can
//! interrupt `getaddrinfo`, so a thread may outlive its look-up. Its answer then serves the next look-up
//! ([`known`]).
//!
//! ureq looks up a name before it checks for an idle connection. That would cost a query and two threads for
//! each request. So ureq gets a placeholder ([`NoResolver`]), and the connector looks up the name.

mod known;
mod order;

use std::fmt;
use std::fs;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use dns_lookup::{AddrFamily, AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo};
use ureq::Timeout;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{NextTimeout, ShutdownHandle};

use self::known::{Answer, Failure, Family, Known, Verdict};
use self::order::Candidate;
use crate::logging;
use crate::net::freeze::{FreezeClock, LATE, Waited};
use crate::net::url::port_of;
use crate::threads;

pub use self::known::Found;

/// How many addresses of one family are used. Further ones are ignored. musl returns at most this many.
const ADDRESSES_MAX: usize = 48;

/// The known addresses of the remote's host name, or of its proxy's. Clones share them.
#[derive(Clone, Default)]
pub struct Names(Arc<Mutex<Vec<Name>>>);

/// ureq requires this. A derived implementation would keep 3 kB of code in the binary, for the addresses
/// inside.
impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Names")
    }
}

impl Names {
    /// Looks up a host that is a name and no address.
    ///
    /// # Errors
    /// The name has no address, the resolver fails or takes too long, or the look-up was interrupted.
    pub fn look_up(
        &self,
        host: &str,
        clock: &mut FreezeClock,
        interrupt: &Interrupt,
    ) -> Result<Found, ureq::Error> {
        // The names are taken out, so that the wait holds no lock. A panic would lose them.
        let mut names = mem::take(&mut *lock(&self.0));
        let index = names.iter().position(|it| it.host == host).unwrap_or_else(|| {
            names.push(Name::new(host));
            names.len() - 1
        });
        let found = names[index].look_up(clock, interrupt);
        *lock(&self.0) = names;
        found
    }

    /// Records that `to`, one of the found addresses, accepted a connection.
    pub fn connected(&self, host: &str, found: Found, to: IpAddr) {
        let mut names = lock(&self.0);
        if let Some(name) = names.iter_mut().find(|it| it.host == host) {
            name.known.connected(found, to, Instant::now());
        }
    }

    /// Records the end of an attempt. If it made a connection, its address is rated by whether the remote
    /// answered.
    pub fn attempted(&self, is_answered: bool) {
        for name in lock(&self.0).iter_mut() {
            name.known.attempted(is_answered);
        }
    }
}

/// Resolves each name to a placeholder, to which nothing connects.
#[derive(Debug)]
pub struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push((Ipv4Addr::UNSPECIFIED, port_of(uri)).into());
        Ok(addresses)
    }
}

/// Lets another thread end the look-ups of the thread that created this.
#[derive(Debug)]
pub struct Interrupt {
    thread: Thread,
    is_requested: AtomicBool,
}

impl Interrupt {
    pub fn of_this_thread() -> Arc<Self> {
        Arc::new(Self { thread: thread::current(), is_requested: AtomicBool::new(false) })
    }
}

impl ShutdownHandle for Interrupt {
    fn shutdown(&self) {
        self.is_requested.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

#[derive(Debug)]
struct Name {
    host: String,
    known: Known,
    answers: Arc<Answers>,
}

/// Answers for a name that its look-up has not taken yet: the family, the answer and its time.
type Answers = Mutex<Vec<(Family, Answer, Instant)>>;

/// Locks a mutex, even after a panic. A panic under the lock leaves no state half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Name {
    fn new(host: &str) -> Self {
        let known = Known::new(Instant::now());
        Self { host: host.to_owned(), known, answers: Arc::default() }
    }

    fn look_up(
        &mut self,
        clock: &mut FreezeClock,
        interrupt: &Interrupt,
    ) -> Result<Found, ureq::Error> {
        self.take_answers();
        self.known.begin(Instant::now());
        loop {
            self.ask();
            let started = Instant::now();
            let verdict = self.known.verdict(started);
            let Verdict::Wait(until) = verdict else { return self.found(verdict) };
            if interrupt.is_requested.load(Ordering::Acquire) {
                return Err(io::Error::from(io::ErrorKind::Interrupted).into());
            }
            let until = until.map_or(Duration::MAX, |it| it.saturating_duration_since(started));
            let asked = clock.next_wait(started).min(until);
            // An answer ends this wait early. Another use of `unpark` may end it too.
            thread::park_timeout(asked);
            let now = Instant::now();
            self.take_answers();
            if now.saturating_duration_since(started) >= asked + LATE {
                self.known.thawed();
            }
            if !clock.has_time((asked, started), Waited::TimedOut, now) {
                let verdict = self.known.end(now);
                return self.found(verdict);
            }
        }
    }

    fn ask(&mut self) {
        for family in self.known.take_due() {
            if let Err(error) = Question::ask(&self.host, family, &self.answers) {
                let failure = Failure { is_definite: false, why: error.to_string() };
                self.known.answered(family, Err(failure), Instant::now());
            }
        }
    }

    fn take_answers(&mut self) {
        for (family, answer, at) in mem::take(&mut *lock(&self.answers)) {
            self.known.answered(family, answer, at);
        }
    }

    fn found(&self, verdict: Verdict) -> Result<Found, ureq::Error> {
        match verdict {
            Verdict::Found(found) => {
                if let Some(age) = found.age {
                    logging::debug!(
                        "cannot look {} up: the resolver fails; its addresses of {} s ago are used",
                        self.host,
                        age.as_secs()
                    );
                }
                Ok(found)
            }
            Verdict::Failed(Some(why)) => Err(io::Error::other(why).into()),
            Verdict::Failed(None) | Verdict::Wait(_) => Err(ureq::Error::Timeout(Timeout::Resolve)),
        }
    }
}

/// A thread's side of a question. Dropping it gives the answer. So a thread that panics answers too. Otherwise
/// the question would stay open, and never be asked again.
struct Question {
    family: Family,
    answer: Answer,
    answers: Arc<Answers>,
    asker: Thread,
}

impl Question {
    fn ask(host: &str, family: Family, answers: &Arc<Answers>) -> io::Result<()> {
        let (name, address) = match family {
            Family::Ipv4 => ("look-up IPv4", AddrFamily::Inet),
            Family::Ipv6 => ("look-up IPv6", AddrFamily::Inet6),
        };
        let failure = Failure { is_definite: false, why: "an internal error, a panic".to_owned() };
        let (answers, asker) = (Arc::clone(answers), thread::current());
        let mut question = Self { family, answer: Err(failure), answers, asker };
        // musl compares a name with those in /etc/hosts case-sensitively.
        let host = host.to_ascii_lowercase();
        let ask = move || question.answer(addresses_of(&host, address));
        threads::spawn(name, threads::STACK_SMALL, Box::new(ask))
    }

    fn answer(&mut self, answer: Answer) {
        self.answer = answer;
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let answer = mem::replace(&mut self.answer, Ok(Vec::new()));
        lock(&self.answers).push((self.family, answer, Instant::now()));
        self.asker.unpark();
    }
}

/// Asks the system, including /etc/hosts and search domains, without a time limit. If a search domain does not
/// answer, musl gives up. glibc then asks for the name without the domain, and so does this function.
fn addresses_of(host: &str, family: AddrFamily) -> Answer {
    let found = ask_for(host, family);
    let Err(failure) = &found else { return found };
    if !may_be_searched(host) {
        return found;
    }
    let itself = ask_for(&[host, "."].concat(), family);
    if itself.is_ok() || failure.is_definite { itself } else { found }
}

/// Whether the system asks search domains first for this name. For a name with a dot, only an option makes it
/// do so.
fn may_be_searched(host: &str) -> bool {
    let has_option = |it: String| it.contains("ndots:");
    host.contains('.') && fs::read_to_string("/etc/resolv.conf").is_ok_and(has_option)
}

fn ask_for(host: &str, family: AddrFamily) -> Answer {
    let (address, socktype) = (family.into(), SockType::Stream.into());
    let hints = AddrInfoHints { address, socktype, ..AddrInfoHints::default() };
    let found = getaddrinfo(Some(host), None, Some(hints)).map_err(Failure::from)?;
    let addresses = found.flatten().map(|it| Candidate::of(it.sockaddr.ip()));
    Ok(addresses.take(ADDRESSES_MAX).collect())
}

impl From<LookupError> for Failure {
    fn from(error: LookupError) -> Self {
        let is_definite = matches!(error.kind(), LookupErrorKind::NoName | LookupErrorKind::NoData);
        Self { is_definite, why: error.to_string() }
    }
}
