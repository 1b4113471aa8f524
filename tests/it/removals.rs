//! People leave when they must, and nobody leaves by mistake.

use std::time::Duration;

use cegid_indexer::{
    domain::{Kind, Subject},
    erasure,
    ledger::Verdict,
    retention,
    settings::Settings,
    subjects,
    sweeps::Use,
};
use cegid_simulator::{Endpoint, Fault, FaultKind, Spoil};

use crate::harness::{Plan, World, process, tenant};

fn live_candidates(world: &World) -> Vec<String> {
    let truth = world.simulator.truth().into_iter();
    truth.filter(|row| row.kind == "candidate" && row.live && row.present).map(|row| row.key).collect()
}

async fn count(world: &World, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(world.database.pool()).await.unwrap()
}

/// Rows of any table that hold this text, in any column.
async fn rows_with(world: &World, text: &str) -> Vec<String> {
    let tables: Vec<String> =
        sqlx::query_scalar("select table_name::text from information_schema.tables where table_schema = 'public'")
            .fetch_all(world.database.pool())
            .await
            .unwrap();
    let mut found = Vec::new();
    for table in tables {
        let query = format!("select count(*) from \"{table}\" t where position($1 in t::text) > 0");
        let rows: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(query)).bind(text).fetch_one(world.database.pool()).await.unwrap();
        if rows > 0 {
            found.push(table);
        }
    }
    found
}

#[tokio::test]
async fn people_who_were_anonymised_or_deleted_in_silence_are_gone_after_one_full_sweep() {
    let world = World::start(Plan::sized(0, 1200).with("TENANTS__ACME__ATTACHMENTS", "resumes")).await;
    world.settle().await;
    let candidates = live_candidates(&world);
    let held = world.indexed(Kind::Candidate).await.len();
    let (anonymised, deleted) = (&candidates[..20], &candidates[20..40]);
    for key in anonymised {
        world.simulator.anonymise_silently(key).unwrap();
    }
    for key in deleted {
        world.simulator.delete_silently(key).unwrap();
    }
    world.sweep(&[Use::Full]).await;
    world.settle().await;
    world.assert_equal_to_truth().await;
    assert_eq!(world.indexed(Kind::Candidate).await.len(), held - 40);
    for key in &candidates[..40] {
        let left = rows_with(&world, &format!(",{key},")).await;
        assert_eq!(left, ["subject"], "{key}: the tombstone alone is left");
        let (status, _) = world.get(&world.operators, &format!("/api/v1/tenants/acme/candidates/{key}")).await;
        assert_eq!(status, 404);
    }
    assert_eq!(world.gaps().await, 40);
    // An old callback, once more.
    for key in &candidates[..40] {
        world.simulator.announce("applicant_update", key);
    }
    world.settle().await;
    assert_eq!(world.indexed(Kind::Candidate).await.len(), held - 40);
    world.end().await;
}

#[tokio::test]
async fn a_hidden_vacancy_that_is_deleted_in_silence_is_gone_after_one_rolling_sweep() {
    let world = World::start(Plan::sized(20, 0)).await;
    world.settle().await;
    let truth = world.simulator.truth().into_iter();
    let live: Vec<String> = truth.filter(|row| row.live && row.present).map(|row| row.key).collect();
    let (deleted, archived) = (&live[0], &live[1]);
    for key in [deleted, archived] {
        world.simulator.set_vacancy_status_silently(key, "Archived").unwrap();
    }
    world.sweep(&[Use::Full]).await;
    world.settle().await;
    assert!(!world.indexed(Kind::Vacancy).await[deleted].1, "an archived vacancy is searchable");
    assert_eq!(world.gaps().await, 2);
    world.simulator.delete_silently(deleted).unwrap();
    let before = world.last_request();
    world.sweep(&[Use::Rolling]).await;
    world.settle().await;
    world.assert_equal_to_truth().await;
    let indexed = world.indexed(Kind::Vacancy).await;
    assert_eq!((indexed.contains_key(deleted), indexed.get(archived).map(|it| it.1)), (false, Some(false)));
    assert_eq!(world.gaps().await, 3);
    // Those that are live are the full sweep's; one of them proves the absence.
    let asked =
        |key: &str| world.simulator.count_requests(|request| request.number > before && request.query.contains(key));
    assert!(asked(archived) > 0);
    assert!(live[2..].iter().map(|key| asked(key)).sum::<usize>() < live.len() - 2);
    world.end().await;
}

