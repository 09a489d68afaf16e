//! Counts panics of tiny_http's threads. Such a panic may close a listener, without any other sign.

use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::local::thread_pool::workers;

/// How many threads of tiny_http have ended after a panic.
static SERVER_PANICS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static THREAD_END: ThreadEnd = const { ThreadEnd };
}

/// The value of the count that one observer saw last.
#[derive(Debug, Default)]
pub struct PanicWatch(u32);

impl PanicWatch {
    /// Whether a thread has ended after a panic since the last call.
    pub fn take_change(&mut self) -> bool {
        let panics = SERVER_PANICS.load(Ordering::Relaxed);
        mem::replace(&mut self.0, panics) != panics
    }

    /// Makes the next [`Self::take_change`] true. The caller could not check its listener, because no descriptor
    /// was free.
    pub fn recheck(&mut self) {
        self.0 = self.0.wrapping_sub(1);
    }
}

/// Must be called by a panicking thread of tiny_http. The pool may need a replacement for the thread, so it
/// is nudged.
pub fn server_panicked() {
    let _ = THREAD_END.try_with(|_| ()); // fails only if the thread has already ended
    workers::nudge_all();
}

/// Dropped at the end of each thread that has used it. By then the thread has closed its listener. During the
/// panic, the listener is still open.
struct ThreadEnd;

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        SERVER_PANICS.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn a_panic_counts_once_its_thread_has_ended_and_not_before() {
        let mut panics = PanicWatch::default();
        panics.take_change();
        let (reported, is_reported) = mpsc::channel();
        let (end, may_end) = mpsc::channel::<()>();
        let panicked = move || {
            server_panicked();
            reported.send(()).unwrap();
            may_end.recv().unwrap_err();
        };
        let panicking = thread::Builder::new().spawn(panicked).unwrap();
        is_reported.recv().unwrap();
        assert!(!panics.take_change());
        drop(end);
        panicking.join().unwrap();
        assert!(panics.take_change() && !panics.take_change());
    }
}
