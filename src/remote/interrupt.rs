//! Lets another thread end an attempt.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ureq::Agent;

/// Ends an attempt from another thread.
#[derive(Debug)]
pub struct Interrupt(Interruptible);

impl Interrupt {
    /// Ends the look-up, connect or exchange of the current attempt, which then fails. A request that has
    /// reached the remote may still get its answer ([`crate::net::wire`]). Does nothing after
    /// [`Remote::disable_interrupt`](crate::remote::client::Remote::disable_interrupt), or without an
    /// attempt.
    pub fn end_attempt(&self) {
        if let Some(agent) = self.0.take() {
            agent.shutdown();
        }
    }
}

/// Contains the agent while its attempt may be interrupted. The first thread that takes the agent decides.
#[derive(Clone, Debug, Default)]
pub struct Interruptible(Arc<Mutex<Option<Agent>>>);

impl Interruptible {
    pub fn interrupt(&self) -> Interrupt {
        Interrupt(self.clone())
    }

    pub fn put(&self, agent: Agent) {
        *self.lock() = Some(agent);
    }

    pub fn take(&self) -> Option<Agent> {
        self.lock().take()
    }

    pub fn is_taken(&self) -> bool {
        self.lock().is_none()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Agent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
