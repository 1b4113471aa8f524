//! Searching table `document`, with the labels that table `referential` has for its coded values.
//!
//! A document is stemmed in its own language and asked for in French, in English and as it is written, so that words of
//! one language are found in records of the other; a word of a label, in whichever language it was read, finds the
//! documents that hold its code (`terms.rs`). Ranks count a word in the title most, then skills and labels, then
//! descriptions, then codes.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::{Postgres, Transaction};

use super::{Words, terms::Query};
use crate::{
    database::Database,
    domain::{Kind, TenantId},
};

/// A search that takes longer is given up: operators must not keep the worker from its database.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Search {
    /// `None` for everything, newest first.
    pub words: Option<Words>,
    /// Windows LCID that documents must have.
    pub language: Option<i32>,
    /// Whether documents that are not searchable are shown too.
    pub hidden: bool,
    /// Documents passed over.
    pub offset: i64,
    /// Documents answered at most.
    pub limit: i64,
}

/// One page of what was found.
#[derive(Debug)]
pub struct Page {
    /// Documents found, on all pages.
    pub total: i64,
    /// Those on this page, the best first.
    pub found: Vec<Found>,
}

/// One document, without its content.
#[derive(Debug)]
#[allow(missing_docs, reason = "the columns of table document, which migrations/0004_index.sql describes")]
pub struct Found {
    pub key: String,
    pub searchable: bool,
    pub title: String,
    pub language: Option<i32>,
    pub status: Option<String>,
    pub created: Option<String>,
    pub modified: Option<String>,
    pub coded: String,
    pub indexed_at: DateTime<Utc>,
    /// How well it fits; higher is better. 0 when no words were wanted.
    pub rank: f32,
}

/// What a referential says about an id.
#[derive(Debug, Clone)]
pub struct Label {
    /// The item's own label.
    pub label: Option<String>,
    /// JSON: label by LCID.
    pub labels: String,
}

/// A transaction whose statements may take [`PATIENCE`], planned for the words at hand: a plan for any words would read
/// them again for every document.
async fn begin(database: &Database) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut tx = database.begin().await?;
    sqlx::query!(
        "select set_config('statement_timeout', $1, true) as patience,
                set_config('transaction_read_only', 'on', true) as read_only,
                set_config('plan_cache_mode', 'force_custom_plan', true) as plan",
        PATIENCE.as_millis().to_string()
    )
    .fetch_one(&mut *tx)
    .await?;
    Ok(tx)
}

/// Whether the search was given up after [`PATIENCE`].
pub fn took_too_long(error: &sqlx::Error) -> bool {
    const QUERY_CANCELED: &str = "57014";
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some(QUERY_CANCELED)
}

/// One page of the documents that fit: by rank, then the newest.
///
/// # Errors
/// When the database cannot be read, or not within [`PATIENCE`].
pub async fn find(database: &Database, tenant: &TenantId, kind: Kind, search: &Search) -> sqlx::Result<Page> {
    let mut tx = begin(database).await?;
    let query = match &search.words {
        Some(words) => Query::of(&mut tx, tenant, words).await?,
        None => Query { wanted: String::new(), unwanted: String::new() },
    };
    let page = match &search.words {
        Some(words) if !words.wanted().is_empty() => ranked(&mut tx, tenant, kind, search, &query).await?,
        _ => newest(&mut tx, tenant, kind, search, &query.unwanted).await?,
    };
    tx.commit().await?;
    Ok(page)
}

/// A row of a page; the first carries the total, and is all there is when the page is empty.
struct Row {
    total: i64,
    found: Option<Found>,
}

impl Page {
    fn new(rows: Vec<Row>) -> Page {
        let total = rows.first().map_or(0, |row| row.total);
        Page { total, found: rows.into_iter().filter_map(|row| row.found).collect() }
    }
}

/// A row out of the columns that both statements below answer.
macro_rules! row {
    () => {
        |row| Row {
            total: row.total,
            found: row.key.zip(row.indexed_at).map(|(key, indexed_at)| Found {
                key,
                searchable: row.searchable.unwrap_or_default(),
                title: row.title.unwrap_or_default(),
                language: row.language,
                status: row.status,
                created: row.created,
                modified: row.modified,
                coded: row.coded.unwrap_or_default(),
                indexed_at,
                rank: row.rank.unwrap_or_default(),
            }),
        }
    };
}

