//! Every kill point once: a replica dies there, another takes over, and the ledger balances.

use std::collections::HashSet;

use anyhow::{Context, bail, ensure};
use cegid_indexer::{kill::POINTS, purge::TABLES};
use sqlx::AssertSqlSafe;

use crate::{
    balance::{Known, Line, balance},
    patience::{until, until_holds},
    replica::{Armed, was_killed},
    settle,
    world::World,
};

/// Every event but the two that the hook points register and unregister; nothing here sends those.
const EVENTS: &str = "vacancy_new,vacancy_update,vacancy_status,vacancy_deleted,applicant_new,applicant_update";
/// With the first of the two, and with both.
const ONE_MORE: &str =
    "vacancy_new,vacancy_update,vacancy_status,vacancy_deleted,applicant_new,applicant_update,applicant_resume_update";
const TWO_MORE: &str = "vacancy_new,vacancy_update,vacancy_status,vacancy_deleted,applicant_new,applicant_update,applicant_resume_update,application_event_new";
/// Subjects of each kind that are changed before a death.
const CHANGED: usize = 5;

/// Points that a registration passes, or that of a hook which is no longer wanted.
const OF_HOOKS: [&str; 4] = ["hook-intended", "hook-answered", "hook-left", "hook-deleted"];
/// Points of what takes something away for good.
const AT_THE_END: [&str; 2] = ["erased", "purging"];

/// Points that lie on the way of `serve` under load.
pub(crate) fn under_load() -> Vec<&'static str> {
    POINTS.into_iter().filter(|point| !OF_HOOKS.contains(point) && !AT_THE_END.contains(point)).collect()
}

/// What became of one point.
pub struct Died {
    /// Its name.
    pub point: &'static str,
    /// The balance once another replica had taken over.
    pub lines: Vec<Line>,
}

/// Lets the service die at every point, in the order in which each is easily reached. Needs a world that nothing has
/// run in, of one replica and two tenants.
///
/// # Errors
/// When a process does not die at its point, or does not come to rest afterwards.
pub async fn every_point(world: &mut World) -> anyhow::Result<Vec<Died>> {
    let mut known = Known::default();
    let mut died = Vec::new();
    let set = |world: &mut World, events: &str| world.replicas[0].set("TENANTS__ACME__EVENTS", events);
    set(world, EVENTS);
    // The token is asked for in an empty world, and hooks are changed in one that is loaded.
    let mut order = under_load();
    order.sort_by_key(|point| *point != "token-given");
    order.extend(OF_HOOKS);
    order.extend(AT_THE_END);
    for point in order {
        match point {
            "hook-intended" => set(world, ONE_MORE),
            "hook-answered" => set(world, TWO_MORE),
            "hook-left" => set(world, ONE_MORE),
            "hook-deleted" => set(world, EVENTS),
            _ => {}
        }
        if point == "erased" {
            erase(world, &mut known).await?;
        } else {
            provoke(world, &mut known, point).await.with_context(|| format!("dying at {point}"))?;
        }
        let lines = recover(world, &known).await.with_context(|| format!("recovering from {point}"))?;
        died.push(Died { point, lines });
    }
    gone(world).await?;
    Ok(died)
}

/// Starts a replica that is to die at the point, and gives it what leads there.
async fn provoke(world: &mut World, known: &mut Known, point: &'static str) -> anyhow::Result<()> {
    if point == "page-settled" {
        command(world, &["sweeps", "run", "--tenant", "acme", "--use", "incremental"])?;
    }
    if point == "purging" {
        command(world, &["tenant", "disconnect", "bolt", "--purge-after", "1m", "--yes"])?;
        sqlx::query("update tenant_state set purge_after = now()").execute(&world.pool).await?;
        known.purged.insert("bolt".to_owned());
    }
    world.replicas[0].start(Armed { point: Some((point, 1)), ..Armed::default() })?;
    change(world, known);
    let tenants: Vec<_> = world.tenants.iter().map(|tenant| tenant.simulator.clone()).collect();
    let replica = &mut world.replicas[0];
    let ended = until("it dies", async || {
        for simulator in &tenants {
            simulator.resend_failed(usize::MAX);
        }
        replica.ended()
    });
    let status = ended.await?;
    ensure!(was_killed(status), "it ended with {status}");
    ensure!(world.replicas[0].log().contains(&format!("\"name\":\"{point}\"")), "it did not say that it was there");
    known.disturbances += 1;
    Ok(())
}

