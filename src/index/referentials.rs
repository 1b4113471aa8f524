//! Tables `referential` and `referential_category`: the lists behind coded values.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::terms::Term;
use crate::{
    cegid::ReferentialItem,
    database::Database,
    domain::{TenantId, fold::fold},
};

/// Codes that one term of a search is widened by, at most: a word that so many labels hold tells nothing apart.
const CODES: i64 = 200;
/// Between two labels, so that no phrase goes from one into the other: a number that folded text cannot hold.
const BREAK: &str = " 0.0 ";

/// Replaces a list by what was read of it.
///
/// # Errors
/// When the database cannot take it.
pub async fn replace(
    database: &Database,
    tenant: &TenantId,
    category: &str,
    items: &[ReferentialItem],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let storable = |text: &str| text.replace('\0', "");
    let ids: Vec<String> = items.iter().map(|item| storable(&item.id)).collect();
    let own: Vec<Option<String>> = items.iter().map(|item| item.label.as_deref().map(storable)).collect();
    let labels: Vec<String> =
        items.iter().map(|item| serde_json::to_string(&item.labels).unwrap_or_else(|_| "{}".into())).collect();
    let raws: Vec<String> = items.iter().map(|item| storable(&item.raw)).collect();
    let words: Vec<String> = items.iter().map(words).collect();
    let mut tx = database.begin().await?;
    sqlx::query!("delete from referential where tenant = $1 and category = $2", tenant.as_str(), category)
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "insert into referential (tenant, category, id, label, labels, raw, read_at, words)
         select $1, $2, u.id, u.label, u.labels, u.raw, $3,
                folded_words('french', u.words) || folded_words('english', u.words) || folded_words('simple', u.words)
         from unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[]) as u (id, label, labels, raw, words)
         on conflict do nothing",
        tenant.as_str(),
        category,
        now,
        &ids,
        &own as _,
        &labels,
        &raws,
        &words
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "insert into referential_category (tenant, category, read_at, items) values ($1, $2, $3, $4)
         on conflict (tenant, category) do update
           set read_at = excluded.read_at, items = excluded.items, refused = null",
        tenant.as_str(),
        category,
        now,
        i32::try_from(items.len()).unwrap_or(i32::MAX)
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Its labels in every language, folded as searches are.
fn words(item: &ReferentialItem) -> String {
    let labels: BTreeSet<&String> = item.label.iter().chain(item.labels.values()).collect();
    labels.into_iter().map(|label| fold(label)).collect::<Vec<String>>().join(BREAK)
}

/// Forgets the lists that are not among these, which the settings name.
///
/// # Errors
/// When the database cannot take it.
pub async fn forget_others(database: &Database, tenant: &TenantId, named: &[String]) -> sqlx::Result<u64> {
    let mut tx = database.begin().await?;
    sqlx::query!("delete from referential where tenant = $1 and not category = any($2)", tenant.as_str(), named)
        .execute(&mut *tx)
        .await?;
    let forgotten = sqlx::query!(
        "delete from referential_category where tenant = $1 and not category = any($2)",
        tenant.as_str(),
        named
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(forgotten.rows_affected())
}

/// The terms of a search, in their order, as PostgreSQL reads them, and the codes whose labels hold each.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn terms(tx: &mut PgConnection, tenant: &TenantId, terms: &[String]) -> sqlx::Result<Vec<Term>> {
    let rows = sqlx::query!(
        r#"select q.french::text as "french!", q.english::text as "english!", q.simple::text as "simple!",
                  coalesce(codes_wanted(array(
                    select r.id from referential r
                    where r.tenant = $1 and r.words @@ (q.french || q.english || q.simple)
                      and not exists (select from referential other
                                      where other.tenant = $1 and other.id = r.id and other.category <> r.category
                                        and other.label is distinct from r.label)
                    order by r.id limit $3))::text, '') as "codes!"
           from unnest($2::text[]) with ordinality as t (term, place),
             lateral (select websearch_to_tsquery('french', t.term) as french,
                             websearch_to_tsquery('english', t.term) as english,
                             websearch_to_tsquery('simple', t.term) as simple) q
           order by t.place"#,
        tenant.as_str(),
        terms,
        CODES
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| Term { stemmed: [row.french, row.english, row.simple], codes: row.codes }).collect())
}

/// How a list of a tenant is.
#[derive(Debug, Clone)]
pub struct State {
    /// Name of the list, as in its path.
    pub category: String,
    /// When it was last read to its end, or refused.
    pub read_at: DateTime<Utc>,
    /// How many items are held of it.
    pub items: i32,
    /// Why it could not be read the last time; none when it was.
    pub refused: Option<String>,
}

/// Every list of a tenant that was read or refused, by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn states(database: &Database, tenant: &TenantId) -> sqlx::Result<Vec<State>> {
    sqlx::query_as!(
        State,
        "select category, read_at, items, refused from referential_category where tenant = $1 order by category",
        tenant.as_str()
    )
    .fetch_all(database.pool())
    .await
}

/// Notes that a list could not be read; what was read of it before stays.
///
/// # Errors
/// When the database cannot take it.
pub async fn refused(
    database: &Database,
    tenant: &TenantId,
    category: &str,
    says: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into referential_category (tenant, category, read_at, items, refused) values ($1, $2, $3, 0, $4)
         on conflict (tenant, category) do update set read_at = excluded.read_at, refused = excluded.refused",
        tenant.as_str(),
        category,
        now,
        says
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// When each list of a tenant was last read or refused.
///
/// # Errors
/// When the database cannot be read.
pub async fn read_at(database: &Database, tenant: &TenantId) -> sqlx::Result<HashMap<String, DateTime<Utc>>> {
    Ok(sqlx::query!("select category, read_at from referential_category where tenant = $1", tenant.as_str())
        .map(|row| (row.category, row.read_at))
        .fetch_all(database.pool())
        .await?
        .into_iter()
        .collect())
}
