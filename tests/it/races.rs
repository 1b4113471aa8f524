//! Answers that are overtaken, workers that lost their tenant, and replicas beside each other.

use std::time::Duration;

use cegid_indexer::{app::App, domain::Kind, lifecycle::Stop, settings::Settings};
use cegid_simulator::{Endpoint, Fault, FaultKind};

use crate::harness::{Plan, World, free_port};

fn a_vacancy(world: &World) -> String {
    world.simulator.truth().into_iter().find(|row| row.kind == "vacancy" && row.live).unwrap().key
}

async fn title(world: &World, key: &str) -> String {
    world.indexed(Kind::Vacancy).await.get(key).map(|(title, _)| title.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_slow_page_changes_nothing_after_a_newer_read() {
    let mut world = World::start(Plan::default().stopped()).await;
    // The initial load's first page shows the record as it was, and comes after the read of a callback.
    world.simulator.add_fault(Fault::new(Endpoint::Vacancies, FaultKind::Hold).times(1));
    world.start_service().await;
    world.until("the page is kept back", async |world: &World| world.simulator.held() == 1).await;
    world.until("hooks are registered", async |world: &World| world.registered().await).await;
    let in_page = world.simulator.requests().into_iter().find(|row| row.path.ends_with("/vacancies")).unwrap();
    let since = in_page.query.split("ge%3A").nth(1).map(|date| date[..10].to_owned()).unwrap_or_default();
    let truth = world.simulator.truth().into_iter();
    let mut shown = truth.filter(|row| row.kind == "vacancy" && row.live && row.updated.to_rfc3339() >= since);
    let key = shown.next().expect("a vacancy of the newest window").key;
    world.simulator.edit_vacancy(&key).unwrap();
    world.simulator.flush().await;
    world.until("the newer read is indexed", async |world: &World| title(world, &key).await.ends_with("(v2)")).await;
    world.simulator.release_held();
    world.end().await;
}

#[tokio::test]
async fn the_last_report_is_the_latest_outcome_when_an_older_one_is_slow_or_its_answer_lost() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let key = a_vacancy(&world);
    world.simulator.add_fault(Fault::new(Endpoint::Reports, FaultKind::Hold).times(1));
    world.simulator.add_fault(Fault::new(Endpoint::Reports, FaultKind::AnswerLost { code: 502 }).times(1));
    for version in 2..=3 {
        world.simulator.edit_vacancy(&key).unwrap();
        world.simulator.flush().await;
        let ending = format!("(v{version})");
        world.until("it is indexed", async |world: &World| title(world, &key).await.ends_with(&ending)).await;
        world.until("the report is kept back", async |world: &World| world.simulator.held() == 1).await;
    }
    world.simulator.release_held();
    world.settle().await;
    let of_it = |row: &cegid_simulator::ReportRow| row.id == key;
    let reports: Vec<_> = world.simulator.reports().into_iter().filter(of_it).collect();
    // The initial load's, the slow one, the one whose answer was lost, and that one again.
    assert_eq!(reports.len(), 4, "{reports:#?}");
    world.end().await;
}

#[tokio::test]
async fn a_worker_that_lost_its_tenant_writes_nothing_more() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let key = a_vacancy(&world);
    let before = title(&world, &key).await;
    world.simulator.add_fault(Fault::new(Endpoint::Vacancies, FaultKind::Hold).times(1));
    world.simulator.edit_vacancy(&key).unwrap();
    world.simulator.flush().await;
    world.until("an answer is kept back", async |world: &World| world.simulator.held() == 1).await;
    let take_over =
        "update tenant_lease set token = nextval('request_number'), holder = gen_random_uuid(), held_until = $1";
    let until = world.clock.now() + Duration::from_secs(200);
    sqlx::query(take_over).bind(until).execute(world.database.pool()).await.unwrap();
    world.simulator.release_held();
    world
        .until_by_itself("the worker has noticed", async |world: &World| {
            world.turn(Duration::from_secs(1));
            world.get(&world.operators, "/metrics").await.1.contains("leases_held 0")
        })
        .await;
    assert_eq!(title(&world, &key).await, before);
    assert_eq!(world.ledger().await.waiting, 1);
    // The other one dies: once its lease has run out the tenant is worked again.
    world.turn(Duration::from_secs(200));
    world.end().await;
}

#[tokio::test]
async fn a_second_replica_receives_beside_the_first_and_takes_over_when_it_dies() {
    let mut world = World::start(Plan::default()).await;
    world.settle().await;
    let (public, mut environment) = (free_port(), world.environment());
    environment.insert("CEGID_INDEXER__RECEIVE__BIND".into(), format!("127.0.0.1:{public}"));
    environment.insert("CEGID_INDEXER__OPS__BIND".into(), "127.0.0.1:0".into());
    let second = App::bind(Settings::load(None, environment).unwrap(), world.clock.clone()).await.unwrap();
    let (address, stop) = (format!("http://127.0.0.1:{public}"), Stop::default());
    let running = tokio::spawn(second.run(stop.clone()));
    world.until("the second is ready", async |world: &World| world.get(&address, "/readyz").await.0 == 200).await;

    // What the second receives, the first one works.
    let key = a_vacancy(&world);
    let callback = cegid_simulator::RawCallback {
        url: format!("{address}/api/talentsoft/v1/acme/events"),
        body: format!(r#"{{"reference":"{key}","event_type":"vacancy_update"}}"#).into_bytes(),
        ..Default::default()
    };
    world.simulator.edit_silently(&key).unwrap();
    assert!(world.simulator.send_raw(&callback).await.accepted());
    world.until("it is indexed", async |world: &World| title(world, &key).await.ends_with("(v2)")).await;
    assert_eq!(world.simulator.token_calls(), 1, "only one of them speaks to the tenant");

    world.kill_service().await;
    let since = world.clock.now();
    world.simulator.edit_silently(&key).unwrap();
    assert!(world.simulator.send_raw(&callback).await.accepted());
    world.until("it is indexed", async |world: &World| title(world, &key).await.ends_with("(v3)")).await;
    assert!(world.clock.now() - since < chrono::TimeDelta::seconds(60), "after {}", world.clock.now() - since);
    assert_eq!(world.simulator.hooks().len(), 8);
    world.settle().await;
    world.assert_equal_to_truth().await;
    world.assert_reported().await;
    stop.drain();
    running.await.unwrap().unwrap();
    world.leave().await;
}
