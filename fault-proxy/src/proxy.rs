use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{
    faults::{Counts, Shared, Trap, Way},
    link::Link,
};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// A refused accept, such as for want of file descriptors, is not tried again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An address of TCP.
    Tcp(SocketAddr),
    /// A Unix socket, as of a private PostgreSQL.
    Unix(PathBuf),
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Target {
        Target::Tcp(address)
    }
}

impl From<PathBuf> for Target {
    fn from(path: PathBuf) -> Target {
        Target::Unix(path)
    }
}

impl From<&Path> for Target {
    fn from(path: &Path) -> Target {
        Target::Unix(path.to_owned())
    }
}

/// A link that fails as it is told. Its connections end when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: watch::Receiver<bool>,
    accepting: JoinHandle<()>,
    /// Bound and never listening, so that nobody else is given the port while connections are refused.
    _place: TcpSocket,
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // A listener may then bind beside the place, and beside connections of the listener before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1. The target is reached for when a client comes.
    ///
    /// # Errors
    /// When no port can be had.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(target: impl Into<Target>) -> io::Result<Proxy> {
        let place = bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = place.local_addr()?;
        let listener = bind(address)?.listen(BACKLOG)?;
        let shared = Arc::new(Shared::new());
        let (tell, listening) = watch::channel(true);
        let accepting = tokio::spawn(accept(address, listener, target.into(), shared.clone(), tell));
        Ok(Proxy { address, shared, listening, accepting, _place: place })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes arrive so much later, each way; those under way keep their time.
    pub fn set_latency(&self, to_target: Duration, to_client: Duration) {
        self.shared.faults.send_modify(|faults| faults.latency = [to_target, to_client]);
    }

    /// Connections are accepted and nothing is passed on, not even an end. What was held back is passed on when this
    /// is over.
    pub fn set_black_hole(&self, on: bool) {
        self.shared.faults.send_modify(|faults| faults.black_hole = on);
    }

    /// What clients send is passed on, and what they are answered is not. A connection that has lost an answer gets
    /// none any more, also when this is over.
    pub fn set_drop_answers(&self, on: bool) {
        self.shared.faults.send_modify(|faults| faults.drop_answers = on);
    }

    /// Those that are open now pass nothing on any more, not even an end, as after a network has forgotten them while
    /// they stood idle. New ones work. Gives how many there are.
    pub fn silence(&self) -> u64 {
        let last = self.shared.counts.borrow().accepted;
        self.shared.faults.send_modify(|faults| faults.silent = last);
        self.shared.open().range(..=last).count() as u64
    }

    /// Cuts every connection that is open, and returns how many there were when all of them are.
    pub async fn cut(&self) -> u64 {
        let last = self.shared.counts.borrow().accepted;
        let open = self.shared.open().range(..=last).count() as u64;
        self.shared.faults.send_modify(|faults| faults.cut = last);
        self.wait_for(|_| self.shared.open().first().is_none_or(|first| *first > last)).await;
        open
    }

    /// So many bytes more go this way, over all connections; the connection that carries the next one is cut before it.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        self.shared.armed().after = Some((way, bytes));
    }

    /// The next client that sends something is answered so many bytes; its connection is cut before the next one.
    pub fn cut_answer_after(&self, bytes: u64) {
        self.shared.armed().answer = Some(bytes);
    }

    /// Sets a trap, instead of the one before.
    pub fn set_trap(&self, trap: Trap) {
        self.shared.armed().trap = Some(trap);
    }

    /// Refuses new connections, and returns when it does. Those that are open stay.
    ///
    /// # Errors
    /// When the proxy has ended.
    pub async fn refuse(&self) -> io::Result<()> {
        self.shared.faults.send_modify(|faults| faults.refuse = true);
        self.listens(false).await
    }

    /// Takes new connections again, and returns when it does.
    ///
    /// # Errors
    /// When the port could not be had again.
    pub async fn accept_again(&self) -> io::Result<()> {
        self.shared.faults.send_modify(|faults| faults.refuse = false);
        self.listens(true).await
    }

    async fn listens(&self, wanted: bool) -> io::Result<()> {
        let mut listening = self.listening.clone();
        let listens = listening.wait_for(|listens| *listens == wanted).await;
        listens.map(|_| ()).map_err(|_| io::Error::other("the proxy does not listen any more"))
    }

    /// Takes every fault and trap away. A connection that is held, silent or has lost an answer stays so until it
    /// is cut.
    ///
    /// # Errors
    /// As [`Self::accept_again`].
    pub async fn clear(&self) -> io::Result<()> {
        self.shared.clear();
        self.listens(true).await
    }

    /// What has happened until now.
    pub fn counts(&self) -> Counts {
        *self.shared.counts.borrow()
    }

    /// Waits until this holds of what has happened.
    pub async fn wait_for(&self, mut holds: impl FnMut(&Counts) -> bool) -> Counts {
        let mut counts = self.shared.counts.subscribe();
        // The sender is ours.
        counts.wait_for(|counts| holds(counts)).await.map_or_else(|_| self.counts(), |counts| *counts)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    address: SocketAddr,
    mut listener: TcpListener,
    target: Target,
    shared: Arc<Shared>,
    listening: watch::Sender<bool>,
) {
    let mut faults = shared.faults.subscribe();
    let mut links = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            refusing = async { faults.wait_for(|faults| faults.refuse).await.is_ok() } => {
                if !refusing {
                    return;
                }
                None
            }
            Some(_) = links.join_next() => continue,
            accepted = listener.accept() => Some(accepted),
        };
        let Some(accepted) = accepted else {
            drop(listener);
            shared.count(|counts| counts.refused += 1);
            listening.send_replace(false);
            if faults.wait_for(|faults| !faults.refuse).await.is_err() {
                return;
            }
            match bind(address).and_then(|socket| socket.listen(BACKLOG)) {
                Ok(again) => listener = again,
                Err(_) => return,
            }
            listening.send_replace(true);
            continue;
        };
        let Ok((client, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Bytes go on as they come; where it fails they come late.
        client.set_nodelay(true).ok();
        let number = shared.counts.borrow().accepted + 1;
        shared.open().insert(number);
        shared.count(|counts| {
            counts.accepted += 1;
            counts.open += 1;
        });
        links.spawn(Link::new(shared.clone(), number).run(client, target.clone()));
    }
}
