//! Moments of a request at which a test acts, or at which the remote ends the connection.

use std::cell::Cell;
use std::sync::Mutex;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// This many bytes of the request were read, its head included. At least 1.
    BytesRead(usize),
    /// The whole head was read, and nothing of the body.
    HeadRead,
    /// This many bytes of the body were read, including the framing of a chunked one. A shorter body never gets
    /// here.
    BodyRead(usize),
    /// The whole request was read and recorded.
    BeforeAnswer,
    /// The answer was written, or the script's replacement for it.
    AfterAnswer,
}

/// The way in which the remote leaves a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// An orderly close: FIN, with TLS after its close message.
    Close,
    /// A TCP reset.
    Reset,
    /// The connection stays open, but the remote neither reads nor writes.
    Hang,
}

/// A connection that ends at a moment of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    pub(crate) at: Moment,
    pub(crate) end: End,
}

impl Cut {
    #[must_use]
    pub fn at(moment: Moment, end: End) -> Self {
        Self { at: moment, end }
    }
}

/// A request that is paused while an action of [`crate::Remote::at`] runs.
#[derive(Debug)]
pub struct Interruption {
    /// The request's number, from 0, in the order of first bytes.
    pub request: usize,
    /// The connection's number, from 0, in the order of acceptance.
    pub connection: usize,
    end: Cell<Option<End>>,
}

impl Interruption {
    /// Makes the connection end when the action returns.
    pub fn end(&self, end: End) {
        self.end.set(Some(end));
    }
}

/// How much of a request was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Reading,
    Whole,
    Answered,
}

#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub bytes: usize,
    /// The size of the head in bytes, once it is complete.
    pub head: Option<usize>,
    pub stage: Stage,
}

impl Progress {
    pub fn has_reached(self, moment: Moment) -> bool {
        match moment {
            Moment::BytesRead(count) => self.bytes >= count,
            Moment::HeadRead => self.head.is_some(),
            Moment::BodyRead(count) => self.head.is_some_and(|head| self.bytes >= head + count),
            Moment::BeforeAnswer => self.stage >= Stage::Whole,
            Moment::AfterAnswer => self.stage >= Stage::Answered,
        }
    }

    /// How many bytes may be read at once without passing the moment.
    pub fn bytes_before(self, moment: Moment) -> usize {
        if self.has_reached(moment) {
            return usize::MAX;
        }
        match (moment, self.head) {
            (Moment::BytesRead(count), _) => count - self.bytes,
            // The end of the head shows only when its last byte is read.
            (Moment::HeadRead | Moment::BodyRead(_), None) => 1,
            (Moment::BodyRead(count), Some(head)) => head + count - self.bytes,
            (Moment::HeadRead, Some(_)) | (Moment::BeforeAnswer | Moment::AfterAnswer, _) => {
                usize::MAX
            }
        }
    }
}

type Action = Box<dyn FnOnce(&Interruption) + Send>;

/// Actions that wait for their moments. Each runs once.
#[derive(Default)]
pub struct Hooks(Mutex<Vec<Hook>>);

struct Hook {
    moment: Moment,
    request: usize,
    action: Action,
}

impl Hooks {
    pub fn add(&self, moment: Moment, request: usize, action: Action) {
        self.0.lock().expect(UNPOISONED).push(Hook { moment, request, action });
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().expect(UNPOISONED).is_empty()
    }

    /// Runs the actions that are due. Returns the connection's end if an action requests one.
    pub fn run(&self, request: usize, connection: usize, progress: Progress) -> Option<End> {
        while let Some(action) = self.take(request, progress) {
            let interruption = Interruption { request, connection, end: Cell::new(None) };
            action(&interruption);
            if let Some(end) = interruption.end.get() {
                return Some(end);
            }
        }
        None
    }

    pub fn bytes_before_next(&self, request: usize, progress: Progress) -> usize {
        let hooks = self.0.lock().expect(UNPOISONED);
        let own = hooks.iter().filter(|hook| hook.request == request);
        own.map(|hook| progress.bytes_before(hook.moment)).min().unwrap_or(usize::MAX)
    }

    fn take(&self, request: usize, progress: Progress) -> Option<Action> {
        let mut hooks = self.0.lock().expect(UNPOISONED);
        let due = |hook: &Hook| hook.request == request && progress.has_reached(hook.moment);
        let index = hooks.iter().position(due)?;
        Some(hooks.remove(index).action)
    }
}

const UNPOISONED: &str = "no action runs under the lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(progress: Progress, moment: Moment, bytes_before: usize) {
        assert_eq!(progress.bytes_before(moment), bytes_before, "{moment:?} at {progress:?}");
        let reading =
            matches!(moment, Moment::BytesRead(_) | Moment::HeadRead | Moment::BodyRead(_));
        let reached = reading && bytes_before == usize::MAX;
        assert_eq!(progress.has_reached(moment), reached, "{moment:?} at {progress:?}");
    }

    #[test]
    fn no_more_is_read_than_up_to_the_moment() {
        let in_head = Progress { bytes: 10, head: None, stage: Stage::Reading };
        check(in_head, Moment::BytesRead(15), 5);
        check(in_head, Moment::BytesRead(10), usize::MAX);
        check(in_head, Moment::HeadRead, 1);
        check(in_head, Moment::BodyRead(7), 1);
        check(in_head, Moment::BeforeAnswer, usize::MAX);
        let in_body = Progress { bytes: 24, head: Some(20), stage: Stage::Reading };
        check(in_body, Moment::HeadRead, usize::MAX);
        check(in_body, Moment::BodyRead(7), 3);
        check(in_body, Moment::BodyRead(4), usize::MAX);
    }
}
