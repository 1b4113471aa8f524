//! Table `attachment`: the resumes of candidates, written and deleted with their owner's document.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    database::Database,
    domain::{Document, Kind, TenantId},
};

/// Bytes of content in one statement, as long as one file does not hold more: a page can hold many times as much, and
/// statement and server each have a copy.
const TOGETHER: usize = 8 * 1024 * 1024;
/// Rows that one statement purges.
const PURGED: i64 = 500;

/// Replaces what is kept of these candidates by what one read showed. A candidate whom a newer read has settled is left
/// alone, and so is one whose files were not asked for.
///
/// A file that is kept already is not written again: most reads of a candidate show the resume that the last one did.
///
/// # Errors
/// When the database cannot take them.
pub async fn write(
    tx: &mut PgConnection,
    tenant: &TenantId,
    read: i64,
    now: DateTime<Utc>,
    documents: &[&Document],
) -> sqlx::Result<()> {
    let asked = documents.iter().filter_map(|document| Some((document.key(), document.attachments.as_deref()?)));
    let (mut owners, mut files) = (Vec::new(), Vec::new());
    for (key, attachments) in asked {
        owners.push(key);
        files.extend(attachments.iter().map(|attachment| (key, attachment)));
    }
    if owners.is_empty() {
        return Ok(());
    }
    files.sort_by(|(a, one), (b, other)| (a, &one.id).cmp(&(b, &other.id)));
    let keys: Vec<&str> = files.iter().map(|(key, _)| *key).collect();
    let ids: Vec<&str> = files.iter().map(|(_, file)| file.id.as_str()).collect();
    sqlx::query!(
        "delete from attachment held
         where held.tenant = $1 and held.key = any($3) and held.read_number < $2
           and not exists (select from unnest($4::text[], $5::text[]) as u (key, id)
                           where u.key = held.key and u.id = held.id)
           and coalesce((select s.settled from subject s
                         where s.tenant = $1 and s.kind = 'candidate' and s.key = held.key), 0) < $2",
        tenant.as_str(),
        read,
        &owners as _,
        &keys as _,
        &ids as _,
    )
    .execute(&mut *tx)
    .await?;
    let mut rest = files.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let whole = rest.iter().take_while(|(_, file)| {
            bytes += file.content.len();
            bytes <= TOGETHER
        });
        let (some, left) = rest.split_at(whole.count().max(1));
        rest = left;
        let keys: Vec<&str> = some.iter().map(|(key, _)| *key).collect();
        let ids: Vec<&str> = some.iter().map(|(_, file)| file.id.as_str()).collect();
        let names: Vec<&str> = some.iter().map(|(_, file)| file.name.as_str()).collect();
        let types: Vec<&str> = some.iter().map(|(_, file)| file.mime_type.as_str()).collect();
        let contents: Vec<&[u8]> = some.iter().map(|(_, file)| file.content.as_slice()).collect();
        sqlx::query!(
            "insert into attachment as held (tenant, key, id, read_number, name, mime_type, size, content, kept_at)
             select $1, u.key, u.id, $2, u.name, u.mime_type, octet_length(u.content), u.content, $3
             from unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::bytea[])
                  as u (key, id, name, mime_type, content)
             where coalesce((select s.settled from subject s
                             where s.tenant = $1 and s.kind = 'candidate' and s.key = u.key), 0) < $2
             order by u.key, u.id
             on conflict (tenant, key, id) do update set
               read_number = excluded.read_number, name = excluded.name, mime_type = excluded.mime_type,
               size = excluded.size,
               content = case when held.content = excluded.content then held.content else excluded.content end,
               kept_at = case when held.content = excluded.content then held.kept_at else excluded.kept_at end
             where held.read_number < excluded.read_number",
            tenant.as_str(),
            read,
            now,
            &keys as _,
            &ids as _,
            &names as _,
            &types as _,
            &contents as _,
        )
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// How many files are kept of some candidates.
pub struct Files(HashMap<String, usize>);

