//! The environment of a sender: clock, random numbers, queue and remote. The sender uses them through one
//! trait, and the exporter gets them as arguments. So tests run both in virtual time.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::net::freeze::TimeLimit;
use crate::relay::queue::{Inbox, Message, Waited};
use crate::remote::backoff::Jitter;
use crate::remote::client::{Remote, Request};
use crate::remote::delivery::Delivery;

pub trait Edge {
    fn now(&self) -> Instant;

    /// Both clocks, and a random number.
    fn moment(&self) -> Moment;

    /// Pauses the thread for this time.
    fn pause(&mut self, length: Duration);

    /// Waits for the next message, as [`Inbox::wait`].
    fn wait(&mut self, until: Option<Instant>, wake_at_bytes: usize) -> Waited;

    /// Takes a message, if the queue has one.
    fn try_recv(&mut self) -> Option<Message>;

    fn is_queue_empty(&self) -> bool;

    /// Sends one request to the remote.
    fn post(&mut self, request: &Request, limit: TimeLimit) -> Delivery;

    /// Closes the connections to the remote.
    fn reconnect(&mut self);

    /// Makes later attempts uninterruptible.
    fn disable_interrupt(&mut self);
}

/// The moment at which an attempt ended.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub now: Instant,
    pub wall: SystemTime,
    pub jitter: Jitter,
}

/// The real environment.
#[derive(Debug)]
pub struct Live {
    pub inbox: Inbox,
    pub remote: Remote,
}

impl Edge for Live {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn moment(&self) -> Moment {
        let wall = SystemTime::now();
        Moment { now: Instant::now(), wall, jitter: jitter(wall) }
    }

    fn pause(&mut self, length: Duration) {
        thread::park_timeout(length);
    }

    fn wait(&mut self, until: Option<Instant>, wake_at_bytes: usize) -> Waited {
        self.inbox.wait(until, wake_at_bytes)
    }

    fn try_recv(&mut self) -> Option<Message> {
        self.inbox.try_recv()
    }

    fn is_queue_empty(&self) -> bool {
        self.inbox.is_empty()
    }

    fn post(&mut self, request: &Request, limit: TimeLimit) -> Delivery {
        self.remote.post(request, limit)
    }

    fn reconnect(&mut self) {
        self.remote.reconnect();
    }

    fn disable_interrupt(&mut self) {
        self.remote.disable_interrupt();
    }
}

/// A random number from the thread's random key and the wall clock. Two environments that Lambda restored
/// from one snapshot have the same key, but must not get the same numbers.
fn jitter(wall: SystemTime) -> Jitter {
    let hash = RandomState::new().hash_one(wall);
    let upper = u32::try_from(hash >> 32).expect("32 bits are left");
    Jitter(f64::from(upper) / f64::from(u32::MAX))
}
