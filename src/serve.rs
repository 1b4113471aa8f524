//! Serving a router on a listener with the limits that a public address needs.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
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
            .max_header_size(HEADER_BYTES)
            .max_buf_size(HEADER_BYTES)
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

/// Whether a proxy on the way may have taken another place for the end of the body than is taken here: codings other
/// than one `chunked` are not read alike by all. A length beside it is dropped by the parser, which then closes.
fn has_strange_codings(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return false };
    codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked")
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<axum::response::Response, Infallible> {
    if has_strange_codings(request.headers()) {
        return Ok((StatusCode::BAD_REQUEST, [(header::CONNECTION, "close")]).into_response());
    }
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}
