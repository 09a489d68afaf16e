//! What the tests share: the extension on a local Lambda with its remotes, and servers that tests script.

pub mod cases;
pub mod closing_line;
pub mod fixture;
pub mod name_server;
pub mod namespaces;
pub mod protocol;
pub mod report;
pub mod tcp_proxy;
pub mod telemetry_api;
pub mod two_remotes;
