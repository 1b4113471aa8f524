//! Callbacks over new connections while peers of another address hold more connections than there are places.
//!
//! The tenant's Cegid is a closed port, as for P1. Each callback has a connection of its own: one that was open before
//! a flood keeps its place, so that it would show nothing.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::{interval, sleep, timeout},
};

use crate::{
    load::quantile,
    machine::Times,
    postgres::{FLOOD, Postgres},
    request::Signer,
    service::{Service, Setup, closed_port},
    table::Figures,
};

/// Peers that send nothing.
const IDLE: usize = 2_500;
/// Peers that pipeline requests and read no answer.
const SLOW: usize = 2_100;
/// Callbacks come from 127.0.0.1.
const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Of a peer that takes little before it reads, and writes little before it is read.
const SMALL_BUFFER: u32 = 4096;
/// Requests in one write.
const PIPELINED: usize = 50;
/// Before a connection of the flood that was ended is opened again: from this to twice as long, so that they do not
/// come all at once.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(5);
/// Callbacks a second, a hundredth of what the service can take.
const RATE: u32 = 100;
/// An answer that has not come by then never comes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Files that the bench needs beside the flood.
const OTHER_FILES: u64 = 1_000;

/// One round: the flood begins, and callbacks are timed once the first one behind it was answered.
pub fn round(
    postgres: &Postgres,
    program: &Path,
    signer: &Signer,
    round: usize,
    time: Duration,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let files = cegid_indexer::lifecycle::permit_open_files().context("raising the number of open files")?;
    if files.is_some_and(|files| files < (IDLE + SLOW) as u64 + OTHER_FILES) {
        figures.remark("the bench may not open enough files: the flood is not measured");
        return Ok(());
    }
    let setup =
        Setup { database: postgres.url(FLOOD)?, cegid: format!("http://{}", closed_port()?), further: Vec::new() };
    let service = Service::start(program, &setup)?;
    let rows = || postgres.number(FLOOD, "select count(*) from delivery");
    let rows_before = rows()?;
    let before = Times::now();
    let flood = Flood::start(service.address)?;
    let callbacks = Callbacks { target: service.address, signer: signer.clone(), time };
    // Connections are accepted in their order. Where the flood keeps it out it shows below.
    callbacks.first()?;
    let run = callbacks.run()?;
    flood.stop()?;
    if run.accepted < run.sent {
        let (refused, sent) = (run.refused, run.sent);
        let unanswered = sent - refused - run.accepted;
        figures.remark(format!("flood: of {sent} callbacks {refused} had another answer, {unanswered} none"));
    }
    figures.add("flood", "", run.accepted as f64 / run.sent as f64);
    figures.add("flood p99", "ms", quantile(&run.millis, 0.99));
    figures.add("callbacks over new connections beside a flood: p50", "ms", quantile(&run.millis, 0.5));
    let rows = rows()? - rows_before;
    // A callback that was given up may have been stored.
    figures.gate("flood", rows >= run.accepted as f64, || format!("{} answers of 200, {rows} rows", run.accepted));
    figures.round(round, "flood", Times::now().disturbance_since(&before));
    Ok(())
}

/// The peers, on a thread of their own.
struct Flood {
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<anyhow::Result<()>>,
}

impl Flood {
    /// Returns when every connection has been opened once, or cannot be.
    fn start(target: SocketAddr) -> anyhow::Result<Flood> {
        let (stop, stopped) = oneshot::channel();
        let opened = Arc::new(AtomicUsize::new(0));
        let counted = opened.clone();
        let thread = thread::Builder::new().name("flood".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut peers = JoinSet::new();
                for nth in 0..IDLE + SLOW {
                    peers.spawn(peer(target, nth, counted.clone()));
                }
                // The sender is dropped when the round has failed.
                let _stopped = stopped.await;
            });
            Ok(())
        })?;
        let began = Instant::now();
        while opened.load(Ordering::Relaxed) < IDLE + SLOW && began.elapsed() < ANSWER_TIMEOUT {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Flood { stop, thread })
    }

    fn stop(self) -> anyhow::Result<()> {
        // The thread may have ended already.
        let _ended = self.stop.send(());
        self.thread.join().unwrap_or_else(|_| bail!("the flood panicked"))
    }
}

/// One connection after the other.
async fn peer(target: SocketAddr, nth: usize, opened: Arc<AtomicUsize>) {
    let mut is_first = true;
    let pause = RECONNECT_INTERVAL + RECONNECT_INTERVAL * u32::try_from(nth % 100).unwrap_or(0) / 100;
    loop {
        if let Ok(stream) = connect(target).await {
            opened.fetch_add(usize::from(is_first), Ordering::Relaxed);
            is_first = false;
            let _ended = hold(stream, nth < SLOW).await;
        }
        sleep(pause).await;
    }
}

async fn connect(target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SMALL_BUFFER)?;
    socket.set_send_buffer_size(SMALL_BUFFER)?;
    socket.bind((FLOODER, 0).into())?;
    socket.connect(target).await
}

async fn hold(mut stream: TcpStream, is_slow: bool) -> std::io::Result<()> {
    if is_slow {
        let requests = "GET /livez HTTP/1.1\r\nhost: bench\r\n\r\n".repeat(PIPELINED);
        loop {
            stream.write_all(requests.as_bytes()).await?;
        }
    }
    stream.read_u8().await.map(|_| ())
}

/// Callbacks at a fixed rate, each over a connection of its own.
struct Callbacks {
    target: SocketAddr,
    signer: Signer,
    time: Duration,
}

struct Run {
    sent: usize,
    accepted: usize,
    /// Other answers.
    refused: usize,
    /// Milliseconds from when a callback was planned to its answer of 200, in order of length.
    millis: Vec<f64>,
}

impl Callbacks {
    fn request(&self, number: usize) -> String {
        let (mut request, mut body) = (String::new(), String::new());
        self.signer.write(&mut request, &mut body, &format!("\"2026-{number:05}\""), number as u64);
        request
    }

    fn first(&self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _answered = runtime.block_on(callback(self.target, self.request(0), Instant::now()));
        Ok(())
    }

    fn run(&self) -> anyhow::Result<Run> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut ticks = interval(Duration::from_secs(1) / RATE);
            let mut running = JoinSet::new();
            let began = Instant::now();
            while began.elapsed() < self.time {
                let planned = ticks.tick().await.into_std();
                running.spawn(callback(self.target, self.request(running.len() + 1), planned));
            }
            let sent = running.len();
            let answers = running.join_all().await;
            let refused = answers.iter().filter(|answer| matches!(answer, Answer::Other)).count();
            let mut millis: Vec<f64> = answers
                .into_iter()
                .filter_map(|answer| match answer {
                    Answer::Accepted(millis) => Some(millis),
                    Answer::Other | Answer::None => None,
                })
                .collect();
            millis.sort_by(f64::total_cmp);
            Ok(Run { sent, accepted: millis.len(), refused, millis })
        })
    }
}

/// The answer to one callback.
enum Answer {
    /// 200, with the milliseconds until it came.
    Accepted(f64),
    Other,
    None,
}

async fn callback(target: SocketAddr, request: String, planned: Instant) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(target).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer.ends_with(b" 200"))
    };
    match timeout(ANSWER_TIMEOUT, exchange).await {
        Ok(Ok(true)) => Answer::Accepted(planned.elapsed().as_secs_f64() * 1000.0),
        Ok(Ok(false)) => Answer::Other,
        Ok(Err(_)) | Err(_) => Answer::None,
    }
}
