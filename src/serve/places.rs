//! The places of one listener: which connections hold them, and which give way when they run short.
//!
//! Wanted: peers that hold connections and do nothing useful with them keep nobody out; a request that has arrived is
//! answered; a proxy, whose connections stand for many peers, is not mistaken for one of these.
//!
//! A connection *waits for its peer* while the rest of a request is missing, and while the peer takes no bytes of an
//! answer. When three quarters of the places are taken, each new connection makes one that waits give way; [`Rank`] has
//! the order. Only a connection's own task changes what it waits for, and only that task ends it: a request that is
//! complete first is answered, and another connection gives way instead.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ipnet::IpNet;
use tokio::{sync::Notify, task::yield_now, time::Instant};
use tracing::{info, warn};

use crate::metrics::{ConnectionEnded, Metrics, OfListener};

/// The share of a peer address: an eighth of the places.
const PEER_SHARE_DIVISOR: usize = 8;
/// The share of the places that is ranked ahead to give way.
const RANKED_DIVISOR: usize = 64;
/// How long a new connection may take to send its first request before it ranks as one that sends none.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(250);
/// The bits of an IPv6 address that one peer cannot choose: it is usually given a /64.
const IPV6_NETWORK: u128 = !0 << 64;

/// Which connection gives way first; among equals the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Of a peer above its share: no complete request was sent yet, or no answers are taken.
    AboveShare,
    /// The peer takes no answers.
    Blocked,
    /// Between two requests, of a peer above its share, when all places are taken; the peer with the most connections
    /// first.
    IdleAboveShare,
    /// The peer has sent no complete request within [`FIRST_REQUEST_GRACE`].
    NoRequest,
    /// Between two requests, when all places are taken; the peer with the most connections first.
    Idle,
    /// The first request may still arrive within [`FIRST_REQUEST_GRACE`]; gives way only when all places are taken.
    New,
}

/// All connections of one listener.
pub(super) struct Places {
    listener: &'static str,
    limit: usize,
    proxies: Vec<IpNet>,
    metrics: Arc<Metrics>,
    open: Mutex<Open>,
    /// A new connection waits for a place.
    is_wanted: AtomicBool,
    /// Wakes it: a place is free, or another connection could give way.
    changed: Notify,
}

#[derive(Default)]
struct Open {
    next: u64,
    /// The oldest first.
    places: BTreeMap<u64, Arc<Place>>,
    /// The next that give way, as they were ranked when the last of those before them had gone: to rank all of them for
    /// each new connection would keep a processor busy in a flood.
    next_to_leave: VecDeque<Arc<Place>>,
    /// Connections of each peer address.
    peers: HashMap<IpAddr, Arc<AtomicUsize>>,
    shortage: Option<Shortage>,
}

/// From when three quarters of the places are taken until less than half of them are.
struct Shortage {
    since: Instant,
    gave_way: u64,
}

/// What one connection waits for.
pub(super) struct Place {
    number: u64,
    opened: Instant,
    peer: IpAddr,
    of_peer: Arc<AtomicUsize>,
    is_proxy: bool,
    places: Arc<Places>,
    has_sent_request: AtomicBool,
    /// Bytes have arrived since the last request was begun.
    has_read: AtomicBool,
    /// From a complete request to its answer.
    is_answering: AtomicBool,
    /// The peer takes no bytes of an answer.
    is_blocked: AtomicBool,
    unblocked: Notify,
    is_leaving: AtomicBool,
    leave: Notify,
}

/// A place that is taken until this is dropped.
pub(super) struct Taken(Arc<Place>);

