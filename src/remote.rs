//! A remote: its address and headers ([`destination`]), the client that posts to it, TLS, responses, and the
//! length of pauses after failures ([`backoff`]). `client/exchange.rs` adds the headers to each request.
//!
//! May use: `lambda`, `net`, `payload`, `logging`. It knows nothing of queues and batches.
//!
//! Invariants:
//! * Nothing contacts a remote before the first poll of `/event/next`.
//! * A request is sent again only if its connection is gone, or if no answer came within the attempt's
//!   time. At SHUTDOWN it is not sent again if the remote's system has acknowledged it.
//! * No key, header value or body is logged, with one exception: at `debug`, the start of a refusal's body is
//!   logged with its keys hidden ([`excerpt`]).

pub mod destination;
pub mod client;
pub mod delivery;
pub mod lines;
pub mod connector;
pub mod interrupt;
pub mod proxy;
pub mod tls;
pub mod response;
pub mod partial_success;
pub mod no_answer;
pub mod backoff;
pub mod http_date;
pub mod withheld;
pub mod excerpt;
pub mod why;
