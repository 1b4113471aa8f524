//! A transaction that stays open while subjects are settled: nothing that it might still see can be cleared away.

use std::path::Path;

use cegid_indexer::{
    database::Database,
    domain::Kind,
    settings::Settings,
    subjects::{self, Due, Settled, State},
};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::{
    database::patient,
    harness::{database::Named, start_time, tenant},
};

/// Raised, claimed and settled in each minute.
const EACH: usize = 100;
const MINUTES: i64 = 60;
/// Blocks that a claim of so many may read: of the table and of the index at most one each.
const BLOCKS: u64 = 2 * EACH as u64;

/// The statement as the service sends it, out of its own list.
fn statement(beginning: &str) -> String {
    let queries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx")).unwrap();
    let read = |path| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
    let texts = queries.map(|query| read(query.unwrap().path())["query"].as_str().unwrap().to_owned());
    let found: Vec<String> = texts.filter(|text| text.starts_with(beginning)).collect();
    assert_eq!(found.len(), 1, "{beginning}");
    found.into_iter().next().unwrap()
}

async fn raise(database: &Database, minute: i64, now: DateTime<Utc>) {
    sqlx::query(
        "insert into subject (tenant, kind, key, wanted, announced, due_at, waiting_since)
         select 'acme', 'vacancy', $1 || '-' || n, nextval('request_number'), currval('request_number'), $2, $2
         from generate_series(1, $3) n",
    )
    .bind(minute.to_string())
    .bind(now)
    .bind(EACH as i32)
    .execute(database.pool())
    .await
    .unwrap();
}

async fn settle(database: &Database, keys: &[String], now: DateTime<Utc>) {
    let settled = |key| Settled {
        key,
        state: State::Live,
        removed: None,
        same: false,
        gap: false,
        returns: false,
        listed: false,
        vanished: None,
    };
    let settled: Vec<Settled<'_>> = keys.iter().map(|key| settled(key)).collect();
    let read = subjects::draw(database).await.unwrap();
    let mut tx = database.begin().await.unwrap();
    let done = subjects::settle(&mut tx, &tenant(), Kind::Vacancy, read, now, &settled).await.unwrap();
    assert_eq!(done.len(), keys.len());
    tx.commit().await.unwrap();
}

/// How a claim is executed.
async fn explained(database: &Database, due: Due) -> (String, u64) {
    let plan: Value = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
        "explain (analyze, buffers, format json) {}",
        statement("select key as \"key!\", wanted")
    )))
    .bind("acme")
    .bind("vacancy")
    .bind(due.from)
    .bind(due.until)
    .bind(due.most as i64)
    .bind(due.failed_first)
    .fetch_one(database.pool())
    .await
    .unwrap();
    let plan = &plan[0]["Plan"];
    let blocks = ["Shared Hit Blocks", "Shared Read Blocks"].map(|name| plan[name].as_u64().unwrap());
    (plan.to_string(), blocks.iter().sum())
}

#[tokio::test]
async fn a_claim_reads_what_is_due_and_not_what_was_settled_since_a_long_transaction_began() {
    let name = Named::create().await;
    let url = [("CEGID_INDEXER__DATABASE__URL".to_owned(), name.url())];
    let settings = Settings::load(None, url).unwrap();
    let database = Database::new(&settings.database, settings.worker.lease).unwrap();
    let mut long = patient(&database).await;
    let look = "set transaction isolation level repeatable read; select count(*) from subject";
    sqlx::raw_sql(look).execute(&mut *long).await.unwrap();

    let due = |now| Due { from: now - TimeDelta::seconds(60), until: now, most: EACH, failed_first: false };
    let everything = |now| Due { from: DateTime::UNIX_EPOCH, ..due(now) };
    let mut now = start_time();
    for minute in 0..MINUTES {
        now += TimeDelta::minutes(1);
        raise(&database, minute, now).await;
        let claimed = subjects::claim(&database, &tenant(), Kind::Vacancy, due(now)).await.unwrap();
        assert_eq!(claimed.len(), EACH);
        let keys: Vec<String> = claimed.into_iter().map(|subject| subject.key).collect();
        settle(&database, &keys, now).await;
    }
    now += TimeDelta::minutes(1);
    raise(&database, MINUTES, now).await;
    let (plan, blocks) = explained(&database, due(now)).await;
    let (_, whole) = explained(&database, everything(now)).await;
    println!("{blocks} blocks for {EACH} subjects, {whole} from the beginning");
    assert!(plan.contains("subject_due") && !plan.contains("Seq Scan"), "{plan}");
    assert!(blocks < BLOCKS, "{blocks} blocks: {plan}");
    // The transaction does stand in the way: who begins at the beginning reads past all that was settled.
    assert!(whole > 5 * blocks, "{blocks} blocks, {whole} from the beginning");
    let next = subjects::next_due(&database, &tenant(), Kind::Vacancy, now - TimeDelta::seconds(60)).await.unwrap();
    assert_eq!(next, Some(now));
    long.rollback().await.unwrap();
}
