//! Where tests have this program fail inside. With the feature `faults`, `POINT` or `POINT:N` in
//! `THUNDRA_EXTENSION_PANIC_AT`, with commas between several, panics when that point is reached for
//! the first or the Nth time. The shipped binary is built without, and holds nothing of this.

/// Panics here if the test asked for it.
#[cfg(not(feature = "faults"))]
#[inline]
pub fn point(_name: &'static str) {}

#[cfg(feature = "faults")]
pub use self::injected::point;

#[cfg(feature = "faults")]
mod injected {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Fault {
        point: String,
        /// Times that the point is passed before.
        passes: AtomicU32,
    }

    static FAULTS: LazyLock<Vec<Fault>> = LazyLock::new(|| {
        let asked = std::env::var("THUNDRA_EXTENSION_PANIC_AT").unwrap_or_default();
        asked.split(',').filter(|it| !it.is_empty()).map(Fault::of).collect()
    });

    pub fn point(name: &'static str) {
        let one_less = |left: u32| left.checked_sub(1);
        for fault in FAULTS.iter().filter(|it| it.point == name) {
            let left = fault.passes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
            assert!(left != Ok(1), "as asked for");
        }
    }

    impl Fault {
        fn of(asked: &str) -> Self {
            let (point, nth) = asked.split_once(':').unwrap_or((asked, "1"));
            let nth = nth.parse().expect("the Nth time");
            Self { point: point.to_owned(), passes: AtomicU32::new(nth) }
        }
    }
}
