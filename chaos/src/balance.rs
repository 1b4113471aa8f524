//! The ledger at the end: each line is a guarantee, how much it was put to, and what is wrong.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use cegid_simulator::Outcome;
use sqlx::{AssertSqlSafe, Row};

use crate::{
    events::failover::Lost,
    leaks,
    load::FORGED,
    truth, unreadable,
    world::{Tenant, World},
};

/// As many of what is wrong are printed.
const SHOWN: usize = 12;

/// One guarantee.
#[derive(Debug)]
pub struct Line {
    /// What holds.
    pub holds: &'static str,
    /// What was counted.
    pub counted: String,
    /// Where it does not hold.
    pub wrong: Vec<String>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.wrong.is_empty() { "holds" } else { "WRONG" };
        write!(f, "{mark}  {}: {}", self.holds, self.counted)?;
        for wrong in self.wrong.iter().take(SHOWN) {
            write!(f, "\n         {wrong}")?;
        }
        if self.wrong.len() > SHOWN {
            write!(f, "\n         and {} more", self.wrong.len() - SHOWN)?;
        }
        Ok(())
    }
}

/// What the suite did on purpose, and the balance must know.
#[derive(Debug, Default, Clone)]
pub struct Known {
    /// By tenant, keys whose records cannot be read.
    pub broken: HashMap<String, HashSet<String>>,
    /// By tenant, keys that were erased.
    pub erased: HashMap<String, HashSet<String>>,
    /// By tenant, keys whose reports Cegid refuses for good.
    pub refused: HashMap<String, HashSet<String>>,
    /// What was committed and lost.
    pub lost: Lost,
    /// Tenants that were purged.
    pub purged: HashSet<String>,
    /// What may let a read be lost and made again: kills, outages, faults.
    pub disturbances: u64,
}

impl Known {
    /// Keys of a tenant whose records cannot be read.
    pub fn broken(&self, tenant: &Tenant) -> HashSet<String> {
        self.broken.get(tenant.id.as_str()).cloned().unwrap_or_default()
    }

    fn erased(&self, tenant: &Tenant) -> HashSet<String> {
        self.erased.get(tenant.id.as_str()).cloned().unwrap_or_default()
    }

    /// Keys of a tenant whose reports Cegid refuses for good.
    pub fn refused(&self, tenant: &Tenant) -> HashSet<String> {
        self.refused.get(tenant.id.as_str()).cloned().unwrap_or_default()
    }

    /// Tenants that are still to balance.
    pub fn worked<'a>(&self, world: &'a World) -> impl Iterator<Item = &'a Tenant> + use<'a> {
        let purged = self.purged.clone();
        world.tenants.iter().filter(move |tenant| !purged.contains(tenant.id.as_str()))
    }
}

/// What differs from the truth, of every tenant.
///
/// # Errors
/// When the database cannot be read.
pub async fn differences(world: &World, known: &Known) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for tenant in known.worked(world) {
        let unread: HashSet<String> = known.broken(tenant).union(&known.erased(tenant)).cloned().collect();
        let different = truth::differences(world, tenant, &unread).await?;
        all.extend(different.into_iter().map(|what| format!("{}: {what}", tenant.id)));
    }
    Ok(all)
}

/// Every line.
///
/// # Errors
/// When the database cannot be read.
pub async fn balance(world: &World, known: &Known) -> anyhow::Result<Vec<Line>> {
    Ok(vec![
        acked_are_stored(world, known).await?,
        ledgers(world, known).await?,
        equal(world, known).await?,
        never_back(world).await?,
        versions(world).await?,
        reported(world, known).await?,
        bounded(world, known).await?,
        leaks::line(world).await?,
        isolated(world, known).await?,
        on_time(world).await?,
        nothing_genuine_refused(world),
    ])
}

async fn acked_are_stored(world: &World, known: &Known) -> anyhow::Result<Line> {
    let (mut acked, mut stored, mut lost, mut wrong) = (0, 0, 0, Vec::new());
    for tenant in known.worked(world) {
        let rows = sqlx::query("select key, convert_from(body, 'UTF8') as body, count(*) as count from delivery where tenant = $1 group by 1, 2")
            .bind(tenant.id.as_str())
            .fetch_all(&world.pool)
            .await?;
        let mut held: HashMap<String, i64> = HashMap::new();
        for row in rows {
            let count: i64 = row.get("count");
            stored += count;
            *held.entry(row.get("body")).or_default() += count;
        }
        // Stored when the primary died, and not known to the standby.
        for (body, count) in known.lost.deliveries.get(tenant.id.as_str()).into_iter().flatten() {
            lost += count;
            *held.entry(body.clone()).or_default() += count;
        }
        let erased = known.erased(tenant);
        let mut told: HashMap<String, i64> = HashMap::new();
        for sent in tenant.simulator.sent() {
            if sent.accepted() && !sent.event.is_empty() && !erased.contains(&sent.key) {
                acked += 1;
                *told.entry(sent.body).or_default() += 1;
            }
        }
        for (body, count) in told {
            let held = held.get(&body).copied().unwrap_or_default();
            if held < count {
                wrong.push(format!("{}: answered 2xx {count} times and stored {held} times: {body}", tenant.id));
            }
        }
    }
    let counted = format!("{acked} answered 2xx, {stored} stored, {lost} lost by failovers");
    Ok(Line { holds: "what was answered 2xx is stored", counted, wrong })
}

