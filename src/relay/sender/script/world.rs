//! The state of a running script: its clock, the queue, and the requests that the remote received.

use std::collections::VecDeque;
use std::io::Read;
use std::time::{Duration, Instant};

use super::{Answer, Kind, Post};
use crate::net::freeze::TimeLimit;
use crate::payload::ledger::{Account, Balance};
use crate::payload::quota::Quota;
use crate::relay::exporter::RemoteHealth;
use crate::relay::queue::{Message, Waited};
use crate::remote::client::Request;

/// How many times in a row the sender may wait for a past moment. An attempt, a message or a settled
/// report must happen in between.
const IDLE_WAITS_MAX: u32 = 1;

/// The largest number of attempts in any script.
const POSTS_MAX: usize = 10_000;

/// An event at a moment. It may send a message to the sender.
type Event = Box<dyn FnOnce(&mut World) -> Option<Message>>;

/// The present state of a script.
pub struct World {
    start: Instant,
    pub(super) now: Instant,
    pub(super) quota: Quota,
    pub account: Account,
    pub(super) health: RemoteHealth,
    /// Sorted by time.
    pub(super) events: VecDeque<(u64, Event)>,
    pub(super) queue: VecDeque<Message>,
    pub(super) remote: Box<dyn FnMut(&Post) -> Answer>,
    pub posts: Vec<Post>,
    pub(super) jitter: f64,
    pub reconnects: u32,
    pub is_uninterruptible: bool,
    /// Whether all other ends of the queue are dropped.
    is_without_reporters: bool,
    idle_waits: u32,
    /// The time of the last wait.
    pending: u64,
}

impl World {
    pub(super) fn with_buffer(buffer: usize) -> Self {
        let start = Instant::now();
        Self {
            start,
            now: start,
            quota: Quota::of(buffer),
            account: Account::default(),
            health: RemoteHealth::default(),
            events: VecDeque::new(),
            queue: VecDeque::new(),
            remote: Box::new(|_| Kind::Taken.at_once()),
            posts: Vec::new(),
            jitter: 1.0,
            reconnects: 0,
            is_uninterruptible: false,
            is_without_reporters: false,
            idle_waits: 0,
            pending: 0,
        }
    }

    pub fn balance(&self) -> Balance {
        self.account.balance()
    }

    /// The posted bodies with their times.
    pub fn posted(&self) -> Vec<(u64, &str)> {
        self.posts.iter().map(|post| (post.at_ms, post.body.as_str())).collect()
    }

    /// The times of all posts.
    pub fn times(&self) -> Vec<u64> {
        self.posts.iter().map(|post| post.at_ms).collect()
    }

    /// The items that the remote accepted, in order.
    pub fn taken(&self) -> Vec<String> {
        let taken = self.posts.iter().filter(|post| post.answer == Kind::Taken);
        taken.flat_map(Post::items).collect()
    }

    pub fn now_ms(&self) -> u64 {
        u64::try_from((self.now - self.start).as_millis()).unwrap()
    }

    pub fn bytes_held(&self) -> usize {
        self.quota.held()
    }

    fn moment_of(&self, at_ms: u64) -> Instant {
        self.start + Duration::from_millis(at_ms)
    }

    /// Lets time pass until this moment, and runs the script's events on the way.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some((at, event)) = self.next_event(now) {
            self.now = self.now.max(self.moment_of(at));
            let message = event(self);
            self.queue.extend(message);
        }
        self.now = self.now.max(now);
    }

    fn next_event(&mut self, until: Instant) -> Option<(u64, Event)> {
        let (at, _) = self.events.front()?;
        if self.moment_of(*at) <= until { self.events.pop_front() } else { None }
    }

    pub(super) fn wait(&mut self, until: Option<Instant>, wake_at_bytes: usize) -> Waited {
        if self.queue.is_empty() {
            let is_empty = self.balance().pending() == 0;
            assert_eq!(is_empty, self.quota.held() == 0, "bytes are held for pending reports only");
        }
        self.advance(self.now);
        if let Some(message) = self.queue.pop_front() {
            self.idle_waits = 0;
            return Waited::Message(message);
        }
        let pending = self.balance().pending();
        let is_idle = pending == self.pending && until.is_some_and(|until| until <= self.now);
        (self.pending, self.idle_waits) = (pending, if is_idle { self.idle_waits + 1 } else { 0 });
        assert!(self.idle_waits <= IDLE_WAITS_MAX, "a busy loop at {} ms", self.now_ms());
        while let Some((at, _)) = self.events.front() {
            let at = self.moment_of(*at);
            if until.is_some_and(|until| until < at) {
                break;
            }
            let known = self.queue.len();
            self.advance(at);
            let is_quiet = self.queue.range(known..).all(|it| matches!(it, Message::Payload(_)))
                && self.quota.held() < wake_at_bytes;
            if !is_quiet && self.queue.len() > known {
                break;
            }
        }
        if self.queue.is_empty() && self.is_without_reporters {
            return Waited::End;
        }
        if self.queue.is_empty() {
            self.advance(until.unwrap_or(self.now));
        }
        match (self.queue.pop_front(), until) {
            (Some(message), _) => Waited::Message(message),
            (None, Some(_)) => Waited::TimeIsUp,
            (None, None) => Waited::End,
        }
    }

    pub(super) fn post(&mut self, request: &Request, limit: TimeLimit) -> Kind {
        self.idle_waits = 0;
        let mut body = String::new();
        request.body.clone().read_to_string(&mut body).unwrap();
        let key = request.headers.authorization.as_ref().unwrap().to_str().unwrap().to_owned();
        let (at_ms, route) = (self.now_ms(), request.route);
        let mut post = Post { at_ms, limit, key, route, body, answer: Kind::Silent };
        let Answer { takes_ms, frozen_ms, kind } = (self.remote)(&post);
        self.freeze(frozen_ms);
        let (answered_at, latest) =
            (self.now + Duration::from_millis(takes_ms), self.latest(limit));
        if answered_at <= latest {
            post.answer = kind;
        }
        self.posts.push(post.clone());
        assert!(self.posts.len() < POSTS_MAX, "the script does not end");
        self.advance(answered_at.min(latest).max(self.now));
        post.answer
    }

    fn latest(&self, limit: TimeLimit) -> Instant {
        match limit {
            TimeLimit::ExcludingFreezes(length) => self.now + length,
            TimeLimit::WallClock(until) => until,
        }
    }

    /// Drops all other ends of the queue.
    pub fn without_reporters(&mut self) -> Option<Message> {
        self.is_without_reporters = true;
        None
    }

    /// Lets time pass while nothing runs, as Lambda's freeze does.
    pub fn freeze(&mut self, length_ms: u64) {
        self.now += Duration::from_millis(length_ms);
    }
}
