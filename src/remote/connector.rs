//! Connects to a remote: by TCP or a proxy, with TLS for an https URL. The outermost layer reads the status
//! line.
//!
//! This is one connector. In a chain of ureq's connectors, each link is a type with its own copy of the code.

use ureq::Error;
use ureq::unversioned::transport::{ConnectionDetails, Connector, Transport};

use crate::net::resolver::Names;
use crate::net::socket;
use crate::net::status_line::{StatusLine, Watched};
use crate::remote::proxy;
use crate::remote::tls::Tls;

#[derive(Debug)]
pub struct RemoteConnector {
    pub tls: Tls,
    pub status_line: StatusLine,
    pub names: Names,
}

impl Connector for RemoteConnector {
    type Out = Watched;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Watched>, Error> {
        let connected = match proxy::connect(details)? {
            Some(connected) => connected,
            None => socket::connect(details, &self.names)?.boxed(),
        };
        let connected =
            if details.needs_tls() { self.tls.around(connected, details)? } else { connected };
        Ok(Some(self.status_line.watch(connected)))
    }
}
