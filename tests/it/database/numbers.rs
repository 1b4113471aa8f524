//! A sequence of numbers that goes backwards: by hand, by a restore, and by a failover that lost commits.

use std::{path::Path, process::Command};

use cegid_indexer::ledger::Verdict;
use cegid_simulator::{Endpoint, Fault, FaultKind, Spoil};
use private_postgres::{Options, Server};
use tokio::task::block_in_place;

use crate::{
    convergence::{live_candidates, live_vacancies},
    database::{direct, run},
    harness::{Plan, World, process, tenant},
    reports::status,
};

pub(super) async fn number(world: &World, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(world.database.pool()).await.unwrap()
}

async fn sequence(world: &World) -> i64 {
    number(world, "select last_value from request_number").await
}

#[tokio::test]
async fn a_callback_after_the_sequence_was_set_back_under_the_service_is_read() {
    let world = World::start(Plan::sized(6, 2)).await;
    world.settle().await;
    let keys = live_vacancies(&world);
    world.simulator.edit_vacancy(&keys[0]).unwrap();
    world.settle().await;
    let reported = world.simulator.report_count();
    // The next delivery's id is one at which its subject is settled.
    let settled = number(&world, "select max(settled) from subject").await;
    run(&world, "select setval('request_number', (select max(id) from delivery))").await;
    world.simulator.edit_vacancy(&keys[0]).unwrap();
    world.settle().await;
    let id = number(&world, "select max(id) from delivery").await;
    assert!(id > settled, "the delivery has the id {id}, and its subject was settled at {settled} before");
    // A report of the lost time may have told Cegid otherwise: each outcome is told once more.
    let held = number(&world, "select count(*) from report_item").await;
    assert!(world.simulator.report_count() >= reported + usize::try_from(held).unwrap());
    world.end().await;
}

#[tokio::test]
async fn numbers_above_the_sequence_are_lost_to_the_ledger_and_put_right_at_the_next_start() {
    let mut world = World::start(Plan::sized(6, 2)).await;
    world.settle().await;
    let keys = live_vacancies(&world);
    // As a database is left whose sequence was not copied with its tables.
    run(&world, "update subject set wanted = wanted + 1000, settled = settled + 1000").await;
    assert_eq!(world.ledger().await.verdict(), Verdict::Lost);
    assert_eq!(world.ledger().await.numbers_ahead, number(&world, "select count(*) from subject").await);
    world.simulator.edit_vacancy(&keys[0]).unwrap();
    world.simulator.flush().await;
    world.stop_service().await;
    let ledger = world.ledger().await;
    assert_eq!((ledger.settled, ledger.waiting), (1, 0), "the callback counts as settled, unread");
    assert!(ledger.lost()[0].contains("database repair-numbers"), "{:?}", ledger.lost());
    world.start_service().await;
    world.simulator.edit_vacancy(&keys[1]).unwrap();
    // The first one is read too, although nothing asks for it any more.
    world.end().await;
}

#[tokio::test]
async fn a_repair_waits_for_what_is_being_settled_and_never_the_other_way_round() {
    let mut world = World::start(Plan::sized(3, 1)).await;
    world.settle().await;
    world.stop_service().await;
    // As a settling transaction: its lease first, then the rows of its subjects and reports.
    let mut settling = world.database.begin().await.unwrap();
    let lease = "select from tenant_lease for key share";
    sqlx::query(lease).execute(&mut *settling).await.unwrap();
    let database = world.database.clone();
    let repair = tokio::spawn(async move { database.repair_numbers(true).await });
    world
        .until_by_itself("the repair waits", async |world: &World| {
            number(world, "select count(*) from pg_locks where not granted").await > 0
        })
        .await;
    let rows = "update report_item set reported_at = now()";
    sqlx::query(rows).execute(&mut *settling).await.unwrap();
    settling.commit().await.unwrap();
    assert!(repair.await.unwrap().unwrap().raised_to.is_some());
    world.start_service().await;
    world.end().await;
}

