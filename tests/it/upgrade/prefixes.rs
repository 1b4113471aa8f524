//! Every earlier schema, with the rows that its service would have written, is brought up to date and loses nothing.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgPool};

use super::{migrations, pool, run};
use crate::harness::database::Named;

/// Rows by the migration after which they could first be written.
const ROWS: [(i64, &str); 21] = [
    (1, include_str!("rows/0001.sql")),
    (2, include_str!("rows/0002.sql")),
    (3, include_str!("rows/0003.sql")),
    (4, include_str!("rows/0004.sql")),
    (5, include_str!("rows/0005.sql")),
    (6, include_str!("rows/0006.sql")),
    (7, include_str!("rows/0007.sql")),
    (8, include_str!("rows/0008.sql")),
    (9, include_str!("rows/0009.sql")),
    (10, include_str!("rows/0010.sql")),
    (11, include_str!("rows/0011.sql")),
    (12, include_str!("rows/0012.sql")),
    (13, include_str!("rows/0013.sql")),
    (14, include_str!("rows/0014.sql")),
    (15, include_str!("rows/0015.sql")),
    (16, include_str!("rows/0016.sql")),
    (17, include_str!("rows/0017.sql")),
    (18, include_str!("rows/0018.sql")),
    (19, include_str!("rows/0019.sql")),
    (20, include_str!("rows/0020.sql")),
    (21, include_str!("rows/0021.sql")),
];

/// Rows by table, without that of the migrations.
async fn counts(pool: &PgPool) -> BTreeMap<String, i64> {
    let tables = "select table_name::text from information_schema.tables
                  where table_schema = 'public' and table_type = 'BASE TABLE' and table_name <> '_sqlx_migrations'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(pool).await.unwrap();
    let mut counts = BTreeMap::new();
    for table in tables {
        let count = AssertSqlSafe(format!("select count(*) from {table}"));
        counts.insert(table, sqlx::query_scalar(count).fetch_one(pool).await.unwrap());
    }
    counts
}

/// What must hold of the rows at the end, if their tables were there at the prefix: a query that counts what is wrong.
const HOLDS: [(i64, &str); 9] = [
    (1, "select count(*) from delivery where body = '' and ignored is null"),
    (
        2,
        "select count(*) from subject where waiting <> (key in ('V-2', 'C-17')) or (key = 'C-1') <> (state = 'removed')",
    ),
    // A change is announced of what waited, and of nothing else.
    (2, "select count(*) from subject where announced <> case key when 'V-2' then wanted else 0 end"),
    (4, "select count(*) from document where content <> sha256(convert_to(raw, 'UTF8'))"),
    // Found by its codes.
    (4, "select 1 - count(*) from document where search @@ codes_wanted(array['CDI'])"),
    // Read before its words were kept: to be read anew.
    (4, "select count(*) from referential_category where read_at < '2026-02-01'"),
    (
        5,
        "select count(*) from hook where state <> case event when 'vacancy_status' then 'refused'
           when 'vacancy_deleted' then 'leaving' else 'registered' end",
    ),
    (5, "select count(*) from sweep where use = 'initial' and (finished_at is null) <> (position = 1)"),
    // A round over candidates is a full sweep that begins anew.
    (
        12,
        "select count(*) from sweep where kind = 'candidate' and (use = 'rolling' or use = 'full' and next_key <> '')",
    ),
];

#[tokio::test]
async fn rows_of_every_earlier_schema_are_migrated_and_none_is_lost() {
    let all = migrations().await;
    let newest = all.iter().last().unwrap().version;
    assert_eq!(newest, ROWS[ROWS.len() - 1].0, "a migration has no rows here: add what its service writes");
    for prefix in all.iter().map(|migration| migration.version) {
        let name = Named::empty().await;
        let pool = pool(&name).await;
        for (version, rows) in ROWS.iter().take_while(|(version, _)| *version <= prefix) {
            all.run_to(*version, &pool).await.unwrap();
            sqlx::raw_sql(*rows).execute(&pool).await.unwrap_or_else(|error| panic!("rows {version}: {error}"));
        }
        let before = counts(&pool).await;
        let empty: Vec<&String> = before.iter().filter(|(_, rows)| **rows == 0).map(|(table, _)| table).collect();
        assert_eq!(empty, Vec::<&String>::new(), "after {prefix}: tables without rows");
        let (ended, says) = run(&name, &["migrate"]).await;
        assert_eq!(ended, 0, "from {prefix}: {says}");
        let after = counts(&pool).await;
        for (table, rows) in &before {
            // The one thing that is thrown away on purpose, since Cegid has it.
            let rows = if table == "referential_category" && prefix < 13 { 0 } else { *rows };
            assert_eq!(after[table], rows, "from {prefix}: {table}");
        }
        for (since, wrong) in HOLDS.iter().filter(|(since, _)| *since <= prefix) {
            let wrong_rows: i64 = sqlx::query_scalar(*wrong).fetch_one(&pool).await.unwrap();
            assert_eq!(wrong_rows, 0, "from {prefix}, rows of {since}: {wrong}");
        }
        let (ended, says) = run(&name, &["ledger"]).await;
        // A delivery without a subject, a subject without a document, a document without a report: the rows that follow.
        assert_eq!(ended, i32::from(prefix < 6), "from {prefix}: {says}");
        pool.close().await;
    }
}
