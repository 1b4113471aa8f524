//! Hooks: registrations stay what the settings want, whatever happens between Cegid and the register.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    process::Stdio,
    time::Duration,
};

use cegid_indexer::{
    app::App,
    hooks::{self, Hook, Registration, State},
    lifecycle::Stop,
    settings::Settings,
};
use cegid_simulator::{Endpoint, Fault, FaultKind, Simulator};

use crate::harness::{CLIENT_ID, Plan, SECRET, World, free_port, tenant};

pub const WEBHOOKS: &str = "/api/system/v1/webhooks";
const HOUR: Duration = Duration::from_secs(3600);

pub async fn register(world: &World) -> Vec<Hook> {
    hooks::of_tenant(&world.database, &tenant()).await.unwrap()
}

pub fn posts(world: &World) -> usize {
    world.simulator.count_requests(|request| request.path == WEBHOOKS && request.method == "POST")
}

pub fn deletes(world: &World) -> usize {
    world.simulator.count_requests(|request| request.path.starts_with(WEBHOOKS) && request.method == "DELETE")
}

/// Every event has one registration, and the register holds the simulator's id of it.
pub async fn assert_registered_once(world: &World) {
    let by_event = |event: &str, id: &str| (event.to_owned(), id.to_owned());
    let held: BTreeMap<String, String> =
        world.simulator.hooks().iter().map(|hook| by_event(&hook.event, &hook.hook_id)).collect();
    let known: BTreeMap<String, String> =
        register(world).await.iter().map(|hook| by_event(&hook.event, hook.hook_id.as_deref().unwrap_or(""))).collect();
    assert_eq!(world.simulator.hooks().len(), 8);
    assert_eq!(held.len(), 8, "{held:?}");
    assert_eq!(held, known);
}

/// Another system with the same credentials.
pub struct Stranger {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Stranger {
    pub async fn at(simulator: &Simulator) -> Stranger {
        let http = reqwest::Client::builder().build().unwrap();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT_ID),
            ("client_secret", SECRET),
            ("scope", "MatchingIndexation"),
        ];
        let answer = http.post(format!("{}/api/token", simulator.base_url())).form(&form).send().await.unwrap();
        let token: serde_json::Value = answer.json().await.unwrap();
        let token = format!("bearer {}", token["access_token"].as_str().unwrap());
        Stranger { http, url: format!("{}{WEBHOOKS}", simulator.base_url()), token }
    }

    pub async fn register(&self, event: &str) {
        let hook = serde_json::json!({ "event": event, "callbackUrl": "https://stranger.example.com/events" });
        let answer = self.http.post(&self.url).header("authorization", &self.token).json(&hook).send().await.unwrap();
        assert!(answer.status().is_success());
    }
}

/// The service, as a process whose log is kept.
struct Logged(std::process::Child, tempfile::NamedTempFile);

impl Logged {
    fn start(environment: &HashMap<String, String>) -> Logged {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cegid-indexer"));
        command.arg("serve").envs(environment).stdin(Stdio::null()).stderr(log.reopen().unwrap());
        Logged(command.spawn().unwrap(), log)
    }

    /// As `kill -9`; gives the log.
    fn kill(mut self) -> String {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        std::fs::read_to_string(self.1.path()).unwrap()
    }
}

