//! A connection that is lost on either side of a COMMIT.

use cegid_simulator::{Endpoint, Fault, FaultKind};
use fault_proxy::{Pattern, Trap};

use crate::{
    database::{Apart, Told, body, post, stored, until_it_says, vacancies, without_sweeps},
    harness::{Plan, World},
};

#[tokio::test]
async fn a_callback_whose_commit_is_cut_is_stored_on_another_connection_and_twice_at_most() {
    let apart = Apart::start(Plan::sized(12, 0), &[]).await;
    let (world, proxy) = (&apart.world, &apart.proxy);
    let keys = vacancies(world);
    let mut told = Told::default();
    // The writer's connection and its statement are there.
    assert_eq!(post(world, &body(&keys[0], "first")).await, 200);
    for (at, (mark, rows)) in [("lost before", 0), ("lost after", 1)].into_iter().enumerate() {
        world.simulator.edit_silently(&keys[1 + at]).unwrap();
        let pattern = Pattern::Bytes(mark.into());
        proxy.set_trap(if rows == 0 { Trap::before(pattern) } else { Trap::after(pattern) });
        let body = body(&keys[1 + at], mark);
        assert_eq!(post(world, &body).await, 200, "{mark}");
        assert_eq!(proxy.counts().sprung, 1 + at as u64);
        let times = stored(world).await.iter().filter(|stored| **stored == body).count();
        assert_eq!(times, rows + 1, "{mark}");
        told.answers.insert(body, 200);
    }
    until_it_says(world, "ok").await;
    apart.end(&told).await;
}

/// Export calls and reports that a change costs when the connection is lost at the COMMIT of its settling, or of its
/// report's.
async fn cost(apart: &Apart, key: &str, at: Endpoint, trap: Trap) -> (usize, usize) {
    let (world, proxy) = (&apart.world, &apart.proxy);
    let (since, reports, sprung) = (world.last_request(), world.simulator.report_count(), proxy.counts().sprung);
    world.simulator.add_fault(Fault::new(at, FaultKind::Hold).times(1));
    world.simulator.edit_silently(key).unwrap();
    assert_eq!(post(world, &body(key, "changed")).await, 200);
    world.until("its answer is kept back", async |world: &World| world.simulator.held() == 1).await;
    // What follows the answer is what commits next.
    proxy.set_trap(trap);
    world.simulator.release_held();
    world.until("the trap has sprung", async |_| proxy.counts().sprung == sprung + 1).await;
    let unsent = "select count(*) from report_item where noted > reported";
    world
        .until("it is settled and reported", async |world: &World| {
            world.ledger().await.balances()
                && world.simulator.report_count() > reports
                && sqlx::query_scalar::<_, i64>(unsent).fetch_one(world.database.pool()).await.unwrap() == 0
        })
        .await;
    let of_it = world.simulator.reports_after(reports).iter().filter(|report| report.id == key).count();
    (world.export_calls("/api/exports/v1/vacancies", since), of_it)
}

#[tokio::test]
async fn a_settling_or_a_report_whose_commit_is_cut_is_repeated_only_if_it_was_not_committed() {
    let apart = Apart::start(without_sweeps(Plan::sized(20, 0)), &[]).await;
    let keys = vacancies(&apart.world);
    let commit = || Pattern::Commit;
    assert_eq!(
        cost(&apart, &keys[0], Endpoint::Vacancies, Trap::before(commit())).await,
        (2, 1),
        "before the settling's"
    );
    assert_eq!(
        cost(&apart, &keys[1], Endpoint::Vacancies, Trap::after(commit())).await,
        (1, 1),
        "after the settling's"
    );
    assert_eq!(cost(&apart, &keys[2], Endpoint::Reports, Trap::before(commit())).await, (1, 2), "before the report's");
    assert_eq!(cost(&apart, &keys[3], Endpoint::Reports, Trap::after(commit())).await, (1, 1), "after the report's");
    assert_eq!(apart.proxy.counts().cut, 4);
    until_it_says(&apart.world, "ok").await;
    apart.end(&Told::default()).await;
}
