//! The load generator: one thread, kept-alive HTTP/1.1 over bare sockets, every request unlike any other and signed
//! while it runs.
//!
//! Closed loop: each connection sends the next request when it has its answer. Open loop: requests are planned at a
//! fixed rate, whichever connection is free sends the next one, and its time counts from when it was planned. A thread
//! of its own wakes the generator for that, since the runtime's timer knows whole milliseconds only.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};

use crate::{machine, request::Signer};

/// An answer is a few hundred bytes.
const ANSWER_BYTES: usize = 4096;

/// Which requests are sent, and for how long.
#[derive(Clone)]
pub enum Requests {
    /// About keys drawn from these until the time is up; those of the warm-up are counted and not timed.
    Drawn { from: Arc<[String]>, warm_up: Duration, time: Duration },
    /// One about each of these, in this order; all are timed.
    Each(Arc<[String]>),
}

/// One run of the generator.
#[derive(Clone)]
pub struct Load {
    /// Who is called.
    pub target: SocketAddr,
    /// Signs the requests.
    pub signer: Signer,
    /// Open connections.
    pub connections: usize,
    /// Requests a second; closed loop without.
    pub rate: Option<f64>,
    /// What is sent.
    pub requests: Requests,
}

/// What came of it.
#[derive(Debug)]
pub struct Run {
    /// All answers of 200, those of the warm-up included.
    pub accepted: usize,
    /// All other answers.
    pub refused: usize,
    /// 200s a second, without the warm-up.
    pub rate: f64,
    /// Milliseconds to each answer, without the warm-up, in order of length.
    pub millis: Vec<f64>,
    /// With [`Requests::Each`]: when each key's request was sent, or was to be sent.
    pub began: Vec<(usize, Instant)>,
    /// Seconds of processor time that the generator took.
    pub cpu: f64,
}

impl Run {
    /// Milliseconds within which that share of the answers came.
    pub fn quantile(&self, share: f64) -> f64 {
        quantile(&self.millis, share)
    }
}

/// The value within which that share of sorted values lies; 0 of none.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

/// A run under way.
pub struct Running {
    thread: JoinHandle<anyhow::Result<Run>>,
    stop: Arc<AtomicBool>,
}

impl Running {
    /// Ends it before its time.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for its end.
    pub fn finish(self) -> anyhow::Result<Run> {
        self.thread.join().unwrap_or_else(|_| bail!("the load generator panicked"))
    }
}

struct Shared {
    load: Load,
    stop: Arc<AtomicBool>,
    next: AtomicUsize,
    /// A permit for each planned request whose time has come.
    planned: Semaphore,
    start: Instant,
}

#[derive(Default)]
struct Part {
    accepted: usize,
    refused: usize,
    timed: Vec<(Duration, Instant)>,
    began: Vec<(usize, Instant)>,
}

impl Load {
    /// Runs it to its end.
    pub fn run(self) -> anyhow::Result<Run> {
        self.start()?.finish()
    }

    /// Begins it on its own thread.
    pub fn start(self) -> anyhow::Result<Running> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = thread::Builder::new().name("load".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.generate(stopping))
        })?;
        Ok(Running { thread, stop })
    }

    async fn generate(self, stop: Arc<AtomicBool>) -> anyhow::Result<Run> {
        let mut streams = Vec::with_capacity(self.connections);
        // One after another, so that no queue of the listener overflows.
        for _ in 0..self.connections {
            let stream = TcpStream::connect(self.target).await.context("connecting to the server")?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        let (warm_up, time) = match &self.requests {
            Requests::Drawn { warm_up, time, .. } => (*warm_up, Some(*time)),
            Requests::Each(_) => (Duration::ZERO, None),
        };
        let start = Instant::now();
        let rate = self.rate;
        let shared =
            Arc::new(Shared { load: self, stop, next: AtomicUsize::new(0), planned: Semaphore::new(0), start });
        if let Some(rate) = rate {
            let shared = shared.clone();
            thread::Builder::new().name("pacer".into()).spawn(move || shared.pace(rate))?;
        }
        let tasks: Vec<_> = streams
            .into_iter()
            .enumerate()
            .map(|(number, stream)| tokio::spawn(connection(shared.clone(), stream, number)))
            .collect();
        let mut whole = Part::default();
        for task in tasks {
            let part = task.await.context("the load generator failed")??;
            whole.accepted += part.accepted;
            whole.refused += part.refused;
            whole.timed.extend(part.timed);
            whole.began.extend(part.began);
        }
        let from = start + warm_up;
        let until = time.map_or_else(Instant::now, |time| from + time);
        let in_time = |(_, ended): &&(Duration, Instant)| *ended >= from && *ended <= until;
        let mut millis: Vec<f64> =
            whole.timed.iter().filter(in_time).map(|(took, _)| took.as_secs_f64() * 1000.0).collect();
        millis.sort_by(f64::total_cmp);
        Ok(Run {
            accepted: whole.accepted,
            refused: whole.refused,
            rate: millis.len() as f64 / (until - from).as_secs_f64(),
            millis,
            began: whole.began,
            cpu: machine::thread_seconds(),
        })
    }
}

