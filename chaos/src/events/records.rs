//! What becomes of single records and their reports, and of the last records of a kind.

use std::time::{Duration, Instant};

use cegid_simulator::{RequestRow, Spoil, TruthRow};
use tokio::time::timeout;

use super::Event;
use crate::{
    storm::Storm,
    world::{Tenant, create_few},
};

/// Between two checks whether a record was buried, or removals are held.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The database may be away.
const QUERY_TIMEOUT: Duration = Duration::from_millis(500);
/// Percent of the refused ids that are refused for good.
const REFUSED_FOR_GOOD: u64 = 30;

/// A record that is broken until it is buried and reported, and is then mended.
pub struct FailingRecord {
    /// Place of its tenant in the world.
    pub tenant: usize,
    kind: &'static str,
    /// Its key.
    pub key: String,
    checked_at: Instant,
}

/// A subject whose reports Cegid refuses.
pub struct RefusedReport {
    /// Place of its tenant in the world.
    pub tenant: usize,
    kind: &'static str,
    /// The id, which is the subject's key.
    pub key: String,
    /// None when they are refused for good.
    pub until: Option<Instant>,
}

/// The kind of which every record has gone at the small tenant.
#[derive(Debug, Clone, Copy)]
pub struct LastGone {
    kind: &'static str,
    /// The most removals that were held.
    held: i64,
    checked_at: Instant,
}

fn was_refused(row: &RequestRow) -> bool {
    row.status == 400 && row.path.ends_with("/reports")
}

/// Announces that a subject may have changed.
pub fn announce_update(tenant: &Tenant, kind: &str, key: &str) {
    tenant.simulator.announce(if kind == "vacancy" { "vacancy_update" } else { "applicant_update" }, key);
}

impl FailingRecord {
    /// Announces it again, as after a failover that lost the callback.
    pub fn announce(&self, tenant: &Tenant) {
        announce_update(tenant, self.kind, &self.key);
    }
}

impl RefusedReport {
    /// Lets Cegid take its reports again, and gives it an outcome to take.
    pub fn lift(&self, tenant: &Tenant) {
        tenant.simulator.refuse_reports_of(&self.key, false);
        announce_update(tenant, self.kind, &self.key);
    }
}

impl Storm {
    /// A live record that nothing is done to otherwise, with the place of its tenant.
    fn some_record(&mut self) -> Option<(usize, TruthRow)> {
        let nth = self.random.below(self.world.loaded());
        let taken: Vec<String> = self.unreadable().into_iter().chain(self.refused_keys(nth)).collect();
        let simulator = &self.world.tenants[nth].simulator;
        let free = |row: &TruthRow| row.live && !taken.contains(&row.key) && !simulator.is_spared(&row.key);
        let rows: Vec<TruthRow> = simulator.truth().into_iter().filter(free).collect();
        if rows.is_empty() { None } else { Some((nth, self.random.pick(&rows))) }
    }

    fn refused_keys(&self, nth: usize) -> impl Iterator<Item = String> {
        self.refused.iter().filter(move |refused| refused.tenant == nth).map(|refused| refused.key.clone())
    }

    /// One record at a time: the next one waits for the one before.
    pub(super) async fn fail_to_horizon(&mut self) -> anyhow::Result<()> {
        let mended = |storm: &Storm| storm.tally.felt_of(Event::Buried);
        if !self.failing.is_empty() {
            // The first callback may have been dropped on its way.
            for record in &self.failing {
                record.announce(&self.world.tenants[record.tenant]);
            }
            let before = mended(self);
            self.more(before, mended).await?;
            return Ok(());
        }
        if let Some((tenant, row)) = self.some_record() {
            let of = &self.world.tenants[tenant];
            // It comes back unchanged.
            of.simulator.spare(&row.key, true);
            of.simulator.spoil(&row.key, Some(Spoil::BrokenArchive));
            announce_update(of, row.kind, &row.key);
            self.failing.push(FailingRecord { tenant, kind: row.kind, key: row.key, checked_at: Instant::now() });
        }
        Ok(())
    }

    /// Mends records that were buried, and that Cegid holds as failed.
    pub(crate) async fn mend_buried(&mut self) {
        let (mut failing, now) = (std::mem::take(&mut self.failing), Instant::now());
        for record in &mut failing {
            if now < record.checked_at + CHECK_INTERVAL {
                continue;
            }
            record.checked_at = now;
            let tenant = &self.world.tenants[record.tenant];
            let query = "select dead_at is not null from subject where tenant = $1 and kind = $2 and key = $3";
            let query = sqlx::query_scalar(query).bind(tenant.id.as_str()).bind(record.kind).bind(&record.key);
            let buried =
                matches!(timeout(QUERY_TIMEOUT, query.fetch_optional(&self.world.pool)).await, Ok(Ok(Some(true))));
            let report_type = if record.kind == "vacancy" { "vacancies" } else { "candidates" };
            let last = tenant.simulator.last_reports().remove(&(report_type.to_owned(), record.key.clone()));
            if buried && last.is_some_and(|report| report.status == "error") {
                tenant.simulator.spoil(&record.key, None);
                self.tally.felt(Event::Buried, 1);
                self.mended.push((record.tenant, record.key.clone()));
            }
        }
        failing.retain(|record| !self.mended.iter().any(|(nth, key)| *nth == record.tenant && *key == record.key));
        self.failing = failing;
    }

