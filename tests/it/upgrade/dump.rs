//! A database as a service of an earlier schema left it, in the middle of its work, goes on under this one.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use cegid_indexer::{
    domain::{Kind, Subject},
    erasure,
    ledger::Verdict,
    sweeps::Use,
    tenants::{self, Work},
};
use cegid_simulator::{Change, RawCallback, Spoil};
use chrono::{DateTime, Utc};
use private_postgres::{Found, Search, find};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Executor, PgPool, Postgres};

use super::pool;
use crate::{
    convergence::{live_candidates, live_vacancies},
    harness::{Plan, World, database::Named, history, tenant},
};

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/upgrade");

/// What happened at Cegid until the dump was made, for the simulator that goes on.
#[derive(Default, Serialize, Deserialize)]
struct Past {
    changes: Vec<(DateTime<Utc>, Change)>,
    /// When the dump was made.
    until: DateTime<Utc>,
    /// Vacancies whose change was stored and not read, indexed and not reported, and read in vain until it was buried.
    waiting: String,
    unreported: String,
    buried: String,
}

impl Past {
    fn change(&mut self, world: &World, change: Change) {
        world.simulator.change(&change).unwrap();
        self.changes.push((world.clock.now(), change));
    }

    fn change_silently(&mut self, world: &World, change: Change) {
        world.simulator.change_silently(&change).unwrap();
        self.changes.push((world.clock.now(), change));
    }
}

fn plan() -> Plan {
    Plan::sized(8, 6)
        .with("TENANTS__ACME__ATTACHMENTS", "resumes")
        .with("TENANTS__ACME__REFERENTIALS", "countries")
        .with("WORKER__RETRY_HORIZON", "1m")
}

/// Tables without a row.
async fn empty_tables<'c>(pool: impl Executor<'c, Database = Postgres> + Copy) -> Vec<String> {
    let tables = "select table_name::text from information_schema.tables
                  where table_schema = 'public' and table_type = 'BASE TABLE'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(pool).await.unwrap();
    let mut empty = Vec::new();
    for table in tables {
        let any = AssertSqlSafe(format!("select exists (select from {table})"));
        if !sqlx::query_scalar::<_, bool>(any).fetch_one(pool).await.unwrap() {
            empty.push(table);
        }
    }
    empty
}

/// Lives until there is a row in every table, and something of everything that can wait.
async fn live(world: &World) -> Past {
    let mut past = Past::default();
    world.settle().await;
    let (vacancies, candidates) = (live_vacancies(world), live_candidates(world));
    let edit = |key: &String| Change::EditVacancy { key: key.clone() };
    // A gap, a tombstone, a hidden vacancy, one that was erased and then left.
    past.change_silently(world, edit(&vacancies[0]));
    past.change(world, Change::DeleteVacancy { key: vacancies[1].clone() });
    past.change(world, Change::SetVacancyStatus { key: vacancies[2].clone(), status: "Suspended".into() });
    let erased = Subject::new(Kind::Candidate, candidates[0].clone());
    erasure::erase(&world.database, &tenant(), &erased, "request 17", world.clock.now()).await.unwrap();
    past.change_silently(world, Change::AnonymiseCandidate { key: candidates[0].clone() });
    world.settle().await;
    world.sweep(&[Use::Incremental]).await;
    world.settle().await;
    assert!(world.gaps().await > 0);
    world.simulator.ping().await;
    let forged = RawCallback {
        url: format!("{}/api/talentsoft/v1/acme/events", world.public),
        secret: Some("another".to_owned()),
        ..RawCallback::default()
    };
    assert!(!world.simulator.send_raw(&forged).await.accepted());
    past.buried = vacancies[3].clone();
    world.simulator.spoil(&past.buried, Some(Spoil::NoEntry));
    past.change(world, edit(&past.buried.clone()));
    world.simulator.flush().await;
    world.until("it is buried", async |world: &World| world.ledger().await.dead == 1).await;
    world.settle().await;
    tenants::pause(&world.database, &tenant(), &[Work::Report], Some("upgrade"), world.clock.now()).await.unwrap();
    world.pass(Duration::from_secs(10)).await;
    past.unreported = vacancies[4].clone();
    past.change(world, edit(&past.unreported.clone()));
    world.simulator.flush().await;
    world.until("it waits to be reported", async |world: &World| world.ledger().await.reports_waiting == 1).await;
    tenants::pause(&world.database, &tenant(), &[Work::Fetch], None, world.clock.now()).await.unwrap();
    world.pass(Duration::from_secs(10)).await;
    past.waiting = vacancies[5].clone();
    past.change(world, edit(&past.waiting.clone()));
    world.simulator.flush().await;
    world
        .until("every table has rows", async |world: &World| empty_tables(world.database.pool()).await.is_empty())
        .await;
    past.until = world.clock.now();
    past
}

