use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    net::{TcpStream, UnixStream},
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{
    faults::{Moment, Pattern, Shared, Trap, Way},
    postgres::Messages,
    proxy::Target,
    search::Search,
};

/// Bytes of one read.
const READ: usize = 16 * 1024;
/// Reads that are under way on a link with latency; then the sender has to wait.
const UNDER_WAY: usize = 64;

/// Why a connection is over before both sides have ended it.
enum Ending {
    /// A fault.
    Cut,
    /// A fault, behind the last byte that this way's receiver gets.
    CutBehind(Way),
    /// One side has gone, or the target cannot be reached.
    Gone,
}

/// What becomes of bytes that were read.
enum Verdict {
    Pass,
    /// So many of them; then it is cut.
    Part(usize),
    Drop,
    Cut,
    Hold,
}

enum Read {
    Bytes(Vec<u8>),
    End,
    Failed,
}

/// A side of the connection.
trait Side: AsyncRead + AsyncWrite + Send + Unpin {
    /// Makes its end a reset. A Unix socket knows none: its peer's next write fails.
    fn reset(&self);
}

impl Side for TcpStream {
    fn reset(&self) {
        // Where it fails the connection is gone already.
        self.set_zero_linger().ok();
    }
}

impl Side for UnixStream {
    fn reset(&self) {}
}

#[derive(Default)]
struct State {
    search: Search,
    messages: Messages,
    /// Set by a trap that springs as the answer comes: whether it holds.
    sprung: Option<bool>,
    held: bool,
    /// An answer was dropped: those behind it are as well, or the client would read a stream with a hole.
    mute: bool,
    /// Bytes of an answer that the client still gets.
    answer: Option<u64>,
}

/// One connection.
pub(crate) struct Link {
    shared: Arc<Shared>,
    number: u64,
    state: Mutex<State>,
}

impl Link {
    pub(crate) fn new(shared: Arc<Shared>, number: u64) -> Link {
        Link { shared, number, state: Mutex::default() }
    }

    /// Carries both ways until both have ended, or a fault.
    pub(crate) async fn run(self, client: TcpStream, target: Target) {
        match target {
            Target::Tcp(address) => self.connected(client, TcpStream::connect(address)).await,
            Target::Unix(path) => self.connected(client, UnixStream::connect(path)).await,
        }
        self.shared.open().remove(&self.number);
        self.shared.count(|counts| counts.open -= 1);
    }

    async fn connected<S: Side>(&self, mut client: TcpStream, connect: impl Future<Output = io::Result<S>>) {
        let mut faults = self.shared.faults.subscribe();
        let target = async {
            // The sender lives as long as this.
            faults.wait_for(|faults| !faults.black_hole).await.ok();
            connect.await
        };
        let target = tokio::select! {
            biased;
            () = self.cut() => {
                self.shared.count(|counts| counts.cut += 1);
                return client.reset();
            }
            target = target => target,
        };
        let Ok(mut target) = target else {
            self.shared.count(|counts| counts.unreachable += 1);
            return client.reset();
        };
        let ended = {
            let (from_client, to_client) = split(&mut client);
            let (from_target, to_target) = split(&mut target);
            tokio::select! {
                biased;
                () = self.cut() => Err(Ending::Cut),
                ended = async {
                    tokio::try_join!(
                        self.carry(Way::ToTarget, from_client, to_target),
                        self.carry(Way::ToClient, from_target, to_client),
                    )
                } => ended.map(|_| ()),
            }
        };
        let (reset_client, reset_target) = match ended {
            Ok(()) => (false, false),
            Err(Ending::Cut | Ending::Gone) => (true, true),
            Err(Ending::CutBehind(way)) => (way == Way::ToTarget, way == Way::ToClient),
        };
        if let Err(Ending::Cut | Ending::CutBehind(_)) = ended {
            self.shared.count(|counts| counts.cut += 1);
        }
        if reset_client {
            client.reset();
        }
        if reset_target {
            target.reset();
        }
    }

    /// Until it is to be cut.
    async fn cut(&self) {
        let mut faults = self.shared.faults.subscribe();
        // The sender lives as long as this.
        faults.wait_for(|faults| faults.cut >= self.number).await.ok();
    }

    async fn carry(
        &self,
        way: Way,
        reader: impl AsyncRead + Unpin,
        writer: impl AsyncWrite + Unpin,
    ) -> Result<(), Ending> {
        let (queue, queued) = mpsc::channel(UNDER_WAY);
        tokio::try_join!(self.read(way, reader, queue), self.pass(way, queued, writer)).map(|_| ())
    }

