//! Points at which tests make this program panic. They exist only with the feature `faults`, and not in the
//! shipped binary. `THUNDRA_EXTENSION_PANIC_AT` lists points as `POINT` or `POINT:N`, with commas between
//! them. The program panics when it reaches that point for the first or the Nth time.

/// Panics here if the test requests it.
#[cfg(not(feature = "faults"))]
#[inline]
pub fn hit(_name: &'static str) {}

#[cfg(feature = "faults")]
pub use self::injected::hit;

#[cfg(feature = "faults")]
mod injected {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Fault {
        point: String,
        /// How many more times the point must be reached. The last time panics.
        passes: AtomicU32,
    }

    static FAULTS: LazyLock<Vec<Fault>> = LazyLock::new(|| {
        let asked = std::env::var("THUNDRA_EXTENSION_PANIC_AT").unwrap_or_default();
        asked.split(',').filter(|it| !it.is_empty()).map(Fault::of).collect()
    });

    pub fn hit(name: &'static str) {
        let one_less = |left: u32| left.checked_sub(1);
        for fault in FAULTS.iter().filter(|it| it.point == name) {
            let left = fault.passes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
            assert!(left != Ok(1), "the test requests this panic");
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