#[tokio::test]
async fn another_public_url_is_registered_before_the_old_one_goes_and_every_callback_is_taken() {
    let mut world = World::start(Plan::sized(10, 5)).await;
    world.settle().await;
    let old: HashMap<String, String> =
        world.simulator.hooks().into_iter().map(|hook| (hook.event, hook.hook_id)).collect();
    let keys: Vec<String> = world.simulator.truth().into_iter().take(10).map(|row| row.key).collect();
    world.stop_service().await;
    let url = world.public.replace("127.0.0.1", "localhost");
    world.set("PUBLIC_URL", &url);
    // So that callbacks meet every step half way.
    world.simulator.add_fault(Fault::new(Endpoint::Hooks, FaultKind::Slow { millis: 20 }));
    let before = world.last_request();
    world.start_service().await;
    world
        .until("everything is registered under the new address alone", async |world: &World| {
            for key in &keys {
                world.simulator.edit_vacancy(key).unwrap();
            }
            world.simulator.flush().await;
            let hooks = world.simulator.hooks();
            hooks.len() == 8 && hooks.iter().all(|hook| hook.callback_url.starts_with(&url))
        })
        .await;
    // None was refused, and none found no hook of its event.
    world.assert_all_accepted();
    let both = world
        .simulator
        .sent()
        .iter()
        .map(|sent| sent.url.split(":").nth(1).unwrap().to_owned())
        .collect::<BTreeSet<_>>();
    assert_eq!(both, BTreeSet::from(["//127.0.0.1".to_owned(), "//localhost".to_owned()]), "no traffic met the change");
    let requests: Vec<_> = world.simulator.requests().into_iter().filter(|request| request.number > before).collect();
    for (event, id) in &old {
        let registered = requests.iter().find(|row| row.method == "POST" && row.note.contains(&format!(" on {event}")));
        let deleted = requests.iter().find(|row| row.method == "DELETE" && row.path.ends_with(id.as_str()));
        let (registered, deleted) = (registered.unwrap().number, deleted.unwrap().number);
        assert!(registered < deleted, "{event}: registered by request {registered}, deleted by {deleted}");
    }
    assert_registered_once(&world).await;
    world.simulator.clear_faults();
    world.end().await;
}

#[tokio::test]
async fn an_event_that_is_taken_out_of_the_settings_is_unregistered_even_if_the_answer_is_lost() {
    let mut world = World::start(Plan::sized(2, 2)).await;
    world.settle().await;
    world.stop_service().await;
    let events: Vec<String> =
        register(&world).await.into_iter().map(|hook| hook.event).filter(|event| event != "vacancy_deleted").collect();
    world.set("TENANTS__ACME__EVENTS", &events.join(","));
    world.simulator.add_fault(Fault::new(Endpoint::Hooks, FaultKind::AnswerLost { code: 502 }).times(1));
    world.start_service().await;
    world.until("its row is gone", async |world: &World| register(world).await.len() == 7).await;
    assert_eq!(world.simulator.hooks().len(), 7);
    assert!(world.simulator.hooks().iter().all(|hook| hook.event != "vacancy_deleted"));
    // The second one found nothing any more.
    assert_eq!((posts(&world), deletes(&world)), (8, 2));
    world.leave().await;
}

#[tokio::test]
async fn a_crash_before_the_answer_leaves_one_orphan_at_most_and_the_log_says_so() {
    let plan = Plan::sized(2, 2).with("WORKER__LEASE", "3s").with("WORKER__POLL_INTERVAL", "1s");
    let world = World::start(plan.with("LOG__LEVEL", "info").with("LOG__FORMAT", "json").stopped()).await;
    world.simulator.follow_system_time();
    world.simulator.add_fault(Fault::new(Endpoint::Hooks, FaultKind::Hold).after(2).times(1));
    let service = Logged::start(&world.environment());
    world.until_by_itself("an answer is kept back", async |world: &World| world.simulator.held() == 1).await;
    let rows = register(&world).await;
    let intended: Vec<&Hook> = rows.iter().filter(|hook| hook.state == State::Intended).collect();
    assert_eq!((rows.len(), intended.len()), (3, 1));
    assert!(intended[0].unanswered_at.is_some(), "nothing says that Cegid was asked");
    let event = intended[0].event.clone();
    service.kill();
    world.simulator.release_held();

    let again = Logged::start(&world.environment());
    world
        .until_by_itself("everything is registered", async |world: &World| {
            register(world).await.iter().filter(|hook| hook.state == State::Registered).count() == 8
        })
        .await;
    let log = again.kill();
    let orphans: Vec<&str> = log.lines().filter(|line| line.contains("an orphan of this hook may exist")).collect();
    assert_eq!(orphans.len(), 1, "{log}");
    assert!(orphans[0].contains(&event), "{}", orphans[0]);
    let doubtful: Vec<Hook> = register(&world).await.into_iter().filter(|hook| hook.unanswered_at.is_some()).collect();
    assert_eq!(doubtful.iter().map(|hook| hook.event.as_str()).collect::<Vec<_>>(), [event]);
    // The orphan is not ours to find: it stays, and nothing else is twice.
    assert_eq!((world.simulator.hooks().len(), posts(&world), deletes(&world)), (9, 9, 0));
    world.leave().await;
}

