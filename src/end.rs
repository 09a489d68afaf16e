//! Whether an invocation that is held is over: by what its agent reported, or by what Lambda tells
//! of its runtime, whichever comes first. Pure, the time is an argument.

use std::time::{Duration, Instant};

use crate::extensions_api::RequestId;
use crate::hold::Held;
use crate::sender::Message;

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
    /// Whether an agent ever reported here, and so may have more to say of this one.
    has_agent: bool,
    /// Whether it also reports what names no invocation, and may do so after all else.
    has_more_to_say: bool,
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
    /// say of it, unless it is one of several, as a longer one than `last_word_max` bytes may be, or
    /// the agent has ever sent what may be no bytes long: then Lambda alone tells.
    /// Others may be waiting for this: they are told.
    pub fn reported(&mut self, body: &[u8], last_word_max: usize, now: Instant) {
        self.has_agent = true;
        self.has_more_to_say |= last_word_max == 0;
        if self.has_more_to_say {
            return;
        }
        let Some(held) = self.held.as_ref().filter(|_| self.over_at.is_none()) else { return };
        if body.len() <= last_word_max && contains(body, held.request_id.0.as_bytes()) {
            self.over_at = Some(now);
            for other in &held.others {
                let request_id = held.request_id.clone();
                drop(other.send(Message::ReportedElsewhere { request_id })); // it ends with us only
            }
        }
    }

    /// An agent that reports to another remote has said its last word. It is ours too where none
    /// reports here; else Lambda tells.
    pub fn reported_elsewhere(&mut self, request_id: RequestId, now: Instant) {
        if !self.has_agent {
            // As that, it may be told of before it is held here.
            self.runtime_done(request_id, now);
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

fn contains(mut body: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return false };
    while let Some(at) = body.iter().position(|byte| byte == first) {
        body = &body[at..];
        if body.starts_with(needle) {
            return true;
        }
        body = &body[1..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox;
    use crossbeam_channel::{Receiver, TryRecvError, bounded};

    /// Of a last word, in bytes.
    const MAX: usize = 100;

    fn id(text: &str) -> RequestId {
        RequestId(text.to_owned())
    }

    fn held(request_id: &str) -> (Held, Receiver<()>) {
        let (done, is_done) = bounded(0);
        (Held { request_id: id(request_id), done, others: Vec::new() }, is_done)
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
        assert!(ends(|end| end.reported(br#"[{"requestId":"a-1"}]"#, MAX, Instant::now())));
        assert!(ends(|end| end.runtime_done(id("a-1"), Instant::now())));
        assert!(ends(|end| {
            end.runtime_done(id("a-1"), Instant::now());
            end.reported(b"[]", MAX, Instant::now());
        }));
    }

    #[test]
    fn what_is_told_of_another_is_not() {
        assert!(!ends(|_| {}));
        assert!(!ends(|end| end.reported(br#"[{"requestId":"a-2"}]"#, MAX, Instant::now())));
        assert!(!ends(|end| end.runtime_done(id("a-2"), Instant::now())));
    }

    #[test]
    fn an_end_that_was_told_too_early_counts() {
        for tell in [End::runtime_done, End::reported_elsewhere] {
            let (mut end, (held, is_done)) = (End::default(), held("a-1"));
            tell(&mut end, id("a-1"), Instant::now());
            end.hold(held, Instant::now());
            assert!(end.has_come() && !is_let_go(&is_done));
        }
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
        end.reported(b"[1]", MAX, Instant::now());
        assert!(!end.has_come());
    }

    #[test]
    fn another_try_of_the_same_request_is_held_anew() {
        let (mut end, (first, _a), (second, _b)) = (End::default(), held("a-1"), held("a-1"));
        let now = Instant::now();
        end.hold(first, now);
        end.reported(br#"[{"requestId":"a-1"}]"#, MAX, now);
        end.release();
        end.runtime_done(id("a-1"), now);
        end.hold(second, now);
        assert!(!end.has_come());
    }

    #[test]
    fn one_of_several_reports_is_not_the_last_word() {
        let padding = "x".repeat(MAX);
        let long = format!(r#"["a-1","{padding}"]"#);
        assert!(!ends(|end| end.reported(long.as_bytes(), MAX, Instant::now())));
        assert!(ends(|end| {
            end.reported(long.as_bytes(), MAX, Instant::now());
            end.runtime_done(id("a-1"), Instant::now());
        }));
    }

    #[test]
    fn who_waits_elsewhere_is_told_of_a_report_and_goes_on_unless_an_agent_reports_there_too() {
        for has_agent in [false, true] {
            let ((outbox, inbox), now) = (outbox::queue(), Instant::now());
            let (mut here, mut there) = (End::default(), End::default());
            let [(at_ours, _a), (at_theirs, _b)] = [(); 2].map(|()| held("a-1"));
            if has_agent {
                there.reported(b"[]", MAX, now);
            }
            here.hold(Held { others: vec![outbox], ..at_ours }, now);
            there.hold(at_theirs, now);
            here.reported(br#"["a-2"]"#, MAX, now);
            assert!(inbox.is_empty(), "it is not over");
            here.reported(br#"["a-1"]"#, MAX, now);
            let Some(Message::ReportedElsewhere { request_id }) = inbox.try_recv() else {
                panic!("nothing was told");
            };
            there.reported_elsewhere(id("a-2"), now);
            assert!(!there.has_come());
            there.reported_elsewhere(request_id, now);
            assert_eq!(there.has_come(), !has_agent);
        }
    }

    #[test]
    fn who_also_reports_metrics_may_do_so_after_the_spans_and_lambda_tells() {
        let (mut end, (held, _is_done), now) = (End::default(), held("a-1"), Instant::now());
        end.reported(b"metrics", 0, now);
        end.hold(held, now);
        end.reported(br#"["a-1"]"#, MAX, now);
        assert!(!end.has_come());
        end.runtime_done(id("a-1"), now);
        assert!(end.has_come());
    }

    #[test]
    fn an_id_is_found_wherever_it_stands() {
        for body in ["a-1", "xa-1", "aa-1", "a-a-1y", "a-1a-1"] {
            assert!(contains(body.as_bytes(), b"a-1"), "{body}");
        }
        for body in ["", "a", "a-", "a-2", "-1a"] {
            assert!(!contains(body.as_bytes(), b"a-1"), "{body}");
        }
    }

    #[test]
    fn what_comes_long_after_the_end_is_not_of_it_and_what_comes_with_it_is() {
        let (mut end, (held, _), now) = (End::default(), held("a-1"), Instant::now());
        end.hold(held, now);
        assert!(!end.was_before(now + LATE * 2), "it is not over");
        end.reported(br#"["a-1"]"#, MAX, now);
        end.runtime_done(id("a-1"), now + LATE);
        assert!(!end.was_before(now) && !end.was_before(now + LATE));
        assert!(end.was_before(now + LATE * 2));
    }
}
