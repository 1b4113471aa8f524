//! Table `erasure`: an operator's removal, which holds until it is lifted.
//!
//! Wanted: once an erasure has answered, nothing of the subject is in the index, nothing that was under way brings it
//! back, no later callback or sweep does, and its key stands nowhere but as a salted hash.
//!
//! The erasing transaction locks the tenant's lease as a take-over does: it waits for a settling transaction and none
//! begins before it is committed. Every settling transaction asks which of its keys are erased ([`erased`]), so a read
//! that was under way writes nothing about them. A callback that comes later is stored, answered and raises a subject
//! like any other; the worker takes its key away before it asks Cegid for anything ([`scrub`]).

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgExecutor, Postgres, Transaction};

use crate::{
    database::Database,
    domain::{Kind, Subject, TenantId},
    kill,
};

/// A delivery may have been received so long before the one that raised its subject: each replica commits its own.
const BESIDE: TimeDelta = TimeDelta::minutes(10);

/// What an erasure took away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// What stands in the place of the key.
    pub hash: String,
    /// Documents deleted: one, or none.
    pub documents: u64,
    /// Kept files deleted.
    pub attachments: u64,
    /// Noted outcomes deleted.
    pub reports: u64,
    /// Deliveries whose key and body were taken away.
    pub deliveries: u64,
}

