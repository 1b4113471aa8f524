//! Forgetting: what is kept for a time only goes when its time is over.
//!
//! | what | how long |
//! |---|---|
//! | deliveries that are settled, ignored or dead, or whose subject is gone | `retention.deliveries` |
//! | refused requests and their counts | `retention.refusal_age` |
//! | subjects that Cegid has never shown, read twice in vain | a day longer than the last delivery that names them |
//! | finished sweeps but the last of each, and counts of gaps | 90 days |
//!
//! Tombstones stay: without them a replayed callback could not be told from news. Each replica forgets; doing it twice
//! is harmless.

use std::time::Duration;

use tracing::info;

use crate::{
    clock::Clock,
    database::{Database, told},
    gaps, inbox,
    lifecycle::Stop,
    refusals,
    settings::Retention,
    subjects, sweeps,
    telemetry::FailureLog,
};

/// How often it is looked what is old.
const EVERY: Duration = Duration::from_secs(3600);
/// Age of what holds no key.
const COUNTS: Duration = Duration::from_secs(90 * 86400);

/// Forgets until the stop.
pub async fn run(database: Database, retention: Retention, clock: Clock, stop: Stop) {
    let failures = FailureLog::new("forgetting what is old", "it is tried again in an hour");
    while !stop.asked() {
        match forget(&database, &retention, &clock).await {
            Ok(deliveries) => {
                failures.succeeded();
                if deliveries > 0 {
                    info!(deliveries, "what was received is forgotten: its time is over");
                }
            }
            Err(error) => failures.failed(&told(&error)),
        }
        tokio::select! {
            () = stop.draining() => return,
            () = clock.sleep(EVERY) => {}
        }
    }
}

/// Forgets what is old now, each of it whatever becomes of the others. Gives how many deliveries went.
///
/// # Errors
/// The first, when the database could not be used for one of them.
pub async fn forget(database: &Database, retention: &Retention, clock: &Clock) -> sqlx::Result<u64> {
    let now = clock.now();
    let unread = subjects::forget_unread(database, now - retention.deliveries).await.map(|_| ());
    let deliveries = inbox::forget(database, now - retention.deliveries).await;
    let refusals = refusals::forget(database, now - retention.refusal_age).await;
    let sweeps = sweeps::forget(database, now - COUNTS).await;
    let gaps = gaps::forget(database, now - COUNTS).await;
    [unread, refusals, sweeps, gaps].into_iter().collect::<sqlx::Result<()>>()?;
    deliveries
}
