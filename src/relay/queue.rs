//! The queue to the sender, and the wakeup of the sender.
//!
//! A report that only joins waiting ones does not wake the sender, because a wake-up takes longer than all
//! other work with a report. Invariant: while the sender sleeps, no message in the queue needs it before its
//! wake-up time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::time::Instant;

use crossbeam_channel::{self as channel, TryRecvError};

use crate::lambda::deadline::Deadline;
use crate::lambda::extensions_api::RequestId;
use crate::payload::payload::Payload;
use crate::payload::quota::Permit;
use crate::relay::flush::Traffic;
use crate::relay::wakeup::{Waker, Wakeup, wakeup};

/// A message to the sender. All messages are in one queue, so that no command overtakes a report that was
/// accepted before it.
#[derive(Debug)]
pub enum Message {
    Payload(Payload),
    /// The traffic has changed.
    Traffic(Traffic),
    /// An invocation has begun, and is held until its reports are sent.
    Flush(FlushRequest),
    /// The runtime has finished this invocation. The permit covers the message itself, because a local client
    /// could send thousands.
    RuntimeDone {
        request_id: RequestId,
        _permit: Permit,
    },
    /// The sender must send the remaining reports by the deadline. It drops `noticed` when it begins, and
    /// `settled` when it has finished.
    Shutdown {
        deadline: Deadline,
        noticed: Waker,
        settled: Waker,
    },
}

/// A held invocation. The sender drops `done` when the invocation's reports are sent.
#[derive(Debug)]
pub struct FlushRequest {
    pub request_id: RequestId,
    pub done: Waker,
}

#[derive(Clone, Debug)]
pub struct Outbox {
    messages: channel::Sender<Message>,
    /// Declared after `messages`, and so dropped after it. The drop of the last clone wakes the sender, which
    /// then finds the end of the messages.
    waker: Waker,
    wake_at_bytes: Arc<AtomicUsize>,
}

#[derive(Debug)]
pub struct Inbox {
    messages: channel::Receiver<Message>,
    wakeup: Wakeup,
    /// A report need not wake the sender while fewer bytes of the quota are in use.
    wake_at_bytes: Arc<AtomicUsize>,
}

/// The sender has ended, and the message is lost.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone;

/// The result of a wait.
#[derive(Debug)]
pub enum Waited {
    Message(Message),
    TimeIsUp,
    /// All outboxes are dropped.
    End,
}

/// Creates a queue. It has no limit of its own, because each message has a permit or is rare.
pub fn queue() -> (Outbox, Inbox) {
    let (to_messages, messages) = channel::unbounded();
    let (waker, wakeup) = wakeup();
    let wake_at_bytes = Arc::<AtomicUsize>::default();
    (
        Outbox { messages: to_messages, waker, wake_at_bytes: Arc::clone(&wake_at_bytes) },
        Inbox { messages, wakeup, wake_at_bytes },
    )
}

impl Outbox {
    /// Sends a message, and wakes the sender.
    ///
    /// # Errors
    /// The sender has ended.
    pub fn send(&self, message: Message) -> Result<(), Gone> {
        self.put(message)?;
        self.waker.wake();
        Ok(())
    }

    /// Sends a report. Wakes the sender only if enough bytes of the quota are in use, which `held` returns.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_report(&self, report: Message, held: impl FnOnce() -> usize) -> Result<(), Gone> {
        self.put(report)?;
        // Pairs with the fence in `wait`: either this thread sees the new threshold, or the sender sees this
        // report in the queue. Of two reports at the same time, the later one in the queue sees the bytes of
        // both.
        fence(Ordering::SeqCst);
        if held() >= self.wake_at_bytes.load(Ordering::Relaxed) {
            self.waker.wake();
        }
        Ok(())
    }

    /// The queue is never full. `send` would also link the code of channels in which a sender waits, 3 kB.
    fn put(&self, message: Message) -> Result<(), Gone> {
        self.messages.try_send(message).map_err(|_| Gone)
    }
}

impl Inbox {
    /// Takes the next message, or waits for one until this time. A report does not end the wait while fewer
    /// than `wake_at_bytes` bytes of the quota are in use.
    pub fn wait(&self, until: Option<Instant>, wake_at_bytes: usize) -> Waited {
        loop {
            self.wake_at_bytes.store(wake_at_bytes, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            match self.messages.try_recv() {
                Ok(message) => return Waited::Message(message),
                Err(TryRecvError::Disconnected) => return Waited::End,
                Err(TryRecvError::Empty) => {}
            }
            if !self.wakeup.wait(until) {
                return self.try_recv().map_or(Waited::TimeIsUp, Waited::Message);
            }
        }
    }

    pub fn try_recv(&self) -> Option<Message> {
        self.messages.try_recv().ok()
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);
    const A_MOMENT: Duration = Duration::from_millis(100);
    const QUIET_BELOW: usize = 100;

    fn report() -> Message {
        Message::Traffic(Traffic::Busy)
    }

    /// Runs `act` during a wait of this length. Returns the wait's real length and its end.
    fn waits(within: Duration, act: impl FnOnce(&Outbox) + Send) -> (Duration, Waited) {
        let (outbox, inbox) = queue();
        let began = Instant::now();
        let waited = thread::scope(|scope| {
            thread::Builder::new()
                .spawn_scoped(scope, || {
                    while inbox.wake_at_bytes.load(Ordering::SeqCst) == 0 {
                        thread::yield_now();
                    }
                    act(&outbox);
                })
                .unwrap();
            inbox.wait(Some(began + within), QUIET_BELOW)
        });
        (began.elapsed(), waited)
    }

    #[test]
    fn a_report_that_only_joins_others_waits_as_long_as_they_do() {
        let joins = |outbox: &Outbox| outbox.send_report(report(), || QUIET_BELOW - 1).unwrap();
        let (took, waited) = waits(A_MOMENT, joins);
        assert!(took >= A_MOMENT && matches!(waited, Waited::Message(_)), "{took:?} {waited:?}");
    }

    #[test]
    fn a_report_beyond_the_threshold_and_any_command_end_the_wait() {
        let one_too_many = |outbox: &Outbox| outbox.send_report(report(), || QUIET_BELOW).unwrap();
        let command = |outbox: &Outbox| outbox.send(report()).unwrap();
        for (took, waited) in [waits(PATIENCE, one_too_many), waits(PATIENCE, command)] {
            assert!(took < PATIENCE && matches!(waited, Waited::Message(_)), "{took:?} {waited:?}");
        }
    }

    #[test]
    fn a_queued_message_is_taken_even_if_the_time_is_over() {
        let (outbox, inbox) = queue();
        outbox.send_report(report(), || 0).unwrap();
        let past = Some(Instant::now());
        assert!(matches!(inbox.wait(past, QUIET_BELOW), Waited::Message(_)));
        assert!(matches!(inbox.wait(past, QUIET_BELOW), Waited::TimeIsUp));
    }

    #[test]
    fn the_end_comes_after_all_messages() {
        let (outbox, inbox) = queue();
        outbox.send_report(report(), || 0).unwrap();
        drop(outbox);
        assert!(matches!(inbox.wait(None, QUIET_BELOW), Waited::Message(_)));
        assert!(matches!(inbox.wait(None, QUIET_BELOW), Waited::End));
    }
}
