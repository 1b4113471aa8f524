//! Table `report_item`: what is to be told to Cegid about each subject.
//!
//! Wanted: the last report that Cegid holds about a subject is its latest outcome; none is forgotten; an older one is
//! never sent after a newer one. There is one row per subject: a newer outcome overwrites an unsent one, and one loop
//! per tenant and kind sends them. What decides whether an outcome is noted is the outcome noted last, not the content:
//! a record that failed and is shown again as it was has another outcome.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    database::Database,
    domain::{Kind, TenantId},
};

/// An outcome to be reported.
#[derive(Clone)]
pub struct Noted {
    /// Vacancy reference or candidate id.
    pub key: String,
    /// The id that the report carries.
    pub report_id: String,
    /// What is wrong; nothing when it was indexed. No personal data.
    pub error: Option<String>,
    /// Creation date of the record, as Cegid wrote it, or now.
    pub date: String,
    /// Last update of the record, as Cegid wrote it, or now.
    pub last_update: String,
}

/// An item that is to be sent.
pub struct Item {
    /// Vacancy reference or candidate id.
    pub key: String,
    /// The id that the report carries.
    pub report_id: String,
    /// `success` or `error`.
    pub outcome: String,
    /// Only with `error`.
    pub messages: Vec<String>,
    /// Creation date of the record.
    pub item_date: String,
    /// Last update of the record.
    pub item_update: String,
    /// The number that is reported once Cegid took it.
    pub noted: i64,
    /// Refusals in a row, each followed by an acceptance of another item.
    pub attempts: i32,
    /// Whether it was not taken when it was sent alone.
    pub suspected: bool,
}

/// Which outcomes are noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noting {
    /// All of them.
    Always,
    /// Those that differ from the outcome noted last. The caller holds the locks of their subjects, so that no other
    /// outcome is noted meanwhile. Where nothing differs, no row is written or locked.
    IfChanged,
}

/// Notes outcomes under the number of the read that showed them, in the transaction that settles or postpones their
/// subjects; gives how many were noted.
///
/// A read can settle a subject after a newer one has failed: its outcome is then the newer one, and its number is
/// raised above the one noted before.
///
/// # Errors
/// When the database cannot take them.
pub async fn note(
    tx: &mut PgConnection,
    tenant: &TenantId,
    kind: Kind,
    read: i64,
    now: DateTime<Utc>,
    (noting, items): (Noting, &[Noted]),
) -> sqlx::Result<usize> {
    if items.is_empty() {
        return Ok(0);
    }
    let column = |of: fn(&Noted) -> String| items.iter().map(|item| of(item).replace('\0', "")).collect::<Vec<_>>();
    let keys: Vec<&str> = items.iter().map(|item| item.key.as_str()).collect();
    let ids = column(|item| item.report_id.clone());
    let errors: Vec<Option<String>> = items.iter().map(|item| item.error.clone()).collect();
    let dates = column(|item| item.date.clone());
    let updates = column(|item| item.last_update.clone());
    let noted = sqlx::query!(
        r#"insert into report_item as held (tenant, kind, key, report_id, outcome, messages, item_date, item_update,
                                            noted, due_at)
           select $1, $2, u.key, u.report_id, u.outcome, u.messages, u.item_date, u.item_update, $3, $4
           from (select key, report_id, item_date, item_update,
                        case when error is null then 'success' else 'error' end as outcome,
                        case when error is null then '{}'::text[] else array[error] end as messages
                 from unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
                      as of (key, report_id, error, item_date, item_update)) u
           left join report_item last on last.tenant = $1 and last.kind = $2 and last.key = u.key
           where $10 or last.key is null or last.outcome <> u.outcome or last.messages <> u.messages
           order by u.key collate "C"
           on conflict (tenant, kind, key) do update set
             -- A failure knows no record: it goes to the id under which the subject was reported before.
             report_id = case when excluded.outcome = 'error' then held.report_id else excluded.report_id end,
             item_date = case when excluded.outcome = 'error' then held.item_date else excluded.item_date end,
             outcome = excluded.outcome, messages = excluded.messages, item_update = excluded.item_update,
             noted = greatest(excluded.noted, held.noted + 1),
             due_at = excluded.due_at, attempts = 0, last_error = null, dead_at = null"#,
        tenant.as_str(),
        kind.as_str(),
        read,
        now,
        &keys as _,
        &ids,
        &errors as _,
        &dates,
        &updates,
        noting == Noting::Always,
    )
    .execute(tx)
    .await?;
    Ok(noted.rows_affected() as usize)
}

/// Forgets what was noted about removed subjects: a removal is not reported, and its row names a person.
///
/// # Errors
/// When the database cannot be used.
pub async fn forget(tx: &mut PgConnection, tenant: &TenantId, kind: Kind, keys: &[&str]) -> sqlx::Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "delete from report_item where tenant = $1 and kind = $2 and key = any($3)",
        tenant.as_str(),
        kind.as_str(),
        keys as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What is to be sent now, longest waiting first.
