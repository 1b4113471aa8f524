//! Serving a router on a listener with the limits that a public address needs.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use futures_util::FutureExt;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::lifecycle::Stop;

/// A refused accept, such as for want of file descriptors, is not tried again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const HEADERS: usize = 64;
const HEADER_BYTES: usize = 32 * 1024;

/// What one listener allows.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time for the headers of a request.
    pub header_timeout: Duration,
    /// Open connections.
    pub connections: usize,
    /// After a stop was asked for, connections are still accepted so long.
    pub announce: Duration,
}

/// Serves until the stop, then finishes the requests under way.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: Stop) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    let stopping = async {
        stop.draining().await;
        tokio::time::sleep(limits.announce).await;
    };
    tokio::pin!(stopping);
    let mut stopping_seen = false;
    loop {
        let accept = async {
            // The semaphore is never closed.
            let place = places.clone().acquire_owned().await.ok();
            (listener.accept().await, place)
        };
        let accepted = if stopping_seen {
            // Connections that were made before the stop are served; then the listener is closed.
            accept.now_or_never()
        } else {
            tokio::select! {
                accepted = accept => Some(accepted),
                () = &mut stopping => { stopping_seen = true; continue }
            }
        };
        let Some((accepted, place)) = accepted else { break };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(error = %error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(error = %error, "setting TCP_NODELAY failed");
        }
        let router = router.clone();
        let service = service_fn(move |request: Request<Incoming>| answer(router.clone(), request, peer));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_headers(HEADERS)
            .max_buf_size(HEADER_BYTES)
            .pipeline_flush(true)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    debug!(error = %error, "a connection ended with an error");
                },
                () = stop.aborting() => {}
            }
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<axum::response::Response, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}