async fn ledgers(world: &World, known: &Known) -> anyhow::Result<Line> {
    let (mut counted, mut wrong) = (Vec::new(), Vec::new());
    for tenant in known.worked(world) {
        let ledger = unreadable::ledger(world, known, tenant).await?;
        let id = &tenant.id;
        counted.push(format!(
            "{id} {} = {} settled + {} dead + {} ignored",
            ledger.received, ledger.settled, ledger.dead, ledger.ignored
        ));
        if !ledger.balances() {
            wrong.push(format!("{id}: {ledger:?}"));
        }
        let dead: Vec<String> = sqlx::query_scalar("select key from subject where tenant = $1 and dead_at is not null")
            .bind(id.as_str())
            .fetch_all(&world.pool)
            .await?;
        let broken = known.broken(tenant);
        wrong.extend(dead.iter().filter(|key| !broken.contains(*key)).map(|key| format!("{id}: {key} is dead")));
    }
    Ok(Line { holds: "every delivery is accounted for", counted: counted.join("; "), wrong })
}

async fn equal(world: &World, known: &Known) -> anyhow::Result<Line> {
    let subjects: usize = known.worked(world).map(|tenant| tenant.simulator.truth().len()).sum();
    let documents = world.number("select count(*) from document").await?;
    let counted = format!("{subjects} subjects, {documents} documents");
    Ok(Line { holds: "the index is equal to the truth", counted, wrong: differences(world, known).await? })
}

async fn wrong_rows(world: &World, query: &'static str) -> anyhow::Result<Vec<String>> {
    let query = format!("select row_to_json(wrong)::text from ({query}) as wrong limit 100");
    Ok(sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&world.pool).await?)
}

async fn never_back(world: &World) -> anyhow::Result<Line> {
    let writes = world.number("select count(*) from chaos.document").await?;
    let settled = world.number("select count(*) from chaos.settled").await?;
    let mut wrong = wrong_rows(world, "select * from chaos.settled where settled <= before").await?;
    wrong.extend(
        wrong_rows(
            world,
            "select * from (select *, max(read_number) over (partition by tenant, kind, key order by n
               rows between unbounded preceding and 1 preceding) as newest from chaos.document) as d
             where not gone and read_number < newest",
        )
        .await?,
    );
    wrong.extend(wrong_rows(world, "select * from chaos.lease where token <= token_before").await?);
    wrong.extend(wrong_rows(world, "select * from chaos.report_back").await?);
    let counted = format!("{writes} writes of documents, {settled} settlings");
    Ok(Line { holds: "no read is written after a newer one", counted, wrong })
}

async fn versions(world: &World) -> anyhow::Result<Line> {
    let writes = world.number("select count(*) from chaos.document where not gone and title ~ '\\(v\\d+\\)$'").await?;
    let wrong = wrong_rows(
        world,
        "select * from (select *, max(version) over (partition by tenant, kind, key order by n
           rows between unbounded preceding and 1 preceding) as newest
         from (select *, substring(title from '\\(v(\\d+)\\)$')::int as version from chaos.document where not gone) as v) as d
         where version < newest",
    )
    .await?;
    Ok(Line { holds: "versions of a subject never go back", counted: format!("{writes} writes of a version"), wrong })
}

async fn reported(world: &World, known: &Known) -> anyhow::Result<Line> {
    let (mut looked, mut wrong) = (0, Vec::new());
    for tenant in known.worked(world) {
        let (some, unreported) = truth::unreported(world, tenant, known).await?;
        looked += some;
        wrong.extend(unreported.into_iter().map(|what| format!("{}: {what}", tenant.id)));
    }
    let items: usize = known.worked(world).map(|tenant| tenant.simulator.report_count()).sum();
    let counted = format!("{looked} outcomes, {items} items reported");
    Ok(Line { holds: "the last report is the last outcome", counted, wrong })
}

