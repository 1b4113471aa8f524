//! Callbacks that reach a replica other than the one that works their tenant.

use cegid_indexer::notify::CHANNEL;
use private_postgres::{Options, Server};
use sqlx::postgres::PgListener;
use tokio::time::timeout;

use super::{PATIENCE, Town, secret};
use crate::{
    database::{direct, pooler::Pooler},
    harness::{database::Named, history::TRIGGERS},
    tenants::sharing::{assert_followed, title},
};

const TWO: [(&str, usize); 2] = [("a", 4), ("b", 4)];

/// Two replicas, each of which works a tenant.
async fn start_two(town: &mut Town) {
    for shares in [vec![2], vec![1, 1]] {
        town.start_replica().await;
        town.until("the tenants are shared", async |town: &Town| town.shares().await == shares).await;
    }
    town.until_quiet().await;
}

/// Sessions that listen.
async fn listeners(town: &Town) -> i64 {
    let listening = "select count(*) from pg_stat_activity
                     where datname = current_database() and query ilike 'listen%' and application_name = 'cegid-indexer'";
    sqlx::query_scalar(listening).fetch_one(town.database.pool()).await.unwrap()
}

/// The payload of the next notification.
async fn heard(listener: &mut PgListener) -> String {
    timeout(PATIENCE, listener.recv()).await.expect("a notification").unwrap().payload().to_owned()
}

#[tokio::test]
async fn a_callback_that_another_replica_stores_is_indexed_long_before_the_next_poll() {
    let mut town = Town::new(&TWO).await;
    town.set("WORKER__POLL_INTERVAL", "1h");
    start_two(&mut town).await;
    town.until("both listen", async |town: &Town| listeners(town).await == 2).await;
    // The first replica receives all callbacks, and works one of the tenants. The clock stands still.
    for tenant in ["a", "b"] {
        let (key, simulator) = (town.a_vacancy(tenant), &town.simulators[tenant]);
        simulator.edit_vacancy(&key).unwrap();
        assert!(simulator.flush().await.iter().all(|sent| sent.accepted()));
        let wanted = simulator.truth_of("vacancy", &key).unwrap().title;
        town.until_by_itself("the edit is indexed", async |town: &Town| title(town, tenant, &key).await == wanted)
            .await;
    }
    // A session that is lost is replaced.
    let ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                 where datname = current_database() and query ilike 'listen%' and application_name = 'cegid-indexer'";
    sqlx::query(ended).execute(town.database.pool()).await.unwrap();
    town.until_by_itself("both listen again", async |town: &Town| listeners(town).await == 2).await;
    town.drain(1).await;
    town.until("the one that is left listens no more", async |town: &Town| listeners(town).await == 0).await;
    town.until_quiet().await;
    town.end().await;
}

#[tokio::test]
async fn a_notification_names_the_tenant_alone_and_is_sent_only_if_another_replica_works_it() {
    let mut town = Town::new(&TWO).await;
    let mut listener = PgListener::connect(&town.url()).await.unwrap();
    listener.listen(CHANNEL).await.unwrap();
    town.start_replica().await;
    town.until_quiet().await;
    for tenant in ["a", "b"] {
        assert!(town.send(tenant, 0, &secret(tenant)).await.accepted());
    }
    town.until_quiet().await;
    sqlx::query("select pg_notify($1, 'alone')").bind(CHANNEL).execute(town.database.pool()).await.unwrap();
    assert_eq!(heard(&mut listener).await, "alone");

    town.start_replica().await;
    town.until("the tenants are shared", async |town: &Town| town.shares().await == [1, 1]).await;
    town.until_quiet().await;
    for tenant in ["a", "b"] {
        assert!(town.send(tenant, 0, &secret(tenant)).await.accepted());
    }
    // The younger lease is given to the replica that joins.
    let moved = "select tenant from tenant_lease where taken = 2";
    let moved: Vec<String> = sqlx::query_scalar(moved).fetch_all(town.database.pool()).await.unwrap();
    assert_eq!(vec![heard(&mut listener).await], moved);
    town.until_quiet().await;
    drop(listener);
    town.end().await;
}

#[tokio::test]
async fn a_notification_that_is_lost_costs_the_wait_for_the_poll() {
    let mut town = Town::new(&TWO).await;
    // Found before the server's own.
    let lose = "create schema lost; create table lost.sent (tenant text);
                create function lost.pg_notify(text, text) returns void language sql
                  as 'insert into lost.sent values ($2)';
                do $$ begin
                  execute format('alter database %I set search_path = lost, pg_catalog, public', current_database());
                end $$";
    sqlx::raw_sql(lose).execute(town.database.pool()).await.unwrap();
    start_two(&mut town).await;
    for tenant in ["a", "b"] {
        assert_followed(&town, tenant).await;
    }
    let sent: i64 = sqlx::query_scalar("select count(*) from lost.sent").fetch_one(town.database.pool()).await.unwrap();
    assert!(sent > 0, "nothing was lost");
    town.until_quiet().await;
    town.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_nobody_listens_and_the_poll_finds_what_others_store() {
    let server = Server::start(Options::from_env()).await.unwrap();
    let database = direct(&server);
    database.migrate().await.unwrap();
    sqlx::raw_sql(TRIGGERS).execute(database.pool()).await.unwrap();
    let pooler = Pooler::start(&server.socket(), 3, false).await;
    let mut town = Town::on(Named::of_another_server(server.url("postgres")), &TWO).await;
    town.set("DATABASE__URL", &format!("postgres://postgres@{}/postgres", pooler.address));
    town.set("DATABASE__POOLED", "true");
    // More round trips than the turned clock would leave a usual lease.
    town.set("WORKER__LEASE", "5m");
    start_two(&mut town).await;
    for tenant in ["a", "b"] {
        assert_followed(&town, tenant).await;
    }
    assert_eq!(listeners(&town).await, 0);
    town.until_quiet().await;
    town.end().await;
}
