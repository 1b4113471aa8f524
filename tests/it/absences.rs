//! Absences that lie: what reads by key do not show, and lists do; answers that say "not found" in another way.

use std::time::Duration;

use cegid_indexer::{domain::Kind, ledger::Verdict, sweeps::Use};
use cegid_simulator::{Endpoint, Fault, FaultKind, Spoil};

use crate::{
    convergence::{live_candidates, live_vacancies},
    harness::{Plan, World},
};

#[tokio::test]
async fn a_record_that_only_lists_show_comes_back_by_them_and_stays() {
    let world = World::start(Plan::sized(12, 12)).await;
    world.settle().await;
    let (vacancy, candidate) = (live_vacancies(&world).remove(0), live_candidates(&world).remove(0));
    let indexed = async |world: &World| {
        world.indexed(Kind::Vacancy).await.contains_key(&vacancy)
            && world.indexed(Kind::Candidate).await.contains_key(&candidate)
    };
    for key in [&vacancy, &candidate] {
        world.simulator.spoil(key, Some(Spoil::Unfindable));
    }
    // Named by a callback, they are removed: so far nothing says that reads by key are wrong.
    world.simulator.edit_vacancy(&vacancy).unwrap();
    world.simulator.edit_candidate(&candidate).unwrap();
    world.settle().await;
    world.pass(Duration::from_secs(1800)).await;
    assert!(!indexed(&world).await);
    for _ in 0..2 {
        world.sweep(&[Use::Full]).await;
        world.pass(Duration::from_secs(1800)).await;
    }
    assert!(indexed(&world).await, "two lists have shown them");
    assert_eq!(world.ledger().await.removals_undone, 2);
    // From now on reads by key are not believed, and changes are found among what changed.
    world.simulator.edit_vacancy(&vacancy).unwrap();
    world.simulator.edit_candidate(&candidate).unwrap();
    world.settle().await;
    world.assert_equal_to_truth().await;
    world.pass(Duration::from_secs(1800)).await;
    assert!(indexed(&world).await);
    // Lists alone tell that somebody is gone.
    world.simulator.delete_silently(&candidate).unwrap();
    for _ in 0..2 {
        world.sweep(&[Use::Full]).await;
        world.pass(Duration::from_secs(1800)).await;
    }
    world.end().await;
}

#[tokio::test]
async fn two_lists_bring_back_a_removed_record_only_if_no_list_between_them_lacks_it() {
    let world = World::start(Plan::sized(12, 12)).await;
    world.settle().await;
    let (vacancy, candidate) = (live_vacancies(&world).remove(0), live_candidates(&world).remove(0));
    let indexed = async |world: &World| {
        world.indexed(Kind::Vacancy).await.contains_key(&vacancy)
            || world.indexed(Kind::Candidate).await.contains_key(&candidate)
    };
    let spoil = |spoil: Spoil| [&vacancy, &candidate].map(|key| world.simulator.spoil(key, Some(spoil)));
    let list = async |shown: Spoil| {
        spoil(shown);
        world.sweep(&[Use::Full]).await;
        // An incremental list that showed them would count too.
        spoil(Spoil::Hidden);
        world.pass(Duration::from_secs(1800)).await;
    };
    spoil(Spoil::Unfindable);
    world.simulator.edit_vacancy(&vacancy).unwrap();
    world.simulator.edit_candidate(&candidate).unwrap();
    world.settle().await;
    world.pass(Duration::from_secs(1800)).await;
    assert!(!indexed(&world).await, "reads by key do not find them");
    list(Spoil::Unfindable).await;
    list(Spoil::Hidden).await;
    list(Spoil::Unfindable).await;
    assert!(!indexed(&world).await, "the list between them did not show them");
    for key in [&vacancy, &candidate] {
        world.simulator.delete_silently(key).unwrap();
        world.simulator.spoil(key, None);
    }
    world.end().await;
}

#[tokio::test]
async fn who_is_deleted_where_nothing_found_is_404_leaves() {
    let world = World::start(Plan::sized(12, 12)).await;
    world.settle().await;
    for endpoint in [Endpoint::Vacancies, Endpoint::Candidates] {
        world.simulator.add_fault(Fault::new(endpoint, FaultKind::NotFound));
    }
    world.simulator.delete_silently(&live_vacancies(&world)[0]).unwrap();
    world.simulator.delete_silently(&live_candidates(&world)[0]).unwrap();
    world.sweep(&[Use::Full]).await;
    world.end().await;
}