/// A world whose index has lost a candidate that Cegid hides by error, and who it is.
async fn without_one_who_is_hidden() -> (World, String) {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let key = live_candidates(&world).remove(0);
    world.simulator.spoil(&key, Some(Spoil::Hidden));
    world.sweep(&[Use::Full]).await;
    world.settle().await;
    assert!(!world.indexed(Kind::Candidate).await.contains_key(&key));
    (world, key)
}

/// Hour by hour, so that what is due in between is done in between.
async fn more_than_a_day(world: &World) {
    for _ in 0..30 {
        world.turn(Duration::from_secs(3600));
        world.pass(Duration::from_secs(100)).await;
    }
}

#[tokio::test]
async fn a_record_that_was_wrongly_absent_for_an_hour_comes_back_by_itself() {
    let (world, key) = without_one_who_is_hidden().await;
    world.pass(Duration::from_secs(3000)).await;
    world.simulator.spoil(&key, None);
    world.pass(Duration::from_secs(3600)).await;
    world.until("it is back", async |world: &World| world.indexed(Kind::Candidate).await.contains_key(&key)).await;
    // Nobody said that it came back: Cegid's answers lacked it, and an operator sees that for a day.
    world.settle().await;
    let ledger = world.ledger().await;
    assert_eq!((ledger.removals_undone, ledger.verdict()), (1, Verdict::Waits), "{ledger}");
    more_than_a_day(&world).await;
    assert_eq!(world.ledger().await.removals_undone, 0);
    world.end().await;
}

#[tokio::test]
async fn a_record_that_a_callback_brings_back_was_rightly_removed() {
    let (world, key) = without_one_who_is_hidden().await;
    world.simulator.spoil(&key, None);
    world.simulator.edit_candidate(&key).unwrap();
    world.simulator.flush().await;
    world.until("it is back", async |world: &World| world.indexed(Kind::Candidate).await.contains_key(&key)).await;
    world.settle().await;
    assert!(world.ledger().await.balances());
    world.end().await;
}

#[tokio::test]
async fn a_list_that_shows_who_was_removed_long_ago_has_the_record_asked_for() {
    let (world, key) = without_one_who_is_hidden().await;
    // The looks that an absence is given of itself, after an hour and a day, find nothing; the next round is far.
    more_than_a_day(&world).await;
    assert!(!world.indexed(Kind::Candidate).await.contains_key(&key));
    world.simulator.spoil(&key, None);
    world.simulator.edit_silently(&key).unwrap();
    let since = world.clock.now();
    world.sweep(&[Use::Incremental]).await;
    world.until("it is back", async |world: &World| world.indexed(Kind::Candidate).await.contains_key(&key)).await;
    assert!(world.clock.now() < since + Duration::from_secs(3600), "{} since {since}", world.clock.now());
    world.end().await;
}

#[tokio::test]
async fn removals_in_bulk_wait_for_the_operator_and_time_lets_none_through() {
    let world = World::start(Plan::sized(0, 60).with("WORKER__REMOVALS_FLOOR", "5")).await;
    world.settle().await;
    let held = world.indexed(Kind::Candidate).await.len();
    let candidates = live_candidates(&world);
    for key in &candidates[..15] {
        world.simulator.delete_silently(key).unwrap();
    }
    // Anonymisation is never held.
    for key in &candidates[15..35] {
        world.simulator.anonymise_silently(key).unwrap();
    }
    world.sweep(&[Use::Full]).await;
    let indexed = async |world: &World| world.indexed(Kind::Candidate).await.len();
    world.until("the first are removed", async |world: &World| indexed(world).await == held - 25).await;
    let waiting =
        async |world: &World| subjects::held(&world.database).await.unwrap().iter().map(|held| held.count).sum::<i64>();
    world.until("the others wait", async |world: &World| waiting(world).await == 10).await;
    // What was removed before counts.
    world.simulator.delete_silently(&candidates[35]).unwrap();
    world.sweep(&[Use::Full]).await;
    world.until("one more waits", async |world: &World| waiting(world).await == 11).await;
    // The guard's window has passed.
    more_than_a_day(&world).await;
    assert_eq!(indexed(&world).await, held - 25);
    // One of them is back; the others go.
    let environment = world.environment();
    let confirm = ["sweeps", "confirm", "--tenant", "acme", "--dry-run"];
    let output = tokio::task::spawn_blocking(move || process::run(&confirm, &environment)).await.unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("candidate: 11 removals would be confirmed"));
    let confirmed = subjects::release(&world.database, &tenant(), Kind::Candidate, world.clock.now()).await.unwrap();
    assert_eq!((confirmed.subjects, confirmed.unfilterable), (11, 0));
    world.until("they are removed", async |world: &World| indexed(world).await == held - 36).await;
    assert_eq!(count(&world, "select count(*) from subject where held_at is not null").await, 0);
    world.end().await;
}

