//! Asking for a refresh: what operators and sweeps want read, beside what deliveries announce.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    database::{Database, ROWS_CHANGED, in_batches},
    domain::{Kind, TenantId},
};

/// Asks for a refresh of one subject.
///
/// # Errors
/// When the database cannot be used.
pub async fn want(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    key: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into subject (tenant, kind, key, wanted, due_at, waiting_since)
         values ($1, $2, $3, nextval('request_number'), $4, $4)
         on conflict (tenant, kind, key) do update set
           wanted = greatest(subject.wanted, excluded.wanted), due_at = $4,
           waiting_since = coalesce(subject.waiting_since, $4),
           attempts = 0, failing_since = null, dead_at = null",
        tenant.as_str(),
        kind.as_str(),
        key,
        now
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// Asks for a refresh of one subject, unless it waits already or was buried: asking again and again must not keep one
/// from being given up.
///
/// # Errors
/// When the database cannot be used.
pub async fn want_once(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    key: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into subject (tenant, kind, key, wanted, due_at, waiting_since)
         values ($1, $2, $3, nextval('request_number'), $4, $4)
         on conflict (tenant, kind, key) do update set
           wanted = greatest(subject.wanted, excluded.wanted), due_at = $4, waiting_since = $4
           where not subject.waiting and subject.dead_at is null",
        tenant.as_str(),
        kind.as_str(),
        key,
        now
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// Asks for a refresh of those whose read is to be made once more; gives how many.
///
/// # Errors
/// When the database cannot be used.
pub async fn want_again(database: &Database, tenant: &TenantId, kind: Kind, now: DateTime<Utc>) -> sqlx::Result<u64> {
    let again = |rows: i64| async move {
        let raised = sqlx::query!(
            r#"with again as (
                 select key from subject
                 where tenant = $1 and kind = $2 and not waiting and key in (
                   select key from subject
                   where tenant = $1 and kind = $2 and confirm_at <= $3 and not waiting and dead_at is null limit $4)
                 order by key collate "C" for no key update
               )
               update subject s set wanted = nextval('request_number'), due_at = $3, waiting_since = $3
               from again where s.tenant = $1 and s.kind = $2 and s.key = again.key"#,
            tenant.as_str(),
            kind.as_str(),
            now,
            rows
        );
        Ok(raised.execute(database.pool()).await?.rows_affected())
    };
    in_batches(ROWS_CHANGED, again).await
}

/// Puts subjects that wait behind the others that are due.
///
/// # Errors
/// When the database cannot be used.
pub async fn defer(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    now: DateTime<Utc>,
    keys: &[String],
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"with these as (
             select key from subject
             where tenant = $1 and kind = $2 and key = any($4) and waiting and due_at < $3
             order by key collate "C" for no key update
           )
           update subject s set due_at = $3 from these where s.tenant = $1 and s.kind = $2 and s.key = these.key"#,
        tenant.as_str(),
        kind.as_str(),
        now,
        keys
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// When the next read is to be made once more.
///
/// # Errors
/// When the database cannot be read.
pub async fn next_confirm(database: &Database, tenant: &TenantId, kind: Kind) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "select min(confirm_at) from subject
         where tenant = $1 and kind = $2 and confirm_at is not null and not waiting and dead_at is null",
        tenant.as_str(),
        kind.as_str()
    )
    .fetch_one(database.pool())
    .await
}

/// What a full list has not shown, and how much of it is asked for at once.
#[derive(Debug, Clone, Copy)]
pub struct Unseen {
    /// Drawn when the walk began: a subject settled at a higher number was read since.
    pub read: i64,
    /// When the walk began: what was buried since is not asked for again.
    pub began: DateTime<Utc>,
    /// By the clock.
    pub now: DateTime<Utc>,
    /// Subjects in one step.
    pub limit: usize,
}

/// Asks for a refresh of subjects that no read has shown since a full walk began; gives how many. Of vacancies these
/// are the live ones, since the list shows no others. A buried candidate is tried again: a person must not stay in the
/// index because a record cannot be read. What no filter can name is left to [`unlisted`].
pub async fn request_unseen(database: &Database, tenant: &TenantId, kind: Kind, unseen: Unseen) -> sqlx::Result<u64> {
    let raised = sqlx::query!(
        r#"with unseen as (
             select key from subject
             where tenant = $1 and kind = $2 and settled < $3 and not waiting and key in (
               select key from subject
               where tenant = $1 and kind = $2 and (state = 'live' or state = 'hidden' and kind = 'candidate')
                 and settled < $3 and not waiting and (dead_at is null or kind = 'candidate' and dead_at < $6)
                 and key !~ '[,|:]' and listed_at is null
               order by key limit $4)
             order by key collate "C" for no key update
           )
           update subject s set wanted = nextval('request_number'), due_at = $5, waiting_since = $5,
             attempts = 0, failing_since = null, dead_at = null
           from unseen where s.tenant = $1 and s.kind = $2 and s.key = unseen.key"#,
        tenant.as_str(),
        kind.as_str(),
        unseen.read,
        unseen.limit as i64,
        unseen.now,
        unseen.began
    )
    .execute(database.pool())
    .await?;
    Ok(raised.rows_affected())
}

