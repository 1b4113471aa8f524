//! What stands before the replicas at the public address: it gives each connection to the next replica that says it is
//! ready, as a load balancer does.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Between two looks whether a replica is ready.
const LOOK: Duration = Duration::from_millis(100);
/// A replica that does not say so in this time is not.
const HEALTH: Duration = Duration::from_millis(500);

/// Where a replica is looked at, and where its connections go.
struct Place {
    health: SocketAddr,
    target: SocketAddr,
    ready: bool,
}

type Places = Arc<Mutex<Vec<Place>>>;

fn lock(places: &Places) -> std::sync::MutexGuard<'_, Vec<Place>> {
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The load balancer; it ends when dropped.
pub struct Front {
    /// The public address.
    pub address: SocketAddr,
    places: Places,
    _tasks: JoinSet<()>,
}

impl Front {
    /// Starts it before these: the address of each replica, and of the link that leads there.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(replicas: &[(SocketAddr, SocketAddr)]) -> anyhow::Result<Front> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let place = |&(health, target)| Place { health, target, ready: false };
        let places: Places = Arc::new(Mutex::new(replicas.iter().map(place).collect()));
        let mut tasks = JoinSet::new();
        for nth in 0..replicas.len() {
            tasks.spawn(watch(places.clone(), nth));
        }
        tasks.spawn(accept(listener, places.clone()));
        Ok(Front { address, places, _tasks: tasks })
    }

    /// Whether a replica was ready at the last look.
    pub fn is_ready(&self, nth: usize) -> bool {
        lock(&self.places)[nth].ready
    }
}

async fn watch(places: Places, nth: usize) {
    loop {
        let health = lock(&places)[nth].health;
        let ready = timeout(HEALTH, says_ready(health)).await.is_ok_and(|said| said.unwrap_or(false));
        lock(&places)[nth].ready = ready;
        sleep(LOOK).await;
    }
}

async fn says_ready(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: chaos\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

async fn accept(listener: TcpListener, places: Places) {
    let mut connections = JoinSet::new();
    let mut turn = 0;
    loop {
        let Ok((mut client, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let target = {
            let places = lock(&places);
            let order = (0..places.len()).map(|step| &places[(turn + step) % places.len()]);
            order.clone().find(|place| place.ready).or(order.clone().next()).map(|place| place.target)
        };
        turn += 1;
        connections.spawn(async move {
            let Some(target) = target else { return };
            if let Ok(mut server) = TcpStream::connect(target).await {
                // Either side may be cut: that is what the sender then sees.
                let _cut = copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
}
