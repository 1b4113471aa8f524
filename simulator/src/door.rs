//! The way in: connections are taken, or dropped while the tenant is unreachable.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use crate::faults::Down;
use crate::simulator::Inner;

/// The listener, with a door that can be shut: a shut door drops a connection
/// as soon as it is made.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) inner: Arc<Inner>,
}

impl axum::serve::Listener for Door {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
            if self.inner.faults.down() != Down::Unreachable {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection kept its delay");
                }
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
