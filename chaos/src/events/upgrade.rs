//! A newer version migrates under load, while a long transaction reads.

use std::{path::Path, time::Duration};

use anyhow::Context;
use cegid_simulator::Outcome;
use chrono::{DateTime, Utc};
use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

use super::Event;
use crate::{patience::until_holds, refusals, replica::Armed, storm::Storm, world::World};

const MIGRATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
/// Changes nothing, under the locks of a migration that does. Table `_sqlx_migrations` does not keep it (see
/// [`crate::history`]), so that replicas of this version can start.
const NEXT: &str = "alter table report_item alter column key drop default;
    alter table delivery alter column body drop default;
    alter table subject alter column key drop default;";

/// Callbacks of all tenants that were sent since then and answered 503.
fn refused(world: &World, since: DateTime<Utc>) -> usize {
    let sent = world.tenants.iter().flat_map(|tenant| tenant.simulator.sent());
    sent.filter(|sent| sent.at >= since && sent.outcome == Outcome::Answered(503)).count()
}

async fn next_version() -> anyhow::Result<Migrator> {
    let today = Migrator::new(Path::new(MIGRATIONS)).await?;
    let next = Migration::new(9001, "of next year".into(), MigrationType::Simple, NEXT.into_sql_str(), false);
    Ok(Migrator::with_migrations(today.iter().cloned().chain([next]).collect()))
}

impl Storm {
    /// Beside it `migrate` of this version has nothing to wait for, and a replica that is killed starts again.
    pub(super) async fn migrate_beside_reader(&mut self) -> anyhow::Result<()> {
        self.calm().await?;
        // What was sent before may have met another fault.
        let since = refusals::now();
        let mut reader = self.world.pool.acquire().await?;
        sqlx::raw_sql("begin; select from delivery, subject limit 1").execute(&mut *reader).await?;
        let (database, migrations) = (self.world.database.clone(), next_version().await?);
        let mut upgrading = tokio::spawn(async move { database.apply(&migrations).await });
        let time = self.random.between(1000, 5000);
        self.pause(Duration::from_millis(time)).await?;
        if !self.world.replicas[0].run(&["migrate"], &Armed::default())?.success() {
            self.tally.unclean.push("`migrate` failed beside a newer version that migrates".into());
        }
        let nth = self.random.below(self.world.replicas.len());
        if self.world.replicas.len() > 1 && self.end(nth)? {
            until_holds("it is seen to be away", async || Ok(!self.world.front.is_ready(nth))).await?;
            self.world.start_all()?;
            self.world.ready().await?;
        }
        let time = self.random.between(1000, 5000);
        self.pause(Duration::from_millis(time)).await?;
        sqlx::raw_sql("rollback").execute(&mut *reader).await?;
        until_holds("the newer version has migrated", async || Ok(upgrading.is_finished())).await?;
        let given_up = (&mut upgrading).await.context("a newer version that migrates")??;
        self.tally.felt(Event::Upgrade, given_up.into());
        let refused = refused(&self.world, since);
        if refused > 0 {
            self.tally.unclean.push(format!("{refused} callbacks were answered 503 while a newer version migrated"));
        }
        Ok(())
    }
}
