//! Table `document`: written in multi-row statements, deleted with its subject.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    database::Database,
    domain::{Document, FORM, Kind, TenantId},
};

/// Text that PostgreSQL can hold: a NUL cannot be.
fn storable(text: &str) -> String {
    text.replace('\0', "")
}

/// What is held under a key.
pub struct Held {
    /// Vacancy reference or candidate id.
    pub key: String,
    /// SHA-256 of its content.
    pub content: Vec<u8>,
    /// Whether it is found.
    pub searchable: bool,
    /// Whether it has, or once had, a readable status.
    pub has_status: bool,
    form: i32,
}

/// A document to be written.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    /// What a read showed.
    pub document: &'a Document,
    /// Whether it is found.
    pub searchable: bool,
}

impl Held {
    /// Whether writing this document would change nothing.
    pub fn is(&self, write: Write<'_>) -> bool {
        self.form == FORM && self.searchable == write.searchable && self.shows(write.document)
    }

    /// Whether the document's content is what is held, whatever was made out of it.
    pub fn shows(&self, document: &Document) -> bool {
        self.content == document.content()
    }
}

/// What is held of these keys, and is locked.
///
/// # Errors
/// When the database cannot be read.
pub async fn held(tx: &mut PgConnection, tenant: &TenantId, kind: Kind, keys: &[&str]) -> sqlx::Result<Vec<Held>> {
    sqlx::query_as!(
        Held,
        r#"select key, content, form, searchable, status is not null as "has_status!" from document
           where tenant = $1 and kind = $2 and key = any($3) order by key collate "C" for update"#,
        tenant.as_str(),
        kind.as_str(),
        keys as _
    )
    .fetch_all(tx)
    .await
}

