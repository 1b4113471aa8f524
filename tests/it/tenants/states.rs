//! What people decide about a tenant: paused, resumed, disconnected.

use std::collections::{BTreeSet, HashMap};

use cegid_indexer::{purge, tenants};
use chrono::TimeDelta;

use super::{Town, id, secret};
use crate::harness::{Plan, World, process};

/// Runs `cegid-indexer tenant` with the settings of the town.
async fn tenant(town: &Town, arguments: &[&str]) -> (Option<i32>, String) {
    let file = town.path("settings.toml").display().to_string();
    let arguments: Vec<String> =
        ["--config", &file, "tenant"].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
    let environment: HashMap<String, String> = town.environment(0).into_iter().collect();
    let output = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        process::run(&arguments, &environment)
    });
    let output = output.await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

async fn ordered(town: &Town, arguments: &[&str]) {
    let (code, says) = tenant(town, arguments).await;
    assert_eq!(code, Some(0), "{arguments:?}: {says}");
}

/// Export calls that the tenant's simulator was asked.
fn exports(town: &Town, tenant: &str) -> usize {
    town.simulators[tenant].count_requests(|request| request.path.contains("/exports/") && request.method == "GET")
}

/// Edits a vacancy of each tenant, and tells.
async fn edit_all(town: &Town) {
    for (tenant, simulator) in &town.simulators {
        simulator.edit_vacancy(&town.a_vacancy(tenant)).unwrap();
        assert!(simulator.flush().await.iter().all(|sent| sent.accepted()), "{tenant}");
    }
}

async fn waiting(town: &Town, tenant: &str) -> i64 {
    town.count("select count(*) from subject where tenant = $1 and waiting", tenant).await
}

