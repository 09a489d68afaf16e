//! Real time that passes while an environment is frozen.

use std::sync::mpsc;
use std::time::Duration;

pub fn pause(time: Duration) {
    let (_open, nothing) = mpsc::channel::<()>();
    // Nothing is ever sent.
    let _ = nothing.recv_timeout(time);
}