#[tokio::test]
async fn a_registration_whose_answer_is_lost_is_asked_for_again_after_the_others() {
    let world = World::start(Plan::sized(2, 2).stopped()).await;
    world.simulator.add_fault(Fault::new(Endpoint::Hooks, FaultKind::AnswerLost { code: 502 }).times(1));
    let mut world = world;
    world.start_service().await;
    world.until("everything is registered", async |world: &World| world.registered().await).await;
    assert_eq!((world.simulator.hooks().len(), posts(&world)), (9, 9));
    let events: Vec<String> = world.simulator.hooks().into_iter().map(|hook| hook.event).collect();
    assert_eq!(events.first(), events.last(), "it held the others up");
    let doubtful = register(&world).await.into_iter().filter(|hook| hook.unanswered_at.is_some()).count();
    assert_eq!(doubtful, 1);
    world.end().await;
}

#[tokio::test]
async fn an_event_that_is_refused_is_recorded_with_the_reason_and_tried_again_after_an_hour() {
    let mut world = World::start(Plan::sized(2, 2).stopped()).await;
    world.simulator.refuse_event("vacancy_deleted", true);
    world.start_service().await;
    world.until("it is recorded", async |world: &World| world.registered().await).await;
    let since = world.clock.now();
    assert_eq!(world.simulator.hooks().len(), 7, "it stopped the others");
    // While it is tried again, it is not.
    let refused = async |world: &World| {
        let mut rows = register(world).await.into_iter();
        rows.find(|hook| hook.state == State::Refused)
    };
    let first = refused(&world).await.expect("one that is refused");
    assert_eq!((first.event.as_str(), first.unanswered_at), ("vacancy_deleted", None));
    assert_eq!(first.refused.as_deref(), Some("calling webhooks: 400 the event 'vacancy_deleted' is not known"));
    // What is known at the start is read into the metrics at the start.
    world.stop_service().await;
    world.start_service().await;
    let gauge =
        |outcome: &str, count: u32| format!(r#"cegid_indexer_hooks{{tenant="acme",outcome="{outcome}"}} {count}"#);
    world
        .until_by_itself("the metrics show it", async |world: &World| {
            let page = world.get(&world.operators, "/metrics").await.1;
            page.contains(&gauge("registered", 7)) && page.contains(&gauge("refused", 1))
        })
        .await;
    world.turn(Duration::from_secs(3000));
    world
        .until("it was tried again", async |world: &World| {
            refused(world).await.is_some_and(|hook| hook.refused_at > first.refused_at)
        })
        .await;
    assert!(world.clock.now() >= since + HOUR - Duration::from_secs(60), "after {}", world.clock.now() - since);
    assert_eq!(posts(&world), 9);
    world.simulator.refuse_event("vacancy_deleted", false);
    world.turn(HOUR);
    world.until("it is registered", async |world: &World| world.simulator.hooks().len() == 8).await;
    assert_eq!(posts(&world), 10);
    world.until("it is in the register", async |world: &World| world.registered().await).await;
    assert_registered_once(&world).await;
    world.end().await;
}

#[tokio::test]
async fn a_right_that_is_missing_pauses_the_hooks_alone() {
    let mut plan = Plan::sized(5, 5);
    plan.simulator.hook_scope = Some("Customer".into());
    let mut world = World::start(plan).await;
    let since = world.clock.now();
    world.until("it was tried three times", async |world: &World| posts(world) == 3).await;
    // At once, and then every five minutes.
    assert!(world.clock.now() >= since + Duration::from_secs(600), "after {}", world.clock.now() - since);
    world.until("the load is done", async |world: &World| world.loaded().await).await;
    world
        .until_by_itself("the register says that nothing is registered", async |world: &World| {
            let rows = register(world).await;
            rows.len() >= 3 && rows.iter().all(|hook| hook.state == State::Intended && hook.unanswered_at.is_none())
        })
        .await;
    assert!(world.simulator.hooks().is_empty());
    world.stop_service().await;
    world.set("TENANTS__ACME__HOOK_SCOPE", "Customer");
    world.start_service().await;
    world.until("hooks are registered", async |world: &World| world.simulator.hooks().len() == 8).await;
    world.end().await;
}

#[tokio::test]
async fn ten_replicas_that_start_together_register_every_event_once() {
    // Longer than the clock is turned here: none is taken over because the turning outruns its renewal.
    let world = World::start(Plan::sized(2, 2).with("WORKER__LEASE", "20m").stopped()).await;
    let stop = Stop::default();
    let mut running = Vec::new();
    for _ in 0..10 {
        let mut environment = world.environment();
        environment.insert("CEGID_INDEXER__RECEIVE__BIND".into(), format!("127.0.0.1:{}", free_port()));
        environment.insert("CEGID_INDEXER__OPS__BIND".into(), "127.0.0.1:0".into());
        let app = App::bind(Settings::load(None, environment).unwrap(), world.clock.clone()).await.unwrap();
        running.push(tokio::spawn(app.run(stop.clone())));
    }
    world.until("hooks are registered", async |world: &World| world.simulator.hooks().len() == 8).await;
    // Until the register was looked at again.
    let heard_until = async || hooks::heard(&world.database, &tenant()).await.unwrap().heard_until;
    let first = heard_until().await;
    world.until("it is looked again", async |_: &World| heard_until().await > first).await;
    assert_registered_once(&world).await;
    assert_eq!((posts(&world), deletes(&world)), (8, 0));
    stop.drain();
    for app in running {
        app.await.unwrap().unwrap();
    }
    world.leave().await;
}

/// An answer whose claim had run out, so that another has registered the event meanwhile.
#[tokio::test]
async fn a_registration_that_is_one_too_many_is_deleted_again_and_never_the_one_that_is_kept() {
    let mut world = World::start(Plan::sized(2, 2)).await;
    world.settle().await;
    world.stop_service().await;
    let kept = register(&world).await.remove(0);
    let asked = Registration {
        event: kept.event.clone(),
        callback_url: kept.callback_url.clone(),
        ping_url: kept.ping_url.clone(),
        unanswered_at: None,
    };
    let late = async |hook_id: &str| {
        let row = (kept.id, &asked);
        hooks::registered(&world.database, &tenant(), row, hook_id, world.clock.now()).await.unwrap();
        register(&world).await.into_iter().filter(|hook| hook.state == State::Leaving).count()
    };
    assert_eq!(late(kept.hook_id.as_deref().unwrap()).await, 0, "the one that is kept would be deleted");
    Stranger::at(&world.simulator).await.register(&kept.event).await;
    let second = world.simulator.hooks().pop().unwrap().hook_id;
    assert_eq!(late(&second).await, 1, "its id is forgotten");
    world.start_service().await;
    world.until("it is deleted", async |world: &World| register(world).await.len() == 8).await;
    assert_registered_once(&world).await;
    assert_eq!((posts(&world), deletes(&world)), (9, 1));
    world.end().await;
}

#[tokio::test]
async fn the_register_of_the_first_version_is_kept() {
    let world = World::start(Plan::sized(0, 0).stopped()).await;
    let mut connection = world.database.pool().acquire().await.unwrap();
    let old = "create schema old; set search_path to old;
               create table gap_count (tenant text)";
    sqlx::raw_sql(old).execute(&mut *connection).await.unwrap();
    sqlx::raw_sql(include_str!("../../migrations/0005_hook_and_sweep.sql")).execute(&mut *connection).await.unwrap();
    let rows =
        "insert into hook (tenant, event, hook_id, callback_url, ping_url, registered_at, refused_at, refused) values
                ('acme', 'a', 'h1', 'u', 'p', '2026-01-01', null, null),
                ('acme', 'b', '', 'u', 'p', '2026-01-02', null, null),
                ('acme', 'c', 'h3', 'u', 'p', '2026-01-03', '2026-01-04', 'no'),
                ('acme', 'd', null, 'u', 'p', null, '2026-01-05', 'no')";
    sqlx::raw_sql(rows).execute(&mut *connection).await.unwrap();
    sqlx::raw_sql(include_str!("../../migrations/0009_hook.sql")).execute(&mut *connection).await.unwrap();
    let read = "select event || ' ' || state || ' ' || coalesce(hook_id, '-') || ' ' || coalesce(refused, '-')
                from hook order by id";
    let now: Vec<String> = sqlx::query_scalar(read).fetch_all(&mut *connection).await.unwrap();
    assert_eq!(now, ["a registered h1 -", "b registered  -", "c registered h3 -", "d refused - no"]);
    // The connection keeps another search path than the pool's others.
    connection.close().await.unwrap();
    world.leave().await;
}