async fn ranked(
    tx: &mut Transaction<'static, Postgres>,
    tenant: &TenantId,
    kind: Kind,
    search: &Search,
    query: &Query,
) -> sqlx::Result<Page> {
    // The dates are of one form within a tenant and kind, so their text sorts as they do.
    let rows = sqlx::query!(
        r#"with fitting as materialized (
             select d.key, coalesce(d.modified, d.created) as dated, d.indexed_at,
                    ts_rank(d.search, q.wanted) as rank
             from document d,
                  (select $3::text::tsquery as wanted, $4::text::tsquery as unwanted) q
             where d.tenant = $1 and d.kind = $2 and d.search @@ q.wanted
               and ($4 = '' or not d.search @@ q.unwanted)
               and (d.searchable or $5) and ($6::integer is null or d.language = $6)
           ), page as (
             select * from fitting order by rank desc, dated desc nulls last, indexed_at desc, key
             offset $7 limit $8
           )
           select (select count(*) from fitting) as "total!", p.rank as "rank?", d.key as "key?",
                  d.searchable as "searchable?", d.title as "title?", d.language as "language?", d.status as "status?",
                  d.created as "created?", d.modified as "modified?", d.coded as "coded?",
                  d.indexed_at as "indexed_at?"
           from (select 1) one
           left join (page p join document d on d.tenant = $1 and d.kind = $2 and d.key = p.key) on true
           order by p.rank desc, p.dated desc nulls last, p.indexed_at desc, p.key"#,
        tenant.as_str(),
        kind.as_str(),
        query.wanted,
        query.unwanted,
        search.hidden,
        search.language,
        search.offset,
        search.limit
    )
    .map(row!())
    .fetch_all(&mut **tx)
    .await?;
    Ok(Page::new(rows))
}

async fn newest(
    tx: &mut Transaction<'static, Postgres>,
    tenant: &TenantId,
    kind: Kind,
    search: &Search,
    unwanted: &str,
) -> sqlx::Result<Page> {
    let rows = sqlx::query!(
        r#"with fitting as materialized (
             select d.key, coalesce(d.modified, d.created) as dated, d.indexed_at
             from document d
             where d.tenant = $1 and d.kind = $2
               and ($3 = '' or not d.search @@ $3::text::tsquery)
               and (d.searchable or $4) and ($5::integer is null or d.language = $5)
           ), page as (
             select * from fitting order by dated desc nulls last, indexed_at desc, key offset $6 limit $7
           )
           select (select count(*) from fitting) as "total!", null::real as rank, d.key as "key?",
                  d.searchable as "searchable?", d.title as "title?", d.language as "language?", d.status as "status?",
                  d.created as "created?", d.modified as "modified?", d.coded as "coded?",
                  d.indexed_at as "indexed_at?"
           from (select 1) one
           left join (page p join document d on d.tenant = $1 and d.kind = $2 and d.key = p.key) on true
           order by p.dated desc nulls last, p.indexed_at desc, p.key"#,
        tenant.as_str(),
        kind.as_str(),
        unwanted,
        search.hidden,
        search.language,
        search.offset,
        search.limit
    )
    .map(row!())
    .fetch_all(&mut **tx)
    .await?;
    Ok(Page::new(rows))
}

/// One document. A vacancy is shown searchable or not, with its detail object as received. A candidate who is hidden is
/// not shown, and the detail object is personal data and is not read.
///
/// # Errors
/// When the database cannot be read.
pub async fn one(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    key: &str,
) -> sqlx::Result<Option<(Found, Option<String>)>> {
    // PostgreSQL has no such text, so no key is it.
    if key.contains('\0') {
        return Ok(None);
    }
    let mut tx = begin(database).await?;
    let found = sqlx::query!(
        r#"select key, searchable, title, language, status, created, modified, coded, indexed_at,
                  case kind when 'vacancy' then raw end as raw
           from document where tenant = $1 and kind = $2 and key = $3 and (searchable or kind = 'vacancy')"#,
        tenant.as_str(),
        kind.as_str(),
        key
    )
    .map(|row| {
        let found = Found {
            key: row.key,
            searchable: row.searchable,
            title: row.title,
            language: row.language,
            status: row.status,
            created: row.created,
            modified: row.modified,
            coded: row.coded,
            indexed_at: row.indexed_at,
            rank: 0.0,
        };
        (found, row.raw)
    })
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(found)
}

/// What the referentials that were read say about these ids; several lists may hold the same id.
///
/// # Errors
/// When the database cannot be read.
pub async fn labels(
    database: &Database,
    tenant: &TenantId,
    ids: &[String],
) -> sqlx::Result<HashMap<String, Vec<Label>>> {
    let mut labels: HashMap<String, Vec<Label>> = HashMap::new();
    if ids.is_empty() {
        return Ok(labels);
    }
    let mut tx = begin(database).await?;
    let rows = sqlx::query!(
        "select id, label, labels from referential where tenant = $1 and id = any($2) order by id, category",
        tenant.as_str(),
        ids
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    for row in rows {
        labels.entry(row.id).or_default().push(Label { label: row.label, labels: row.labels });
    }
    Ok(labels)
}
