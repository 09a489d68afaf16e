//! A local Lambda for any extension: the platform's side of the Extensions API, the process under
//! test, an agent inside the function and the remote collector, each scripted by the test.

pub mod agent;
mod answer;
mod cage;
mod call;
mod extensions_api;
mod group;
pub mod function;
mod http;
mod items;
mod launch;
mod leftovers;
mod listener;
mod messages;
mod moment;
mod pace;
mod platform;
mod port;
mod process;
mod proxy;
mod remote;
mod reply;
mod script;
#[cfg_attr(not(test), expect(dead_code, reason = "the platform does not call it yet"))]
mod telemetry {
    pub mod backlog;
    pub mod connection;
    pub mod destination;
    pub mod event;
    pub mod gate;
    pub mod pace;
    pub mod record;
    pub mod subscriber;
    pub mod subscription;
    pub mod term;
    pub mod unit;
}
#[cfg_attr(not(test), expect(dead_code, reason = "the platform does not call it yet"))]
mod telemetry_api;
mod tls;
mod watch;

pub use answer::Answer;
pub use cage::{Cage, CpuShare, FreezeBy, Freezer, Limits};
pub use call::{Call, Registration};
pub use items::{Delivery, Item};
pub use launch::Launch;
pub use leftovers::on_interrupt;
pub use moment::{Cut, End, Interruption, Moment};
pub use pace::Pace;
pub use platform::Platform;
pub use port::free_port;
pub use process::Process;
pub use proxy::Proxy;
pub use remote::{Cause, CutShort, Fate, Head, KeepAlive, Received, Remote};
pub use script::PlatformScript;
pub use tls::Authority;