#[tokio::test]
async fn an_export_that_ignores_which_keys_are_asked_for_removes_nobody() {
    let world = World::start(Plan::sized(130, 0)).await;
    world.settle().await;
    let before = world.indexed(Kind::Vacancy).await.len();
    world.simulator.add_fault(Fault::new(Endpoint::Vacancies, FaultKind::IgnoreKeys));
    for key in live_vacancies(&world) {
        world.simulator.edit_vacancy(&key).unwrap();
    }
    world.simulator.flush().await;
    world.pass(Duration::from_secs(3600)).await;
    assert_eq!(world.indexed(Kind::Vacancy).await.len(), before);
    world.simulator.clear_faults();
    world.end().await;
}

#[tokio::test]
async fn a_document_without_a_subject_is_asked_for_and_leaves_with_its_owner() {
    let world = World::start(Plan::sized(6, 6)).await;
    world.settle().await;
    let keys = [live_candidates(&world).remove(0), live_candidates(&world).remove(1), live_vacancies(&world).remove(0)];
    // As a table that is restored by itself leaves it.
    let lost = sqlx::query("delete from subject where key = any($1)").bind(&keys[..]);
    assert_eq!(lost.execute(world.database.pool()).await.unwrap().rows_affected(), 3);
    assert_eq!(world.ledger().await.verdict(), Verdict::Lost);
    world.simulator.delete_silently(&keys[0]).unwrap();
    world.simulator.delete_silently(&keys[2]).unwrap();
    world.sweep(&[Use::Full]).await;
    world.end().await;
}

#[tokio::test]
async fn while_every_record_is_unreadable_none_is_taken_for_the_last_of_its_kind() {
    let world = World::start(Plan::sized(0, 6)).await;
    world.settle().await;
    let mut candidates = live_candidates(&world);
    for key in &candidates {
        world.simulator.spoil(key, Some(Spoil::NoEntry));
        world.simulator.edit_candidate(key).unwrap();
    }
    world.simulator.flush().await;
    let failing = "select count(*) from subject where kind = 'candidate' and attempts > 0";
    let all = candidates.len() as i64;
    world
        .until("every read has failed", async |world: &World| {
            sqlx::query_scalar::<_, i64>(failing).fetch_one(world.database.pool()).await.unwrap() == all
        })
        .await;
    let gone = candidates.remove(0);
    world.simulator.delete_silently(&gone).unwrap();
    world.pass(Duration::from_secs(3600)).await;
    assert_eq!(world.ledger().await.removals_held, 0);
    for key in &candidates {
        world.simulator.spoil(key, None);
    }
    world.pass(Duration::from_secs(3600)).await;
    assert!(!world.indexed(Kind::Candidate).await.contains_key(&gone));
    world.end().await;
}

/// The list shows no trace of it, and what is given up is not asked for by the full sweep.
#[tokio::test]
async fn a_live_vacancy_that_was_given_up_and_then_leaves_in_silence_is_gone_after_one_rolling_sweep() {
    let world = World::start(Plan::sized(20, 0).with("WORKER__RETRY_HORIZON", "1m")).await;
    world.settle().await;
    let live = live_vacancies(&world);
    let (deleted, archived) = (&live[0], &live[1]);
    for key in [deleted, archived] {
        world.simulator.spoil(key, Some(Spoil::UnclosedJson));
        world.simulator.announce("vacancy_update", key);
    }
    world.simulator.flush().await;
    world.until("both are given up", async |world: &World| world.ledger().await.subjects_dead == 2).await;
    for key in [deleted, archived] {
        world.simulator.spoil(key, None);
    }
    world.simulator.set_vacancy_status_silently(archived, "Archived").unwrap();
    world.simulator.delete_silently(deleted).unwrap();
    world.sweep(&[Use::Full]).await;
    world.sweep(&[Use::Rolling]).await;
    world.settle().await;
    world.assert_equal_to_truth().await;
    let indexed = world.indexed(Kind::Vacancy).await;
    assert_eq!((indexed.contains_key(deleted), indexed.get(archived).map(|it| it.1)), (false, Some(false)));
    world.end().await;
}
