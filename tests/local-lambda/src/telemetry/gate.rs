//! What a subscriber's thread looks at before it touches the wire: whether all is frozen,
//! and whether it is gone.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::watch::Watch;

/// A bound for waits that only an event ends; when it is over they begin again.
const AGAIN_WITHIN: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Gate {
    state: Watch<State>,
}

#[derive(Default)]
struct State {
    held: bool,
    /// How often it was held.
    holds: u64,
    closing: bool,
    /// Weak, so that it closes when its connection is given up.
    stream: Weak<TcpStream>,
}

/// Tells whether the gate was held since it was given.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    holds: u64,
}

impl Gate {
    pub fn hold(&self) {
        self.state.update(|state| {
            state.holds += u64::from(!state.held);
            state.held = true;
        });
    }

    pub fn release(&self) {
        self.state.update(|state| state.held = false);
    }

    /// For good. Whoever reads or writes the stream gets its end.
    pub fn close(&self) {
        let stream = self.state.update(|state| {
            state.closing = true;
            state.stream.upgrade()
        });
        if let Some(stream) = stream {
            // Fails if the other side closed first, which is what is wanted.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits until it is not held.
    ///
    /// # Errors
    ///
    /// When the gate is closed.
    pub fn enter(&self) -> io::Result<Pass> {
        loop {
            let entered = self.state.wait(AGAIN_WITHIN, |state| match state {
                State { closing: true, .. } => Some(Err(gone())),
                State { held: true, .. } => None,
                State { holds, .. } => Some(Ok(Pass { holds: *holds })),
            });
            if let Some(entered) = entered {
                return entered;
            }
        }
    }

    /// The stream that ends when the gate closes.
    ///
    /// # Errors
    ///
    /// When the gate is closed.
    pub fn watch_over(&self, stream: &Arc<TcpStream>) -> io::Result<()> {
        self.state.update(|state| {
            state.stream = Arc::downgrade(stream);
            if state.closing { Err(gone()) } else { Ok(()) }
        })
    }

    /// If it is held, or was since the pass was given, waits until it is not and gives a new pass.
    pub fn reenter(&self, pass: Pass) -> Option<Pass> {
        let was_held = self.state.read(|state| state.held || state.holds != pass.holds);
        if was_held { self.enter().ok() } else { None }
    }

    /// Lets the time pass; false if it was closed meanwhile.
    pub fn pause(&self, pause: Duration) -> bool {
        self.state.wait(pause, |state| state.closing.then_some(())).is_none()
    }
}

fn gone() -> io::Error {
    io::Error::other("the execution environment is gone")
}
