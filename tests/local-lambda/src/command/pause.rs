//! A pause in real time while an environment is frozen.

use std::sync::mpsc;
use std::time::Duration;

pub fn pause(time: Duration) {
    let (_open, nothing) = mpsc::channel::<()>();
    // Nothing is ever sent, so this waits for the whole time.
    let _ = nothing.recv_timeout(time);
}