#[tokio::test]
async fn a_paused_tenant_stores_what_arrives_and_does_nothing_until_it_is_resumed() {
    let mut town = Town::new(&[("a", 4), ("b", 4)]).await;
    town.start_replica().await;
    town.until_quiet().await;

    ordered(&town, &["pause", "a", "--stage", "fetch", "--reason", "audit"]).await;
    // Noticed within the poll interval.
    town.pass(TimeDelta::seconds(10)).await;
    let before = exports(&town, "a");
    edit_all(&town).await;
    town.until("the other tenant goes on", async |town: &Town| town.is_quiet("b").await).await;
    town.pass(TimeDelta::minutes(2)).await;
    assert_eq!((exports(&town, "a"), waiting(&town, "a").await), (before, 1));
    let (code, listed) = tenant(&town, &["list", "--json"]).await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((code, &listed[0]["pause_reason"]), (Some(0), &"audit".into()), "{listed}");
    assert!(listed[0]["paused_fetch_at"].is_string() && listed[1]["paused_fetch_at"].is_null(), "{listed}");
    let shown = town.get(format!("{}/api/v1/tenants", town.replicas[0].operators)).await;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert!(shown["items"][0]["paused_fetch_at"].is_string() && shown["items"][0]["worked_by"].is_string(), "{shown}");

    // Resumed for reading, paused for reports.
    ordered(&town, &["pause", "a", "--stage", "report"]).await;
    ordered(&town, &["resume", "a", "--stage", "fetch"]).await;
    let reports = town.simulators["a"].report_count();
    town.until("it is indexed", async |town: &Town| waiting(town, "a").await == 0).await;
    town.pass(TimeDelta::minutes(1)).await;
    assert_eq!(town.simulators["a"].report_count(), reports);
    assert!(exports(&town, "a") > before);
    ordered(&town, &["resume", "a"]).await;
    town.until_quiet().await;
    assert_eq!(town.simulators["a"].report_count(), reports + 1);
    let dead = "select count(*) from subject where tenant = $1 and (dead_at is not null or attempts > 0)";
    assert_eq!(town.count(dead, "a").await, 0);
    town.end().await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_the_names_that_there_are() {
    let town = Town::new(&[("a", 0), ("b", 0)]).await;
    let (code, says) = tenant(&town, &["pause", "nobody"]).await;
    assert_eq!(code, Some(64));
    assert!(says.contains("no tenant is named nobody; there are a, b"), "{says}");
    let (code, says) = tenant(&town, &["disconnect", "a"]).await;
    assert_eq!(code, Some(64));
    assert!(says.contains("--yes"), "{says}");
    let (code, says) = tenant(&town, &["disconnect", "a", "--purge-after", "30s", "--yes"]).await;
    assert_eq!(code, Some(2));
    assert!(says.contains("at least 1m"), "{says}");
    assert_eq!(tenants::states(&town.database).await.unwrap(), tenants::States::default());
    let (code, says) = tenant(&town, &["list"]).await;
    assert_eq!((code, says.matches("well").count()), (Some(0), 2), "{says}");
    ordered(&town, &["disconnect", "a", "--purge-after", "2h", "--yes"]).await;
    let (_, says) = tenant(&town, &["list"]).await;
    assert!(says.contains("disconnected since") && says.contains("hooks not unregistered yet"), "{says}");
    ordered(&town, &["resume", "a"]).await;
    assert_eq!(tenant(&town, &["list"]).await.1.matches("well").count(), 2);
    town.end().await;
}

/// Tables with a column that names the tenant.
async fn tables(town: &Town) -> BTreeSet<String> {
    let read = "select table_name::text from information_schema.columns
                where table_schema = 'public' and column_name = 'tenant'";
    let tables: Vec<String> = sqlx::query_scalar(read).fetch_all(town.database.pool()).await.unwrap();
    tables.into_iter().collect()
}

/// Rows of the tenant by table.
async fn rows(town: &Town, tenant: &str) -> Vec<(String, i64)> {
    let mut rows = Vec::new();
    for table in tables(town).await {
        let count = format!("select count(*) from {table} where tenant = $1");
        let count = sqlx::query_scalar(sqlx::AssertSqlSafe(count)).bind(tenant).fetch_one(town.database.pool());
        rows.push((table, count.await.unwrap()));
    }
    rows.retain(|(_, count)| *count > 0);
    rows
}

#[tokio::test]
async fn every_table_that_names_a_tenant_has_a_purge_rule() {
    let town = Town::new(&[]).await;
    let mut ruled: BTreeSet<String> = purge::TABLES.iter().map(ToString::to_string).collect();
    assert_eq!(ruled.len(), purge::TABLES.len(), "a table stands there twice");
    // Emptied by the end of the lease, and kept so that the tenant is not begun anew.
    ruled.extend(["tenant_lease".to_owned(), "tenant_state".to_owned()]);
    assert_eq!(tables(&town).await, ruled);
    town.end().await;
}

#[tokio::test]
async fn a_disconnected_tenant_is_unhooked_refused_and_after_the_grace_deleted_everywhere() {
    let mut town = Town::new(&[("a", 4), ("b", 4)]).await;
    town.start_replica().await;
    town.until_quiet().await;
    edit_all(&town).await;
    town.until_quiet().await;
    let others = rows(&town, "b").await;
    let now = town.clock.now();
    tenants::disconnect(&town.database, &id("a"), now, now + TimeDelta::days(7)).await.unwrap();
    town.until("its hooks are gone", async |town: &Town| town.simulators["a"].hooks().is_empty()).await;
    town.until("it is left alone", async |town: &Town| town.shares().await == [1]).await;
    assert!(!town.send("a", 0, &secret("a")).await.accepted());
    let refused =
        "select coalesce(sum(count), 0)::bigint from refusal_count where tenant = $1 and reason = 'disconnected'";
    town.until("its refusal is counted under its name", async |town: &Town| town.count(refused, "a").await == 1).await;
    assert!(town.send("b", 0, &secret("b")).await.accepted());
    let held = rows(&town, "a").await;
    for table in ["delivery", "subject", "document", "report_item", "sweep"] {
        assert!(held.iter().any(|(held, _)| held == table), "{table} is empty before the grace is over: {held:?}");
    }
    assert_eq!(town.count("select count(*) from hook where tenant = $1", "a").await, 0);

    let calls = town.simulators["a"].requests().len();
    town.turn(std::time::Duration::from_secs(7 * 86_400));
    town.until("everything is deleted", async |town: &Town| {
        town.count("select count(*) from tenant_state where tenant = $1 and purged_at is not null", "a").await == 1
            && town.shares().await == [1]
    })
    .await;
    assert_eq!(rows(&town, "a").await, [("tenant_state".to_owned(), 1)]);
    town.until_quiet_of("b").await;
    let left = rows(&town, "b").await;
    assert_eq!(left.iter().map(|row| &row.0).collect::<Vec<_>>(), others.iter().map(|row| &row.0).collect::<Vec<_>>());
    town.pass(TimeDelta::minutes(1)).await;
    assert_eq!(town.simulators["a"].requests().len(), calls, "it was called after it was left");

    // It can come back, and begins anew.
    tenants::connect(&town.database, &id("a")).await.unwrap();
    town.until_quiet().await;
    assert_eq!(town.simulators["a"].hooks().len(), super::EVENTS);
    assert!(town.send("a", 0, &secret("a")).await.accepted());
    town.end().await;
}

#[tokio::test]
async fn refused_credentials_are_in_the_state_until_they_are_accepted_again() {
    let mut town = Town::new(&[("a", 4)]).await;
    town.start_replica().await;
    town.until_quiet().await;
    assert_eq!(tenants::states(&town.database).await.unwrap(), tenants::States::default());
    let simulator = &town.simulators["a"];
    simulator.refuse_credentials(true);
    simulator.expire_tokens();
    let before = town.clock.now();
    edit_all(&town).await;
    let state = async |town: &Town| tenants::states(&town.database).await.unwrap().of(&id("a")).cloned();
    town.until("the refusal is noted", async |town: &Town| {
        state(town).await.is_some_and(|state| state.auth_failed_since.is_some_and(|since| since >= before))
    })
    .await;
    let noted = state(&town).await.unwrap();
    assert!(noted.auth_says.as_ref().unwrap().contains("ask the tenant's administrator"), "{noted:?}");
    // Another worker finds the same, and it is since then all the same.
    town.drain(0).await;
    town.start_replica().await;
    town.pass(TimeDelta::minutes(7)).await;
    assert_eq!(state(&town).await.unwrap().auth_failed_since, noted.auth_failed_since);
    // And another says that it is over as soon as it has a token.
    town.drain(0).await;
    town.simulators["a"].refuse_credentials(false);
    let mended = town.clock.now();
    town.start_replica().await;
    town.until("it is well", async |town: &Town| {
        state(town).await.is_some_and(|state| state.auth_failed_since.is_none())
    })
    .await;
    let after = town.clock.now() - mended;
    assert!(after < TimeDelta::seconds(50), "after {after}");
    town.until_quiet().await;
    town.end().await;
}

#[tokio::test]
async fn no_minute_has_more_calls_than_the_tenant_allows() {
    let world = World::start(Plan::sized(4, 2).with("TENANTS__ACME__CALLS_PER_MINUTE", "12")).await;
    world.settle().await;
    let calls: Vec<_> = world.simulator.requests().into_iter().filter(|row| !row.path.contains("token")).collect();
    assert!(calls.len() > 12, "{}", calls.len());
    for thirteen in calls.windows(13) {
        // Twelve times five seconds, less what the first one came late by: the clock is turned while it is on its way.
        let took = thirteen[12].at - thirteen[0].at;
        assert!(took >= TimeDelta::seconds(45), "13 calls in {took}");
    }
    world.end().await;
}