#[tokio::test]
async fn the_guard_counts_what_was_removed_by_absence_in_a_day_against_what_there_was() {
    let world = World::start(Plan::sized(0, 0).stopped()).await;
    let put = async |from: i32, to: i32, state: &str, columns: &str| {
        let query = format!(
            "insert into subject (tenant, kind, key, wanted, settled, state, due_at, removed_at, removed_cause,
                                  vanished_at, held_at, released_at)
             select 'acme', 'candidate', 'key-' || nth, 1, 1, $1, $2, {columns} from generate_series($3::int, $4) nth"
        );
        let put = sqlx::query(sqlx::AssertSqlSafe(query)).bind(state).bind(world.clock.now()).bind(from).bind(to);
        put.execute(world.database.pool()).await.unwrap();
    };
    // 60 in the index: one removal waits already, another was confirmed.
    put(1, 58, "live", "null, null, null, null, null").await;
    put(59, 59, "live", "null, null, null, $2, null").await;
    put(60, 60, "hidden", "null, null, null, $2, $2").await;
    // 40 vanished within the day: 30 were removed, 10 hidden. None of the others counts.
    let within = "$2 - interval '23 hours'";
    put(101, 130, "removed", &format!("{within}, 'absence', {within}, null, null")).await;
    put(131, 140, "hidden", &format!("null, null, {within}, null, null")).await;
    put(201, 250, "removed", "$2, 'absence', $2 - interval '25 hours', null, null").await;
    put(301, 350, "removed", "$2, 'anonymised', null, null, null").await;
    put(401, 450, "removed", "$2, 'absence', $2, null, $2").await;
    let keys: Vec<String> = (1..=60).map(|nth| format!("key-{nth}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let waits = async |floor: u32, percent: u32, keys: &[&str]| {
        let mut tx = world.database.pool().begin().await.unwrap();
        let now = world.clock.now();
        subjects::hold_back(&mut tx, &tenant(), Kind::Candidate, now, (floor, percent), keys).await.unwrap().back
    };
    for (floor, percent, go) in [(0, 50, 10), (0, 45, 5), (0, 40, 0), (0, 0, 0), (45, 10, 5), (10, 45, 5), (0, 100, 58)]
    {
        let back = waits(floor, percent, &keys).await;
        assert_eq!(59 - back.len(), go, "{floor} or {percent} % of 100, 40 are gone: {back:?}");
        assert!(back.contains("key-59") && !back.contains("key-60"), "{floor}, {percent}: {back:?}");
    }
    assert!(waits(0, 0, &[]).await.is_empty());
    world.leave().await;
}

/// The simulator's truth no longer counts for someone who was erased.
async fn leave_without(world: World, key: &str) {
    world.settle().await;
    let differences = world.differences().await;
    assert_eq!(differences, [format!("candidate {key} is missing")]);
    world.leave().await;
}

#[tokio::test]
async fn an_erasure_takes_the_key_away_everywhere_and_holds_until_it_is_lifted() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let key = live_candidates(&world).remove(0);
    world.simulator.edit_candidate(&key).unwrap();
    world.settle().await;
    assert!(rows_with(&world, &key).await.contains(&"delivery".to_owned()));
    let mut environment = world.environment();
    environment.insert("CEGID_INDEXER__LOG__LEVEL".into(), "info".into());
    let arguments = ["erase", "--tenant", "acme", "--key", &key, "--reason", "request 7"].map(str::to_owned);
    let run = move || process::run(&arguments.each_ref().map(String::as_str), &environment);
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains(&key));
    assert!(rows_with(&world, &key).await.is_empty(), "{:?}", rows_with(&world, &key).await);
    // An old callback, an edit and every sweep later it is still out.
    world.simulator.edit_candidate(&key).unwrap();
    world.settle().await;
    world.sweep_all().await;
    assert!(rows_with(&world, &key).await.is_empty(), "{:?}", rows_with(&world, &key).await);
    let asked = world.simulator.count_requests(|request| request.query.contains(&key));
    let subject = Subject::new(Kind::Candidate, key.clone());
    assert!(erasure::lift(&world.database, &tenant(), &subject, world.clock.now()).await.unwrap());
    subjects::want(&world.database, &tenant(), Kind::Candidate, &key, world.clock.now()).await.unwrap();
    world.settle().await;
    assert!(world.simulator.count_requests(|request| request.query.contains(&key)) > asked);
    world.end().await;
}