    pub(super) async fn refuse_reports(&mut self) -> anyhow::Result<()> {
        let refusals = |storm: &Storm| storm.count_answers(was_refused);
        let before = refusals(self);
        for _ in 0..self.random.between(1, 4) {
            let Some((tenant, row)) = self.some_record() else { continue };
            let time = Duration::from_millis(self.random.between(3000, 15_000));
            let until = if self.random.percent(REFUSED_FOR_GOOD) { None } else { Some(Instant::now() + time) };
            let of = &self.world.tenants[tenant];
            of.simulator.refuse_reports_of(&row.key, true);
            announce_update(of, row.kind, &row.key);
            self.refused.push(RefusedReport { tenant, kind: row.kind, key: row.key, until });
        }
        let more = self.more(before, refusals).await?;
        self.tally.felt(Event::RefusedReports, more);
        Ok(())
    }

    /// Lets Cegid take reports again that were refused for a while.
    pub(crate) fn lift_refusals(&mut self, now: Instant) {
        let is_over = |refused: &RefusedReport| refused.until.is_some_and(|until| until <= now);
        self.refused.iter().filter(|refused| is_over(refused)).for_each(|it| it.lift(&self.world.tenants[it.tenant]));
        self.refused.retain(|refused| !is_over(refused));
    }

    /// Documents of a kind that the small tenant has; none when the database does not say.
    async fn documents_of_small(&self, kind: &str, held: bool) -> Option<i64> {
        let query = "select count(d.key) from document d
                     join subject s on s.tenant = d.tenant and s.kind = d.kind and s.key = d.key
                     where d.tenant = $1 and d.kind = $2 and (s.held_at is not null or not $3)";
        let small = self.world.tenants.iter().find(|tenant| tenant.small)?;
        let query = sqlx::query_scalar(query).bind(small.id.as_str()).bind(kind).bind(held);
        timeout(QUERY_TIMEOUT, query.fetch_one(&self.world.pool)).await.ok()?.ok()
    }

    /// Every record of a kind goes at the small tenant, one kind at a time: nothing proves the absence of the last.
    pub(super) async fn last_goes(&mut self) -> anyhow::Result<()> {
        let Some(small) = self.world.tenants.iter().find(|tenant| tenant.small) else { return Ok(()) };
        let ask_for_sweep = ["sweeps", "run", "--tenant", small.id.as_str(), "--use", "full"];
        let confirmed = |storm: &Storm| storm.tally.felt_of(Event::LastGone);
        if self.last_gone.is_some() {
            // The first command may have failed.
            self.command(&ask_for_sweep)?;
            let before = confirmed(self);
            self.more(before, confirmed).await?;
            return Ok(());
        }
        let kind = self.random.pick(&["vacancy", "candidate"]);
        let present = |row: &TruthRow| row.kind == kind && row.present;
        let rows: Vec<TruthRow> = small.simulator.truth().into_iter().filter(present).collect();
        // All must be indexed, and after a failover nothing else.
        let indexed = self.documents_of_small(kind, false).await == Some(i64::try_from(rows.len())?);
        for row in rows.into_iter().filter(|_| indexed) {
            // It is there: nothing else changes it.
            let _version = small.simulator.delete_silently(&row.key);
        }
        self.command(&ask_for_sweep)?;
        if indexed {
            self.last_gone = Some(LastGone { kind, held: 0, checked_at: Instant::now() });
        }
        Ok(())
    }

    /// Confirms the removals at the small tenant once all that is left is held; then new records come.
    pub(crate) async fn confirm_last(&mut self) -> anyhow::Result<()> {
        let Some(LastGone { kind, held, checked_at }) = self.last_gone else { return Ok(()) };
        if checked_at.elapsed() < CHECK_INTERVAL {
            return Ok(());
        }
        let left = self.documents_of_small(kind, false).await;
        let held_now = self.documents_of_small(kind, true).await.unwrap_or_default();
        self.last_gone = Some(LastGone { kind, held: held.max(held_now), checked_at: Instant::now() });
        if left == Some(0) {
            self.tally.felt(Event::LastGone, held.unsigned_abs());
            self.last_gone = None;
            self.world.tenants.iter().filter(|tenant| tenant.small).for_each(|small| create_few(&small.simulator));
        } else if held_now > 0 && left == Some(held_now) {
            let tenant = self.world.tenants.iter().find(|tenant| tenant.small).map(|small| small.id.to_string());
            let tenant = tenant.unwrap_or_default();
            self.command(&["sweeps", "confirm", "--tenant", &tenant, "--kind", kind])?;
        }
        Ok(())
    }
}