#[tokio::test]
async fn the_command_raises_the_sequence_and_says_what_it_found() {
    let mut world = World::start(Plan::sized(3, 1)).await;
    world.settle().await;
    world.stop_service().await;
    let repair = async || {
        let environment = world.environment();
        let run = move || process::run(&["database", "repair-numbers"], &environment);
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, says) = repair().await;
    assert!(code == 0 && says.contains("nothing was changed") && says.contains("--restored"), "{says}");
    run(&world, "update report_item set noted = noted + 500, reported = noted + 500").await;
    assert_eq!(world.ledger().await.verdict(), Verdict::Lost);
    let (code, says) = repair().await;
    assert!(code == 0 && says.contains("raised to"), "{says}");
    let ledger = world.ledger().await;
    assert_eq!(ledger.lost(), Vec::<String>::new());
    assert_eq!(ledger.reports_waiting, ledger.documents, "every outcome is to be reported once more");
    world.start_service().await;
    world.end().await;
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_loses_commits_under_the_service_ends_at_the_truth() {
    let server = Server::start(Options::from_env()).await.unwrap();
    let mut world = World::start(Plan::sized(12, 6).with("DATABASE__URL", server.url("postgres"))).await;
    world.database = direct(&server);
    world.settle().await;
    let (vacancies, candidates) = (live_vacancies(&world), live_candidates(&world));
    world.simulator.edit_vacancy(&vacancies[0]).unwrap();
    world.settle().await;
    // What the standby has: the primary as it is now.
    let (data, standby) = (server.data_dir(), server.dir().join("standby"));
    block_in_place(|| {
        server.stop_postgres().unwrap();
        copy(&data, &standby);
        server.start_again().unwrap();
    });
    world
        .until_by_itself("the service is ready again", async |world| world.get(&world.public, "/readyz").await.0 == 200)
        .await;
    // Answered, read, reported, and lost; one read is under way when the primary dies.
    let kept = sequence(&world).await;
    for key in vacancies[1..6].iter().chain(&vacancies[1..6]) {
        world.simulator.edit_vacancy(key).unwrap();
        world.simulator.flush().await;
        world.settle().await;
    }
    world.simulator.edit_candidate(&candidates[0]).unwrap();
    world.settle().await;
    assert!(sequence(&world).await > kept + 10);
    world.simulator.add_fault(Fault::new(Endpoint::Vacancies, FaultKind::Hold));
    world.simulator.edit_vacancy(&vacancies[0]).unwrap();
    world.simulator.flush().await;
    world.until_by_itself("a read is under way", async |world| world.simulator.held() > 0).await;
    block_in_place(|| {
        server.kill().unwrap();
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::rename(&standby, &data).unwrap();
        copy(&data.join("PG_VERSION"), &data.join("standby.signal"));
        server.start_again().unwrap();
    });
    world.until_by_itself("the standby can be read", async |world| world.database.time().await.is_ok()).await;
    assert!(world.database.is_read_only().await.unwrap());
    run(&world, "select pg_promote()").await;
    // Edited after it was read, before that read is settled.
    world.simulator.edit_vacancy(&vacancies[0]).unwrap();
    world
        .until_by_itself("callbacks are taken again", async |world| {
            world.simulator.resend_failed(usize::MAX);
            world.simulator.flush().await.iter().all(|sent| sent.accepted())
        })
        .await;
    world.simulator.clear_faults();
    world.simulator.release_held();
    world
        .until("what was lost is found by the sweeps that are due", async |world| {
            world.ledger().await.balances() && world.differences().await.is_empty()
        })
        .await;
    let ahead = "select count(*) from subject where settled > (select last_value from request_number)";
    assert_eq!(number(&world, ahead).await, 0);
    assert!(number(&world, "select max(id) from delivery").await > kept + 1_000_000);
    world.simulator.edit_vacancy(&vacancies[0]).unwrap();
    world.settle().await;
    world.assert_equal_to_truth().await;
    world.assert_reported().await;
    assert_eq!(
        cegid_indexer::ledger::read(&world.database, &tenant(), chrono::DateTime::UNIX_EPOCH)
            .await
            .unwrap()
            .lost()
            .len(),
        0
    );
    // The deliveries that were lost with the primary's last commits are not stored: no more is looked at.
    world.stop_service().await;
    world.simulator.stop().await;
}

/// An older state of the same server, as a snapshot of its volume keeps it, is put back: under the service, or while
/// none runs. What was lost is so little that the sequence, which PostgreSQL lets jump ahead, shows nothing of it.
async fn put_back(under_the_service: bool) {
    let server = Server::start(Options::from_env()).await.unwrap();
    let mut world = World::start(Plan::sized(12, 0).with("DATABASE__URL", server.url("postgres"))).await;
    world.database = direct(&server);
    world.settle().await;
    let key = live_vacancies(&world).remove(0);
    run(&world, "checkpoint").await;
    number(&world, "select nextval('request_number')").await;
    let (data, snapshot) = (server.data_dir(), server.dir().join("snapshot"));
    block_in_place(|| copy(&data, &snapshot));
    let kept = sequence(&world).await;
    // Found broken three times alike, and reported; only this is lost.
    world.simulator.spoil(&key, Some(Spoil::NoEntry));
    world.simulator.edit_vacancy(&key).unwrap();
    world.simulator.flush().await;
    world.until("Cegid has heard of it", async |world: &World| status(world, &key) == "error").await;
    assert!(sequence(&world).await < kept + 32, "{} after {kept}", sequence(&world).await);
    if !under_the_service {
        world.stop_service().await;
    }
    block_in_place(|| {
        server.kill().unwrap();
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::rename(&snapshot, &data).unwrap();
        std::fs::remove_file(data.join("postmaster.pid")).unwrap();
        server.start_again().unwrap();
    });
    world.until_by_itself("the server is back", async |world| world.database.time().await.is_ok()).await;
    assert_eq!(number(&world, "select count(*) from delivery").await, 0);
    world.simulator.spoil(&key, None);
    if !under_the_service {
        let environment = world.environment();
        let repair = move || process::run(&["database", "repair-numbers", "--restored"], &environment);
        let output = tokio::task::spawn_blocking(repair).await.unwrap();
        let says = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && !says.contains(" 0 outcomes"), "{says}");
        world.start_service().await;
    }
    world
        .until("Cegid holds the outcome that the index has", async |world: &World| {
            status(world, &key) == "success" && world.ledger().await.balances() && world.differences().await.is_empty()
        })
        .await;
    world.assert_reported().await;
    world.stop_service().await;
    world.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_put_back_under_the_service_is_noticed_by_what_is_missing() {
    put_back(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_put_back_while_no_service_runs_is_made_good_when_an_operator_says_so() {
    put_back(false).await;
}

#[tokio::test]
async fn a_sequence_that_was_altered_draws_in_order_again_before_anything_is_stored() {
    for altered in ["cache 50", "increment by 7", "increment by -1", "maxvalue 100000000000 cycle"] {
        let world = World::start(Plan::sized(12, 4)).await;
        world.settle().await;
        sqlx::query(sqlx::AssertSqlSafe(format!("alter sequence request_number {altered}")))
            .execute(world.database.pool())
            .await
            .unwrap();
        for key in live_vacancies(&world).into_iter().chain(live_candidates(&world)) {
            let edited = world.simulator.edit_vacancy(&key).is_ok() || world.simulator.edit_candidate(&key).is_ok();
            assert!(edited);
            world.simulator.flush().await;
        }
        let ordered = "select count(*) from pg_sequence
                       where seqrelid = 'request_number'::regclass and seqcache = 1 and seqincrement = 1 and not seqcycle";
        assert_eq!(number(&world, ordered).await, 1, "{altered}");
        world.end().await;
    }
}

#[tokio::test]
async fn what_was_read_before_the_sequence_was_set_back_is_not_settled_before_it_is_repaired() {
    let world = World::start(Plan::sized(6, 2)).await;
    world.settle().await;
    world.simulator.add_fault(Fault::new(Endpoint::Vacancies, FaultKind::Hold).times(1));
    world.simulator.edit_vacancy(&live_vacancies(&world)[0]).unwrap();
    world.simulator.flush().await;
    world.until("a read is under way", async |world| world.simulator.held() > 0).await;
    let kept = sequence(&world).await;
    run(&world, "select setval('request_number', (select max(id) from delivery))").await;
    // The clock stands still: nothing else looks at the numbers meanwhile.
    world.simulator.release_held();
    world.until_by_itself("the sequence is repaired", async |world| sequence(world).await > kept + 1_000_000).await;
    let settled: i64 = sqlx::query_scalar("select count(*) from it.history where what = 'settled' and number = $1")
        .bind(kept)
        .fetch_one(world.database.pool())
        .await
        .unwrap();
    assert_eq!(settled, 0, "the number of that read may be drawn again");
    world.end().await;
}

#[tokio::test]
async fn no_number_is_drawn_twice_from_a_sequence_that_was_set_back() {
    let mut world = World::start(Plan::sized(3, 1)).await;
    world.settle().await;
    world.stop_service().await;
    let drawn = world.database.draw_number().await.unwrap();
    run(&world, "select setval('request_number', 1)").await;
    assert!(world.database.draw_number().await.unwrap() > drawn);
    world.start_service().await;
    world.end().await;
}
