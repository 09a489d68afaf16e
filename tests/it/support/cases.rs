//! Runs the cells of a matrix, and lists those that fail.

use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use local_lambda::Standstills;

use crate::support::fixture::stood_still_since;

/// Runs this many cells at a time. If a cell fails while the machine stands still, it runs again alone. Any
/// other failure counts at once.
#[track_caller]
pub fn play<C: Copy + Display + Send + Sync>(
    cells: &[C],
    at_once: usize,
    play: impl Fn(C) -> Result<(), String> + Sync,
) {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let standstills = Standstills::watch();
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    if let Err(why) = play(*cell) {
                        let stood_still = stood_still_since(began, &standstills);
                        failed.lock().unwrap().push((*cell, stood_still, why));
                    }
                }
            });
        }
    });
    let failures: Vec<String> = failed
        .into_inner()
        .unwrap()
        .into_iter()
        .filter_map(|(cell, stood_still, why)| {
            let why = if stood_still { play(cell).err()? } else { why };
            Some(format!("{cell}: {why}"))
        })
        .collect();
    assert!(failures.is_empty(), "of {} cells:\n{}", cells.len(), failures.join("\n"));
}
