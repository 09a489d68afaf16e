//! A request that has arrived and is not answered yet.

use std::time::Instant;

use crate::connection::Connection;
use crate::reply::Reply;

/// The connection and the time of a call, kept until the call is answered.
#[derive(Clone)]
pub struct Arrival {
    /// The call's number, from 0. Refused calls count too.
    pub call: usize,
    /// The time at which the whole request had arrived.
    pub at: Instant,
    pub from: Connection,
}

impl Arrival {
    /// Answers the call. Returns its number and the status.
    pub fn answer(&self, reply: Reply) -> (usize, u16) {
        let status = reply.status;
        self.from.send(reply.render());
        (self.call, status)
    }
}
