//! Whether an invocation that is held is over: by what its agent reported, or by what Lambda tells
//! of its runtime, whichever comes first. Pure.

use crate::extensions_api::RequestId;
use crate::hold::Held;

/// Agents send more than 100 items as several reports at the same time, of which each names the
/// invocation. 100 items are longer than this many bytes, so what is shorter is not one of several.
const ALONE_BYTES_MAX: usize = 24 * 1024;

/// What is known of the end of invocations.
#[derive(Debug, Default)]
pub struct End {
    held: Option<Held>,
    is_over: bool,
    /// The one that is held, or was last.
    known: Option<RequestId>,
    /// The one that Lambda told of before it was held, as it may.
    last_done: Option<RequestId>,
}

impl End {
    pub fn hold(&mut self, held: Held) {
        // Taken: Lambda tries a failed event again under the same id.
        self.is_over = self.last_done.take().as_ref() == Some(&held.request_id);
        self.known = Some(held.request_id.clone());
        self.held = Some(held);
    }

    /// An agent reported this. Its report of an invocation names it, and is the last that it has to
    /// say of it, unless it is one of several.
    pub fn reported(&mut self, body: &[u8]) {
        let Some(held) = self.held.as_ref().filter(|_| !self.is_over) else { return };
        let is_all = body.len() <= ALONE_BYTES_MAX;
        self.is_over = is_all && contains(body, held.request_id.0.as_bytes());
    }

    pub fn runtime_done(&mut self, request_id: RequestId) {
        if self.known.as_ref() == Some(&request_id) {
            self.is_over = true;
        } else {
            self.last_done = Some(request_id);
        }
    }

    /// Whether an invocation is held, and over.
    pub fn has_come(&self) -> bool {
        self.is_over && self.held.is_some()
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
        end.hold(held);
        happened(&mut end);
        let has_come = end.has_come();
        end.release();
        assert!(is_let_go(&is_done) && !end.has_come());
        has_come
    }

    #[test]
    fn its_own_report_or_the_end_of_its_runtime_is_its_end() {
        assert!(ends(|end| end.reported(br#"[{"requestId":"a-1"}]"#)));
        assert!(ends(|end| end.runtime_done(id("a-1"))));
        assert!(ends(|end| {
            end.runtime_done(id("a-1"));
            end.reported(b"[]");
        }));
    }

    #[test]
    fn what_is_told_of_another_is_not() {
        assert!(!ends(|_| {}));
        assert!(!ends(|end| end.reported(br#"[{"requestId":"a-2"}]"#)));
        assert!(!ends(|end| end.runtime_done(id("a-2"))));
    }

    #[test]
    fn an_end_that_was_told_too_early_counts() {
        let (mut end, (held, is_done)) = (End::default(), held("a-1"));
        end.runtime_done(id("a-1"));
        end.hold(held);
        assert!(end.has_come() && !is_let_go(&is_done));
    }

    #[test]
    fn the_next_one_is_held_anew() {
        let (mut end, (first, is_done), (second, _)) = (End::default(), held("a-1"), held("a-2"));
        end.hold(first);
        end.runtime_done(id("a-1"));
        end.hold(second);
        assert!(is_let_go(&is_done) && !end.has_come());
    }

    #[test]
    fn an_invocation_without_an_id_is_not_ended_by_any_report() {
        let (mut end, (held, _)) = (End::default(), held(""));
        end.hold(held);
        end.reported(b"[1]");
        assert!(!end.has_come());
    }

    #[test]
    fn another_try_of_the_same_request_is_held_anew() {
        let (mut end, (first, _a), (second, _b)) = (End::default(), held("a-1"), held("a-1"));
        end.hold(first);
        end.reported(br#"[{"requestId":"a-1"}]"#);
        end.release();
        end.runtime_done(id("a-1"));
        end.hold(second);
        assert!(!end.has_come());
    }

    #[test]
    fn one_of_several_reports_is_not_the_last_word() {
        let padding = "x".repeat(ALONE_BYTES_MAX);
        let long = format!(r#"["a-1","{padding}"]"#);
        assert!(!ends(|end| end.reported(long.as_bytes())));
        assert!(ends(|end| {
            end.reported(long.as_bytes());
            end.runtime_done(id("a-1"));
        }));
    }
}
