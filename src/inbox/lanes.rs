//! In which order the callbacks that wait are stored.
//!
//! Wanted: a tenant that sends faster than can be stored makes its own callbacks wait, and a body of a thousand events
//! holds up single ones, its own tenant's too, for one commit.
//!
//! Each tenant has two lanes, for callbacks of few events and of many. A batch takes a little from each lane in turn,
//! and the next batch begins with the lane behind the last.

use std::collections::{HashMap, VecDeque};

use tokio::sync::mpsc;

use super::Waiting;
use crate::domain::TenantId;

/// Rows in one statement; a larger callback still goes in whole.
const BATCH_ROWS: usize = 1000;
/// Rows from a lane before it is the next one's turn; a larger callback still goes in whole.
const TURN_ROWS: usize = 100;
/// Events of a callback that goes with the single ones: Cegid sends one event, or a few.
const FEW_EVENTS: usize = 16;

/// A tenant, and whether the lane is that of large callbacks.
type Lane = (TenantId, bool);

/// Callbacks that wait, by lanes.
pub(super) struct Lanes {
    arriving: mpsc::UnboundedReceiver<Waiting>,
    waiting: HashMap<Lane, VecDeque<Waiting>>,
    /// The lanes that hold something, the next one first.
    turns: VecDeque<Lane>,
}

impl Lanes {
    pub(super) fn new(arriving: mpsc::UnboundedReceiver<Waiting>) -> Lanes {
        Lanes { arriving, waiting: HashMap::new(), turns: VecDeque::new() }
    }

    /// The next batch, as soon as something waits; none when nothing will arrive any more. Given up, nothing is lost.
    pub(super) async fn batch(&mut self) -> Option<Vec<Waiting>> {
        if self.turns.is_empty() {
            let first = self.arriving.recv().await?;
            self.put(first);
        }
        while let Ok(next) = self.arriving.try_recv() {
            self.put(next);
        }
        Some(self.take())
    }

    fn put(&mut self, waiting: Waiting) {
        let lane = (waiting.callback.tenant().clone(), waiting.callback.events().len() > FEW_EVENTS);
        let held = self.waiting.entry(lane.clone()).or_default();
        if held.is_empty() {
            self.turns.push_back(lane);
        }
        held.push_back(waiting);
    }

    fn take(&mut self) -> Vec<Waiting> {
        let (mut batch, mut rows) = (Vec::new(), 0);
        while rows < BATCH_ROWS
            && let Some(lane) = self.turns.pop_front()
        {
            let Some(held) = self.waiting.get_mut(&lane) else { continue };
            let mut taken = 0;
            while taken < TURN_ROWS
                && let Some(next) = held.pop_front()
            {
                // Otherwise its sender was told to try again, or has gone.
                if !next.answer.is_closed() {
                    taken += next.callback.events().len();
                    batch.push(next);
                }
            }
            rows += taken;
            if held.is_empty() {
                self.waiting.remove(&lane);
            } else {
                self.turns.push_back(lane);
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::{super::room::Room, *};
    use crate::intake::VerifiedCallback;

    /// A callback with this number of events, and its sender, which waits for the answer.
    fn waiting(tenant: &str, events: usize) -> (Waiting, oneshot::Receiver<Result<(), super::super::NotStored>>) {
        let tenant: TenantId = tenant.parse().unwrap();
        let event = r#"{"event_type":"vacancy_update","reference":"R1"}"#;
        let body = format!("[{}]", vec![event; events].join(","));
        let callback = VerifiedCallback::made_up(tenant.clone(), &body);
        assert_eq!(callback.events().len(), events);
        let (answer, answered) = oneshot::channel();
        let room = Room::new(2).take(&tenant).unwrap();
        (Waiting { callback, answer, _room: room }, answered)
    }

    /// The batches that these become, each as tenants and numbers of events.
    async fn batches(sent: Vec<Waiting>) -> Vec<Vec<(String, usize)>> {
        let (sender, arriving) = mpsc::unbounded_channel();
        sent.into_iter().for_each(|waiting| assert!(sender.send(waiting).is_ok()));
        drop(sender);
        let mut lanes = Lanes::new(arriving);
        let mut batches = Vec::new();
        while let Some(batch) = lanes.batch().await {
            let of = |waiting: &Waiting| (waiting.callback.tenant().to_string(), waiting.callback.events().len());
            batches.push(batch.iter().map(of).collect());
        }
        batches
    }

    #[tokio::test]
    async fn a_single_event_waits_for_one_large_callback_whoever_sent_it() {
        let (mut sent, mut senders) = (Vec::new(), Vec::new());
        let sizes = [("evil", 1024); 8].into_iter().chain([("evil", 1), ("acme", 1), ("acme", 2)]);
        for (callback, sender) in sizes.map(|(tenant, events)| waiting(tenant, events)) {
            sent.push(callback);
            senders.push(sender);
        }
        let batches = batches(sent).await;
        let place = |wanted: (&str, usize)| {
            batches
                .iter()
                .position(|batch| batch.iter().any(|(tenant, events)| (&**tenant, *events) == wanted))
                .unwrap()
        };
        assert_eq!((place(("acme", 1)), place(("acme", 2)), place(("evil", 1))), (1, 1, 1), "{batches:?}");
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 11);
        assert_eq!(batches.len(), 8, "small ones go with a large one: {batches:?}");
    }

    #[tokio::test]
    async fn one_tenants_single_events_fill_a_batch_together_and_nobody_waits_for_senders_that_have_gone() {
        let (mut sent, mut senders) = (Vec::new(), Vec::new());
        for (callback, sender) in (0..2500).map(|_| waiting("acme", 1)) {
            sent.push(callback);
            senders.push(sender);
        }
        senders.truncate(1500);
        let sizes: Vec<usize> = batches(sent).await.iter().map(Vec::len).collect();
        assert_eq!(sizes, [1000, 500]);
    }
}
