//! What a test asks of sweeps.

use std::time::Duration;

use cegid_indexer::{
    domain::Kind,
    gaps,
    sweeps::{self, Use},
};
use chrono::DateTime;

use super::{World, tenant};

/// Longer than the grace of a gap.
const GRACE: Duration = Duration::from_secs(1900);

impl World {
    /// Asks for sweeps of these uses, as an operator would, and turns the clock until they are done and what they asked
    /// for was read.
    pub async fn sweep(&self, uses: &[Use]) {
        let planned = "select count(*) from sweep where use <> 'initial' and finished_at is null";
        self.until("the sweeps are planned", async |world: &World| {
            sqlx::query_scalar::<_, i64>(planned).fetch_one(world.database.pool()).await.unwrap() == 5
        })
        .await;
        for purpose in uses {
            for kind in Kind::ALL.into_iter().filter(|kind| Use::recurring(*kind).contains(purpose)) {
                assert!(sweeps::ask(&self.database, &tenant(), kind, *purpose, self.clock.now()).await.unwrap());
            }
        }
        let asked = "select count(*) from sweep where asked and finished_at is null";
        self.until("the sweeps are done", async |world: &World| {
            sqlx::query_scalar::<_, i64>(asked).fetch_one(world.database.pool()).await.unwrap() == 0
        })
        .await;
    }

    /// One sweep of each use that recurs, and the reads that confirm what they found missing.
    pub async fn sweep_all(&self) {
        self.sweep(&[Use::Incremental, Use::Full, Use::Rolling]).await;
        self.settle().await;
    }

    /// Differences that no delivery announced, once the grace of the last one is over.
    pub async fn gaps(&self) -> i64 {
        self.pass(GRACE).await;
        let marked = "select count(*) from subject where found_at is not null";
        self.until("every grace is over", async |world: &World| {
            sqlx::query_scalar::<_, i64>(marked).fetch_one(world.database.pool()).await.unwrap() == 0
        })
        .await;
        gaps::since(&self.database, &tenant(), DateTime::UNIX_EPOCH).await.unwrap()
    }
}