impl Shared {
    fn deadline(&self) -> Option<Instant> {
        match &self.load.requests {
            Requests::Drawn { warm_up, time, .. } => Some(self.start + *warm_up + *time),
            Requests::Each(_) => None,
        }
    }

    fn due(&self, number: usize, rate: f64) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 / rate)
    }

    fn over(&self, number: usize) -> bool {
        let exhausted = match &self.load.requests {
            Requests::Drawn { .. } => false,
            Requests::Each(keys) => number >= keys.len(),
        };
        exhausted || self.stop.load(Ordering::Relaxed) || self.deadline().is_some_and(|end| Instant::now() >= end)
    }

    /// Releases planned requests at their times.
    fn pace(&self, rate: f64) {
        for number in 0.. {
            thread::sleep(self.due(number, rate).saturating_duration_since(Instant::now()));
            if self.over(number) {
                // Everybody who waits is let through, and finds that it is over.
                self.planned.close();
                return;
            }
            self.planned.add_permits(1);
        }
    }

    /// The number of the next request, and when it was planned.
    async fn next(&self) -> Option<(usize, Option<Instant>)> {
        if self.load.rate.is_some() {
            self.planned.acquire().await.ok()?.forget();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        match self.load.rate {
            Some(rate) => Some((number, Some(self.due(number, rate)))),
            None => (!self.over(number)).then_some((number, None)),
        }
    }
}

async fn connection(shared: Arc<Shared>, mut stream: TcpStream, number: usize) -> anyhow::Result<Part> {
    let mut part = Part::default();
    let (mut request, mut body) = (String::new(), String::new());
    let mut answer = vec![0; ANSWER_BYTES];
    // Any start but 0 will do; the same in every run, so that every target gets the same keys.
    let mut random = 0x9E37_79B9_7F4A_7C15 ^ (number as u64 + 1);
    while let Some((turn, planned)) = shared.next().await {
        let key = match &shared.load.requests {
            Requests::Each(keys) => &keys[turn],
            Requests::Drawn { from, .. } => {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                &from[(random % from.len() as u64) as usize]
            }
        };
        shared.load.signer.write(&mut request, &mut body, key, turn as u64);
        let began = planned.unwrap_or_else(Instant::now);
        stream.write_all(request.as_bytes()).await.context("sending a callback")?;
        let status = read_answer(&mut stream, &mut answer).await?;
        let ended = Instant::now();
        if status == *b"200" {
            part.accepted += 1;
            part.timed.push((ended - began, ended));
        } else {
            part.refused += 1;
        }
        if let Requests::Each(_) = shared.load.requests {
            part.began.push((turn, began));
        }
    }
    Ok(part)
}

/// Reads one whole answer and gives its status.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<[u8; 3]> {
    let mut length = 0;
    loop {
        let read = stream.read(&mut buffer[length..]).await.context("reading an answer")?;
        if read == 0 {
            bail!("the server closed the connection, or answered at length");
        }
        length += read;
        if let Some(whole) = whole_length(&buffer[..length]) {
            if whole == length {
                return buffer[9..12].try_into().context("reading an answer's status");
            } else if whole < length {
                bail!("the server answered more than it was asked");
            }
        }
    }
}

/// Bytes of an answer whose headers have arrived.
fn whole_length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let name = b"content-length: ";
    let at = answer[..head].windows(name.len()).position(|window| window.eq_ignore_ascii_case(name));
    let digits = at.map_or(&b""[..], |at| &answer[at + name.len()..head]);
    let body = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    Some(head + body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\ndate: x\r\n\r\n{\"status\":\"ok\"}";
        assert_eq!(whole_length(answer), Some(answer.len()));
        assert_eq!(whole_length(&answer[..30]), None);
        assert_eq!(whole_length(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(27));
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&values, 0.5), quantile(&values, 0.99), quantile(&values, 1.0)), (50.0, 99.0, 100.0));
        assert_eq!((quantile(&values[..1], 0.99), quantile(&[], 0.99)), (1.0, 0.0));
    }
}