/// Announced edits of both kinds, and a deletion.
fn change(world: &World, known: &Known) {
    for tenant in known.worked(world) {
        let truth = tenant.simulator.truth();
        let present = |kind: &'static str| {
            let erased = known.erased.get(tenant.id.as_str());
            let spared = move |key: &String| erased.is_some_and(|erased| erased.contains(key));
            let of_kind = truth.iter().filter(move |row| row.kind == kind && row.present && row.live);
            of_kind.map(|row| row.key.clone()).filter(move |key| !spared(key)).take(CHANGED)
        };
        let vacancies: Vec<String> = present("vacancy").collect();
        // They are there: nothing else changes them.
        for key in &vacancies {
            let _version = tenant.simulator.edit_vacancy(key);
        }
        for key in present("candidate") {
            let _version = tenant.simulator.edit_candidate(&key);
        }
        if let Some(key) = vacancies.last() {
            let _version = tenant.simulator.delete_vacancy(key);
        }
        let _reference = tenant.simulator.create_vacancy();
    }
}

fn command(world: &World, arguments: &[&str]) -> anyhow::Result<()> {
    let status = world.replicas[0].run(arguments, &Armed::default())?;
    ensure!(status.success(), "{arguments:?} ended with {status}");
    Ok(())
}

/// An erasure whose process dies between its transactions, and the same again.
async fn erase(world: &World, known: &mut Known) -> anyhow::Result<()> {
    let key: String = sqlx::query_scalar(
        "select key from delivery where tenant = 'acme' and kind = 'candidate' and exists
           (select from document where document.tenant = delivery.tenant and document.key = delivery.key) limit 1",
    )
    .fetch_one(&world.pool)
    .await?;
    let arguments = ["erase", "--tenant", "acme", "--key", &key];
    let status = world.replicas[0].run(&arguments, &Armed { point: Some(("erased", 1)), ..Armed::default() })?;
    ensure!(was_killed(status), "the erasure ended with {status}");
    let left = "select (select count(*) from document where key = $1 and tenant = 'acme'),
                       (select count(*) from delivery where key = $1 and tenant = 'acme')";
    let (documents, deliveries): (i64, i64) = sqlx::query_as(left).bind(&key).fetch_one(&world.pool).await?;
    ensure!(
        documents == 0 && deliveries > 0,
        "{documents} documents and {deliveries} deliveries after half an erasure"
    );
    command(world, &arguments)?;
    let left: (i64, i64) = sqlx::query_as(left).bind(&key).fetch_one(&world.pool).await?;
    ensure!(left == (0, 0), "{left:?} documents and deliveries after the erasure");
    known.erased.insert("acme".to_owned(), HashSet::from([key]));
    Ok(())
}

/// Another replica, until all is done; then it is asked to stop.
async fn recover(world: &mut World, known: &Known) -> anyhow::Result<Vec<Line>> {
    world.start_all()?;
    world.ready().await?;
    settle::at_rest(world, known).await?;
    hooks_are_known(world).await?;
    let lines = balance(world, known).await?;
    if !known.purged.is_empty() {
        purged(world).await?;
    }
    world.replicas[0].ask_to_stop()?;
    let status = world.replicas[0].end().await?;
    if !status.success() {
        bail!("it was asked to stop and ended with {status}");
    }
    Ok(lines)
}

/// Every wanted event is registered, and nothing else is on record.
async fn hooks_are_known(world: &World) -> anyhow::Result<()> {
    until_holds("every hook is as it is wanted", async || {
        let odd = "select count(*) from hook where state <> 'registered'";
        Ok(sqlx::query_scalar::<_, i64>(odd).fetch_one(&world.pool).await? == 0)
    })
    .await
}

async fn purged(world: &World) -> anyhow::Result<()> {
    until_holds("the purge is done", async || {
        let done = "select count(*) from tenant_state where tenant = 'bolt' and purged_at is not null";
        Ok(sqlx::query_scalar::<_, i64>(done).fetch_one(&world.pool).await? == 1)
    })
    .await
}

/// Nothing is left of the tenant that was purged.
async fn gone(world: &World) -> anyhow::Result<()> {
    for table in TABLES {
        let rows = format!("select count(*) from {table} where tenant = 'bolt'");
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_one(&world.pool).await?;
        ensure!(rows == 0, "{rows} rows of {table} are left of the tenant that was purged");
    }
    Ok(())
}
