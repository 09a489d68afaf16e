//! Starts the listeners and the senders in another thread during the first poll, and checks them at each
//! invocation.
//!
//! Invariant: a listener or sender that cannot start is started again at the next invocation. If Lambda
//! reports no invocations, it is started again after [`RECHECK_EVERY`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{mem, thread};

use crate::local::collector::Collector;
use crate::local::listeners::Listeners;
use crate::logging;
use crate::payload::protocol::Protocol;
use crate::relay::sender::Sender;
use crate::threads;

/// The time between two checks, if Lambda does not report invocations.
const RECHECK_EVERY: Duration = Duration::from_secs(5);

/// The main thread's part of the listeners and senders.
pub struct Opening {
    shared: Arc<Shared>,
    /// Ports that are bound at the first invocation, because by then all other extensions have bound theirs.
    late_ports: Vec<(u16, Protocol)>,
}

struct Shared {
    collector: &'static Collector,
    listeners: Mutex<Listeners>,
    /// Senders without a thread.
    senders: Mutex<Vec<Sender>>,
    /// Whether a thread could not be started.
    lacks_thread: AtomicBool,
}

impl Opening {
    /// Starts one thread, which starts everything else. So the first poll waits for one thread start only.
    pub fn start(
        listeners: Listeners,
        late_ports: Vec<(u16, Protocol)>,
        senders: Vec<Sender>,
        collector: &'static Collector,
    ) -> Self {
        let is_needed = !listeners.is_empty() || !senders.is_empty();
        let shared = Arc::new(Shared {
            collector,
            listeners: Mutex::new(listeners),
            senders: Mutex::new(senders),
            lacks_thread: AtomicBool::new(false),
        });
        if is_needed {
            shared.start_a_sender(log::Level::Error);
        }
        Self { shared, late_ports }
    }

    /// Retries failed starts, and binds late ports. Must be called at each invocation. The function may
    /// export at once: from here on, its connections wait in the kernel.
    pub fn go_on(&mut self) {
        self.shared.try_again();
        let Shared { collector, listeners, lacks_thread, .. } = &*self.shared;
        // The listeners' servers need threads, too.
        if lacks_thread.load(Ordering::Relaxed) {
            return;
        }
        let late_ports = mem::take(&mut self.late_ports);
        if late_ports.is_empty() {
            // If another thread is opening them, this one need not wait.
            if let Ok(mut listeners) = listeners.try_lock() {
                listeners.open(collector);
            }
        } else {
            let mut listeners = lock(listeners);
            listeners.claim(&late_ports);
            listeners.open(collector);
        }
    }

    /// Must be called before the end. Reports for a sender without a thread count as lost.
    pub fn finish(&self) {
        self.shared.try_again();
        if self.shared.lacks_thread.load(Ordering::Relaxed) {
            lock(&self.shared.senders).clear();
        }
    }

    /// Starts a thread that calls [`Self::go_on`] every [`RECHECK_EVERY`].
    pub fn keep_going(mut self) {
        let check = move || {
            loop {
                thread::park_timeout(RECHECK_EVERY);
                self.go_on();
            }
        };
        if let Err(error) = threads::spawn("listeners", threads::STACK_SMALL, Box::new(check)) {
            logging::debug!("cannot start a thread: {error}; a port that closes stays closed");
        }
    }
}

impl Shared {
    fn try_again(self: &Arc<Self>) {
        if self.lacks_thread.swap(false, Ordering::Relaxed) {
            self.start_a_sender(log::Level::Debug);
        }
    }

    fn start_a_sender(self: &Arc<Self>, level: log::Level) {
        let theirs = Arc::clone(self);
        let started =
            threads::spawn("sender", threads::STACK_DEFAULT, Box::new(move || theirs.live()));
        if let Err(error) = started {
            logging::at!(
                level,
                "cannot start a sender: {error}; reports are refused or wait, and each invocation \
                 tries again"
            );
            self.lacks_thread.store(true, Ordering::Relaxed);
            // A client does not wait at a closed port.
            lock(&self.listeners).close_unserved();
        }
    }

    /// Runs a sender's thread. The first thread opens the listeners. Each thread starts the next one.
    fn live(self: &Arc<Self>) {
        lock(&self.listeners).open(self.collector);
        let mut senders = lock(&self.senders);
        let own = senders.pop();
        let is_another = !senders.is_empty();
        drop(senders);
        if is_another {
            self.start_a_sender(log::Level::Error);
        }
        own.into_iter().for_each(Sender::run);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