    async fn read(
        &self,
        way: Way,
        mut reader: impl AsyncRead + Unpin,
        queue: mpsc::Sender<(Instant, Read)>,
    ) -> Result<(), Ending> {
        let mut buffer = vec![0; READ];
        loop {
            let read = match reader.read(&mut buffer).await {
                Ok(0) => Read::End,
                Ok(read) => Read::Bytes(buffer[..read].to_vec()),
                Err(_) => Read::Failed,
            };
            let goes_on = matches!(read, Read::Bytes(_));
            // Whoever is held learns of nothing, but a client that is gone has ended its connection.
            if !goes_on && way == Way::ToTarget && self.state().held {
                return Err(Ending::Gone);
            }
            let latency = self.shared.faults.borrow().latency[way as usize];
            // Refused when the other half has ended, which ends this one.
            if queue.send((Instant::now() + latency, read)).await.is_err() || !goes_on {
                return Ok(());
            }
        }
    }

    async fn pass(
        &self,
        way: Way,
        mut queued: mpsc::Receiver<(Instant, Read)>,
        mut writer: impl AsyncWrite + Unpin,
    ) -> Result<(), Ending> {
        let mut faults = self.shared.faults.subscribe();
        while let Some((at, read)) = queued.recv().await {
            sleep_until(at).await;
            faults.wait_for(|faults| !faults.black_hole).await.ok();
            let bytes = match read {
                _ if self.state().held || self.number <= self.shared.faults.borrow().silent => {
                    return std::future::pending().await;
                }
                Read::Bytes(bytes) => bytes,
                Read::End => return writer.shutdown().await.map_err(|_| Ending::Gone),
                Read::Failed => return Err(Ending::Gone),
            };
            let passed = match self.judge(way, &bytes) {
                Verdict::Pass => &bytes[..],
                Verdict::Part(passed) => &bytes[..passed],
                Verdict::Drop => {
                    self.shared.count(|counts| counts.dropped += bytes.len() as u64);
                    continue;
                }
                Verdict::Cut => return Err(Ending::Cut),
                Verdict::Hold => return std::future::pending().await,
            };
            writer.write_all(passed).await.map_err(|_| Ending::Gone)?;
            let length = passed.len() as u64;
            self.shared.count(|counts| match way {
                Way::ToTarget => counts.to_target += length,
                Way::ToClient => counts.to_client += length,
            });
            if passed.len() < bytes.len() {
                // Refused when it has gone by itself.
                writer.shutdown().await.ok();
                return Err(Ending::CutBehind(way));
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Also notes what has happened by it.
    fn judge(&self, way: Way, bytes: &[u8]) -> Verdict {
        let (mut state, mut armed) = (self.state(), self.shared.armed());
        match way {
            Way::ToTarget => {
                let commits = state.messages.commits(bytes);
                let sprung = armed.trap.as_mut().and_then(|trap| {
                    let seen = match &trap.pattern {
                        Pattern::Commit => commits,
                        Pattern::Bytes(pattern) => state.search.occurrences(pattern, bytes),
                    };
                    self.springs(trap, seen)
                });
                state.search.went_by(bytes);
                match sprung {
                    Some((Moment::Before, holds)) => return self.sprung(&mut state, holds),
                    Some((Moment::After, holds)) => state.sprung = Some(holds),
                    None => {}
                }
                if let Some(answer) = armed.answer.take() {
                    state.answer = Some(answer);
                }
            }
            Way::ToClient => {
                if let Some(holds) = state.sprung {
                    return self.sprung(&mut state, holds);
                }
                state.mute |= self.shared.faults.borrow().drop_answers;
                if state.mute {
                    return Verdict::Drop;
                }
                if let Some(part) = cut_within(&mut state.answer, bytes) {
                    return part;
                }
            }
        }
        match &mut armed.after {
            Some((this, left)) if *this == way => {
                let mut left_now = Some(*left);
                let part = cut_within(&mut left_now, bytes);
                armed.after = left_now.map(|left| (way, left));
                part.unwrap_or(Verdict::Pass)
            }
            _ => Verdict::Pass,
        }
    }

    /// Whether the trap springs at what was seen, and how.
    fn springs(&self, trap: &mut Trap, seen: u64) -> Option<(Moment, bool)> {
        if seen == 0 {
            return None;
        }
        self.shared.count(|counts| counts.seen += seen);
        let skipped = trap.skip.min(seen);
        trap.skip -= skipped;
        if seen == skipped || trap.times == 0 {
            return None;
        }
        trap.times -= 1;
        Some((trap.moment, trap.holds))
    }

    fn sprung(&self, state: &mut State, holds: bool) -> Verdict {
        self.shared.count(|counts| counts.sprung += 1);
        state.held = holds;
        if holds { Verdict::Hold } else { Verdict::Cut }
    }
}

/// The part that is passed on when the last byte is among these; otherwise they are counted off.
fn cut_within(left: &mut Option<u64>, bytes: &[u8]) -> Option<Verdict> {
    let now = (*left)?;
    match usize::try_from(now) {
        Ok(now) if now < bytes.len() => {
            *left = None;
            Some(Verdict::Part(now))
        }
        _ => {
            *left = Some(now - bytes.len() as u64);
            None
        }
    }
}