/// Asks for a refresh of documents without a subject, which a restore of only one of the tables leaves: the read
/// decides whether they stay. Gives how many.
pub async fn request_orphans(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    now: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let raised = sqlx::query!(
        r#"insert into subject (tenant, kind, key, wanted, state, due_at, waiting_since)
           select tenant, kind, key, nextval('request_number'), case when searchable then 'live' else 'hidden' end, $3, $3
           from document d
           where tenant = $1 and kind = $2
             and not exists (select from subject s where s.tenant = d.tenant and s.kind = d.kind and s.key = d.key)
           order by key collate "C"
           on conflict do nothing"#,
        tenant.as_str(),
        kind.as_str(),
        now
    );
    Ok(raised.execute(database.pool()).await?.rows_affected())
}

/// Searchable subjects whose key no filter can name, and that no read has shown since this one; of candidates the
/// hidden ones too. One that waits may have been shown unreadable.
pub async fn unlisted(tx: &mut PgConnection, tenant: &TenantId, kind: Kind, read: i64) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        "select key from subject
         where tenant = $1 and kind = $2 and (state = 'live' or state = 'hidden' and kind = 'candidate')
           and settled < $3 and not waiting and (key ~ '[,|:]' or listed_at is not null)
         order by key",
        tenant.as_str(),
        kind.as_str(),
        read
    )
    .fetch_all(tx)
    .await
}

/// Removed subjects that an earlier list showed and this walk did not: one list that was out of date must not count
/// together with another one, much later.
pub async fn forget_listed(tx: &mut PgConnection, tenant: &TenantId, kind: Kind, read: i64) -> sqlx::Result<()> {
    sqlx::query!(
        r#"with unshown as (
             select key from subject
             where tenant = $1 and kind = $2 and state = 'removed' and listed_at is not null
               and settled < $3 and not waiting
             order by key collate "C" for no key update
           )
           update subject s set listed_at = null
           from unshown where s.tenant = $1 and s.kind = $2 and s.key = unshown.key"#,
        tenant.as_str(),
        kind.as_str(),
        read
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Which subjects of a round are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Next<'a> {
    /// Those behind this key, in key order.
    pub after: &'a str,
    /// So many.
    pub most: usize,
    /// What was removed by absence less than so long ago is asked for too: the absence may be an error.
    pub returning: Duration,
}

/// What a step of a round has asked for.
#[derive(Debug, Clone)]
pub struct Step {
    /// The last key, from which the next step goes on; none when nothing is left of the round.
    pub last: Option<String>,
    /// Subjects that did not wait already.
    pub raised: i64,
}

/// Asks for a refresh of the next subjects of a round: those that no list shows. They are the hidden vacancies whose
/// key a filter can name, the buried ones that are live here, and what was removed by absence lately. Buried ones are
/// tried again.
///
/// # Errors
/// When the database cannot be used.
pub async fn want_next(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    now: DateTime<Utc>,
    next: Next<'_>,
) -> sqlx::Result<Step> {
    let row = sqlx::query!(
        r#"with next as (
             select key from subject
             where tenant = $1 and kind = $2 and key > $3
               and (state = 'hidden' or state = 'live' and dead_at is not null or (removed_cause = 'absence' and removed_at > $6)) and key !~ '[,|:]'
               and (listed_at is null or state = 'removed')
             order by key limit $4
           ), locked as (
             select key, waiting from subject where tenant = $1 and kind = $2 and key in (select key from next)
             order by key collate "C" for no key update
           ), raised as (
             update subject s set wanted = nextval('request_number'), due_at = $5, waiting_since = $5,
               attempts = 0, failing_since = null, dead_at = null
             from locked where s.tenant = $1 and s.kind = $2 and s.key = locked.key and not locked.waiting
             returning s.key
           )
           select (select max(key) from next having count(*) = $4) as last, (select count(*) from raised) as "raised!""#,
        tenant.as_str(),
        kind.as_str(),
        next.after,
        next.most as i64,
        now,
        now - next.returning
    )
    .fetch_one(database.pool())
    .await?;
    Ok(Step { last: row.last, raised: row.raised })
}

/// About how many subjects a full list of a kind shows.
pub async fn count_listed(database: &Database, tenant: &TenantId, kind: Kind) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from subject
           where tenant = $1 and kind = $2 and (state = 'live' or state = 'hidden' and kind = 'candidate')"#,
        tenant.as_str(),
        kind.as_str()
    )
    .fetch_one(database.pool())
    .await
}

/// About how many subjects a round asks for.
///
/// # Errors
/// When the database cannot be read.
pub async fn in_round(database: &Database, tenant: &TenantId, kind: Kind) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from subject
           where tenant = $1 and kind = $2 and (state = 'hidden' or state = 'live' and dead_at is not null)"#,
        tenant.as_str(),
        kind.as_str()
    )
    .fetch_one(database.pool())
    .await
}
