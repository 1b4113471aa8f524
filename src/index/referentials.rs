//! Tables `referential` and `referential_category`: the lists behind coded values.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::{cegid::ReferentialItem, database::Database, domain::TenantId};

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
    let mut tx = database.begin().await?;
    sqlx::query!("delete from referential where tenant = $1 and category = $2", tenant.as_str(), category)
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "insert into referential (tenant, category, id, label, labels, raw, read_at)
         select $1, $2, u.id, u.label, u.labels, u.raw, $3
         from unnest($4::text[], $5::text[], $6::text[], $7::text[]) as u (id, label, labels, raw)
         on conflict do nothing",
        tenant.as_str(),
        category,
        now,
        &ids,
        &own as _,
        &labels,
        &raws
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
