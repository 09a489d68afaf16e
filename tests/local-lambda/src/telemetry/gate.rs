//! A gate that a subscriber's thread passes before it uses the connection. It is held while the environment is
//! frozen, and closed when the subscriber is gone.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::watch::Watch;

/// Limit of a wait that only an event ends. After it the wait begins again.
const AGAIN_WITHIN: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Gate {
    state: Watch<State>,
}

#[derive(Default)]
struct State {
    held: bool,
    /// How often the gate was held.
    holds: u64,
    closing: bool,
    /// Weak, so that the stream closes when its connection drops it.
    stream: Weak<TcpStream>,
}

/// Records a passage, and so whether the gate was held since.
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

    /// Closes the gate for good. A thread that reads or writes the stream gets its end.
    pub fn close(&self) {
        let stream = self.state.update(|state| {
            state.closing = true;
            state.stream.upgrade()
        });
        if let Some(stream) = stream {
            // This fails if the other side closed first, and then nothing is left to do.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits until the gate is not held.
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

    /// Registers the stream, which ends when the gate closes.
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

    /// If the gate is held, or was held since `pass`, waits until it is not, and returns a new pass.
    pub fn reenter(&self, pass: Pass) -> Option<Pass> {
        let was_held = self.state.read(|state| state.held || state.holds != pass.holds);
        if was_held { self.enter().ok() } else { None }
    }

    /// Waits for this time. False if the gate was closed meanwhile.
    pub fn pause(&self, pause: Duration) -> bool {
        self.state.wait(pause, |state| state.closing.then_some(())).is_none()
    }
}

fn gone() -> io::Error {
    io::Error::other("the execution environment is gone")
}
