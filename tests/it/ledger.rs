//! The command `ledger`: what it says when all is well, when something waits, and when something is lost.

use std::{collections::HashMap, time::Duration};

use cegid_indexer::{
    domain::{Kind, Subject},
    erasure,
    ledger::Verdict,
    tenants::{self, Work},
};
use cegid_simulator::{RawCallback, Spoil};

use crate::{
    convergence::{live_candidates, live_vacancies},
    harness::{Plan, World, process, tenant},
};

/// Exit code and standard output.
async fn ledger(world: &World, arguments: &[&str]) -> (i32, String) {
    let arguments: Vec<String> = ["ledger"].iter().chain(arguments).map(ToString::to_string).collect();
    let environment = world.environment();
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        process::run(&arguments, &environment)
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let says = String::from_utf8(if output.stdout.is_empty() { output.stderr } else { output.stdout }).unwrap();
    (output.status.code().unwrap(), says)
}

async fn execute(world: &World, statement: &'static str, key: &str) {
    let done = sqlx::query(statement).bind(key).execute(world.database.pool()).await.unwrap();
    assert_eq!(done.rows_affected(), 1, "{statement}");
}

#[tokio::test]
async fn a_ledger_that_balances_says_so_in_the_words_of_the_demo_and_for_programs() {
    let world = World::start(Plan::sized(10, 5)).await;
    world.settle().await;
    for key in &live_vacancies(&world)[..3] {
        world.simulator.edit_vacancy(key).unwrap();
    }
    world.simulator.flush().await;
    world.simulator.ping().await;
    world.settle().await;
    let own = world.ledger().await;
    assert_eq!((own.received, own.settled, own.ignored), (4, 3, 1));
    assert_eq!(own.ignored_by_reason, [("ping".to_owned(), 1)].into());
    let (code, says) = ledger(&world, &[]).await;
    assert_eq!(code, 0, "{says}");
    assert!(says.starts_with("acme: balances\n"), "{says}");
    for line in own.to_string().lines() {
        assert!(says.contains(line), "{line} is missing in\n{says}");
    }
    let (code, says) = ledger(&world, &["--json", "--tenant", "acme"]).await;
    let read: serde_json::Value = serde_json::from_str(&says).unwrap();
    assert_eq!((code, &read[0]["verdict"], &read[0]["in_settings"]), (0, &"balances".into(), &true.into()), "{says}");
    assert_eq!((&read[0]["received"], &read[0]["ignored_by_reason"]["ping"]), (&4.into(), &1.into()));
    world.end().await;
}

#[tokio::test]
async fn what_waits_is_not_lost() {
    let world = World::start(Plan::sized(10, 0)).await;
    world.settle().await;
    tenants::pause(&world.database, &tenant(), &Work::ALL, None, world.clock.now()).await.unwrap();
    // Noticed within the poll interval.
    world.pass(Duration::from_secs(10)).await;
    for key in &live_vacancies(&world)[..2] {
        world.simulator.edit_vacancy(key).unwrap();
        world.simulator.edit_vacancy(key).unwrap();
    }
    world.simulator.flush().await;
    let (code, says) = ledger(&world, &[]).await;
    assert_eq!(code, 0, "{says}");
    assert!(says.starts_with("acme: nothing is lost; 4 deliveries, 2 subjects and 0 reports wait\n"), "{says}");
    tenants::resume(&world.database, &tenant(), &Work::ALL).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn whatever_is_lost_is_named_and_ends_with_1() {
    let mut world = World::start(Plan::sized(20, 0)).await;
    world.settle().await;
    let keys = live_vacancies(&world);
    for key in &keys {
        world.simulator.edit_vacancy(key).unwrap();
    }
    world.settle().await;
    world.stop_service().await;
    // What is damaged gets no number that was not drawn.
    sqlx::raw_sql("select nextval('request_number')").execute(world.database.pool()).await.unwrap();
    assert_eq!(ledger(&world, &[]).await.0, 0);
    let damages = [
        ("delete from report_item where key = $1", "1 outcomes were never noted for reporting"),
        ("update report_item set noted = 1, reported = 1 where key = $1", "2 outcomes were never noted for reporting"),
        (
            "update report_item set outcome = 'error', messages = '{broken}' where key = $1",
            "3 outcomes were never noted for reporting",
        ),
        (
            "update document set searchable = false where key = $1",
            "1 documents are searchable and should be hidden, or the other way round",
        ),
        ("delete from document where key = $1", "1 subjects are held without a document"),
        ("delete from subject where key = $1", "1 deliveries have no subject"),
        (
            "update subject set wanted = settled + 1, dead_at = now(), last_error = 'broken' where key = $1",
            "4 outcomes were never noted for reporting",
        ),
        (
            "update subject set wanted = settled + 1, attempts = 3, failing_since = now(), last_error = 'broken',
               failure_repeats = 3, failure_digest = '\\x01' where key = $1",
            "5 outcomes were never noted for reporting",
        ),
        (
            "update subject set state = 'removed', removed_at = now(), removed_cause = 'absence' where key = $1",
            "2 documents are of no subject that is held",
        ),
    ];
    for ((statement, says), key) in damages.iter().zip(&keys) {
        execute(&world, statement, key).await;
        let (code, said) = ledger(&world, &[]).await;
        assert_eq!(code, 1, "{statement}: {said}");
        assert!(said.starts_with("acme: LOST: ") && said.contains(says), "{statement}: {said}");
    }
    let (code, said) = ledger(&world, &["--json"]).await;
    let read: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &read[0]["verdict"]), (1, &"lost".into()));
    assert_eq!(read[0]["lost"].as_array().unwrap().len(), 5, "{said}");
    world.simulator.stop().await;
}

