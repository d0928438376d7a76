//! The ports of the server, and the descriptors that their connections take.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use super::AppError;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// An address that is ours, on which nobody is answered yet: who connects is refused at once rather
/// than left waiting.
pub(super) struct Reserved {
    what: &'static str,
    socket: TcpSocket,
    pub(super) address: SocketAddr,
}

impl Reserved {
    pub(super) fn new(what: &'static str, address: SocketAddr) -> Result<Self, AppError> {
        let error = |source| AppError::Bind {
            what,
            address,
            source,
        };
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        };
        let socket = socket.map_err(error)?;
        socket.set_reuseaddr(true).map_err(error)?;
        socket.bind(address).map_err(error)?;
        let address = socket.local_addr().map_err(error)?;
        Ok(Self {
            what,
            socket,
            address,
        })
    }

    pub(super) fn listen(self) -> Result<TcpListener, AppError> {
        let error = |source| AppError::Bind {
            what: self.what,
            address: self.address,
            source,
        };
        self.socket.listen(BACKLOG).map_err(error)
    }
}

/// Each connection is a descriptor, and the usual soft limit is low for a server.
pub(super) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(error = %error, "the limit of open files stays as it is");
    }
}
