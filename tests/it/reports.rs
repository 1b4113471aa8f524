//! What Cegid holds as the last outcome of each subject.

use cegid_indexer::sweeps::Use;
use cegid_simulator::Spoil;

use crate::{
    convergence::{live_candidates, live_vacancies},
    harness::{Plan, World},
    worst::count,
};

const DEAD: &str = "select count(*) from subject where dead_at is not null";

/// The status of the last report that Cegid holds.
fn status(world: &World, key: &str) -> String {
    let of_it = |((_, id), report): ((String, String), cegid_simulator::ReportRow)| (id == key).then_some(report.status);
    world.simulator.last_reports().into_iter().find_map(of_it).unwrap_or_default()
}

/// Versions of the rows, and who has locked them.
async fn rows(world: &World) -> String {
    let rows = "select string_agg(key || ' ' || xmin || ' ' || xmax, ', ' order by kind, key) from report_item";
    sqlx::query_scalar(rows).fetch_one(world.database.pool()).await.unwrap()
}

#[tokio::test]
async fn what_was_given_up_and_reads_well_again_unchanged_is_reported_as_indexed() {
    let plan = Plan::sized(10, 10).with("WORKER__RETRY_HORIZON", "1m");
    let world = World::start(plan).await;
    world.settle().await;
    let (vacancy, candidate) = (live_vacancies(&world).remove(0), live_candidates(&world).remove(0));
    for key in [&vacancy, &candidate] {
        world.simulator.spoil(key, Some(Spoil::NoEntry));
    }
    world.simulator.announce("vacancy_update", &vacancy);
    world.simulator.flush().await;
    world.sweep(&[Use::Rolling]).await;
    world.until("both are given up", async |world: &World| count(world, DEAD).await == 2).await;
    world.settle().await;
    for key in [&vacancy, &candidate] {
        assert_eq!(status(&world, key), "error");
        world.simulator.spoil(key, None);
    }
    world.sweep(&[Use::Full, Use::Rolling]).await;
    world.settle().await;
    for key in [&vacancy, &candidate] {
        assert_eq!(status(&world, key), "success", "{key}");
    }
    // What shows nothing new costs no write.
    let before = rows(&world).await;
    world.sweep_all().await;
    assert_eq!(rows(&world).await, before);
    world.end().await;
}
