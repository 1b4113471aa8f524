//! Full sweeps find who was never seen and let go who has left, within the bounds of docs/guarantees.md.

use std::time::Duration;

use cegid_indexer::{domain::Kind, sweeps::Use};
use cegid_simulator::{Change, Spoil};
use chrono::{DateTime, Utc};

use crate::{
    convergence::live_candidates,
    harness::{Plan, World},
};

/// What a turned clock adds to a bound.
const CLOCK_STEP_TOLERANCE: Duration = Duration::from_secs(180);
const CANDIDATES: &str = "/api/exports/v1/candidates";

/// The full sweep of candidates: its number, how far it is, and whether it has ended.
async fn full_sweep(world: &World) -> Option<(i32, i32, bool)> {
    let query = "select position, next_offset, finished_at is not null from sweep
                 where kind = 'candidate' and use = 'full' and started_at is not null order by position desc limit 1";
    sqlx::query_as(query).fetch_optional(world.database.pool()).await.unwrap()
}

/// Turns the clock for hours, coarsely, until something holds. It stands still while Cegid is being called, so that a
/// busy machine makes nothing late.
async fn until(world: &World, holds: impl AsyncFn(&World) -> bool) {
    let patience = world.clock.now() + Duration::from_secs(14 * 86_400);
    while !holds(world).await {
        assert!(world.clock.now() < patience, "not within two weeks");
        world.pass(Duration::from_secs(20)).await;
        world.quiet().await;
    }
}

/// Turns the clock until the full sweep of this number has shown its first page.
async fn until_first_page(world: &World, number: i32) {
    until(world, async |world| full_sweep(world).await.is_some_and(|it| it.0 == number && it.1 > 0)).await;
}

#[tokio::test]
async fn whoever_leaves_right_behind_the_walk_is_gone_within_the_period_and_the_confirming_delay() {
    let (period, confirm_after) = (Duration::from_secs(4 * 3600), Duration::from_secs(600));
    let plan = Plan::sized(0, 250)
        .with("TENANTS__ACME__ROLLING_PERIOD", "4h")
        .with("WORKER__CONFIRM_AFTER", "10m")
        // Whether an anonymisation changes the update date is not known.
        .with("TENANTS__ACME__INCREMENTAL_INTERVAL", "30d");
    let world = World::start(plan).await;
    world.settle().await;
    let candidates = live_candidates(&world);
    until_first_page(&world, 0).await;
    // The first of the list: the walk has just shown them.
    let (deleted, anonymised) = (&candidates[0], &candidates[1]);
    world.simulator.delete_silently(deleted).unwrap();
    world.simulator.anonymise_silently(anonymised).unwrap();
    let left: DateTime<Utc> = world.clock.now();
    let held = async |world: &World, key: &String| world.indexed(Kind::Candidate).await.contains_key(key);
    for key in [anonymised, deleted] {
        until(&world, async |world| !held(world, key).await).await;
        let after = world.clock.now() - left;
        // The clock goes in steps, and a busy machine takes several of them to notice that something is due.
        assert!(after.to_std().unwrap() <= period + confirm_after + CLOCK_STEP_TOLERANCE, "gone after {after}");
        // Not sooner by a walk that came too early: each one costs Cegid the whole list.
        assert!(after.to_std().unwrap() >= period * 3 / 4, "gone after {after}");
    }
    world.end().await;
}

#[tokio::test]
async fn permitted_hours_give_way_when_a_walk_would_be_late() {
    let plan = Plan::sized(0, 30)
        .with("TENANTS__ACME__ROLLING_PERIOD", "3h")
        // Long over when the period ends: the simulator's tenant lives by UTC.
        .with("TENANTS__ACME__BULK_HOURS", "00:20-00:50");
    let world = World::start(plan).await;
    world.settle().await;
    let deleted = live_candidates(&world).remove(0);
    world.simulator.delete_silently(&deleted).unwrap();
    let due = world.clock.now() + Duration::from_secs(3 * 3600 + 700);
    until(&world, async |world| world.clock.now() >= due).await;
    assert!(!world.indexed(Kind::Candidate).await.contains_key(&deleted), "it is {}", world.clock.now());
    world.end().await;
}

