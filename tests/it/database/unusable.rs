//! Commands and the service say what is in the way of the database, and what to do about it.

use std::collections::HashMap;

use private_postgres::{Options, Server};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    database::{Apart, direct, send, without_sweeps},
    harness::{Plan, process},
};

/// What `cegid-indexer migrate` says of this database, on both streams; its exit code is 69.
async fn migrate(url: &str) -> String {
    let settings = [("URL", url), ("CONNECT_TIMEOUT", "2s")];
    let environment: HashMap<String, String> =
        settings.map(|(name, value)| (format!("CEGID_INDEXER__DATABASE__{name}"), value.to_owned())).into();
    let output = tokio::task::spawn_blocking(move || process::run(&["migrate"], &environment)).await.unwrap();
    let says = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{url}: {says}");
    says
}

#[tokio::test]
async fn what_is_in_the_way_is_named_with_what_to_do() {
    let server = Server::start(Options::from_env()).await.unwrap();
    let prepare = "create role clerk login; create role guest login connection limit 0;
                   create database latin template template0 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C';";
    for statement in prepare.split(';').filter(|statement| !statement.trim().is_empty()) {
        sqlx::raw_sql(statement).execute(direct(&server).pool()).await.unwrap();
    }
    let at = |role: &str, database: &str| server.url(database).replacen("postgres@", &format!("{role}@"), 1);
    let says = migrate("postgres://clerk@127.0.0.1:9/one").await;
    assert!(says.contains("nothing listens on 127.0.0.1:9"), "{says}");
    let says = migrate(&at("postgres", "missing")).await;
    assert!(says.contains("run `create database missing owner postgres encoding 'UTF8'"), "{says}");
    let says = migrate(&at("clerk", "postgres")).await;
    assert!(says.contains("run `grant usage, create on schema public to clerk`"), "{says}");
    let says = migrate(&at("nobody", "postgres")).await;
    assert!(says.contains("check user and password in database.url") && says.contains("the role nobody"), "{says}");
    let says = migrate(&at("guest", "postgres")).await;
    assert!(says.contains("no connection left for guest"), "{says}");
    let says = migrate(&at("postgres", "latin")).await;
    assert!(says.contains("the database's encoding is LATIN1, and must be UTF8"), "{says}");
}

#[tokio::test]
async fn what_is_no_postgresql_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 64];
            // Whatever became of the peer, the next one is answered.
            let _read = stream.read(&mut request).await;
            let _written = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let says = migrate(&format!("postgres://clerk@{address}/one")).await;
    assert!(says.contains(&format!("is it PostgreSQL that listens on {address}")), "{says}");
    answering.abort();
}

#[tokio::test]
async fn the_service_works_as_a_role_that_may_only_read_and_write_rows() {
    let server = Server::start(Options::from_env()).await.unwrap();
    let owner = direct(&server);
    owner.migrate().await.unwrap();
    let documented = include_str!("../../../docs/operate.md");
    let grants = documented.split("```sql\n").find(|text| text.starts_with("create role indexer_service")).unwrap();
    let grants = grants.split("```").next().unwrap().replace("cegid_indexer", "postgres");
    sqlx::raw_sql(sqlx::AssertSqlSafe(grants)).execute(owner.pool()).await.unwrap();
    let plan = without_sweeps(Plan::sized(20, 10));
    let apart = Apart::start_as("indexer_service", plan, server).await;
    let told = send(&apart.world, 4, 2, "lesser").await;
    assert_eq!(told.with(200), 8, "{told:?}");
    let repaired = apart.world.environment();
    let repaired = tokio::task::spawn_blocking(move || process::run(&["database", "repair-numbers"], &repaired));
    assert!(repaired.await.unwrap().status.success());
    apart.end(&told).await;
}