#[tokio::test]
async fn what_sweeps_and_the_guard_still_owe_keeps_the_ledger_from_balancing() {
    let mut world = World::start(Plan::default()).await;
    world.settle().await;
    world.simulator.set_vacancy_status(&live_vacancies(&world)[0], "Archived").unwrap();
    world.settle().await;
    world.stop_service().await;
    for (breaks, mends, says) in [
        (
            "update sweep set finish_by = '2000-01-01' where kind = 'candidate' and use = 'full' and finished_at is null",
            "update sweep set finish_by = null",
            "1 are late",
        ),
        (
            "update sweep set due_at = '2000-01-01' where kind = 'vacancy' and use = 'full' and finished_at is null",
            "update sweep set due_at = 'infinity'",
            "1 are late",
        ),
        (
            "update sweep set stalls = 1 where kind = 'candidate' and use = 'full' and finished_at is null",
            "update sweep set stalls = 0",
            "1 have a list that does not advance",
        ),
        (
            "update subject set held_at = now() where key = (select min(key) from subject)",
            "update subject set held_at = null",
            "1 wait for `sweeps confirm`",
        ),
        (
            "update subject set vanished_at = now(), vanished_by = 'nothing', vanished_limit = 1
             where key = (select min(key) from subject)",
            "update subject set vanished_at = null, vanished_by = null, vanished_limit = null",
            "1 were removed without a proof, or beyond the bulk guard",
        ),
        (
            "update subject set vanished_at = now(), vanished_by = 'control', vanished_limit = 0
             where key = (select min(key) from subject)",
            "update subject set vanished_at = null, vanished_by = null, vanished_limit = null",
            "1 were removed without a proof, or beyond the bulk guard",
        ),
        (
            "insert into unreadable (tenant, kind, digest, named, served, cause, also, place, first_at, last_at, due_at)
             values ('acme', 'candidate', '', false, true, 'unpacking a record: archive', '', 0, now(), now(), now())",
            "delete from unreadable",
            "1 records could not be read, 1 of them without a readable key",
        ),
        (
            // As if it had ended without a read of anybody.
            "update sweep set started_at = now(), finished_at = now(),
               read_number = (select last_value from request_number)
             where kind = 'candidate' and use = 'full' and finished_at is null",
            "update sweep set started_at = null, finished_at = null, read_number = null where use = 'full'",
            " subjects were passed over",
        ),
        (
            "update sweep set started_at = now(), finished_at = now(),
               read_number = (select last_value + 1 from request_number)
             where kind = 'vacancy' and use = 'rolling' and finished_at is null",
            "update sweep set finished_at = null, read_number = null where use = 'rolling'",
            "; 1 subjects were passed over",
        ),
        (
            "with full_sweep as (delete from sweep where kind = 'candidate' and use = 'full')
             update sweep set started_at = '2000-01-01' where kind = 'candidate' and use = 'initial' and position = 0",
            "update sweep set started_at = now() where use = 'initial'",
            "1 are late",
        ),
    ] {
        assert!(world.ledger().await.balances(), "before {breaks}");
        let broken = sqlx::query(breaks).execute(world.database.pool()).await.unwrap();
        assert_eq!(broken.rows_affected(), 1, "{breaks}");
        let (code, text) = ledger(&world, &[]).await;
        assert!(code == 0 && text.starts_with("acme: nothing is lost") && text.contains(says), "{breaks}: {text}");
        sqlx::query(mends).execute(world.database.pool()).await.unwrap();
    }
    world.leave().await;
}

#[tokio::test]
async fn what_was_buried_is_accounted_for_by_its_cause() {
    let world = World::start(Plan::sized(10, 0).with("WORKER__RETRY_HORIZON", "1m")).await;
    world.settle().await;
    let key = live_vacancies(&world).remove(0);
    world.simulator.spoil(&key, Some(Spoil::NoEntry));
    world.simulator.edit_vacancy(&key).unwrap();
    world.simulator.flush().await;
    world
        .until("it is buried and told", async |world: &World| {
            let ledger = world.ledger().await;
            ledger.dead == 1 && ledger.balances()
        })
        .await;
    let (code, says) = ledger(&world, &[]).await;
    assert_eq!(code, 0, "{says}");
    assert!(says.contains("+ dead 1 +") && says.contains("dead 1: unpacking a record: "), "{says}");
    assert!(!says.contains(&key), "{says}");
    world.simulator.spoil(&key, None);
    world.simulator.edit_vacancy(&key).unwrap();
    world.end().await;
}

