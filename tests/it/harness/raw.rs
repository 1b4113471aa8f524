//! HTTP written by hand, for what a client library would mend.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<String>,
    pub body: String,
}

/// Sends one request; `base` is `http://host:port`.
pub async fn send(base: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut request = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if method == "POST" {
        request.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(body);
    exchange(base, &bytes).await
}

/// Sends bytes as they are, and reads until the other side closes.
pub async fn exchange(base: &str, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    read(stream).await
}

/// Reads an answer to its end.
pub async fn read(mut stream: TcpStream) -> Answer {
    let mut answer = Vec::new();
    // A side that closes early may reset the connection behind its answer.
    let _reset = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text.as_str(), ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let headers = lines.filter(|line| !line.to_lowercase().starts_with("date:")).map(str::to_lowercase).collect();
    Answer { status, headers, body: body.to_owned() }
}

/// Signed as the sender does, with nothing but the expiry of the tests.
pub fn signature(method: &str, path: &str, secret: &str, query: &str) -> String {
    signature_until("1789000300", method, path, secret, query)
}

/// The same with this expiry.
pub fn signature_until(expires: &str, method: &str, path: &str, secret: &str, query: &str) -> String {
    use base64::Engine;
    use hmac::{KeyInit, Mac};
    let text = format!("{method}\n\n\n{expires}\nx-ts-rec-expires:{expires}\n{path}?{query}");
    let mut mac = hmac::Hmac::<sha1::Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes())
}
