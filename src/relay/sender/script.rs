//! A sender's edge in virtual time. A script lists the events with their times, and the remote's answers.

mod world;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ureq::http::{HeaderValue, StatusCode};

pub use self::world::World;
use super::Sender;
use crate::lambda::deadline::Deadline;
use crate::lambda::extensions_api::RequestId;
use crate::net::freeze::TimeLimit;
use crate::payload::ledger::Loss;
use crate::payload::payload::Payload;
use crate::payload::route::{Headers, Route};
use crate::relay::edge::{Edge, Moment};
use crate::relay::exporter::tests::exporter;
use crate::relay::flush::{Policy, Strategy, Traffic};
use crate::relay::queue::{FlushRequest, Message, Waited};
use crate::relay::wakeup::{Waker, Wakeup, wakeup};
use crate::remote::backoff::Jitter;
use crate::remote::client::Request;
use crate::remote::delivery::{Delivery, Failure};

/// The overhead that is added to a report's length for its permit, in bytes.
pub const OVERHEAD: usize = 10;

/// A run of a sender. Times are milliseconds since its start.
pub struct Script(Rc<RefCell<World>>);

/// The remote's answer to an attempt. An answer after the attempt's time limit counts as none.
pub struct Answer {
    takes_ms: u64,
    /// The length of a freeze during the attempt. It counts for no time limit.
    frozen_ms: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Taken,
    /// Status 503, perhaps with a `Retry-After` in milliseconds.
    Busy(Option<u64>),
    /// Status 429.
    Throttled(Option<u64>),
    /// The remote receives the request and never answers.
    Silent,
    Unreachable,
    /// Any other status.
    Refused(u16),
    Panics,
}

/// An attempt.
#[derive(Clone, Debug)]
pub struct Post {
    pub at_ms: u64,
    pub limit: TimeLimit,
    pub key: String,
    pub route: Route,
    pub body: String,
    pub answer: Kind,
}

impl Script {
    /// A script with a remote that accepts everything at once, and a buffer of 4 MiB.
    pub fn new() -> Self {
        Self::with_buffer(4 << 20)
    }

    pub fn with_buffer(buffer: usize) -> Self {
        Self(Rc::new(RefCell::new(World::with_buffer(buffer))))
    }

    /// Sets the part of each pause that the jitter selects.
    pub fn jitter(self, jitter: f64) -> Self {
        self.0.borrow_mut().jitter = jitter;
        self
    }

    /// Sets the remote's answers.
    pub fn remote(self, answer: impl FnMut(&Post) -> Answer + 'static) -> Self {
        self.0.borrow_mut().remote = Box::new(answer);
        self
    }

    /// Sets the remote's answers to the first attempts. It accepts all others.
    pub fn answers(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut answers: VecDeque<Answer> = answers.into_iter().collect();
        self.remote(move |_| answers.pop_front().unwrap_or_else(|| Kind::Taken.at_once()))
    }

    pub fn report(self, at_ms: u64, body: &str) -> Self {
        self.report_with(at_ms, "k", Route::MonitoringData, body)
    }

    /// Adds a report. It is refused if the buffer is full.
    pub fn report_with(self, at_ms: u64, key: &str, route: Route, body: &str) -> Self {
        let (key, body) = (HeaderValue::from_str(key).unwrap(), body.as_bytes().to_vec());
        self.at(at_ms, move |world| {
            let permit = world.quota.take(body.len() + OVERHEAD)?;
            let headers = Headers { authorization: Some(key), ..Headers::default() };
            let (target, body) = ((route, headers), Arc::new(body));
            let payload = Payload::accept(target, body, permit, &world.account, world.now);
            Some(Message::Payload(payload))
        })
    }

    pub fn traffic(self, at_ms: u64, traffic: Traffic) -> Self {
        self.at(at_ms, move |_| Some(Message::Traffic(traffic)))
    }

    /// Adds an invocation that waits for its reports.
    pub fn flush(self, at_ms: u64, request_id: &str) -> (Self, Wakeup) {
        let (done, is_done) = wakeup();
        let request_id = RequestId(request_id.to_owned());
        let request = FlushRequest { request_id, done };
        (self.at(at_ms, move |_| Some(Message::Flush(request))), is_done)
    }

    pub fn runtime_done(self, at_ms: u64, request_id: &str) -> Self {
        let request_id = RequestId(request_id.to_owned());
        self.at(at_ms, move |world| {
            let permit = world.quota.take(0).unwrap();
            Some(Message::RuntimeDone { request_id, _permit: permit })
        })
    }

