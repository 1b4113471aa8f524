//! What Cegid holds as the last outcome of each subject, and who has to wait for whom until it does.

use std::{collections::BTreeSet, time::Duration};

use cegid_indexer::{
    sweeps::Use,
    tenants::{self, Work},
};
use cegid_simulator::{Endpoint, Fault, FaultKind, Spoil};

use crate::{
    convergence::{live_candidates, live_vacancies},
    harness::{
        Plan, World,
        between::{Between, Instead},
        tenant,
    },
    worst::{REPORTS, count},
};

const DEAD: &str = "select count(*) from subject where dead_at is not null";

/// The status of the last report that Cegid holds.
pub fn status(world: &World, key: &str) -> String {
    let of_it =
        |((_, id), report): ((String, String), cegid_simulator::ReportRow)| (id == key).then_some(report.status);
    world.simulator.last_reports().into_iter().find_map(of_it).unwrap_or_default()
}

pub async fn pause(world: &World, work: Work) {
    tenants::pause(&world.database, &tenant(), &[work], None, world.clock.now()).await.unwrap();
    // Noticed within the poll interval.
    world.pass(Duration::from_secs(10)).await;
}

pub async fn resume(world: &World, work: Work) {
    tenants::resume(&world.database, &tenant(), &[work]).await.unwrap();
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
    world.simulator.announce("applicant_update", &candidate);
    world.simulator.flush().await;
    world.until("both are given up", async |world: &World| count(world, DEAD).await == 2).await;
    world.settle().await;
    for key in [&vacancy, &candidate] {
        assert_eq!(status(&world, key), "error");
        world.simulator.spoil(key, None);
    }
    world.sweep(&[Use::Full]).await;
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

/// Lets everything of a kind wait to be reported, as if nothing had ever been; these come first.
async fn renote(world: &World, kind: &'static str, first: &[String]) {
    pause(world, Work::Report).await;
    let statement = "update report_item set noted = nextval('request_number'), reported = 0, reported_at = null,
                       due_at = $3::timestamptz - case when key = any($2) then interval '1 minute' else interval '1 second' end
                     where kind = $1";
    sqlx::query(statement).bind(kind).bind(first).bind(world.clock.now()).execute(world.database.pool()).await.unwrap();
}

#[tokio::test]
async fn items_that_are_refused_for_ever_at_the_head_hold_up_nobody_and_cost_few_calls() {
    const CANDIDATES: usize = 2_000;
    let world = World::start(Plan::sized(0, CANDIDATES)).await;
    world.settle().await;
    let refused = live_candidates(&world).split_off(CANDIDATES / 2)[..3].to_vec();
    renote(&world, "candidate", &refused).await;
    for key in &refused {
        world.simulator.refuse_reports_of(key, true);
    }
    let (before, held) = (world.last_request(), world.simulator.report_count());
    resume(&world, Work::Report).await;
    world
        .until("the others are reported, and the three are known", async |world: &World| {
            let ledger = world.ledger().await;
            ledger.reports_waiting == 0 && ledger.reports_dead == 3
        })
        .await;
    let told: BTreeSet<String> = world.simulator.reports().into_iter().skip(held).map(|row| row.id).collect();
    let all = world.simulator.truth().into_iter().filter(|row| row.present && !row.anonymised).count();
    assert_eq!(told.len(), all - 3);
    let calls = world.export_calls(REPORTS, before);
    assert!(calls <= 60, "{calls} calls for {all} reports");
    // A newer outcome brings them back.
    for key in &refused {
        world.simulator.refuse_reports_of(key, false);
        world.simulator.edit_candidate(key).unwrap();
    }
    world.end().await;
}

#[tokio::test]
async fn a_lone_item_that_is_refused_is_known_though_nothing_else_is_to_be_told() {
    let world = World::start(Plan::sized(5, 0)).await;
    world.settle().await;
    let key = live_vacancies(&world).remove(0);
    world.simulator.refuse_reports_of(&key, true);
    world.simulator.edit_vacancy(&key).unwrap();
    world.simulator.flush().await;
    let before = world.last_request();
    world.until("it is known", async |world: &World| world.ledger().await.reports_dead == 1).await;
    let calls = world.export_calls(REPORTS, before);
    assert!(calls <= 10, "{calls} calls");
    world.simulator.refuse_reports_of(&key, false);
    world.simulator.edit_vacancy(&key).unwrap();
    world.end().await;
}

#[tokio::test]
async fn an_endpoint_that_refuses_everything_for_an_hour_costs_no_outcome() {
    let world = World::start(Plan::sized(60, 20)).await;
    world.settle().await;
    let one = live_vacancies(&world).remove(0);
    // Half a batch is taken, then everything is refused.
    let mut first = live_vacancies(&world);
    first.retain(|key| *key != one);
    renote(&world, "vacancy", &first).await;
    world.simulator.refuse_reports_of(&one, true);
    world
        .simulator
        .add_fault(Fault::new(Endpoint::Reports, FaultKind::Status { code: 400, retry_after: None }).after(3));
    let (before, since) = (world.last_request(), world.clock.now());
    resume(&world, Work::Report).await;
    world.pass(Duration::from_secs(1)).await;
    for key in live_candidates(&world) {
        world.simulator.edit_candidate(&key).unwrap();
    }
    world.simulator.flush().await;
    while world.clock.now() < since + Duration::from_secs(3600) {
        world.pass(Duration::from_secs(120)).await;
        let ledger = world.ledger().await;
        assert_eq!(ledger.reports_dead, 0, "after {}", world.clock.now() - since);
    }
    let calls = world.export_calls(REPORTS, before);
    assert!(calls <= 400, "{calls} calls in an hour");
    world.simulator.clear_faults();
    world.simulator.refuse_reports_of(&one, false);
    world.settle().await;
    assert_eq!(count(&world, "select count(*) from report_item where attempts > 0 or last_error is not null").await, 0);
    world.end().await;
}

#[tokio::test]
async fn an_item_that_makes_the_endpoint_fail_holds_up_nobody() {
    // A failure is no refusal: it is sent again for as long as it takes. A firewall's refusal is one.
    for (status, dead) in [(500, 0), (403, 1), (401, 1)] {
        let (mut world, between) = Between::world(Plan::sized(0, 60)).await;
        world.start_service().await;
        world.settle().await;
        let key = live_candidates(&world).remove(30);
        let note_all = async || {
            pause(&world, Work::Report).await;
            let all = "update report_item set noted = nextval('request_number'), due_at = $1
                       where dead_at is null";
            sqlx::query(all).bind(world.clock.now()).execute(world.database.pool()).await.unwrap();
        };
        note_all().await;
        let about: &'static str = format!(r#""id":"{key}""#).leak();
        between.tell_about(REPORTS, about, u64::MAX, Instead::Answer(status, Vec::new(), Vec::new()));
        let others = "select count(*) from report_item where noted > reported";
        let before = world.last_request();
        resume(&world, Work::Report).await;
        world.until("the others are reported", async |world: &World| count(world, others).await == 1).await;
        let calls = world.export_calls(REPORTS, before);
        assert!(calls < 20, "{status}: {calls} calls");
        world.pass(Duration::from_secs(3600)).await;
        assert_eq!(world.ledger().await.reports_dead, dead, "{status}");
        between.forget();
        world.simulator.edit_candidate(&key).unwrap();
        world.end().await;
    }
}
