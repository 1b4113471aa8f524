//! What is left by `kill -9`, of the service and of PostgreSQL.

use cegid_simulator::{Endpoint, Fault, FaultKind, Simulator};
use private_postgres::{Options, Server};

use crate::harness::{Plan, World, process::Service};

/// A killed replica's tenant can be worked again when its lease has run out, by the machine's clock.
fn plan(vacancies: usize, candidates: usize) -> Plan {
    Plan::sized(vacancies, candidates).with("WORKER__LEASE", "3s").with("WORKER__POLL_INTERVAL", "1s").stopped()
}

async fn quiet(world: &World) {
    world
        .until_by_itself("the load is done and nothing waits", async |world: &World| {
            world.registered().await && world.loaded().await && world.ledger().await.balances()
        })
        .await;
}

/// Edits each of these so often.
fn edit(simulator: &Simulator, keys: &[String], times: usize) {
    for _ in 0..times {
        for key in keys {
            simulator.edit_vacancy(key).unwrap();
        }
    }
}

#[tokio::test]
async fn a_service_that_is_killed_amid_callbacks_goes_on_where_it_stopped() {
    let world = World::start(plan(50, 20)).await;
    world.simulator.follow_system_time();
    let service = Service::start(&world.environment());
    quiet(&world).await;
    let keys: Vec<String> =
        world.simulator.truth().into_iter().filter(|row| row.kind == "vacancy").map(|row| row.key).collect();
    // An export is under way and the callbacks are half told when the service is killed.
    world.simulator.add_fault(Fault::new(Endpoint::Vacancies, FaultKind::Hold));
    edit(&world.simulator, &keys[..1], 1);
    world.simulator.flush().await;
    world.until_by_itself("an export is under way", async |world: &World| world.simulator.held() > 0).await;
    edit(&world.simulator, &keys, 20);
    let flush = tokio::spawn({
        let simulator = world.simulator.clone();
        async move { simulator.flush().await }
    });
    world.simulator.wait_for(|simulator| simulator.sent_after(300).len() > 1).await;
    service.kill();
    world.simulator.clear_faults();
    world.simulator.release_held();
    let accepted = flush.await.unwrap().iter().filter(|sent| sent.accepted()).count();
    assert!((200..1000).contains(&accepted), "{accepted} were answered before the kill");
    let stored = world.ledger().await.received;
    assert!(stored > accepted as i64, "{accepted} and one were answered 200 and {stored} are stored");

    let again = Service::start(&world.environment());
    world
        .until_by_itself("the service is ready", async |world: &World| {
            world.get(&world.public, "/readyz").await.0 == 200
        })
        .await;
    // What was not answered 200 is the sender's to send again.
    world.simulator.resend_failed(usize::MAX);
    assert!(world.simulator.flush().await.iter().all(|sent| sent.accepted()));
    quiet(&world).await;
    world.assert_equal_to_truth().await;
    world.assert_reported().await;
    drop(again);
    world.leave().await;
}

/// Items settled and whether it is finished, of each window of the candidates' initial load.
async fn windows(world: &World) -> Vec<(i32, bool)> {
    let read = "select next_offset, finished_at is not null from sweep where kind = 'candidate' and use = 'initial' order by position";
    sqlx::query_as(read).fetch_all(world.database.pool()).await.unwrap()
}

#[tokio::test]
async fn an_initial_load_that_is_killed_goes_on_behind_the_last_settled_page() {
    // One window holds everything, the one behind it nothing.
    let plan = plan(0, 600).with("TENANTS__ACME__LOAD_WINDOW", "3650d").with("TENANTS__ACME__LOAD_WINDOWS", "1");
    let world = World::start(plan.with("EXPORT__PAGE_SIZE", "50")).await;
    world.simulator.follow_system_time();
    // The third page is under way when the service is killed.
    world.simulator.add_fault(Fault::new(Endpoint::Candidates, FaultKind::Hold).after(2));
    let service = Service::start(&world.environment());
    world
        .until_by_itself("two pages are settled", async |world: &World| {
            world.simulator.held() > 0 && windows(world).await.first() == Some(&(90, false))
        })
        .await;
    let before = world.last_request();
    service.kill();
    world.simulator.clear_faults();
    world.simulator.release_held();

    let again = Service::start(&world.environment());
    quiet(&world).await;
    let requests = world.simulator.requests().into_iter().filter(|request| request.number > before);
    let offset = |query: &str| query.strip_prefix("offset=")?.split('&').next()?.parse::<usize>().ok();
    let window = requests.filter(|request| request.query.contains("updateDate%3Age"));
    let offsets: Vec<usize> = window.filter_map(|request| offset(&request.query)).collect();
    // What is behind the last settled page, with the overlap of pages, and nothing before it again.
    assert_eq!(offsets.first(), Some(&80), "{offsets:?}");
    assert!(offsets.iter().all(|offset| *offset >= 80), "{offsets:?}");
    world.assert_equal_to_truth().await;
    world.assert_reported().await;
    drop(again);
    world.leave().await;
}

#[tokio::test]
async fn what_was_answered_200_survives_a_crash_of_postgresql() {
    let server = tokio::task::spawn_blocking(|| Server::start_blocking(Options::from_env()).unwrap()).await.unwrap();
    let world = World::start(Plan::sized(40, 10).with("DATABASE__URL", server.url("postgres"))).await;
    world.settle().await;
    let keys: Vec<String> =
        world.simulator.truth().into_iter().filter(|row| row.kind == "vacancy").map(|row| row.key).collect();
    edit(&world.simulator, &keys, 20);
    let flush = tokio::spawn({
        let simulator = world.simulator.clone();
        async move { simulator.flush().await }
    });
    world.simulator.wait_for(|simulator| simulator.sent().len() > 200).await;
    let server = tokio::task::spawn_blocking(move || {
        server.kill().unwrap();
        server.start_again().unwrap();
        server
    });
    let server = server.await.unwrap();
    let accepted = flush.await.unwrap().iter().filter(|sent| sent.accepted()).count();
    world
        .until("callbacks are taken again", async |world: &World| {
            world.simulator.resend_failed(usize::MAX);
            world.simulator.flush().await.iter().all(|sent| sent.accepted())
        })
        .await;
    assert!(accepted >= 200);
    let accepted = world.simulator.sent().iter().filter(|sent| sent.accepted()).count();
    assert!(world.ledger().await.received >= accepted as i64, "a callback that was answered 200 is missing");
    world.end().await;
    drop(server);
}