/// Export calls by key, those of them that failed, and the keys in them.
fn keyed(tenant: &Tenant) -> (u64, u64, u64) {
    let (mut calls, mut failed, mut keys) = (0, 0, 0);
    for request in tenant.simulator.requests() {
        let filter = ["filter=reference%3A%3A", "filter=id%3A%3A"].iter().find_map(|by| request.query.split_once(by));
        if let Some((_, list)) = filter {
            calls += 1;
            failed += u64::from(request.status != 200 || request.note.contains("broken off"));
            keys += 1 + list.split('&').next().unwrap_or_default().matches("%2C").count() as u64;
        }
    }
    (calls, failed, keys)
}

/// A disturbance may cost each tenant and kind the call under way, and the back-off lets few be made in its time.
const CALLS_OF_A_DISTURBANCE: u64 = 12;

async fn bounded(world: &World, known: &Known) -> anyhow::Result<Line> {
    let deliveries = world.number("select count(*) from delivery").await?.unsigned_abs();
    let asked = world.number("select coalesce(sum(unseen), 0)::bigint from sweep").await?.unsigned_abs();
    let attempts = world.number("select count(*) from chaos.attempt").await?.unsigned_abs();
    let removed = world.number("select count(*) from subject where state = 'removed'").await?.unsigned_abs();
    let (mut calls, mut failed, mut keys) = (0, 0, 0);
    for tenant in &world.tenants {
        let (some, without, named) = keyed(tenant);
        (calls, failed, keys) = (calls + some, failed + without, keys + named);
    }
    let disturbed = known.disturbances * world.tenants.len() as u64 * CALLS_OF_A_DISTURBANCE;
    // What was absent is read at least once more to be sure.
    let bound = deliveries + asked + attempts + known.lost.reads + failed + 4 * removed + disturbed;
    let wrong = if calls > bound { vec![format!("more calls by key than {bound}")] } else { Vec::new() };
    let counted = format!(
        "{calls} calls by key for {keys} reads, {failed} failed; {deliveries} deliveries, {asked} asked for, \
         {attempts} attempts again, {} disturbances",
        known.disturbances
    );
    Ok(Line { holds: "reads are bounded by what was dirty", counted, wrong })
}

async fn isolated(world: &World, known: &Known) -> anyhow::Result<Line> {
    let (mut rows, mut wrong) = (0, Vec::new());
    for tenant in known.worked(world) {
        let sent: HashSet<String> = tenant.simulator.sent().into_iter().map(|sent| sent.body).collect();
        let bodies: Vec<String> = sqlx::query_scalar(
            "select convert_from(body, 'UTF8') from delivery where tenant = $1 and ignored is null and body <> ''",
        )
        .bind(tenant.id.as_str())
        .fetch_all(&world.pool)
        .await?;
        rows += bodies.len();
        let id = &tenant.id;
        wrong.extend(bodies.iter().filter(|body| !sent.contains(*body)).map(|body| format!("{id} never sent {body}")));
        let truth: HashSet<String> = tenant.simulator.truth().into_iter().map(|row| row.key).collect();
        for report in tenant.simulator.reports() {
            rows += 1;
            if !truth.contains(&report.id) {
                wrong.push(format!("{id} was told about {}", report.id));
            }
        }
    }
    let counted = format!("{rows} deliveries and items of reports");
    Ok(Line { holds: "every row is of the tenant whose secret verified it", counted, wrong })
}

async fn on_time(world: &World) -> anyhow::Result<Line> {
    let wrong = wrong_rows(world, "select what, by::text from chaos.wrong_time").await?;
    let leases = world.number("select count(*) from chaos.lease").await?;
    let shifted: usize = world
        .replicas
        .iter()
        .map(|replica| replica.log().matches("clock is set wrong for the crash suite").count())
        .sum();
    let counted = format!(
        "{leases} take-overs, {shifted} starts on a machine whose clock is 2 h off, a database that is {} s ahead",
        world.database_ahead
    );
    Ok(Line { holds: "every time is the database's", counted, wrong })
}

/// Whatever clock is wrong: a genuine callback may be told to come again, and is never refused for good.
fn nothing_genuine_refused(world: &World) -> Line {
    let (mut sent, mut wrong) = (0, Vec::new());
    for tenant in &world.tenants {
        for sent_one in tenant.simulator.sent().into_iter().filter(|sent| !sent.body.contains(FORGED)) {
            sent += 1;
            if sent_one.outcome == Outcome::Answered(403) {
                wrong.push(format!("{}: {} was refused at {}", tenant.id, sent_one.body, sent_one.at));
            }
        }
    }
    Line { holds: "no genuine callback is refused", counted: format!("{sent} sent"), wrong }
}
