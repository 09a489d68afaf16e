//! What the platform tells about a sandbox, and how it reaches who subscribed to it.

pub mod backlog;
pub mod connection;
pub mod delivery;
pub mod destination;
pub mod early;
pub mod event;
pub mod gate;
pub mod queue;
pub mod record;
pub mod stream;
pub mod subscriber;
pub mod subscription;
pub mod term;
pub mod time_scale;
pub mod unit;
