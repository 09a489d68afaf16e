//! What the platform tells about a sandbox, and how it reaches who subscribed to it.

pub mod backlog;
pub mod connection;
pub mod destination;
pub mod early;
pub mod event;
pub mod gate;
pub mod pace;
pub mod record;
pub mod subscriber;
pub mod subscription;
pub mod term;
pub mod unit;
