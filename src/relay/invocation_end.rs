//! Decides whether a held invocation is over: by its agent's report or Lambda's `runtimeDone`, whichever
//! comes first. Pure: the time is an argument.

use std::time::{Duration, Instant};

use crate::lambda::extensions_api::RequestId;
use crate::relay::queue::FlushRequest;

/// A report that is accepted within this time after an invocation's end still belongs to the invocation.
/// Later reports wait for the next one. Otherwise a function that never stops reporting would be held, and
/// billed, until its deadline (DataDog/datadog-lambda-extension#726).
const LATE: Duration = Duration::from_millis(50);

/// The held invocation, and whether it is over.
#[derive(Debug, Default)]
pub struct InvocationEnd {
    request: Option<FlushRequest>,
    over_at: Option<Instant>,
    /// The invocation that is held, or was held last.
    known: Option<RequestId>,
    /// An invocation whose end Lambda reported before the invocation was held.
    last_done: Option<RequestId>,
    /// Whether the agent also exports metrics or logs. They contain no request id, and may follow its other
    /// reports.
    also_exports_metrics_or_logs: bool,
}

impl InvocationEnd {
    pub fn hold(&mut self, request: FlushRequest, now: Instant) {
        // The early end counts only once, because Lambda retries a failed event under the same id.
        let is_over = self.last_done.take().as_ref() == Some(&request.request_id);
        self.over_at = is_over.then_some(now);
        self.known = Some(request.request_id.clone());
        self.request = Some(request);
    }

    /// Records a report of the agent. A report that contains the request id ends the invocation. A report
    /// longer than `final_report_max` bytes does not, because others may follow. If the agent has ever sent a
    /// report with a `final_report_max` of 0, such as metrics or logs, only `runtimeDone` ends invocations.
    pub fn reported(&mut self, body: &[u8], final_report_max: usize, now: Instant) {
        self.also_exports_metrics_or_logs |= final_report_max == 0;
        if self.also_exports_metrics_or_logs {
            return;
        }
        let Some(request) = self.request.as_ref().filter(|_| self.over_at.is_none()) else {
            return;
        };
        if body.len() <= final_report_max && contains(body, request.request_id.0.as_bytes()) {
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
        self.request.is_some()
    }

    /// Whether an invocation is held, and over.
    pub fn is_over(&self) -> bool {
        self.over_at.is_some() && self.request.is_some()
    }

    /// Whether a report that was accepted at this moment comes after the invocation that is over.
    pub fn came_after(&self, received_at: Instant) -> bool {
        self.over_at.is_some_and(|over_at| received_at > over_at + LATE)
    }

    /// Releases the held invocation, because no work is left for it.
    pub fn acknowledge(&mut self) {
        if let Some(FlushRequest { done, .. }) = self.request.take() {
            drop(done);
        }
    }
}

/// Whether `body` contains `needle`. memchr's `memmem` would make the extension 11 kB larger.
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
    use crate::relay::wakeup::{Wakeup, wakeup};

    /// The longest final report, in bytes.
    const MAX: usize = 100;

    fn id(text: &str) -> RequestId {
        RequestId(text.to_owned())
    }

    fn request(request_id: &str) -> (FlushRequest, Wakeup) {
        let (done, is_done) = wakeup();
        (FlushRequest { request_id: id(request_id), done }, is_done)
    }

    fn is_released(is_done: &Wakeup) -> bool {
        is_done.wait(Some(Instant::now()))
    }

    /// Whether an invocation is over after these events.
    fn ends(happened: impl FnOnce(&mut InvocationEnd)) -> bool {
        let (mut end, (request, is_done)) = (InvocationEnd::default(), request("a-1"));
        end.hold(request, Instant::now());
        happened(&mut end);
        let is_over = end.is_over();
        end.acknowledge();
        assert!(is_released(&is_done) && !end.is_over());
        is_over
    }

