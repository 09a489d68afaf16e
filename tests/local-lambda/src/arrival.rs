//! A request as it came in, until it is answered.

use std::time::Instant;

use crate::connection::Connection;
use crate::reply::Reply;

/// Where a call came from and when; kept for as long as it waits for its answer.
#[derive(Clone)]
pub struct Arrival {
    /// Calls count from 0, refused ones included.
    pub call: usize,
    /// When the whole request had arrived.
    pub at: Instant,
    pub from: Connection,
}

impl Arrival {
    /// Answers the call, and says which one, and with which status.
    pub fn answer(&self, reply: Reply) -> (usize, u16) {
        let status = reply.status;
        self.from.send(reply.render());
        (self.call, status)
    }
}
