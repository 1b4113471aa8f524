//! Serving a router on a listener with the limits that a public address needs.
//!
//! `serve/places.rs` says which connections give way when they run short, `serve/peer.rs` tells it what a peer does,
//! and `serve/file_limit.rs` fits the number of connections to the files that the process may open.

mod file_limit;
mod peer;
mod places;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::IntoResponse,
};
use futures_util::FutureExt;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioTimer, server::graceful::GracefulShutdown};
use ipnet::IpNet;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tower::ServiceExt;
use tracing::debug;

use self::{
    file_limit::{Fitted, fit},
    peer::{PeerStream, RequestBody},
    places::{Place, Places, Taken},
};
use crate::{
    lifecycle::{Stop, open_file_limit},
    metrics::Metrics,
    settings::Settings,
    telemetry::FailureLog,
};

/// A refused accept, such as for want of file descriptors, is not tried again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Labels of the two listeners.
const PUBLIC: &str = "public";
const OPERATORS: &str = "operators";
const HEADERS: usize = 64;
const HEADER_BYTES: usize = 32 * 1024;

/// Why a request was refused before there was one to hand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It is no HTTP/1.1, or its end is not where others might see it.
    Malformed,
    /// It has too many headers, or they are too large.
    HeadersTooLarge,
}

/// Told of each request that was refused unread, and of its peer.
pub type OnUnread = Arc<dyn Fn(Unread, SocketAddr) + Send + Sync>;

/// What one listener allows.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Label of its metrics.
    listener: &'static str,
    /// Open connections.
    connections: usize,
    /// Time for the headers of a request.
    header_timeout: Duration,
    /// A peer that takes no bytes of its answers for this long is given up.
    write_timeout: Duration,
    /// A connection of this age is closed after its next answer.
    age_limit: Duration,
    /// Time for a request and its answer when a connection has reached that age; then it is ended.
    last_request: Duration,
    /// Peers whose connections never give way to others.
    proxies: Vec<IpNet>,
    /// After a stop was asked for, connections are still accepted so long.
    announce: Duration,
}

impl Limits {
    /// Those of the public listener and of the operators', fitted to the files that the process may open.
    pub fn fitted(settings: &Settings) -> (Limits, Limits) {
        let Fitted { public, operators } = fit(settings, open_file_limit());
        let receive = &settings.receive;
        let limits = |listener, connections| Limits {
            listener,
            connections,
            header_timeout: receive.header_timeout,
            write_timeout: receive.write_timeout,
            age_limit: receive.connection_age_limit,
            last_request: receive.header_timeout
                + receive.body_timeout
                + receive.commit_timeout
                + receive.write_timeout,
            proxies: receive.proxies.clone(),
            announce: settings.shutdown.announce,
        };
        (limits(PUBLIC, public), limits(OPERATORS, operators))
    }
}

/// Serves until the stop, then finishes the requests under way.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    metrics: Arc<Metrics>,
    on_unread: OnUnread,
    stop: Stop,
) {
    let graceful = GracefulShutdown::new();
    let places = Places::new(limits.listener, limits.connections, limits.proxies.clone(), metrics);
    let stopping = async {
        stop.draining().await;
        sleep(limits.announce).await;
    };
    tokio::pin!(stopping);
    let mut stopping_seen = false;
    let accepting = FailureLog::new(
        if limits.listener == OPERATORS { "accepting operators' connections" } else { "accepting connections" },
        "trying again",
    );
    // Accepted, and waiting for a place.
    let mut arrived: Option<(TcpStream, SocketAddr)> = None;
    loop {
        let accept = async {
            let peer = match &arrived {
                Some((_, peer)) => *peer,
                None => arrived.insert(listener.accept().await?).1,
            };
            io::Result::Ok(places.take(peer).await)
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
        let Some(accepted) = accepted else { break };
        let taken = match accepted {
            Ok(taken) => taken,
            Err(error) => {
                accepting.failed(&error);
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        accepting.succeeded();
        if let Some(arrived) = arrived.take() {
            tokio::spawn(run(arrived, taken, router.clone(), &limits, &graceful, on_unread.clone(), stop.clone()));
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Serves one connection to its end.
fn run(
    (stream, peer): (TcpStream, SocketAddr),
    taken: Taken,
    router: Router,
    limits: &Limits,
    graceful: &GracefulShutdown,
    on_unread: OnUnread,
    stop: Stop,
) -> impl Future<Output = ()> + use<> {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(error = %error, "setting TCP_NODELAY failed");
    }
    let (place, age_limit) = (taken.place().clone(), limits.age_limit);
    let answering = Answering { router, on_unread: on_unread.clone(), peer, place, age_limit };
    let service = service_fn(move |request| answering.clone().answer(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // A request that has arrived is answered, whether its sender has ended its side or not.
        .half_close(true)
        .header_read_timeout(limits.header_timeout)
        .max_headers(HEADERS)
        .max_header_size(HEADER_BYTES)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(PeerStream::new(stream, taken.place().clone(), limits.write_timeout), service);
    let connection = timeout(age_limit + limits.last_request, graceful.watch(connection));
    async move {
        tokio::select! {
            // What has arrived is read before it is asked whether the connection must leave.
            biased;
            ended = connection => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.is_parse_too_large() => on_unread(Unread::HeadersTooLarge, peer),
                Ok(Err(error)) if error.is_parse() => on_unread(Unread::Malformed, peer),
                Ok(Err(error)) => debug!(error = %error, "a connection ended with an error"),
                Err(_) => taken.place().count_end("age"),
            },
            () = taken.place().must_leave() => {}
            () = stop.aborting() => {}
        }
        // By here the connection is closed.
        drop(taken);
    }
}

/// Whether a proxy on the way may have taken another place for the end of the body than is taken here: codings other
/// than one `chunked` are not read alike by all. A length beside it is dropped by the parser, which then closes.
fn has_strange_codings(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return false };
    codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked")
}

/// What answers the requests of one connection.
#[derive(Clone)]
struct Answering {
    router: Router,
    on_unread: OnUnread,
    peer: SocketAddr,
    place: Arc<Place>,
    age_limit: Duration,
}

impl Answering {
    async fn answer(self, request: Request<Incoming>) -> Result<axum::response::Response, Infallible> {
        self.place.turn().await;
        if has_strange_codings(request.headers()) {
            (self.on_unread)(Unread::Malformed, self.peer);
            return Ok((StatusCode::BAD_REQUEST, [(header::CONNECTION, "close")]).into_response());
        }
        let mut request = request.map(|body| Body::new(RequestBody::new(body, self.place.clone())));
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let mut response = self.router.oneshot(request).await?;
        self.place.answer_is_ready();
        if self.place.age() > self.age_limit {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests;
