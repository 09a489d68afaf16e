//! One subscriber: what waits for it, and the thread that delivers it.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crate::telemetry::backlog::{Backlog, Limits, Lost, Ripeness};
use crate::telemetry::connection::Connection;
use crate::telemetry::event::{Category, Event, Lines};
use crate::telemetry::gate::Gate;
use crate::telemetry::record::Dropped;
use crate::telemetry::subscription::Subscription;
use crate::telemetry::time_scale::TimeScale;
use crate::watch::Watch;

/// How long a subscriber may take for one batch, from its first byte to the end of the answer; time
/// that it was frozen does not count. After it the batch is delivered again, on a new connection.
const DELIVERY_WITHIN: Duration = Duration::from_secs(5);

/// Lambda tries again "with backoff"; how long it waits is not documented. Doubles with each
/// failure, up to the longest.
const RETRY_WAIT_FIRST: Duration = Duration::from_millis(100);
const RETRY_WAIT_LONGEST: Duration = Duration::from_secs(5);

/// A bound for waits that only an event ends; when it is over they begin again.
const AGAIN_WITHIN: Duration = Duration::from_secs(60);

/// The words of AWS's daemon.
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

/// Events count from 1.
struct Queue {
    backlog: Backlog,
    recorded: usize,
    /// Up to here all are delivered or dropped.
    settled: usize,
    /// The thread has a batch that is not delivered yet.
    under_way: bool,
    /// Up to here nothing waits for its batch to ripen.
    flushed: usize,
    closing: bool,
}

/// What the thread of a subscriber does next.
enum Turn {
    Deliver {
        entries: Vec<Vec<u8>>,
        lost: Option<Lost>,
    },
    /// Something came that changed when the next batch is due.
    LookAgain,
    End,
}

impl Subscriber {
    /// # Errors
    ///
    /// When the system has no thread left for it.
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

    /// Ignores what it did not ask for. Never waits for the wire.
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

    /// Lets all that is recorded now go out at once; the wait for it is [`Flush::wait`].
    pub fn flush(&self) -> Flush {
        let through = self.queue.update(|queue| {
            queue.flushed = queue.recorded;
            queue.recorded
        });
        Flush { queue: Arc::clone(&self.queue), through }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.queue.update(|queue| queue.closing = true);
        self.gate.close();
        if let Some(delivering) = self.delivering.take() {
            // If it panicked, its message is on stderr.
            let _ = delivering.join();
        }
    }
}

pub struct Flush {
    queue: Arc<Watch<Queue>>,
    through: usize,
}

impl Flush {
    /// False if the time was over, or the subscriber gone, before all was delivered or dropped.
    pub fn wait(&self, deadline: Instant) -> bool {
        let within = deadline.saturating_duration_since(Instant::now());
        let settled = |queue: &mut Queue| {
            let settled = queue.settled >= self.through;
            (settled || queue.closing).then_some(settled)
        };
        self.queue.wait(within, settled).unwrap_or(false)
    }
}

impl Queue {
    fn new(limits: Limits) -> Self {
        let backlog = Backlog::new(limits);
        Self { backlog, recorded: 0, settled: 0, under_way: false, flushed: 0, closing: false }
    }

    fn push(&mut self, entry: Vec<u8>, now: Instant) {
        self.recorded += 1;
        self.backlog.push(entry, now);
        self.settle();
    }

    fn delivered(&mut self) {
        self.under_way = false;
        self.settle();
    }

    /// What is dropped behind a batch that is under way counts when that is delivered.
    fn settle(&mut self) {
        if !self.under_way {
            self.settled = self.recorded - self.backlog.len();
        }
    }

    fn turn(&mut self, known_due: Option<Instant>) -> Option<Turn> {
        if self.closing {
            return Some(Turn::End);
        }
        let ripeness =
            if self.flushed > self.settled { Ripeness::Anything } else { Ripeness::Batch };
        if let Some(entries) = self.backlog.take(Instant::now(), ripeness) {
            self.under_way = true;
            return Some(Turn::Deliver { entries, lost: self.backlog.take_lost() });
        }
        (self.backlog.due() != known_due).then_some(Turn::LookAgain)
    }
}

/// What the thread owns.
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
        let due = self.queue.read(|queue| queue.backlog.due());
        let within = due.map_or(AGAIN_WITHIN, |due| due.saturating_duration_since(Instant::now()));
        self.queue.wait(within, |queue| queue.turn(due)).unwrap_or(Turn::LookAgain)
    }

    /// Tries until it is delivered; false if the sandbox is gone.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_behind_a_batch_that_is_under_way_settles_with_it() {
        let now = Instant::now();
        let timeout = Duration::from_secs(60);
        let mut queue = Queue::new(Limits { items: 1, bytes: 1, timeout });
        queue.push(vec![1], now);
        assert!(matches!(queue.turn(None), Some(Turn::Deliver { .. })));
        let most_of_a_backlog = vec![2; 7 * 1024 * 1024];
        queue.push(most_of_a_backlog.clone(), now);
        queue.push(most_of_a_backlog, now);
        assert_eq!((queue.recorded, queue.backlog.len(), queue.settled), (3, 1, 0));
        queue.delivered();
        assert_eq!(queue.settled, 2);
    }
}
