//! A target that keeps what it is sent and answers each line.

use std::{io, net::SocketAddr, time::Duration};

use fault_proxy::Proxy;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What does not come in this time does not come.
pub const WHILE: Duration = Duration::from_millis(150);

#[derive(Clone, Default, Debug, PartialEq)]
pub struct Seen {
    /// Whole lines, of all connections.
    pub lines: Vec<String>,
    /// What came before an end without a line's end.
    pub rests: Vec<String>,
    pub connections: usize,
    pub ended: usize,
}

#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    seen: watch::Sender<Seen>,
}

impl Target {
    /// Answers "so" to each line with "<so>\n".
    pub async fn start() -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target { address: listener.local_addr().unwrap(), seen: watch::Sender::default() };
        let seen = target.seen.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                seen.send_modify(|seen| seen.connections += 1);
                tokio::spawn(answer(stream, seen.clone()));
            }
        });
        target
    }

    pub async fn proxied() -> (Target, Proxy) {
        let target = Target::start().await;
        let proxy = Proxy::start(target.address).await.unwrap();
        (target, proxy)
    }

    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    pub async fn wait_for(&self, holds: impl FnMut(&Seen) -> bool) {
        self.seen.subscribe().wait_for(holds).await.unwrap();
    }
}

async fn answer(stream: TcpStream, seen: watch::Sender<Seen>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let read = stream.read_until(b'\n', &mut line).await;
        let text = String::from_utf8_lossy(&line).into_owned();
        match read {
            Ok(_) if line.ends_with(b"\n") => seen.send_modify(|seen| seen.lines.push(text.trim_end().to_owned())),
            _ => {
                seen.send_modify(|seen| {
                    seen.ended += 1;
                    seen.rests.extend(Some(text).filter(|text| !text.is_empty()));
                });
                return;
            }
        }
        let answer = format!("<{}>\n", text.trim_end());
        stream.write_all(answer.as_bytes()).await.ok();
    }
}

/// A client that asks line by line.
pub struct Client(pub TcpStream);

impl Client {
    pub async fn connect(proxy: &Proxy) -> Client {
        Client(TcpStream::connect(proxy.address()).await.unwrap())
    }

    pub async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Up to the end of a line.
    pub async fn hear(&mut self) -> io::Result<String> {
        let mut text = String::new();
        loop {
            match self.0.read_u8().await {
                Ok(b'\n') => return Ok(text),
                Ok(byte) => text.push(byte.into()),
                Err(error) => return Err(io::Error::new(error.kind(), text)),
            }
        }
    }

    pub async fn ask(&mut self, text: &str) -> io::Result<String> {
        self.say(&format!("{text}\n")).await;
        self.hear().await
    }

    pub async fn hears_nothing(&mut self) -> bool {
        tokio::time::timeout(WHILE, self.0.read_u8()).await.is_err()
    }

    /// What is read until it ends, and how.
    pub async fn rest(&mut self) -> (String, io::Result<()>) {
        let mut text = Vec::new();
        let ended = self.0.read_to_end(&mut text).await;
        (String::from_utf8(text).unwrap(), ended.map(|_| ()))
    }
}

pub fn is_reset(heard: &io::Result<String>) -> bool {
    heard.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}