/// Erases a subject, now and until it is lifted.
///
/// # Errors
/// When the database cannot be used. The same call again does what is left, and nothing twice.
pub async fn erase(
    database: &Database,
    tenant: &TenantId,
    subject: &Subject,
    reason: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<Receipt> {
    let mut tx = database.begin().await?;
    let (kind, key) = (subject.kind().as_str(), subject.key());
    // A tenant that was never worked has no lease to lock yet.
    sqlx::query!(
        "insert into tenant_lease (tenant, holder, token, held_until)
         values ($1, gen_random_uuid(), nextval('request_number'), '-infinity') on conflict do nothing",
        tenant.as_str()
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("select tenant from tenant_lease where tenant = $1 for update", tenant.as_str())
        .fetch_optional(&mut *tx)
        .await?;
    let hash = sqlx::query_scalar!(
        r#"insert into erasure (tenant, kind, hash, erased_at, reason) values ($1, $2, key_hash($1, $2, $3), $4, $5)
           on conflict (tenant, kind, hash) do update
             set erased_at = excluded.erased_at, reason = excluded.reason, lifted_at = null
           returning hash"#,
        tenant.as_str(),
        kind,
        key,
        now,
        reason
    )
    .fetch_one(&mut *tx)
    .await?;
    let documents =
        sqlx::query!("delete from document where tenant = $1 and kind = $2 and key = $3", tenant.as_str(), kind, key)
            .execute(&mut *tx)
            .await?
            .rows_affected();
    let attachments = match subject.kind() {
        Kind::Candidate => sqlx::query!("delete from attachment where tenant = $1 and key = $2", tenant.as_str(), key)
            .execute(&mut *tx)
            .await?
            .rows_affected(),
        Kind::Vacancy => 0,
    };
    let reports = sqlx::query!(
        "delete from report_item where tenant = $1 and kind = $2 and key = $3",
        tenant.as_str(),
        kind,
        key
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    bury(&mut tx, tenant, subject, &hash, now).await?;
    tx.commit().await?;
    kill::point("erased");
    // What was received is long, and has no index by key: read through once the lease is free again.
    let mut tx = database.begin().await?;
    sqlx::query!("set local statement_timeout = 0").execute(&mut *tx).await?;
    let deliveries = take_key(&mut tx, tenant, subject, &hash, DateTime::UNIX_EPOCH).await?;
    tx.commit().await?;
    Ok(Receipt { hash, documents, attachments, reports, deliveries })
}

/// Puts the tombstone under its hash in the place of the subject's row. Gives since when the row had waited.
async fn bury(
    tx: &mut Transaction<'static, Postgres>,
    tenant: &TenantId,
    subject: &Subject,
    hash: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    let kind = subject.kind().as_str();
    let waited = sqlx::query_scalar!(
        "delete from subject where tenant = $1 and kind = $2 and key = $3 returning waiting_since",
        tenant.as_str(),
        kind,
        subject.key()
    )
    .fetch_optional(&mut **tx)
    .await?;
    // A round of reads that has come as far as this key begins anew.
    sqlx::query!(
        "update sweep set next_key = '' where tenant = $1 and kind = $2 and next_key = $3",
        tenant.as_str(),
        kind,
        subject.key()
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "insert into subject as held (tenant, kind, key, wanted, settled, state, due_at, removed_at, removed_cause)
         select $1, $2, $3, n, n, 'removed', $4, $4, 'erased' from nextval('request_number') as n
         on conflict (tenant, kind, key) do update set wanted = excluded.wanted, settled = excluded.settled",
        tenant.as_str(),
        kind,
        hash,
        now
    )
    .execute(&mut **tx)
    .await?;
    Ok(waited.flatten())
}

/// Puts the hash in the place of the key in what was received since, and takes the bodies away. Gives how many.
async fn take_key(
    tx: &mut Transaction<'static, Postgres>,
    tenant: &TenantId,
    subject: &Subject,
    hash: &str,
    since: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let taken = sqlx::query!(
        "update delivery set key = $4, body = ''::bytea
         where tenant = $1 and kind = $2 and key = $3 and received_at >= $5",
        tenant.as_str(),
        subject.kind().as_str(),
        subject.key(),
        hash,
        since
    )
    .execute(&mut **tx)
    .await?;
    Ok(taken.rows_affected())
}

/// Lifts an erasure: the subject may be read again. False when none holds.
///
/// # Errors
/// When the database cannot be used.
pub async fn lift(database: &Database, tenant: &TenantId, subject: &Subject, now: DateTime<Utc>) -> sqlx::Result<bool> {
    let lifted = sqlx::query!(
        "update erasure set lifted_at = $4
         where tenant = $1 and kind = $2 and hash = key_hash($1, $2, $3) and lifted_at is null",
        tenant.as_str(),
        subject.kind().as_str(),
        subject.key(),
        now
    )
    .execute(database.pool())
    .await?;
    Ok(lifted.rows_affected() > 0)
}

/// Which of these keys are erased.
///
/// # Errors
/// When the database cannot be read.
pub async fn erased(
    connection: impl PgExecutor<'_>,
    tenant: &TenantId,
    kind: Kind,
    keys: &[&str],
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"select u.key as "key!" from unnest($3::text[]) as u (key)
           where exists (select from erasure where tenant = $1 and kind = $2 and lifted_at is null)
             and exists (select from erasure e
                         where e.tenant = $1 and e.kind = $2 and e.hash = key_hash($1, $2, u.key) and e.lifted_at is null)"#,
        tenant.as_str(),
        kind.as_str(),
        keys as _
    )
    .fetch_all(connection)
    .await
}

/// Takes the keys of erased subjects away that a callback or a sweep has raised again.
///
/// # Errors
/// When the database cannot be used; they are then found again.
pub async fn scrub(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    keys: &[String],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    for key in keys {
        let subject = Subject::new(kind, key.clone());
        let mut tx = database.begin().await?;
        let hash = sqlx::query_scalar!(
            r#"select key_hash($1, $2, $3) as "hash!""#,
            tenant.as_str(),
            kind.as_str(),
            subject.key()
        )
        .fetch_one(&mut *tx)
        .await?;
        let waited = bury(&mut tx, tenant, &subject, &hash, now).await?;
        if let Some(since) = waited {
            take_key(&mut tx, tenant, &subject, &hash, since - BESIDE).await?;
        }
        tx.commit().await?;
    }
    Ok(())
}
