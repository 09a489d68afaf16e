//! Runs the cells of a matrix, and lists those that fail.

use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use local_lambda::Standstills;

use crate::support::fixture::stood_still_since;

/// Runs this many cells at a time. If a cell fails while the machine stands still, it runs again beside few
/// others. Any other failure counts at once.
#[track_caller]
pub fn play<C: Copy + Display + Send + Sync>(
    cells: &[C],
    at_once: usize,
    play: impl Fn(C) -> Result<(), String> + Sync,
) {
    let (again, mut failures): (Vec<_>, Vec<_>) =
        run(cells, at_once, &play).into_iter().partition(|it| it.stood_still);
    let again: Vec<C> = again.into_iter().map(|it| it.cell).collect();
    failures.extend(run(&again, at_once.div_ceil(AGAIN_PART), &play));
    let failures: Vec<String> =
        failures.iter().map(|Failure { cell, why, .. }| format!("{cell}: {why}")).collect();
    assert!(failures.is_empty(), "of {} cells:\n{}", cells.len(), failures.join("\n"));
}

/// Cells that failed run again this many times fewer at a time.
const AGAIN_PART: usize = 8;

struct Failure<C> {
    cell: C,
    stood_still: bool,
    why: String,
}

/// Runs all cells, and gives those that fail.
fn run<C: Copy + Send + Sync>(
    cells: &[C],
    at_once: usize,
    play: &(impl Fn(C) -> Result<(), String> + Sync),
) -> Vec<Failure<C>> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let standstills = Standstills::watch();
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(&cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    if let Err(why) = play(cell) {
                        let stood_still = stood_still_since(began, &standstills);
                        failed.lock().unwrap().push(Failure { cell, stood_still, why });
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}
