//! What lists could not read: the service remembers it by its digest and keeps the ledger waiting for what has no
//! readable key. Only the frames of records that the suite broke on purpose, as they are shown now, are accepted.

use cegid_indexer::ledger::Ledger;
use sha2::{Digest, Sha256};

use crate::{
    balance::Known,
    world::{Tenant, World},
};

/// Digests of the frames that show the broken records of a tenant. They are no archives: the service's digest is that
/// of their bytes.
fn broken_digests(known: &Known, tenant: &Tenant) -> Vec<Vec<u8>> {
    let frame = |key: &String| ["vacancy", "candidate"].into_iter().find_map(|kind| tenant.simulator.frame(kind, key));
    known.broken(tenant).iter().filter_map(frame).map(|frame| Sha256::digest(frame).to_vec()).collect()
}

/// The counts of a tenant, without what the suite does on purpose.
///
/// # Errors
/// When the database cannot be read.
pub async fn ledger(world: &World, known: &Known, tenant: &Tenant) -> anyhow::Result<Ledger> {
    let mut ledger = world.ledger(&tenant.id).await?;
    let accepted: i64 = sqlx::query_scalar(
        "select count(*) from unreadable where tenant = $1 and not named and served and digest = any($2)",
    )
    .bind(tenant.id.as_str())
    .bind(broken_digests(known, tenant))
    .fetch_one(&world.pool)
    .await?;
    ledger.unreadable_unnamed -= accepted;
    // Records go and come back here, and some callbacks that say so are lost.
    ledger.removals_undone = 0;
    Ok(ledger)
}

/// Makes the places of all other unreadable frames due, as they are after an hour at most.
///
/// # Errors
/// When the database cannot be used.
pub async fn look_again(world: &World, known: &Known, tenant: &Tenant) -> anyhow::Result<()> {
    sqlx::query(
        "update unreadable set due_at = clock_timestamp()
         where tenant = $1 and digest <> all($2) and due_at > clock_timestamp() + interval '5 seconds'",
    )
    .bind(tenant.id.as_str())
    .bind(broken_digests(known, tenant))
    .execute(&world.pool)
    .await?;
    Ok(())
}