#[tokio::test]
#[ignore = "writes testdata/upgrade anew, from the schema as it stands"]
async fn writes_the_dump() {
    let name = Named::empty().await;
    let url = name.url();
    let mut world = World::start_on(plan(), name).await;
    let past = live(&world).await;
    let Ok(Found::Here(programs)) = find(&Search::from_env()) else { panic!("pg_dump is needed") };
    // Statements alone, which any connection can run.
    let arguments = ["--inserts", "--rows-per-insert=20", "--no-owner", "--no-privileges", "--no-toast-compression"];
    let dump = Command::new(programs.bin.join("pg_dump")).args(arguments).arg(url).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let dump = String::from_utf8(dump.stdout).unwrap();
    let lines = dump.lines().filter(|line| !line.starts_with('\\') && !line.starts_with("--") && !line.is_empty());
    std::fs::create_dir_all(KEPT).unwrap();
    let file = |name: &str| Path::new(KEPT).join(name);
    std::fs::write(file("dump.sql"), lines.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    std::fs::write(file("past.json"), serde_json::to_string_pretty(&past).unwrap() + "\n").unwrap();
    world.stop_service().await;
    world.simulator.stop().await;
}

fn kept(name: &str) -> String {
    let path: PathBuf = Path::new(KEPT).join(name);
    std::fs::read_to_string(&path).unwrap()
}

/// The rows that must be there afterwards just as before.
async fn lasting(pool: &PgPool) -> BTreeMap<&'static str, BTreeSet<String>> {
    let rows = [
        (
            "delivery",
            "select (id, tenant, request_id, received_at, event, kind, key, ignored, md5(body))::text from delivery",
        ),
        ("erasure", "select (tenant, kind, hash, erased_at, reason)::text from erasure"),
        ("erasure_salt", "select salt::text from erasure_salt"),
        ("gap_count", "select (tenant, kind, hour, count)::text from gap_count"),
        ("refusal", "select (refused_at, reason, path)::text from refusal"),
        ("refusal_count", "select (minute, reason, count)::text from refusal_count"),
        ("tombstone", "select (kind, key, removed_at, removed_cause)::text from subject where state = 'removed'"),
        ("attachment", "select (key, id, name, md5(content))::text from attachment"),
        ("referential", "select (category, id, label)::text from referential"),
        (
            "sweep",
            "select (kind, use, position, records)::text from sweep where finished_at is not null and use = 'initial'",
        ),
    ];
    let mut lasting = BTreeMap::new();
    for (table, statement) in rows {
        let read: Vec<String> = sqlx::query_scalar(statement).fetch_all(pool).await.unwrap();
        assert!(!read.is_empty(), "{table} has no row");
        lasting.insert(table, read.into_iter().collect());
    }
    lasting
}

#[tokio::test]
async fn a_database_of_an_earlier_schema_is_brought_up_to_date_and_worked_on_and_loses_nothing() {
    let name = Named::empty().await;
    let pool = pool(&name).await;
    // The dump sets its session up for itself.
    let mut session = pool.acquire().await.unwrap().detach();
    sqlx::raw_sql(AssertSqlSafe(kept("dump.sql"))).execute(&mut session).await.unwrap();
    drop(session);
    assert_eq!(empty_tables(&pool).await, Vec::<String>::new());
    let before = lasting(&pool).await;

    let past: Past = serde_json::from_str(&kept("past.json")).unwrap();
    let mut world = World::start_on(plan().stopped(), name).await;
    for (at, change) in &past.changes {
        world.simulator.set_now(*at);
        world.simulator.change_silently(change).unwrap();
    }
    world.clock.turn((past.until - world.clock.now()).to_std().unwrap() + Duration::from_secs(60));
    world.simulator.set_now(world.clock.now());
    world.start_service().await;
    sqlx::raw_sql(history::TRIGGERS).execute(&pool).await.unwrap();

    // Everything is there, and the pause of before still holds.
    world.until("hooks are registered anew", async |world: &World| world.simulator.hooks().len() == 8).await;
    world.pass(Duration::from_secs(30)).await;
    let after = lasting(&pool).await;
    for (table, rows) in &before {
        let gone: Vec<&String> = rows.difference(&after[table]).collect();
        assert!(gone.is_empty(), "{table}: {gone:?}");
    }
    let ledger = world.ledger().await;
    assert_eq!((ledger.verdict(), ledger.dead), (Verdict::Waits, 1), "{ledger}");
    assert_eq!((ledger.waiting, ledger.reports_waiting), (1, 1), "{ledger}");
    assert_eq!(world.simulator.report_count(), 0);

    tenants::resume(&world.database, &tenant(), &Work::ALL).await.unwrap();
    world.simulator.edit_vacancy(&past.buried).unwrap();
    world.simulator.edit_candidate(&live_candidates(&world)[0]).unwrap();
    world.settle().await;
    world.sweep_all().await;
    world.assert_equal_to_truth().await;
    let reported: BTreeSet<String> = world.simulator.reports().into_iter().map(|report| report.id).collect();
    for key in [&past.waiting, &past.unreported, &past.buried] {
        assert!(reported.contains(key), "{key} was not reported: {reported:?}");
    }
    let ledger = world.ledger().await;
    assert_eq!((ledger.received, ledger.dead), (before["delivery"].len() as i64 + 2, 0), "{ledger}");
    assert_eq!(history::steps_back(&world.database).await, Vec::<String>::new());
    let after = lasting(&pool).await;
    assert!(before["delivery"].is_subset(&after["delivery"]) && before["erasure"] == after["erasure"]);
    world.stop_service().await;
    world.simulator.stop().await;
    pool.close().await;
}
