//! Replicas that are killed, frozen, stopped, and set wrong.

use std::{collections::HashSet, time::Duration};

use anyhow::Context;
use cegid_simulator::{Fault, FaultKind, Outcome};
use sqlx::types::Uuid;

use super::{Event, cegid::EXPORTS};
use crate::{
    patience::{until, until_holds},
    points::under_load,
    replica::Armed,
    storm::Storm,
    world::LEASE,
};

/// A point is passed so often at most before the one at which the process dies.
const PASSINGS: u64 = 6;
/// Callbacks of each tenant while a replica stops.
const BURST: usize = 150;
/// By then a call that was cut has failed, and its attempt is counted.
const CUT_CALL_DELAY: Duration = Duration::from_secs(1);
/// What a machine's clock is set wrong by.
const SHIFT: i64 = 7200;

impl Storm {
    /// One of those that run, and are not to die at a point.
    fn some_running(&mut self) -> usize {
        let free = |nth: &usize| {
            let replica = &self.world.replicas[*nth];
            replica.is_running() && replica.armed().point.is_none()
        };
        let running: Vec<usize> = (0..self.world.replicas.len()).filter(free).collect();
        if running.is_empty() { self.random.below(self.world.replicas.len()) } else { self.random.pick(&running) }
    }

    pub(super) fn end(&mut self, nth: usize) -> anyhow::Result<bool> {
        let replica = &mut self.world.replicas[nth];
        // One that dies at its point in this instant is looked after as ever.
        if replica.is_started() {
            replica.kill()?;
            return Ok(true);
        }
        Ok(false)
    }

    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        let nth = self.some_running();
        if self.end(nth)? {
            self.tally.felt(Event::Kill, 1);
        }
        let away = self.random.between(0, 3000);
        self.pause(Duration::from_millis(away)).await?;
        self.world.start_all()
    }

    pub(super) async fn arm(&mut self) -> anyhow::Result<()> {
        let nth = self.some_running();
        self.end(nth)?;
        let point = (self.random.pick(&under_load()), self.random.between(1, PASSINGS));
        let before = self.tally.deaths();
        self.world.replicas[nth].start(Armed { point: Some(point), ..Armed::default() })?;
        self.more(before, |storm| storm.tally.deaths()).await?;
        Ok(())
    }

    pub(super) async fn wrong_clock(&mut self) -> anyhow::Result<()> {
        let nth = self.some_running();
        self.end(nth)?;
        // Two clocks that are both ahead by more than callbacks live would refuse them.
        let ahead = self.random.percent(50) && self.world.database_ahead <= 0;
        let shift = if ahead { SHIFT } else { -SHIFT };
        self.world.replicas[nth].start(Armed { shift, ..Armed::default() })?;
        self.tally.felt(Event::Clock, 1);
        Ok(())
    }

    /// A replica that works a tenant, while another is there to take it.
    async fn holder(&self) -> anyhow::Result<Option<usize>> {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
        for (nth, replica) in self.world.replicas.iter().enumerate() {
            if !replica.is_running() || replica.armed().point.is_some() || !self.world.front.is_ready(nth) {
                continue;
            }
            // One that is not well at this moment is passed over.
            let Ok(answer) = client.get(format!("http://{}/metrics", replica.operators.at)).send().await else {
                continue;
            };
            let metrics = answer.text().await.unwrap_or_default();
            let held = metrics.lines().find_map(|line| line.strip_prefix("cegid_indexer_leases_held "));
            if held.is_some_and(|held| held.trim() != "0") {
                return Ok(Some(nth));
            }
        }
        Ok(None)
    }

    /// Replicas that say that they run, and the last take-over.
    async fn alive(&self) -> anyhow::Result<(HashSet<Uuid>, i64)> {
        let alive: Vec<Uuid> = sqlx::query_scalar("select id from replica where seen_until > clock_timestamp()")
            .fetch_all(&self.world.pool)
            .await?;
        let last = self.world.number("select coalesce(max(n), 0) from chaos.lease").await?;
        Ok((alive.into_iter().collect(), last))
    }

    pub(super) async fn freeze(&mut self) -> anyhow::Result<()> {
        self.calm().await?;
        let nth = until("a replica works a tenant", async || self.holder().await).await?;
        // Reads are under way for most of the time.
        for tenant in &self.world.tenants {
            for endpoint in EXPORTS {
                tenant.simulator.add_fault(Fault::new(endpoint, FaultKind::Slow { millis: 600 }).seconds(3));
            }
        }
        self.pause(Duration::from_millis(800)).await?;
        let (before, last) = self.alive().await?;
        self.world.replicas[nth].freeze()?;
        self.pause(LEASE * 2).await?;
        let (after, _) = self.alive().await?;
        let frozen: Vec<Uuid> = before.difference(&after).copied().collect();
        let taken: i64 = sqlx::query_scalar("select count(*) from chaos.lease where n > $1 and before = any($2)")
            .bind(last)
            .bind(frozen)
            .fetch_one(&self.world.pool)
            .await?;
        let refused =
            |storm: &Storm| storm.world.replicas[nth].log().matches("lease was lost to another replica").count() as u64;
        let already = refused(self);
        self.world.replicas[nth].thaw()?;
        // It may have given its tenants up just before.
        if taken > 0 {
            let more = self.more(already, refused).await?;
            if more == 0 {
                self.tally.unclean.push("a replica that was frozen did not learn that it had lost its tenants".into());
            }
            self.tally.felt(Event::Freeze, more);
        }
        Ok(())
    }

    /// A stop that is announced: nothing that was sent is reset, nothing that was under way counts as failed.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        self.calm().await?;
        // What the calming has cut is counted a moment later.
        self.pause(CUT_CALL_DELAY).await?;
        let unreadable = self.unreadable();
        let failing = async || -> anyhow::Result<bool> {
            let query = "select count(*) from subject where attempts > 0 and waiting and key <> all($1)";
            let failing: i64 = sqlx::query_scalar(query).bind(&unreadable).fetch_one(&self.world.pool).await?;
            Ok(failing == 0)
        };
        until_holds("nothing fails any more", failing).await?;
        let nth = until("a replica works a tenant", async || self.holder().await).await?;
        let (since, attempts) = (self.world.tenants[0].simulator.now(), self.attempts(&unreadable).await?.len());
        let sent: Vec<usize> = self.world.tenants.iter().map(|tenant| tenant.simulator.sent().len()).collect();
        // Callbacks are under way all the time that the stop takes.
        for tenant in self.world.tenants.iter().filter(|tenant| !tenant.small) {
            let key = tenant.simulator.truth().into_iter().find(|row| row.kind == "vacancy" && row.present);
            let key = key.map(|row| row.key).unwrap_or_default();
            (0..BURST).for_each(|_| tenant.simulator.announce("vacancy_update", &key));
        }
        self.pause(Duration::from_millis(300)).await?;
        self.world.replicas[nth].ask_to_stop()?;
        let status = self.world.replicas[nth].end().await.context("stopping under load")?;
        if status.success() {
            self.tally.felt(Event::Stop, 1);
        } else {
            self.tally.unclean.push(format!("a replica was asked to stop and ended with {status}"));
        }
        for says in self.attempts(&unreadable).await?.split_off(attempts) {
            self.tally.unclean.push(format!("an attempt was counted while a replica stopped: {says}"));
        }
        for (tenant, sent) in self.world.tenants.iter().zip(sent) {
            let since_then = tenant.simulator.sent_after(sent).into_iter().filter(|sent| sent.at >= since);
            for sent in since_then {
                if let Outcome::Failed(why) = &sent.outcome {
                    self.tally.unclean.push(format!("a callback failed while a replica stopped: {why}"));
                }
            }
        }
        self.world.start_all()
    }

    /// Which subject each attempt was about and why it failed, in the order of failing.
    async fn attempts(&self, unreadable: &[String]) -> anyhow::Result<Vec<String>> {
        let query = "select concat_ws(' ', tenant, kind, key, attempts, says) from chaos.attempt
                     where key <> all($1) order by n";
        Ok(sqlx::query_scalar(query).bind(unreadable).fetch_all(&self.world.pool).await?)
    }
}
