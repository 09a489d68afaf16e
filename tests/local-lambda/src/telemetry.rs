//! The platform's records about an execution environment, and their delivery to subscribers.

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
pub mod vocabulary;
pub mod time_scale;
pub mod unit;