/// A peer as shares are counted.
fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & IPV6_NETWORK).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl Places {
    pub(super) fn new(listener: &'static str, limit: usize, proxies: Vec<IpNet>, metrics: Arc<Metrics>) -> Arc<Places> {
        let places = u32::try_from(limit).unwrap_or(u32::MAX).into();
        metrics.connections_limit.get_or_create(&OfListener { listener }).set(places);
        metrics.connections_open.get_or_create(&OfListener { listener }).set(0);
        let (open, is_wanted, changed) = (Mutex::default(), AtomicBool::new(false), Notify::new());
        Arc::new(Places { listener, limit, proxies, metrics, open, is_wanted, changed })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a new connection; waits while none is free and no connection gives way.
    pub(super) async fn take(self: &Arc<Places>, peer: SocketAddr) -> Taken {
        let mut leaving: Option<Arc<Place>> = None;
        self.is_wanted.store(true, Ordering::SeqCst);
        loop {
            {
                let mut open = self.lock();
                let is_full = open.places.len() >= self.limit;
                // One that was told to leave may have had a complete request by then.
                if self.is_short(&open) && leaving.as_ref().is_none_or(|place| !place.is_leaving()) {
                    leaving = self.choose(&mut open, is_full);
                    leaving.as_deref().inspect(|place| place.tell_to_leave());
                }
                if !is_full {
                    self.is_wanted.store(false, Ordering::SeqCst);
                    return self.enter(&mut open, peer);
                }
            }
            self.changed.notified().await;
        }
    }

    fn is_short(&self, open: &Open) -> bool {
        open.places.len() * 4 >= self.limit * 3
    }

    /// The connection that gives way next.
    fn choose(&self, open: &mut Open, is_full: bool) -> Option<Arc<Place>> {
        let share = (self.limit / PEER_SHARE_DIVISOR).max(1);
        while let Some(place) = open.next_to_leave.pop_front() {
            if open.places.contains_key(&place.number) && place.rank(share, is_full).is_some() {
                return Some(place);
            }
        }
        let most = (self.limit / RANKED_DIVISOR).max(1);
        let ranked = || open.places.values().filter_map(|place| Some((place.rank(share, is_full)?, place)));
        // In a flood the first of these are near the beginning.
        let above_share = ranked().filter(|(rank, _)| *rank == Rank::AboveShare).take(most);
        let mut next: VecDeque<Arc<Place>> = above_share.map(|(_, place)| place.clone()).collect();
        if next.is_empty() {
            let mut all: Vec<_> = ranked().collect();
            all.sort_by_cached_key(|(rank, place)| {
                let is_idle = matches!(rank, Rank::IdleAboveShare | Rank::Idle);
                let held = if is_idle { place.of_peer.load(Ordering::Relaxed) } else { 0 };
                (*rank, Reverse(held))
            });
            next.extend(all.into_iter().take(most).map(|(_, place)| place.clone()));
        }
        let chosen = next.pop_front();
        open.next_to_leave = next;
        chosen
    }

    fn enter(self: &Arc<Places>, open: &mut Open, address: SocketAddr) -> Taken {
        let peer = peer_of(address.ip());
        let of_peer = open.peers.entry(peer).or_default().clone();
        of_peer.fetch_add(1, Ordering::Relaxed);
        let place = Arc::new(Place {
            number: open.next,
            opened: Instant::now(),
            peer,
            of_peer,
            is_proxy: self.proxies.iter().any(|network| network.contains(&address.ip().to_canonical())),
            places: self.clone(),
            has_sent_request: AtomicBool::new(false),
            has_read: AtomicBool::new(false),
            is_answering: AtomicBool::new(false),
            is_blocked: AtomicBool::new(false),
            unblocked: Notify::new(),
            is_leaving: AtomicBool::new(false),
            leave: Notify::new(),
        });
        open.next += 1;
        open.places.insert(place.number, place.clone());
        self.show(open);
        if self.is_short(open) && open.shortage.is_none() {
            open.shortage = Some(Shortage { since: Instant::now(), gave_way: 0 });
            let most_of_one_peer = open.peers.values().map(|count| count.load(Ordering::Relaxed)).max();
            warn!(
                listener = self.listener,
                open = open.places.len(),
                limit = self.limit,
                most_of_one_peer,
                "places for connections run short: those that send no request or take no answers give way"
            );
        }
        Taken(place)
    }

    fn leave(&self, place: &Place) {
        let mut open = self.lock();
        open.places.remove(&place.number);
        if place.of_peer.fetch_sub(1, Ordering::Relaxed) == 1 {
            open.peers.remove(&place.peer);
        }
        self.show(&open);
        if open.places.len() * 2 < self.limit.max(2)
            && let Some(Shortage { since, gave_way }) = open.shortage.take()
        {
            info!(
                listener = self.listener,
                open = open.places.len(),
                limit = self.limit,
                seconds = since.elapsed().as_secs(),
                gave_way,
                "there are enough places for connections again"
            );
        }
        drop(open);
        self.changed.notify_one();
    }

    fn show(&self, open: &Open) {
        let count = i64::try_from(open.places.len()).unwrap_or(i64::MAX);
        self.metrics.connections_open.get_or_create(&OfListener { listener: self.listener }).set(count);
    }

    fn wake_if_wanted(&self) {
        if self.is_wanted.load(Ordering::SeqCst) {
            self.changed.notify_one();
        }
    }
}

impl Place {
    /// `None` while it must not give way.
    fn rank(&self, share: usize, is_full: bool) -> Option<Rank> {
        if self.is_proxy || self.is_leaving() || !self.waits_for_peer() {
            return None;
        }
        let is_above_share = self.of_peer.load(Ordering::Relaxed) > share;
        let is_blocked = self.is_blocked.load(Ordering::SeqCst);
        let has_sent_request = self.has_sent_request.load(Ordering::SeqCst);
        match (is_above_share, is_blocked, has_sent_request) {
            (true, true, _) | (true, false, false) => Some(Rank::AboveShare),
            (false, true, _) => Some(Rank::Blocked),
            (false, false, false) if self.age() < FIRST_REQUEST_GRACE => is_full.then_some(Rank::New),
            (false, false, false) => Some(Rank::NoRequest),
            (true, false, true) => is_full.then_some(Rank::IdleAboveShare),
            (false, false, true) => is_full.then_some(Rank::Idle),
        }
    }

    fn waits_for_peer(&self) -> bool {
        self.is_blocked.load(Ordering::SeqCst) || !self.is_answering.load(Ordering::SeqCst)
    }

    fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::SeqCst)
    }

    fn tell_to_leave(&self) {
        self.is_leaving.store(true, Ordering::SeqCst);
        self.leave.notify_one();
    }

    /// Bytes have arrived from the peer.
    pub(super) fn note_read(&self) {
        self.has_read.store(true, Ordering::Relaxed);
    }

    /// Waits for the turn of the next request: until the peer has taken what was written of earlier answers, and, when
    /// it came together with earlier ones, until other connections had their turn.
    pub(super) async fn turn(&self) {
        self.answers_are_taken().await;
        if !self.has_read.swap(false, Ordering::Relaxed) {
            yield_now().await;
        }
    }

    /// A request has arrived to its end.
    pub(super) fn request_is_complete(&self) {
        self.has_sent_request.store(true, Ordering::SeqCst);
        self.is_answering.store(true, Ordering::SeqCst);
    }

    /// Its answer is there, and is written next.
    pub(super) fn answer_is_ready(&self) {
        self.is_answering.store(false, Ordering::SeqCst);
        self.places.wake_if_wanted();
    }

    /// The peer takes no bytes for now.
    pub(super) fn block(&self) {
        self.is_blocked.store(true, Ordering::SeqCst);
        self.places.wake_if_wanted();
    }

    /// The peer has taken some again.
    pub(super) fn unblock(&self) {
        self.is_blocked.store(false, Ordering::SeqCst);
        self.unblocked.notify_waiters();
    }

    async fn answers_are_taken(&self) {
        loop {
            let unblocked = self.unblocked.notified();
            if !self.is_blocked.load(Ordering::SeqCst) {
                return;
            }
            unblocked.await;
        }
    }

    /// Ends when the connection is to give way.
    pub(super) async fn must_leave(&self) {
        loop {
            self.leave.notified().await;
            if self.waits_for_peer() {
                self.count_end("gave_way");
                if let Some(shortage) = &mut self.places.lock().shortage {
                    shortage.gave_way += 1;
                }
                return;
            }
            self.is_leaving.store(false, Ordering::SeqCst);
            self.places.changed.notify_one();
        }
    }

    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// The service ends the connection.
    pub(super) fn count_end(&self, reason: &'static str) {
        let labels = ConnectionEnded { listener: self.places.listener, reason };
        self.places.metrics.connections_ended.get_or_create(&labels).inc();
    }
}

impl Taken {
    pub(super) fn place(&self) -> &Arc<Place> {
        &self.0
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.places.leave(&self.0);
    }
}

#[cfg(test)]
mod tests;
