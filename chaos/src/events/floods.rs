//! Peers of another address that hold many connections and do nothing useful with them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use cegid_simulator::Outcome;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::sleep,
};

use super::Event;
use crate::{patience::until_holds, storm::Storm};

/// Callbacks come from 127.0.0.1, which is a proxy to the replicas.
const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Callbacks of each tenant beside a flood, once in each interval.
const CALLBACKS: usize = 20;
const CALLBACKS_INTERVAL: Duration = Duration::from_millis(500);
/// Before a connection of a flood that was ended is opened again.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(2);
/// Of a peer that takes little before it reads, and writes little before it is read.
const SMALL_BUFFER: u32 = 4096;
/// Requests in one write.
const PIPELINED: usize = 50;

/// What the peers of a flood do with their connections.
#[derive(Debug, Clone, Copy)]
enum Flood {
    /// They send requests and read no answer.
    SlowReaders,
    /// They send nothing.
    IdlePeers,
}

impl Flood {
    /// One connection after the other.
    async fn peer(self, target: SocketAddr) {
        loop {
            // A connection that is refused or ended is opened again.
            let _ended = self.connection(target).await;
            sleep(RECONNECT_INTERVAL).await;
        }
    }

    async fn connection(self, target: SocketAddr) -> std::io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
        socket.set_send_buffer_size(SMALL_BUFFER)?;
        socket.bind((FLOODER, 0).into())?;
        let mut stream: TcpStream = socket.connect(target).await?;
        match self {
            Flood::SlowReaders => {
                let requests = "GET /livez HTTP/1.1\r\nhost: chaos\r\n\r\n".repeat(PIPELINED);
                loop {
                    stream.write_all(requests.as_bytes()).await?;
                }
            }
            Flood::IdlePeers => stream.read_u8().await.map(|_| ()),
        }
    }
}

impl Storm {
    pub(super) async fn read_no_answers(&mut self) -> anyhow::Result<()> {
        self.flood(Event::SlowReaders, Flood::SlowReaders).await
    }

    pub(super) async fn hold_idle_connections(&mut self) -> anyhow::Result<()> {
        self.flood(Event::IdlePeers, Flood::IdlePeers).await
    }

    /// A replica has more such connections than places for some seconds, and nothing else fails: every callback that is
    /// sent meanwhile is answered.
    async fn flood(&mut self, event: Event, flood: Flood) -> anyhow::Result<()> {
        self.calm().await?;
        let nth = self.random.below(self.world.replicas.len());
        let (peers, rounds) = (self.random.between(300, 500), self.random.between(4, 10));
        let since = self.world.tenants[0].simulator.now();
        let sent: Vec<usize> = self.world.tenants.iter().map(|tenant| tenant.simulator.sent().len()).collect();
        let target = self.world.replicas[nth].public.at;
        let mut connections = JoinSet::new();
        for _ in 0..peers {
            connections.spawn(flood.peer(target));
        }
        for _ in 0..rounds {
            for tenant in self.world.tenants.iter().filter(|tenant| !tenant.small) {
                // The first one cannot be read.
                let key = tenant.simulator.truth().into_iter().rfind(|row| row.kind == "vacancy" && row.present);
                let key = key.map(|row| row.key).unwrap_or_default();
                (0..CALLBACKS).for_each(|_| tenant.simulator.announce("vacancy_update", &key));
            }
            self.pause(CALLBACKS_INTERVAL).await?;
        }
        until_holds("a flooded replica is ready", async || Ok(self.world.front.is_ready(nth))).await?;
        connections.shutdown().await;
        let mut answered = 0;
        for (tenant, sent) in self.world.tenants.iter().zip(sent) {
            for sent in tenant.simulator.sent_after(sent).into_iter().filter(|sent| sent.at >= since) {
                answered += u64::from(sent.accepted());
                if let Outcome::Failed(why) = &sent.outcome {
                    self.tally.kept_out.push(format!("{}: a callback was not answered: {why}", event.name()));
                }
            }
        }
        self.tally.felt(event, answered);
        Ok(())
    }
}