///
/// # Errors
/// When the database cannot be read.
pub async fn due(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    now: DateTime<Utc>,
    most: usize,
) -> sqlx::Result<Vec<Item>> {
    sqlx::query_as!(
        Item,
        r#"select key, report_id, outcome, messages, item_date, item_update, noted, attempts,
             last_error is not null as "suspected!"
           from report_item
           where tenant = $1 and kind = $2 and noted > reported and dead_at is null and due_at <= $3
           order by due_at
           limit $4"#,
        tenant.as_str(),
        kind.as_str(),
        now,
        most as i64
    )
    .fetch_all(database.pool())
    .await
}

/// An item beside these that Cegid has taken before, if there is one as it took it last.
///
/// # Errors
/// When the database cannot be read.
pub async fn last_reported(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    other_than: &[&Item],
) -> sqlx::Result<Option<Item>> {
    let others: Vec<&str> = other_than.iter().map(|item| item.key.as_str()).collect();
    sqlx::query_as!(
        Item,
        r#"select key, report_id, outcome, messages, item_date, item_update, noted, attempts,
             last_error is not null as "suspected!"
           from report_item
           where tenant = $1 and kind = $2 and reported_at is not null and dead_at is null and last_error is null
             and key <> all($3)
           order by noted = reported desc, reported_at desc
           limit 1"#,
        tenant.as_str(),
        kind.as_str(),
        &others as _
    )
    .fetch_optional(database.pool())
    .await
}

/// When the next item is due.
///
/// # Errors
/// When the database cannot be read.
pub async fn next_due(database: &Database, tenant: &TenantId, kind: Kind) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "select min(due_at) from report_item
         where tenant = $1 and kind = $2 and noted > reported and dead_at is null",
        tenant.as_str(),
        kind.as_str()
    )
    .fetch_one(database.pool())
    .await
}

/// Cegid took these: the numbers that were sent are reported. An outcome noted since stays to be sent.
///
/// # Errors
/// When the database cannot take it; the items are then sent again.
pub async fn reported(
    tx: &mut PgConnection,
    tenant: &TenantId,
    kind: Kind,
    now: DateTime<Utc>,
    items: &[&Item],
) -> sqlx::Result<()> {
    let keys: Vec<&str> = items.iter().map(|item| item.key.as_str()).collect();
    let numbers: Vec<i64> = items.iter().map(|item| item.noted).collect();
    sqlx::query!(
        r#"with sent as (
             select r.key, sent.noted
             from report_item r join unnest($4::text[], $5::bigint[]) as sent (key, noted) using (key)
             where r.tenant = $1 and r.kind = $2 and r.reported < sent.noted
             order by r.key collate "C" for no key update of r
           )
           update report_item r set reported = sent.noted, reported_at = $3, attempts = 0, last_error = null
           from sent where r.tenant = $1 and r.kind = $2 and r.key = sent.key"#,
        tenant.as_str(),
        kind.as_str(),
        now,
        &keys as _,
        &numbers
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Puts items behind the others that are due.
///
/// # Errors
/// When the database cannot take it; the items are then sent as early as before.
pub async fn defer(
    tx: &mut PgConnection,
    tenant: &TenantId,
    kind: Kind,
    now: DateTime<Utc>,
    items: &[&Item],
) -> sqlx::Result<()> {
    let keys: Vec<&str> = items.iter().map(|item| item.key.as_str()).collect();
    sqlx::query!(
        r#"with these as (
             select key from report_item where tenant = $1 and kind = $2 and key = any($4) and due_at < $3
             order by key collate "C" for no key update
           )
           update report_item r set due_at = $3 from these where r.tenant = $1 and r.kind = $2 and r.key = these.key"#,
        tenant.as_str(),
        kind.as_str(),
        now,
        &keys as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// That Cegid did not take an item which was sent alone.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// What it said.
    pub says: &'a str,
    /// Refusals in a row, this one included if another item was accepted since.
    pub attempts: i32,
    /// When it is to be sent again; dead when never.
    pub again: Option<DateTime<Utc>>,
}

/// Cegid did not take this item alone. A newer outcome that was noted meanwhile is not touched.
///
/// # Errors
/// When the database cannot take it; the item is then sent again.
pub async fn refused(
    tx: &mut PgConnection,
    tenant: &TenantId,
    kind: Kind,
    now: DateTime<Utc>,
    item: &Item,
    refusal: Refusal<'_>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update report_item set last_error = $5, attempts = $8, due_at = coalesce($7, due_at),
           dead_at = case when $7::timestamptz is null then $4::timestamptz end
         where tenant = $1 and kind = $2 and key = $3 and noted = $6",
        tenant.as_str(),
        kind.as_str(),
        item.key,
        now,
        refusal.says,
        item.noted,
        refusal.again,
        refusal.attempts
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Items not yet sent by tenant and kind, for the operators.
///
/// # Errors
/// When the database cannot be read.
pub async fn depths(database: &Database) -> sqlx::Result<Vec<(String, String, i64)>> {
    sqlx::query!(
        r#"select tenant, kind, count(*) as "count!" from report_item
           where noted > reported and dead_at is null group by tenant, kind"#
    )
    .map(|row| (row.tenant, row.kind, row.count))
    .fetch_all(database.pool())
    .await
}