/// Writes documents that one read showed. A document whose subject a newer read has settled is left alone.
///
/// # Errors
/// When the database cannot take them.
pub async fn write(
    tx: &mut PgConnection,
    tenant: &TenantId,
    kind: Kind,
    read: i64,
    now: DateTime<Utc>,
    writes: &[Write<'_>],
) -> sqlx::Result<()> {
    if writes.is_empty() {
        return Ok(());
    }
    let documents: Vec<&Document> = writes.iter().map(|write| write.document).collect();
    let column = |of: fn(&Document) -> String| documents.iter().map(|document| of(document)).collect::<Vec<String>>();
    let optional = |of: fn(&Document) -> Option<String>| {
        documents.iter().map(|document| of(document).as_deref().map(storable)).collect::<Vec<Option<String>>>()
    };
    let keys: Vec<&str> = documents.iter().map(|document| document.key()).collect();
    let searchable: Vec<bool> = writes.iter().map(|write| write.searchable).collect();
    let titles = column(|document| storable(&document.title));
    let languages: Vec<Option<i32>> = documents.iter().map(|document| document.language).collect();
    let statuses = optional(|document| document.status.as_ref()?.id.clone());
    let created = optional(|document| document.created.clone());
    let modified = optional(|document| document.modified.clone());
    let coded = column(Document::coded_json);
    let contents: Vec<Vec<u8>> = documents.iter().map(|document| document.content().to_vec()).collect();
    let raws: Vec<&str> = documents.iter().map(|document| document.raw()).collect();
    let stemmings: Vec<&str> = documents.iter().map(|document| document.stemming().as_str()).collect();
    let [a, b, c] = [0, 1, 2]
        .map(|weight| documents.iter().map(|document| document.folded()[weight].as_str()).collect::<Vec<&str>>());
    sqlx::query!(
        r#"insert into document (tenant, kind, key, read_number, searchable, title, language, status, created, modified,
                                 coded, raw, content, form, indexed_at, search)
           select $1, $2, u.key, $3, u.searchable, u.title, u.language, u.status, u.created, u.modified, u.coded, u.raw,
                  u.content, $18, $4,
                  setweight(folded_words(u.stemming, u.a), 'A') || setweight(folded_words(u.stemming, u.b), 'B')
                  || setweight(folded_words(u.stemming, u.c), 'C') || coded_words(u.coded)
           from unnest($5::text[], $6::boolean[], $7::text[], $8::integer[], $9::text[], $10::text[], $11::text[],
                       $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $19::bytea[])
                as u (key, searchable, title, language, status, created, modified, coded, raw, stemming, a, b, c, content)
           where coalesce((select s.settled from subject s where s.tenant = $1 and s.kind = $2 and s.key = u.key), 0) < $3
           order by u.key collate "C"
           on conflict (tenant, kind, key) do update set
             read_number = excluded.read_number, searchable = excluded.searchable, title = excluded.title,
             language = excluded.language,
             status = case excluded.kind when 'vacancy' then coalesce(excluded.status, document.status)
                                         else excluded.status end,
             created = excluded.created,
             modified = excluded.modified, coded = excluded.coded, raw = excluded.raw,
             content = excluded.content, form = excluded.form,
             indexed_at = excluded.indexed_at, search = excluded.search
           where document.read_number < excluded.read_number"#,
        tenant.as_str(),
        kind.as_str(),
        read,
        now,
        &keys as _,
        &searchable,
        &titles,
        &languages as _,
        &statuses as _,
        &created as _,
        &modified as _,
        &coded,
        &raws as _,
        &stemmings as _,
        &a as _,
        &b as _,
        &c as _,
        FORM,
        &contents as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes documents out of what is searchable, and keeps them.
///
/// # Errors
/// When the database cannot be used.
pub async fn hide(tx: &mut PgConnection, tenant: &TenantId, kind: Kind, keys: &[&str]) -> sqlx::Result<()> {
    sqlx::query!(
        "update document set searchable = false where tenant = $1 and kind = $2 and key = any($3)",
        tenant.as_str(),
        kind.as_str(),
        keys as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes the documents of removed subjects, as far as this read is newer than theirs.
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
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "delete from document where tenant = $1 and kind = $2 and key = any($3) and read_number < $4",
        tenant.as_str(),
        kind.as_str(),
        keys as _,
        read
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Documents of a tenant and kind, for the operators.
#[derive(Debug, Clone)]
pub struct Counts {
    /// Name of the tenant in the settings.
    pub tenant: String,
    /// `vacancy` or `candidate`.
    pub kind: String,
    /// Those that are found.
    pub live: i64,
    /// Those that are kept and not found.
    pub hidden: i64,
}

/// Documents by tenant and kind.
///
/// # Errors
/// When the database cannot be read.
pub async fn counts(database: &Database) -> sqlx::Result<Vec<Counts>> {
    sqlx::query_as!(
        Counts,
        r#"select tenant, kind, count(*) filter (where searchable) as "live!",
                  count(*) filter (where not searchable) as "hidden!"
           from document group by tenant, kind"#
    )
    .fetch_all(database.pool())
    .await
}

/// Key, title and whether it is searchable, of every document of a tenant and kind.
///
/// # Errors
/// When the database cannot be read.
pub async fn titles(database: &Database, tenant: &TenantId, kind: Kind) -> sqlx::Result<Vec<(String, String, bool)>> {
    sqlx::query!(
        "select key, title, searchable from document where tenant = $1 and kind = $2 order by key",
        tenant.as_str(),
        kind.as_str()
    )
    .map(|row| (row.key, row.title, row.searchable))
    .fetch_all(database.pool())
    .await
}

/// The same of the documents among these keys.
///
/// # Errors
/// When the database cannot be read.
pub async fn titles_of(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    keys: &[String],
) -> sqlx::Result<Vec<(String, String, bool)>> {
    sqlx::query!(
        "select key, title, searchable from document where tenant = $1 and kind = $2 and key = any($3)",
        tenant.as_str(),
        kind.as_str(),
        keys
    )
    .map(|row| (row.key, row.title, row.searchable))
    .fetch_all(database.pool())
    .await
}
