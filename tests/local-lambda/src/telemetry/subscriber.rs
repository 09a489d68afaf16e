//! One subscriber: its waiting events, and the thread that delivers them.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crate::telemetry::backlog::{Limits, Lost};
use crate::telemetry::connection::Connection;
use crate::telemetry::event::{Category, Event, Lines};
use crate::telemetry::gate::Gate;
use crate::telemetry::queue::{Queue, Turn};
use crate::telemetry::record::Dropped;
use crate::telemetry::subscription::Subscription;
use crate::telemetry::time_scale::TimeScale;
use crate::watch::Watch;

/// Time limit of a delivery to a subscriber, from its first byte to the end of the answer, without frozen time.
/// After it the batch is delivered again, on a new connection.
const DELIVERY_WITHIN: Duration = Duration::from_secs(5);

/// The first and the longest wait before another attempt. Each failure doubles it. Lambda tries again "with
/// backoff", and does not document the times.
const RETRY_WAIT_FIRST: Duration = Duration::from_millis(100);
const RETRY_WAIT_LONGEST: Duration = Duration::from_secs(5);

/// Limit of a wait that only an event ends. After it the wait begins again.
const AGAIN_WITHIN: Duration = Duration::from_secs(60);

/// The text from AWS's daemon.
const TOO_SLOW: &str = "Some logs were dropped because the downstream consumer is slower than the \
                        logs production rate";

pub struct Subscriber {
    name: String,
    types: Vec<Category>,
    lines: Lines,
    queue: Arc<Watch<Queue>>,
    gate: Arc<Gate>,
    delivering: Option<JoinHandle<()>>,
}

impl Subscriber {
    /// # Errors
    ///
    /// When the system refuses a thread.
    pub fn start(
        name: &str,
        subscription: Subscription,
        lines: Lines,
        time_scale: TimeScale,
    ) -> io::Result<Self> {
        let Subscription { types, buffering, destination, .. } = subscription;
        let limits = Limits {
            items: buffering.items,
            bytes: buffering.bytes,
            timeout: time_scale.of(buffering.timeout),
        };
        let queue = Arc::new(Watch::new(Queue::new(limits)));
        let gate = Arc::new(Gate::default());
        let courier = Courier {
            queue: Arc::clone(&queue),
            gate: Arc::clone(&gate),
            connection: Connection::new(destination, Arc::clone(&gate), DELIVERY_WITHIN),
            tells_losses: types.contains(&Category::Platform),
            time_scale,
        };
        let delivering = thread::Builder::new()
            .name(format!("telemetry {name}"))
            .spawn(move || courier.deliver_all())?;
        Ok(Self { name: name.to_owned(), types, lines, queue, gate, delivering: Some(delivering) })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Queues the event if the subscriber wants it. Never waits for the subscriber.
    pub fn take(&self, at: SystemTime, event: &Event) {
        if self.types.contains(&event.category()) {
            let entry = event.render(at, self.lines);
            self.queue.update(|queue| queue.push(entry, Instant::now()));
        }
    }

    pub fn hold(&self) {
        self.gate.hold();
    }

    pub fn release(&self) {
        self.gate.release();
    }

    /// Makes all recorded events due at once. [`Flush::wait`] waits for them.
    pub fn flush(&self) -> Flush {
        let through = self.queue.update(Queue::flush);
        Flush { queue: Arc::clone(&self.queue), through }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.queue.update(Queue::close);
        self.gate.close();
        if let Some(delivering) = self.delivering.take() {
            // A thread that panicked has already printed its message.
            let _ = delivering.join();
        }
    }
}

pub struct Flush {
    queue: Arc<Watch<Queue>>,
    through: usize,
}

impl Flush {
    /// False if the time was over, or the subscriber gone, before all events were delivered or dropped.
    pub fn wait(&self, deadline: Instant) -> bool {
        let within = deadline.saturating_duration_since(Instant::now());
        let settled = |queue: &mut Queue| {
            let settled = queue.has_settled(self.through);
            (settled || queue.is_closing()).then_some(settled)
        };
        self.queue.wait(within, settled).unwrap_or(false)
    }
}

/// The data of the thread.
struct Courier {
    queue: Arc<Watch<Queue>>,
    gate: Arc<Gate>,
    connection: Connection,
    tells_losses: bool,
    time_scale: TimeScale,
}

impl Courier {
    fn deliver_all(mut self) {
        loop {
            match self.next_turn() {
                Turn::End => return,
                Turn::LookAgain => {}
                Turn::Deliver { entries, lost } => {
                    let news = lost.filter(|_| self.tells_losses).map(tell);
                    let entries: Vec<_> = news.into_iter().chain(entries).collect();
                    if !self.deliver(&entries) {
                        return;
                    }
                    self.queue.update(Queue::delivered);
                }
            }
        }
    }

    fn next_turn(&self) -> Turn {
        let due = self.queue.read(Queue::due);
        let within = due.map_or(AGAIN_WITHIN, |due| due.saturating_duration_since(Instant::now()));
        self.queue.wait(within, |queue| queue.turn(due)).unwrap_or(Turn::LookAgain)
    }

    /// Repeats the delivery until it succeeds. False if the execution environment is gone.
    fn deliver(&mut self, entries: &[Vec<u8>]) -> bool {
        let delivery = self.connection.delivery(entries);
        let mut wait = RETRY_WAIT_FIRST;
        while self.connection.deliver(&delivery).is_err() {
            if !self.gate.pause(self.time_scale.of(wait)) {
                return false;
            }
            wait = (wait * 2).min(RETRY_WAIT_LONGEST);
        }
        true
    }
}

fn tell(lost: Lost) -> Vec<u8> {
    let dropped = Dropped {
        dropped_bytes: lost.bytes,
        dropped_records: lost.records,
        reason: TOO_SLOW.to_owned(),
    };
    Event::LogsDropped(dropped).render(SystemTime::now(), Lines::AsStrings)
}
