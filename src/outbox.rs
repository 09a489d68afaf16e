//! The queue to the sender, and the bell that wakes it.
//!
//! A report that only joins others, which wait for more anyway, wakes nobody: a thread that wakes up
//! for nothing takes longer than all else that is done with a report. Invariant: what lies in the
//! queue while the sender sleeps needs nothing before the moment that it sleeps until.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::time::Instant;

use crossbeam_channel::{
    Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded, unbounded,
};

use crate::sender::Message;

#[derive(Clone, Debug)]
pub struct Outbox {
    messages: Sender<Message>,
    bell: Sender<()>,
    quiet_below: Arc<AtomicUsize>,
}

#[derive(Debug)]
pub struct Inbox {
    messages: Receiver<Message>,
    bell: Receiver<()>,
    /// Reports need not ring while fewer bytes of the buffer are taken.
    quiet_below: Arc<AtomicUsize>,
}

/// The sender is gone, and the message with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone;

/// What ended a wait.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a report in a box would be an allocation more")]
pub enum Waited {
    Message(Message),
    TimeIsUp,
    /// Nobody is left who could send.
    End,
}

/// Bounded by the budgets of what is in it.
pub fn queue() -> (Outbox, Inbox) {
    let (to_messages, messages) = unbounded();
    // One that rings already rings for all.
    let (to_bell, bell) = bounded(1);
    let quiet_below = Arc::<AtomicUsize>::default();
    (
        Outbox { messages: to_messages, bell: to_bell, quiet_below: Arc::clone(&quiet_below) },
        Inbox { messages, bell, quiet_below },
    )
}

impl Outbox {
    /// # Errors
    /// The sender is gone.
    pub fn send(&self, message: Message) -> Result<(), Gone> {
        self.messages.send(message).map_err(|_| Gone)?;
        self.ring();
        Ok(())
    }

    /// Sends a report; `held` tells what of the buffer is taken, in bytes.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_report(&self, report: Message, held: impl FnOnce() -> usize) -> Result<(), Gone> {
        self.messages.send(report).map_err(|_| Gone)?;
        // Before the look at what the sender wants, as it looks at the queue after it has said so:
        // one of the two sees the other. And before the look at the buffer: of two reports that come
        // at a time, the last one in the queue sees both.
        fence(Ordering::SeqCst);
        if held() >= self.quiet_below.load(Ordering::Relaxed) {
            self.ring();
        }
        Ok(())
    }

    fn ring(&self) {
        match self.bell.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

impl Inbox {
    /// What has come, before all else; or what comes until then. A report that leaves less than
    /// `quiet_below` bytes of the buffer taken does not end the wait.
    pub fn wait(&self, until: Option<Instant>, quiet_below: usize) -> Waited {
        loop {
            self.quiet_below.store(quiet_below, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            match self.messages.try_recv() {
                Ok(message) => return Waited::Message(message),
                Err(TryRecvError::Disconnected) => return Waited::End,
                Err(TryRecvError::Empty) => {}
            }
            let rung = match until {
                Some(until) => self.bell.recv_deadline(until),
                None => self.bell.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            if rung == Err(RecvTimeoutError::Timeout) {
                return self.try_recv().map_or(Waited::TimeIsUp, Waited::Message);
            }
        }
    }

    /// The next message, if one comes until then.
    pub fn recv_deadline(&self, until: Instant) -> Option<Message> {
        match self.wait(Some(until), 0) {
            Waited::Message(message) => Some(message),
            Waited::TimeIsUp | Waited::End => None,
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
    use crate::flush::Traffic;

    const PATIENCE: Duration = Duration::from_secs(10);
    const A_MOMENT: Duration = Duration::from_millis(100);
    const QUIET_BELOW: usize = 100;

    fn report() -> Message {
        Message::Traffic(Traffic::Busy)
    }

    /// How long a wait of this length takes in which this happens.
    fn waits(within: Duration, act: impl FnOnce(&Outbox) + Send) -> (Duration, Waited) {
        let (outbox, inbox) = queue();
        let began = Instant::now();
        let waited = thread::scope(|scope| {
            thread::Builder::new()
                .spawn_scoped(scope, || {
                    while inbox.quiet_below.load(Ordering::SeqCst) == 0 {
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
    fn a_report_too_many_and_any_command_end_the_wait() {
        let one_too_many = |outbox: &Outbox| outbox.send_report(report(), || QUIET_BELOW).unwrap();
        let command = |outbox: &Outbox| outbox.send(report()).unwrap();
        for (took, waited) in [waits(PATIENCE, one_too_many), waits(PATIENCE, command)] {
            assert!(took < PATIENCE && matches!(waited, Waited::Message(_)), "{took:?} {waited:?}");
        }
    }

    #[test]
    fn what_has_come_is_taken_before_the_time_is_looked_at() {
        let (outbox, inbox) = queue();
        outbox.send_report(report(), || 0).unwrap();
        let past = Some(Instant::now());
        assert!(matches!(inbox.wait(past, QUIET_BELOW), Waited::Message(_)));
        assert!(matches!(inbox.wait(past, QUIET_BELOW), Waited::TimeIsUp));
    }

    #[test]
    fn an_end_comes_after_all_that_was_sent() {
        let (outbox, inbox) = queue();
        outbox.send_report(report(), || 0).unwrap();
        drop(outbox);
        assert!(matches!(inbox.wait(None, QUIET_BELOW), Waited::Message(_)));
        assert!(matches!(inbox.wait(None, QUIET_BELOW), Waited::End));
    }
}
