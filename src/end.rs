//! Whether an invocation that is held is over: by what its agent reported, or by what Lambda tells
//! of its runtime, whichever comes first. Pure, the time is an argument.

use std::time::{Duration, Instant};

use crate::extensions_api::RequestId;
use crate::hold::Held;

/// Agents send more than 100 items as several reports at the same time, of which each names the
/// invocation. 100 items are longer than this many bytes, so what is shorter is not one of several.
const ALONE_BYTES_MAX: usize = 24 * 1024;

/// Who reports in the last moment of an invocation may be heard so long after its end. What comes
/// later has to wait for the next one: a function that never stops to report would be held, and
/// billed, to its deadline (DataDog/datadog-lambda-extension#726).
const LATE: Duration = Duration::from_millis(50);

/// What is known of the end of invocations.
#[derive(Debug, Default)]
pub struct End {
    held: Option<Held>,
    over_at: Option<Instant>,
    /// The one that is held, or was last.
    known: Option<RequestId>,
    /// The one that Lambda told of before it was held, as it may.
    last_done: Option<RequestId>,
}

impl End {
    pub fn hold(&mut self, held: Held, now: Instant) {
        // Taken: Lambda tries a failed event again under the same id.
        let is_over = self.last_done.take().as_ref() == Some(&held.request_id);
        self.over_at = is_over.then_some(now);
        self.known = Some(held.request_id.clone());
        self.held = Some(held);
    }

    /// An agent reported this. Its report of an invocation names it, and is the last that it has to
    /// say of it, unless it is one of several.
    pub fn reported(&mut self, body: &[u8], now: Instant) {
        let Some(held) = self.held.as_ref().filter(|_| self.over_at.is_none()) else { return };
        let is_all = body.len() <= ALONE_BYTES_MAX;
        if is_all && contains(body, held.request_id.0.as_bytes()) {
            self.over_at = Some(now);
        }
    }

    pub fn runtime_done(&mut self, request_id: RequestId, now: Instant) {
        if self.known.as_ref() == Some(&request_id) {
            self.over_at.get_or_insert(now);
        } else {
            self.last_done = Some(request_id);
        }
    }

    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether an invocation is held, and over.
    pub fn has_come(&self) -> bool {
        self.over_at.is_some() && self.held.is_some()
    }

    /// Whether what came at that moment is not of the invocation that is over.
    pub fn was_before(&self, came: Instant) -> bool {
        self.over_at.is_some_and(|over_at| came > over_at + LATE)
    }

    /// Lets go of the invocation: there is nothing to do for it any more.
    pub fn release(&mut self) {
        if let Some(Held { done, .. }) = self.held.take() {
            drop(done);
        }
    }
}

fn contains(body: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && body.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Receiver, TryRecvError, bounded};

    fn id(text: &str) -> RequestId {
        RequestId(text.to_owned())
    }

    fn held(request_id: &str) -> (Held, Receiver<()>) {
        let (done, is_done) = bounded(0);
        (Held { request_id: id(request_id), done }, is_done)
    }

    fn is_let_go(is_done: &Receiver<()>) -> bool {
        is_done.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Whether an invocation is let go once this has happened, with nothing left to do.
    fn ends(happened: impl FnOnce(&mut End)) -> bool {
        let (mut end, (held, is_done)) = (End::default(), held("a-1"));
        end.hold(held, Instant::now());
        happened(&mut end);
        let has_come = end.has_come();
        end.release();
        assert!(is_let_go(&is_done) && !end.has_come());
        has_come
    }

    #[test]
    fn its_own_report_or_the_end_of_its_runtime_is_its_end() {
        assert!(ends(|end| end.reported(br#"[{"requestId":"a-1"}]"#, Instant::now())));
        assert!(ends(|end| end.runtime_done(id("a-1"), Instant::now())));
        assert!(ends(|end| {
            end.runtime_done(id("a-1"), Instant::now());
            end.reported(b"[]", Instant::now());
        }));
    }

    #[test]
    fn what_is_told_of_another_is_not() {
        assert!(!ends(|_| {}));
        assert!(!ends(|end| end.reported(br#"[{"requestId":"a-2"}]"#, Instant::now())));
        assert!(!ends(|end| end.runtime_done(id("a-2"), Instant::now())));
    }

    #[test]
    fn an_end_that_was_told_too_early_counts() {
        let (mut end, (held, is_done)) = (End::default(), held("a-1"));
        end.runtime_done(id("a-1"), Instant::now());
        end.hold(held, Instant::now());
        assert!(end.has_come() && !is_let_go(&is_done));
    }

    #[test]
    fn the_next_one_is_held_anew() {
        let (mut end, (first, is_done), (second, _)) = (End::default(), held("a-1"), held("a-2"));
        end.hold(first, Instant::now());
        end.runtime_done(id("a-1"), Instant::now());
        end.hold(second, Instant::now());
        assert!(is_let_go(&is_done) && !end.has_come());
    }

    #[test]
    fn an_invocation_without_an_id_is_not_ended_by_any_report() {
        let (mut end, (held, _)) = (End::default(), held(""));
        end.hold(held, Instant::now());
        end.reported(b"[1]", Instant::now());
        assert!(!end.has_come());
    }

    #[test]
    fn another_try_of_the_same_request_is_held_anew() {
        let (mut end, (first, _a), (second, _b)) = (End::default(), held("a-1"), held("a-1"));
        let now = Instant::now();
        end.hold(first, now);
        end.reported(br#"[{"requestId":"a-1"}]"#, now);
        end.release();
        end.runtime_done(id("a-1"), now);
        end.hold(second, now);
        assert!(!end.has_come());
    }

    #[test]
    fn one_of_several_reports_is_not_the_last_word() {
        let padding = "x".repeat(ALONE_BYTES_MAX);
        let long = format!(r#"["a-1","{padding}"]"#);
        assert!(!ends(|end| end.reported(long.as_bytes(), Instant::now())));
        assert!(ends(|end| {
            end.reported(long.as_bytes(), Instant::now());
            end.runtime_done(id("a-1"), Instant::now());
        }));
    }

    #[test]
    fn what_comes_long_after_the_end_is_not_of_it_and_what_comes_with_it_is() {
        let (mut end, (held, _), now) = (End::default(), held("a-1"), Instant::now());
        end.hold(held, now);
        assert!(!end.was_before(now + LATE * 2), "it is not over");
        end.reported(br#"["a-1"]"#, now);
        end.runtime_done(id("a-1"), now + LATE);
        assert!(!end.was_before(now) && !end.was_before(now + LATE));
        assert!(end.was_before(now + LATE * 2));
    }
}