#[tokio::test]
async fn a_refresh_under_way_brings_nobody_back_who_was_erased_meanwhile() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let key = live_candidates(&world).remove(0);
    world.simulator.add_fault(Fault::new(Endpoint::Candidates, FaultKind::Hold).times(1));
    world.simulator.edit_candidate(&key).unwrap();
    world.simulator.flush().await;
    world.until("an answer is kept back", async |world: &World| world.simulator.held() == 1).await;
    let subject = Subject::new(Kind::Candidate, key.clone());
    let receipt = erasure::erase(&world.database, &tenant(), &subject, "", world.clock.now()).await.unwrap();
    assert_eq!((receipt.documents, receipt.deliveries), (1, 1));
    world.simulator.release_held();
    world.settle().await;
    assert!(rows_with(&world, &key).await.is_empty(), "{:?}", rows_with(&world, &key).await);
    leave_without(world, &key).await;
}

#[tokio::test]
async fn a_sweeps_page_under_way_brings_nobody_back_who_was_erased_or_refreshed_meanwhile() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let candidates = live_candidates(&world);
    let (erased, refreshed) = (&candidates[0], &candidates[1]);
    world.simulator.edit_silently(erased).unwrap();
    world.simulator.edit_silently(refreshed).unwrap();
    world.simulator.add_fault(Fault::new(Endpoint::Candidates, FaultKind::Hold).times(1));
    cegid_indexer::sweeps::ask(&world.database, &tenant(), Kind::Candidate, Use::Incremental, world.clock.now())
        .await
        .unwrap();
    world.until("the page is kept back", async |world: &World| world.simulator.held() == 1).await;
    let page = world.simulator.requests().into_iter().rfind(|row| row.path.ends_with("/candidates")).unwrap();
    assert!(page.query.contains("updateDate"), "{}", page.query);
    let subject = Subject::new(Kind::Candidate, erased.clone());
    erasure::erase(&world.database, &tenant(), &subject, "", world.clock.now()).await.unwrap();
    world.simulator.edit_candidate(refreshed).unwrap();
    world.simulator.flush().await;
    world.until("the newer read is indexed", async |world: &World| world.differences().await.len() == 1).await;
    world.simulator.release_held();
    world
        .until("the sweep is done", async |world: &World| {
            let open = "select count(*) from sweep where use = 'incremental' and kind = 'candidate' and asked
                    and finished_at is null";
            count(world, open).await == 0
        })
        .await;
    assert!(rows_with(&world, erased).await.is_empty(), "{:?}", rows_with(&world, erased).await);
    let erased = erased.clone();
    leave_without(world, &erased).await;
}

#[tokio::test]
async fn what_was_received_is_forgotten_when_its_time_is_over_and_what_waits_is_not() {
    let mut world = World::start(Plan::default()).await;
    world.settle().await;
    let candidates = live_candidates(&world);
    for key in &candidates[..3] {
        world.simulator.edit_candidate(key).unwrap();
    }
    world.settle().await;
    // One waits: its answer is kept back while a month goes by.
    world.simulator.add_fault(Fault::new(Endpoint::Candidates, FaultKind::Hold));
    world.simulator.edit_candidate(&candidates[4]).unwrap();
    world.simulator.flush().await;
    world.until("an answer is kept back", async |world: &World| world.simulator.held() > 0).await;
    world.stop_service().await;
    assert_eq!(world.ledger().await.received, 4);
    world.turn(Duration::from_secs(29 * 86400));
    let settings = Settings::load(None, world.environment()).unwrap().retention;
    assert_eq!(retention::forget(&world.database, &settings, &world.clock).await.unwrap(), 0);
    // One that fails holds up no other.
    let gap = "insert into gap_count (tenant, kind, hour, count) values ('acme', 'vacancy', '2020-01-01', 1)";
    sqlx::query(gap).execute(world.database.pool()).await.unwrap();
    sqlx::query("alter table refusal rename to away").execute(world.database.pool()).await.unwrap();
    world.turn(Duration::from_secs(2 * 86400));
    retention::forget(&world.database, &settings, &world.clock).await.unwrap_err();
    assert_eq!(count(&world, "select count(*) from gap_count where hour < '2021-01-01'").await, 0);
    assert_eq!(count(&world, "select count(*) from delivery").await, 1);
    sqlx::query("alter table away rename to refusal").execute(world.database.pool()).await.unwrap();
    assert_eq!(retention::forget(&world.database, &settings, &world.clock).await.unwrap(), 0);
    let ledger = world.ledger().await;
    assert_eq!((ledger.received, ledger.waiting), (1, 1));
    world.simulator.clear_faults();
    world.simulator.release_held();
    world.start_service().await;
    world.end().await;
}
