use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::metrics::ConnectionEnded;

const NEVER: Duration = Duration::from_secs(1 << 20);

#[tokio::test(start_paused = true)]
async fn a_connection_is_ended_once_its_age_and_the_time_of_a_last_request_are_over() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let limits = Limits {
        listener: "public",
        connections: 1,
        header_timeout: NEVER,
        write_timeout: NEVER,
        age_limit: Duration::from_secs(600),
        last_request: Duration::from_secs(30),
        proxies: Vec::new(),
        announce: Duration::ZERO,
    };
    let router = Router::new().route("/", get(std::future::pending::<()>));
    let (metrics, stop) = (Arc::new(Metrics::default()), Stop::default());
    let serving = tokio::spawn(serve(listener, router, limits, metrics.clone(), Arc::new(|_, _| {}), stop.clone()));
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
    let ended = ConnectionEnded { listener: "public", reason: "age" };
    assert_eq!(metrics.connections_ended.get_or_create(&ended).get(), 1);
    stop.drain();
    serving.await.unwrap();
}