    #[test]
    fn a_report_with_its_id_or_the_end_of_its_runtime_ends_an_invocation() {
        assert!(ends(|end| end.reported(br#"[{"requestId":"a-1"}]"#, MAX, Instant::now())));
        assert!(ends(|end| end.runtime_done(id("a-1"), Instant::now())));
        assert!(ends(|end| {
            end.runtime_done(id("a-1"), Instant::now());
            end.reported(b"[]", MAX, Instant::now());
        }));
    }

    #[test]
    fn events_of_another_invocation_do_not_end_it() {
        assert!(!ends(|_| {}));
        assert!(!ends(|end| end.reported(br#"[{"requestId":"a-2"}]"#, MAX, Instant::now())));
        assert!(!ends(|end| end.runtime_done(id("a-2"), Instant::now())));
    }

    #[test]
    fn an_end_that_is_reported_before_the_hold_counts() {
        let (mut end, (request, is_done)) = (InvocationEnd::default(), request("a-1"));
        end.runtime_done(id("a-1"), Instant::now());
        end.hold(request, Instant::now());
        assert!(end.is_over() && !is_released(&is_done));
    }

    #[test]
    fn the_next_invocation_releases_the_one_before_and_is_held() {
        let (mut end, (first, is_done), (second, _)) =
            (InvocationEnd::default(), request("a-1"), request("a-2"));
        end.hold(first, Instant::now());
        end.runtime_done(id("a-1"), Instant::now());
        end.hold(second, Instant::now());
        assert!(is_released(&is_done) && !end.is_over());
    }

    #[test]
    fn an_invocation_without_an_id_is_not_ended_by_any_report() {
        let (mut end, (request, _)) = (InvocationEnd::default(), request(""));
        end.hold(request, Instant::now());
        end.reported(b"[1]", MAX, Instant::now());
        assert!(!end.is_over());
    }

    #[test]
    fn a_retry_of_the_same_request_is_held_again() {
        let (mut end, (first, _a), (second, _b)) =
            (InvocationEnd::default(), request("a-1"), request("a-1"));
        let now = Instant::now();
        end.hold(first, now);
        end.reported(br#"[{"requestId":"a-1"}]"#, MAX, now);
        end.acknowledge();
        end.runtime_done(id("a-1"), now);
        end.hold(second, now);
        assert!(!end.is_over());
    }

    #[test]
    fn a_report_that_others_may_follow_does_not_end_the_invocation() {
        let padding = "x".repeat(MAX);
        let long = format!(r#"["a-1","{padding}"]"#);
        assert!(!ends(|end| end.reported(long.as_bytes(), MAX, Instant::now())));
        assert!(ends(|end| {
            end.reported(long.as_bytes(), MAX, Instant::now());
            end.runtime_done(id("a-1"), Instant::now());
        }));
    }

    #[test]
    fn once_an_agent_exports_metrics_only_runtime_done_ends_its_invocations() {
        let (mut end, (request, _is_done), now) =
            (InvocationEnd::default(), request("a-1"), Instant::now());
        end.reported(b"metrics", 0, now);
        end.hold(request, now);
        end.reported(br#"["a-1"]"#, MAX, now);
        assert!(!end.is_over());
        end.runtime_done(id("a-1"), now);
        assert!(end.is_over());
    }

    #[test]
    fn a_request_id_is_found_anywhere_in_a_body() {
        for body in ["a-1", "xa-1", "aa-1", "a-a-1y", "a-1a-1"] {
            assert!(contains(body.as_bytes(), b"a-1"), "{body}");
        }
        for body in ["", "a", "a-", "a-2", "-1a"] {
            assert!(!contains(body.as_bytes(), b"a-1"), "{body}");
        }
    }

    #[test]
    fn a_report_belongs_to_an_invocation_until_shortly_after_its_end() {
        let (mut end, (request, _), now) =
            (InvocationEnd::default(), request("a-1"), Instant::now());
        end.hold(request, now);
        assert!(!end.came_after(now + LATE * 2), "the invocation is not over");
        end.reported(br#"["a-1"]"#, MAX, now);
        end.runtime_done(id("a-1"), now + LATE);
        assert!(!end.came_after(now) && !end.came_after(now + LATE));
        assert!(end.came_after(now + LATE * 2));
    }
}
