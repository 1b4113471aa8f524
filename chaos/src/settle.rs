//! Coming to rest: what was not answered is sent again, sweeps find what nobody told, and nothing waits any more.

use anyhow::bail;

use crate::{
    balance::{self, Known},
    patience::until,
    replica::Armed,
    unreadable,
    world::{Tenant, World},
};

/// Sends again what was not answered 2xx, until all of it was and nothing waits.
///
/// # Errors
/// When it does not come to rest in time; with what is left.
pub async fn at_rest(world: &World, known: &Known) -> anyhow::Result<()> {
    let mut left = String::new();
    let rested = until("nothing waits", async || {
        left = waits(world, known).await?;
        Ok(left.is_empty().then_some(()))
    });
    let rested = rested.await;
    if rested.is_err() && !left.is_empty() {
        bail!("it does not come to rest: {left}");
    }
    rested
}

/// What waits; nothing when all is done.
async fn waits(world: &World, known: &Known) -> anyhow::Result<String> {
    for tenant in known.worked(world) {
        let (id, simulator) = (&tenant.id, &tenant.simulator);
        let failed = simulator.resend_failed(usize::MAX);
        simulator.flush().await;
        if failed > 0 || simulator.queued_callbacks() > 0 {
            return Ok(format!("{id}: {failed} callbacks were not answered 2xx"));
        }
        let loading: i64 = sqlx::query_scalar(
            "select count(*) from sweep where tenant = $1 and use = 'initial' and finished_at is null",
        )
        .bind(id.as_str())
        .fetch_one(&world.pool)
        .await?;
        let planned: i64 = sqlx::query_scalar("select count(*) from sweep where tenant = $1")
            .bind(id.as_str())
            .fetch_one(&world.pool)
            .await?;
        if loading > 0 || planned == 0 {
            return Ok(format!("{id}: {loading} windows of the initial load, of {planned} sweeps"));
        }
        if tenant.small {
            confirm_removals(world, tenant).await?;
        }
        // As both are after an hour at most.
        sqlx::query(
            "update sweep set due_at = clock_timestamp()
             where tenant = $1 and stalls > 0 and due_at > clock_timestamp() + interval '5 seconds'",
        )
        .bind(id.as_str())
        .execute(&world.pool)
        .await?;
        sqlx::query(
            "update subject set due_at = clock_timestamp()
             where tenant = $1 and held_unproven and due_at > clock_timestamp() + interval '5 seconds'",
        )
        .bind(id.as_str())
        .execute(&world.pool)
        .await?;
        unreadable::look_again(world, known, tenant).await?;
        let ledger = unreadable::ledger(world, known, tenant).await?;
        if !ledger.balances() {
            return Ok(format!("{id}: {ledger:?}"));
        }
    }
    Ok(String::new())
}

/// As an operator who knows that everything of a kind is gone there.
async fn confirm_removals(world: &World, tenant: &Tenant) -> anyhow::Result<()> {
    let held: i64 = sqlx::query_scalar(
        "select count(*) from subject where tenant = $1 and held_at is not null and released_at is null",
    )
    .bind(tenant.id.as_str())
    .fetch_one(&world.pool)
    .await?;
    if held > 0 {
        let status =
            world.replicas[0].run(&["sweeps", "confirm", "--tenant", tenant.id.as_str()], &Armed::default())?;
        if !status.success() {
            bail!("confirming the removals of {} failed: {status}", tenant.id);
        }
    }
    Ok(())
}

/// Asks for every sweep while no replica runs, so that each is begun at once, and waits until the index is equal to the
/// truth. What only lists have shown goes when two lists do not show it, so they are walked twice if need be.
///
/// # Errors
/// When it does not come to rest in time; differences that stay are the balance's business.
pub async fn swept(world: &mut World, known: &Known) -> anyhow::Result<()> {
    for _ in 0..2 {
        sweep_all(world, known).await?;
        let world = &*world;
        let equal = until("every list is walked and the index is equal to the truth", async || {
            let walked = "select count(*) from sweep
                          where asked and finished_at is null and listed_at is null and use <> 'rolling'";
            let walked = world.number(walked).await? == 0;
            Ok((walked && balance::differences(world, known).await?.is_empty()).then_some(()))
        });
        if equal.await.is_ok() {
            break;
        }
    }
    at_rest(world, known).await
}

async fn sweep_all(world: &mut World, known: &Known) -> anyhow::Result<()> {
    for replica in &mut world.replicas {
        if replica.is_started() {
            replica.ask_to_stop()?;
            let status = replica.end().await?;
            if !status.success() {
                bail!("{} was asked to stop and ended with {status}", replica.name);
            }
        }
    }
    for tenant in known.worked(world) {
        for purpose in ["incremental", "full", "rolling"] {
            let arguments = ["sweeps", "run", "--tenant", tenant.id.as_str(), "--use", purpose];
            let status = world.replicas[0].run(&arguments, &Armed::default())?;
            if !status.success() {
                bail!("asking for the {purpose} sweep of {} failed: {status}", tenant.id);
            }
        }
    }
    world.start_all()?;
    world.ready().await
}
