//! A pooler in transaction mode, as far as a client can tell: each transaction, and each statement outside of one, is
//! given the next of its sessions with the server; what a session is started with is refused, or ignored, but for the
//! few settings that poolers know.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    task::JoinSet,
};

/// Settings that a pooler gives to the session at hand.
const KNOWN: [&str; 6] = ["user", "database", "application_name", "client_encoding", "DateStyle", "TimeZone"];
const SSL_REQUEST: u32 = 80_877_103;
const PROTOCOL: u32 = 196_608;

pub struct Pooler {
    pub address: SocketAddr,
    inner: Arc<Inner>,
    _serving: JoinSet<()>,
}

struct Inner {
    socket: PathBuf,
    /// The one that was used longest ago first.
    idle: Mutex<VecDeque<UnixStream>>,
    ignores: bool,
    turns: AtomicU64,
    refused: AtomicU64,
}

impl Pooler {
    /// With so many sessions. It refuses what it does not know at the start of a session, or ignores it.
    pub async fn start(socket: &Path, sessions: usize, ignores: bool) -> Pooler {
        let mut idle = VecDeque::new();
        for _ in 0..sessions {
            idle.push_back(session(socket).await.unwrap());
        }
        let inner = Arc::new(Inner {
            socket: socket.to_owned(),
            idle: Mutex::new(idle),
            ignores,
            turns: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mut serving, shared) = (JoinSet::new(), inner.clone());
        serving.spawn(async move {
            let mut clients = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let shared = shared.clone();
                // A client that goes away is no failure.
                clients.spawn(async move { serve(&shared, client).await.ok() });
            }
        });
        Pooler { address, inner, _serving: serving }
    }

    /// How often a session was given.
    pub fn turns(&self) -> u64 {
        self.inner.turns.load(Ordering::SeqCst)
    }

    /// Clients that were refused for what they wanted of their session.
    pub fn refused(&self) -> u64 {
        self.inner.refused.load(Ordering::SeqCst)
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], body].concat()
}

/// A session that is ready.
async fn session(socket: &Path) -> io::Result<UnixStream> {
    let mut server = UnixStream::connect(socket).await?;
    let body = b"user\0postgres\0database\0postgres\0client_encoding\0UTF8\0DateStyle\0ISO, MDY\0TimeZone\0UTC\0\0";
    let length = u32::try_from(body.len() + 8).unwrap().to_be_bytes();
    server.write_all(&[&length[..], &PROTOCOL.to_be_bytes(), body].concat()).await?;
    while read(&mut server).await?.0 != b'Z' {}
    Ok(server)
}

/// A message: its kind, and all of its bytes.
async fn read(from: &mut (impl AsyncReadExt + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let mut bytes = vec![0; 5];
    from.read_exact(&mut bytes).await?;
    let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
    bytes.resize(1 + length, 0);
    from.read_exact(&mut bytes[5..]).await?;
    Ok((bytes[0], bytes))
}

/// What a client wants of its session.
async fn start_up(client: &mut TcpStream) -> io::Result<Vec<String>> {
    loop {
        let length = client.read_u32().await?;
        let code = client.read_u32().await?;
        if code == SSL_REQUEST {
            client.write_all(b"N").await?;
            continue;
        }
        let mut body = vec![0; length as usize - 8];
        client.read_exact(&mut body).await?;
        let words = body.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        return Ok(words.step_by(2).filter(|name| !name.is_empty()).collect());
    }
}

async fn serve(inner: &Inner, mut client: TcpStream) -> io::Result<()> {
    let wanted = start_up(&mut client).await?;
    if let Some(unknown) = wanted.iter().find(|name| !KNOWN.contains(&name.as_str()) && !inner.ignores) {
        inner.refused.fetch_add(1, Ordering::SeqCst);
        let body = format!("SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: {unknown}\0\0");
        return client.write_all(&message(b'E', body.as_bytes())).await;
    }
    let ready = [
        message(b'R', &0_u32.to_be_bytes()),
        message(b'S', b"server_version\x0015.0\0"),
        message(b'K', &[0; 8]),
        message(b'Z', b"I"),
    ];
    client.write_all(&ready.concat()).await?;
    let mut given: Option<UnixStream> = None;
    loop {
        let Ok((kind, bytes)) = read(&mut client).await else { break };
        if kind == b'X' {
            break;
        }
        let mut server = match given.take() {
            Some(server) => server,
            None => inner.next().await?,
        };
        server.write_all(&bytes).await?;
        let mut in_transaction = true;
        if matches!(kind, b'S' | b'Q') {
            loop {
                let (kind, bytes) = read(&mut server).await?;
                client.write_all(&bytes).await?;
                if kind == b'Z' {
                    in_transaction = bytes[5] != b'I';
                    break;
                }
            }
        }
        if in_transaction {
            given = Some(server);
        } else {
            inner.idle.lock().unwrap().push_back(server);
        }
    }
    if given.is_some() {
        // Its transaction ends with it.
        drop(given);
        let another = session(&inner.socket).await?;
        inner.idle.lock().unwrap().push_back(another);
    }
    Ok(())
}

impl Inner {
    /// The session that was used longest ago; another one where all are given.
    async fn next(&self) -> io::Result<UnixStream> {
        self.turns.fetch_add(1, Ordering::SeqCst);
        let idle = self.idle.lock().unwrap().pop_front();
        match idle {
            Some(server) => Ok(server),
            None => session(&self.socket).await,
        }
    }
}