    pub fn shutdown(self, at_ms: u64, within_ms: u64) -> Self {
        self.shutdown_with(at_ms, within_ms, wakeup().0)
    }

    /// As [`Self::shutdown`]. `settled` is dropped at its end.
    pub fn shutdown_with(self, at_ms: u64, within_ms: u64, settled: Waker) -> Self {
        self.at(at_ms, move |world| {
            let deadline = Deadline::after(Duration::from_millis(within_ms), world.now);
            let noticed = wakeup().0;
            Some(Message::Shutdown { deadline, noticed, settled })
        })
    }

    /// Adds any other event.
    pub fn at(
        self,
        at_ms: u64,
        event: impl FnOnce(&mut World) -> Option<Message> + 'static,
    ) -> Self {
        {
            let events = &mut self.0.borrow_mut().events;
            let index = events.partition_point(|(at, _)| *at <= at_ms);
            events.insert(index, (at_ms, Box::new(event)));
        }
        self
    }

    /// Runs to the end of the script.
    pub fn play(self, strategy: Strategy) -> World {
        let (quota, health) = {
            let world = self.0.borrow();
            (world.quota.clone(), world.health.clone())
        };
        let policy = Policy { strategy, traffic: Traffic::Sparse };
        Sender::new(Self(Rc::clone(&self.0)), exporter(health), policy, quota).run();
        Rc::try_unwrap(self.0).ok().expect("the sender is gone").into_inner()
    }
}

impl Kind {
    pub fn at_once(self) -> Answer {
        self.after(0)
    }

    pub fn after(self, takes_ms: u64) -> Answer {
        Answer { takes_ms, frozen_ms: 0, kind: self }
    }

    pub fn frozen_for(self, frozen_ms: u64) -> Answer {
        Answer { takes_ms: 0, frozen_ms, kind: self }
    }

    fn delivery(self) -> Delivery {
        let failed = |is_answered, after: Option<u64>, may_be_poison| {
            let after = after.map(Duration::from_millis);
            Delivery::Failed(Failure { why: String::new(), is_answered, after, may_be_poison })
        };
        match self {
            Self::Taken => Delivery::Delivered { rejected_items: 0 },
            Self::Busy(after) => failed(true, after, true),
            Self::Throttled(after) => failed(true, after, false),
            Self::Silent => failed(false, None, true),
            Self::Unreachable => failed(false, None, false),
            Self::Refused(status) => {
                let loss = match status {
                    401 | 403 => Loss::Unauthorized,
                    413 => Loss::TooLarge,
                    _ => Loss::Rejected,
                };
                Delivery::Dropped(loss, StatusCode::from_u16(status).unwrap())
            }
            Self::Panics => panic!("as the script says"),
        }
    }
}

impl Post {
    pub fn items(&self) -> Vec<String> {
        if self.route == Route::CompositeMonitoringData {
            return vec![self.body.clone()];
        }
        let items: Vec<serde_json::Value> = serde_json::from_str(&self.body).unwrap();
        items.iter().map(ToString::to_string).collect()
    }
}

impl Edge for Script {
    fn now(&self) -> Instant {
        self.0.borrow().now
    }

    fn moment(&self) -> Moment {
        let world = self.0.borrow();
        Moment { now: world.now, wall: SystemTime::UNIX_EPOCH, jitter: Jitter(world.jitter) }
    }

    fn pause(&mut self, length: Duration) {
        let now = self.now();
        self.0.borrow_mut().advance(now + length);
    }

    fn wait(&mut self, until: Option<Instant>, wake_at_bytes: usize) -> Waited {
        self.0.borrow_mut().wait(until, wake_at_bytes)
    }

    fn try_recv(&mut self) -> Option<Message> {
        let mut world = self.0.borrow_mut();
        let now = world.now;
        world.advance(now);
        world.queue.pop_front()
    }

    fn is_queue_empty(&self) -> bool {
        self.0.borrow().queue.is_empty()
    }

    fn post(&mut self, request: &Request, limit: TimeLimit) -> Delivery {
        let kind = self.0.borrow_mut().post(request, limit);
        kind.delivery()
    }

    fn reconnect(&mut self) {
        self.0.borrow_mut().reconnects += 1;
    }

    fn disable_interrupt(&mut self) {
        self.0.borrow_mut().is_uninterruptible = true;
    }
}
