//! Databases that another version has left: older ones are brought up to date with all that is in them, newer ones are
//! refused.

mod dump;
mod prefixes;

use std::{collections::HashMap, path::Path};

use sqlx::{PgPool, migrate::Migrator, postgres::PgPoolOptions};

use crate::harness::{database::Named, free_port, process};

const MIGRATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
/// Every command that uses the database and does not migrate it.
const COMMANDS: [&[&str]; 7] = [
    &["ledger"],
    &["sweeps", "list"],
    &["tenant", "list"],
    &["hooks", "list"],
    &["hooks", "apply"],
    &["database", "repair-numbers"],
    &["erase", "--tenant", "acme", "--key", "x"],
];

async fn migrations() -> Migrator {
    Migrator::new(Path::new(MIGRATIONS)).await.unwrap()
}

async fn pool(name: &Named) -> PgPool {
    PgPoolOptions::new().max_connections(2).connect(&name.url()).await.unwrap()
}

/// What the command says on its standard error stream, and its exit code.
async fn run(name: &Named, arguments: &'static [&'static str]) -> (i32, String) {
    let pairs = [
        ("DATABASE__URL", name.url()),
        ("RECEIVE__BIND", format!("127.0.0.1:{}", free_port())),
        ("OPS__BIND", "127.0.0.1:0".to_owned()),
        ("PUBLIC_URL", "http://127.0.0.1:1".to_owned()),
        ("TENANTS__ACME__BASE_URL", "http://127.0.0.1:1".to_owned()),
        ("TENANTS__ACME__CLIENT_ID", "x".to_owned()),
        ("TENANTS__ACME__CLIENT_SECRET", "test-secret-0001".to_owned()),
    ];
    let environment: HashMap<String, String> =
        pairs.into_iter().map(|(key, value)| (format!("CEGID_INDEXER__{key}"), value)).collect();
    let output = tokio::task::spawn_blocking(move || process::run(arguments, &environment)).await.unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn a_schema_that_is_newer_is_refused_by_name_and_left_alone() {
    let name = Named::create().await;
    let pool = pool(&name).await;
    let later = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                 values (9001, 'of next year', true, '\\x00', 0)";
    sqlx::query(later).execute(&pool).await.unwrap();
    let commands = COMMANDS.iter().map(|command| (*command, 69));
    for (command, code) in commands.chain([(&["migrate"][..], 69), (&["serve"][..], 70)]) {
        let (ended, says) = run(&name, command).await;
        assert_eq!(ended, code, "{command:?}: {says}");
        for part in ["newer than this version", "migration 9001 (of next year)", "run the version that made it"] {
            assert!(says.contains(part), "{command:?}: {says}");
        }
    }
    let rows: i64 = sqlx::query_scalar("select (select count(*) from replica) + (select count(*) from erasure)")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(rows, 0, "a command worked on it all the same");
}

#[tokio::test]
async fn a_command_that_does_not_migrate_says_what_is_missing_and_who_adds_it() {
    let name = Named::empty().await;
    let (first, all) = (1, migrations().await);
    let newest = all.iter().last().unwrap();
    for lacks in [first, newest.version] {
        all.run_to(lacks - 1, &pool(&name).await).await.unwrap();
        let missing = all.iter().find(|migration| migration.version == lacks).unwrap();
        for command in COMMANDS {
            let (ended, says) = run(&name, command).await;
            assert_eq!(ended, 69, "{command:?}: {says}");
            let named = format!("it lacks migration {lacks} ({})", missing.description);
            for part in ["older than this version", &named, "`cegid-indexer migrate`"] {
                assert!(says.contains(part), "{command:?}: {says}");
            }
        }
    }
    let (ended, says) = run(&name, &["migrate"]).await;
    assert_eq!(ended, 0, "{says}");
    let (ended, says) = run(&name, &["ledger"]).await;
    assert_eq!(ended, 0, "{says}");
}