#[tokio::test]
async fn since_is_about_what_was_received_and_a_tenant_may_be_the_databases_alone() {
    let mut world = World::start(Plan::sized(10, 0)).await;
    world.settle().await;
    let keys = live_vacancies(&world);
    world.simulator.edit_vacancy(&keys[0]).unwrap();
    world.settle().await;
    let between = world.clock.now() + Duration::from_secs(1);
    world.turn(Duration::from_secs(2));
    world.simulator.edit_vacancy(&keys[1]).unwrap();
    world.settle().await;
    let received = async |world: &World, since: &str| -> i64 {
        let (code, says) = ledger(world, &["--json", "--since", since]).await;
        assert_eq!(code, 0, "{says}");
        serde_json::from_str::<serde_json::Value>(&says).unwrap()[0]["received"].as_i64().unwrap()
    };
    assert_eq!(received(&world, "2026-09-10T00:00:00Z").await, 2);
    assert_eq!(received(&world, &between.to_rfc3339()).await, 1);
    // By the machine's clock, which is far from the test's.
    assert_eq!(received(&world, "36500d").await, 2);
    execute(&world, "update delivery set received_at = clock_timestamp() - interval '1 hour' where key = $1", &keys[0])
        .await;
    execute(
        &world,
        "update delivery set received_at = clock_timestamp() - interval '3 hours' where key = $1",
        &keys[1],
    )
    .await;
    assert_eq!(received(&world, "2h").await, 1);
    world.stop_service().await;
    let (code, says) = ledger(&world, &["--tenant", "nobody"]).await;
    assert_eq!(code, 64);
    assert!(says.contains("`nobody`") && says.contains("acme"), "{says}");
    let mut without: HashMap<String, String> = world.environment();
    without.retain(|key, _| !key.contains("TENANTS__"));
    let output = tokio::task::spawn_blocking(move || process::run(&["ledger"], &without)).await.unwrap();
    let says = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{says}");
    assert!(says.starts_with("acme (not in the settings): balances\n"), "{says}");
    world.simulator.stop().await;
}

#[tokio::test]
async fn someone_who_is_being_erased_is_not_taken_for_lost() {
    let world = World::start(Plan::sized(5, 10)).await;
    world.settle().await;
    let key = live_candidates(&world).remove(0);
    world.simulator.edit_candidate(&key).unwrap();
    world.settle().await;
    let subject = Subject::new(Kind::Candidate, key.clone());
    erasure::erase(&world.database, &tenant(), &subject, "", world.clock.now()).await.unwrap();
    assert!(world.ledger().await.balances());
    // As it stands between the two transactions of an erasure.
    execute(&world, "update delivery set key = $1 where key like 'erased:%'", &key).await;
    let ledger = world.ledger().await;
    assert_eq!((ledger.received, ledger.settled, ledger.verdict()), (1, 1, Verdict::Balances), "{ledger}");
    erasure::erase(&world.database, &tenant(), &subject, "", world.clock.now()).await.unwrap();
    world.leave().await;
}

#[tokio::test]
async fn what_raises_no_subject_is_ignored_each_by_its_reason() {
    let world = World::start(Plan::sized(3, 0)).await;
    world.settle().await;
    let callback = RawCallback {
        url: format!("{}/api/talentsoft/v1/acme/events", world.public),
        body: br#"[{"event_type":"x"},{"event_type":"vacancy_update","reference":""},7]"#.to_vec(),
        ..RawCallback::default()
    };
    assert!(world.simulator.send_raw(&callback).await.accepted());
    let reasons = [("no_key".to_owned(), 1), ("unreadable".to_owned(), 1), ("unusable_key".to_owned(), 1)];
    assert_eq!(world.ledger().await.ignored_by_reason, reasons.into());
    world.end().await;
}

#[tokio::test]
async fn a_ledger_that_takes_too_long_is_given_up_with_what_to_do() {
    let mut world = World::start(Plan::sized(3, 0)).await;
    world.settle().await;
    world.stop_service().await;
    let mut environment = world.environment();
    environment.insert("CEGID_INDEXER__DATABASE__STATEMENT_TIMEOUT".to_owned(), "300ms".to_owned());
    environment.insert("CEGID_INDEXER__DATABASE__LOCK_TIMEOUT".to_owned(), "1h".to_owned());
    // Somebody has the table for himself.
    let mut held = world.database.begin().await.unwrap();
    sqlx::query("lock table gap_count in access exclusive mode").execute(&mut *held).await.unwrap();
    let output = tokio::task::spawn_blocking(move || process::run(&["ledger"], &environment)).await.unwrap();
    let says = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{says}");
    assert!(says.contains("longer than database.statement_timeout") && says.contains("--since"), "{says}");
    held.rollback().await.unwrap();
    world.leave().await;
}