impl Files {
    /// Whether as many are kept as this read showed; so it is where they were not asked for. What the record lists is
    /// compared elsewhere: this tells whether the settings have changed since, or a file was not to be had before.
    pub fn are_of(&self, document: &Document) -> bool {
        let shown = document.attachments.as_ref().map(Vec::len);
        shown.is_none_or(|shown| self.0.get(document.key()).copied().unwrap_or(0) == shown)
    }
}

/// How many files are kept of those whose files were asked for.
///
/// # Errors
/// When the database cannot be read.
pub async fn kept<'a>(
    tx: &mut PgConnection,
    tenant: &TenantId,
    documents: impl Iterator<Item = &'a Document>,
) -> sqlx::Result<Files> {
    let keys: Vec<&str> =
        documents.filter(|document| document.attachments.is_some()).map(|document| document.key()).collect();
    if keys.is_empty() {
        return Ok(Files(HashMap::new()));
    }
    let counts = sqlx::query!(
        r#"select key, count(*) as "count!" from attachment where tenant = $1 and key = any($2) group by key"#,
        tenant.as_str(),
        &keys as _
    )
    .map(|row| (row.key, usize::try_from(row.count).unwrap_or(usize::MAX)))
    .fetch_all(tx)
    .await?;
    Ok(Files(counts.into_iter().collect()))
}

/// Deletes what is kept of removed candidates, as far as this read is newer.
///
/// # Errors
/// When the database cannot be used.
pub async fn delete(
    tx: &mut PgConnection,
    tenant: &TenantId,
    kind: Kind,
    read: i64,
    keys: &[&str],
) -> sqlx::Result<()> {
    if keys.is_empty() || kind != Kind::Candidate {
        return Ok(());
    }
    sqlx::query!(
        "delete from attachment where tenant = $1 and key = any($2) and read_number < $3",
        tenant.as_str(),
        keys as _,
        read
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What a tenant's settings ask for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Bytes of one file.
    pub limit: u64,
    /// MIME types in lower case, without parameters; none when nothing is to be kept.
    pub types: &'a [String],
}

/// Deletes some of the attachments that are not wanted any more, and says how many.
///
/// # Errors
/// When the database cannot be used.
pub async fn purge(tx: &mut PgConnection, tenant: &TenantId, wanted: Wanted<'_>) -> sqlx::Result<u64> {
    let purged = sqlx::query!(
        "delete from attachment held
         using (select key, id from attachment
                where tenant = $1 and (size > $2::bigint or not mime_type = any($3))
                order by key, id limit $4) as unwanted
         where held.tenant = $1 and held.key = unwanted.key and held.id = unwanted.id",
        tenant.as_str(),
        i64::try_from(wanted.limit).unwrap_or(i64::MAX),
        wanted.types,
        PURGED
    )
    .execute(tx)
    .await?;
    Ok(purged.rows_affected())
}

/// How much is kept of a tenant's candidates.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Name of the tenant in the settings.
    pub tenant: String,
    /// Files.
    pub files: i64,
    /// Their size.
    pub bytes: i64,
}

/// How much is kept, for the operators.
///
/// # Errors
/// When the database cannot be read.
pub async fn counts(database: &Database) -> sqlx::Result<Vec<Kept>> {
    sqlx::query_as!(
        Kept,
        r#"select tenant, count(*) as "files!", sum(size)::bigint as "bytes!" from attachment group by tenant"#
    )
    .fetch_all(database.pool())
    .await
}

/// How many files are kept of a candidate.
///
/// # Errors
/// When the database cannot be read.
pub async fn count_of(database: &Database, tenant: &TenantId, key: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "files!" from attachment where tenant = $1 and key = $2"#,
        tenant.as_str(),
        key
    )
    .fetch_one(database.pool())
    .await
}