/// Against reading everyone by key once a period, which is what it replaced: 99 subjects in one call, and a control.
#[tokio::test]
async fn a_period_of_full_sweeps_costs_about_what_reading_everyone_by_key_would() {
    const PERIODS: u64 = 2;
    for attachments in ["none", "resumes"] {
        let plan = Plan::sized(0, 1040)
            .with("TENANTS__ACME__ROLLING_PERIOD", "7d")
            .with("TENANTS__ACME__ATTACHMENTS", attachments)
            .with("TENANTS__ACME__INCREMENTAL_INTERVAL", "30d");
        let world = World::start(plan).await;
        world.settle().await;
        let (before, began) = (world.last_request(), world.clock.now());
        for nth in 0..PERIODS as i32 {
            world.turn(Duration::from_secs(6 * 86_400 + 21 * 3600));
            until(&world, async |world| full_sweep(world).await.is_some_and(|it| it.0 == nth && it.2)).await;
        }
        assert!((world.clock.now() - began).num_days() >= 13, "{}", world.clock.now() - began);
        let asked = world.simulator.requests().into_iter();
        let asked: Vec<_> = asked.filter(|row| row.number > before && row.path == CANDIDATES).collect();
        let (calls, bytes) = (asked.len() as u64, asked.iter().map(|row| row.bytes).sum::<u64>());
        let everyone = world.simulator.truth().into_iter().filter(|row| row.kind == "candidate" && row.present).count();
        let by_key = (everyone as u64).div_ceil(99);
        // The end of a list takes a call of its own, which repeats ten records.
        assert_eq!((calls, by_key), (PERIODS * (by_key + 1), 11), "{attachments}");
        let ends: u64 = asked.iter().filter(|row| row.note.starts_with("10 candidates")).map(|row| row.bytes).sum();
        let once = (bytes - ends) / PERIODS;
        assert!(bytes * 100 <= PERIODS * once * 102, "{bytes} bytes in {PERIODS} periods, {once} once, {attachments}");
        world.end().await;
    }
}

#[tokio::test]
async fn a_candidate_without_an_update_date_is_in_no_window_and_found_by_the_full_sweep() {
    let world = World::start(Plan::sized(0, 30).stopped()).await;
    let mut world = world;
    let undated = live_candidates(&world).split_off(25);
    for key in &undated {
        world.simulator.spoil(key, Some(Spoil::Undated));
    }
    world.start_service().await;
    world.settle().await;
    assert_eq!(world.differences().await.len(), undated.len());
    world.sweep(&[Use::Full]).await;
    world.end().await;
}

#[tokio::test]
async fn an_initial_load_whose_window_shrinks_while_it_is_walked_misses_nobody() {
    let plan = Plan::sized(0, 300)
        .with("EXPORT__PAGE_SIZE", "20")
        .with("TENANTS__ACME__LOAD_WINDOWS", "1")
        .with("TENANTS__ACME__LOAD_WINDOW", "1h");
    let mut world = World::start(plan.stopped()).await;
    let candidates = live_candidates(&world);
    // Whoever is edited leaves the oldest window, and all behind them move up.
    let edited = &candidates[..60];
    for key in edited {
        world.simulator.after_page(5, Change::EditCandidate { key: key.clone() });
    }
    world.start_service().await;
    world.settle().await;
    let held = world.indexed(Kind::Candidate).await;
    let missed: Vec<&String> =
        candidates.iter().filter(|key| !held.contains_key(*key) && !edited.contains(key)).collect();
    assert_eq!(missed, Vec::<&String>::new());
    // Their new dates are in the window of the first incremental sweep.
    world.sweep(&[Use::Incremental]).await;
    world.end().await;
}
