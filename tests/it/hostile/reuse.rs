//! New keys, in a flood or in earnest: a signature that covers no body is used again with other bodies, a mass import.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use cegid_indexer::{ledger::Verdict, retention, settings::Settings};
use cegid_simulator::{Endpoint, Fault, FaultKind};
use chrono::{DateTime, Utc};

use super::{LATER, signed_target};
use crate::{
    convergence::live_vacancies,
    harness::{CLIENT_ID, Plan, SECRET, World, raw, start_time},
};

const FORGED: usize = 1_500;
const EXPIRES: (&str, &str) = ("X-TS-REC-Expires", LATER);

async fn count(world: &World, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(world.database.pool()).await.unwrap()
}

/// Bodies sent under one signature, each of five hundred events about vacancies that are not there.
async fn reuse(world: &World) {
    let event = |nth: usize| format!(r#"{{"event_type":"vacancy_update","reference":"forged-{nth}"}}"#);
    for first in (0..FORGED).step_by(500) {
        let events: Vec<String> = (first..first + 500).map(event).collect();
        let body = format!("[{}]", events.join(","));
        let answer = raw::send(&world.public, "POST", &signed_target(), &[EXPIRES], body.as_bytes()).await;
        assert_eq!(answer.status, 200);
    }
}

/// A sender of large bodies, with a captured signature, makes its own callbacks wait.
#[tokio::test]
async fn bodies_of_a_thousand_events_hold_up_a_single_event_for_a_commit_or_two() {
    const BODIES: usize = 40;
    let world = World::start(Plan::sized(12, 2)).await;
    world.settle().await;
    let answered = AtomicUsize::new(0);
    let flood = futures_util::future::join_all((0..BODIES).map(async |nth| {
        let event = |event| format!(r#"{{"event_type":"vacancy_update","reference":"forged-{nth}-{event}"}}"#);
        let body = format!("[{}]", (0..1024).map(event).collect::<Vec<_>>().join(","));
        raw::send(&world.public, "POST", &signed_target(), &[EXPIRES], body.as_bytes()).await;
        answered.fetch_add(1, Ordering::Relaxed);
    }));
    let genuine = async {
        while answered.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.simulator.edit_vacancy(&live_vacancies(&world)[0]).unwrap();
        let before = answered.load(Ordering::Relaxed);
        let sent = world.simulator.flush().await;
        assert!(!sent.is_empty() && sent.iter().all(|sent| sent.accepted()), "{sent:?}");
        answered.load(Ordering::Relaxed) - before
    };
    let ((), passed) = tokio::join!(async { drop(flood.await) }, genuine);
    assert!(passed < BODIES / 4, "{passed} of {BODIES} large bodies were stored first");
    world.leave().await;
}

#[tokio::test]
async fn a_signature_that_is_used_again_with_other_bodies_delays_no_known_subject_and_is_forgotten() {
    let plan = Plan::sized(12, 2).with("RECEIVE__NEW_KEYS_PER_MINUTE", "100").with("RETENTION__DELIVERIES", "1d");
    let world = World::start(plan).await;
    world.settle().await;
    reuse(&world).await;
    // Named again: that brings no turn forward.
    reuse(&world).await;
    world.turn(Duration::from_secs(1));
    let key = &live_vacancies(&world)[0];
    world.simulator.edit_vacancy(key).unwrap();
    world.simulator.flush().await;
    let equal = async |world: &World| world.differences().await.is_empty();
    let sent = world.clock.now();
    world.until("the real change is read", equal).await;
    let (took, ledger) = (world.clock.now() - sent, world.ledger().await);
    let read = count(&world, "select count(*) from subject where state = 'unread' and absent_since is not null").await;
    let budget = 100 + took.num_seconds() * 100 / 60;
    assert!(read <= budget + 100, "{read} of {FORGED} were asked for, and {budget} may be");
    assert_eq!(ledger.subjects_waiting, FORGED as i64);
    assert_eq!((ledger.verdict(), ledger.unaccounted()), (Verdict::Waits, 0));
    assert_eq!(ledger.received, 2 * FORGED as i64 + 1);
    world.settle().await;
    assert_eq!(count(&world, "select count(*) from subject where state = 'unread'").await, FORGED as i64);

    // Kept as long as a delivery names them, and not much longer.
    let settings = Settings::load(None, world.environment()).unwrap().retention;
    let forget = async || retention::forget(&world.database, &settings, &world.clock).await.unwrap();
    forget().await;
    assert_eq!(count(&world, "select count(*) from subject where state = 'unread'").await, FORGED as i64);
    world.turn(Duration::from_secs(3 * 86400));
    // The service forgets too, and neither may see the end of what the other deletes.
    let forgotten = async |world: &World| {
        forget().await;
        count(world, "select count(*) from subject where state = 'unread'").await == 0
    };
    world.until_by_itself("keys that nobody has are forgotten", forgotten).await;
    world.settle().await;
    assert!(count(&world, "select count(*) from subject").await > 10, "known subjects stay");
    world.end_having_sent().await;
}

#[tokio::test]
async fn forged_keys_that_no_filter_can_name_share_their_reads() {
    let world = World::start(Plan::sized(150, 2)).await;
    world.settle().await;
    let keys = live_vacancies(&world);
    for key in &keys {
        world.simulator.edit_vacancy(key).unwrap();
    }
    world.settle().await;
    let before = world.last_request();
    let events: Vec<String> =
        (0..400).map(|nth| format!(r#"{{"event_type":"vacancy_update","reference":"forged:{nth},|"}}"#)).collect();
    let body = format!("[{}]", events.join(","));
    let answer = raw::send(&world.public, "POST", &signed_target(), &[EXPIRES], body.as_bytes()).await;
    assert_eq!(answer.status, 200);
    world.turn(Duration::from_secs(1));
    world.simulator.edit_vacancy(&keys[0]).unwrap();
    world.simulator.flush().await;
    world.until("the real change is read", async |world: &World| world.differences().await.is_empty()).await;
    world.settle().await;
    assert_eq!(count(&world, "select count(*) from subject where state = 'unread' and not waiting").await, 400);
    // Two reads in batches of 99, each over all that changed in a day, which is four pages at most.
    let calls = world.export_calls(crate::worst::VACANCIES, before);
    assert!(calls < 60, "{calls} calls");
    world.end_having_sent().await;
}

#[tokio::test]
async fn what_was_given_up_unseen_is_no_business_of_cegids_and_is_forgotten() {
    let plan = Plan::sized(4, 2).with("RETENTION__DELIVERIES", "1d").with("WORKER__RETRY_HORIZON", "1m");
    let world = World::start(plan).await;
    world.settle().await;
    let reports = world.simulator.report_count();
    // Cegid refuses every query with it; nobody has it.
    let body = br#"{"event_type":"vacancy_update","reference":"forged"}"#;
    world.simulator.add_fault(Fault::new(Endpoint::Vacancies, FaultKind::Status { code: 400, retry_after: None }));
    let answer = raw::send(&world.public, "POST", &signed_target(), &[EXPIRES], body).await;
    assert_eq!(answer.status, 200);
    world.until("it is given up", async |world: &World| world.ledger().await.dead == 1).await;
    world.simulator.clear_faults();
    world.settle().await;
    assert_eq!(world.simulator.report_count(), reports, "nothing is said of it");
    world.turn(Duration::from_secs(3 * 86400));
    let settings = Settings::load(None, world.environment()).unwrap().retention;
    let forgotten = async |world: &World| {
        retention::forget(&world.database, &settings, &world.clock).await.unwrap();
        count(world, "select count(*) from subject where key = 'forged'").await == 0
    };
    world.until_by_itself("it is forgotten", forgotten).await;
    world.end_having_sent().await;
}

/// So many vacancies come into being at once, each with its callback.
async fn burst(budget: &str, new: usize) {
    let world = World::start(Plan::sized(5, 2).with("RECEIVE__NEW_KEYS_PER_MINUTE", budget)).await;
    world.settle().await;
    let (budget, known) = (budget.parse::<i64>().unwrap(), count(&world, "select count(*) from subject").await);
    let keys: Vec<String> = (0..new).map(|_| world.simulator.create_vacancy()).collect();
    world.simulator.flush().await;
    world.assert_all_accepted();
    let at_once = "select count(*) from subject where state = 'unread' and due_at > $1";
    let due: i64 = sqlx::query_scalar(at_once).bind(world.clock.now()).fetch_one(world.database.pool()).await.unwrap();
    assert!(due >= new as i64 - budget, "{due} of {new} are due later");
    // In the order of their arrival, at the budget's rate.
    let last: DateTime<Utc> =
        sqlx::query_scalar("select max(due_at) from subject").fetch_one(world.database.pool()).await.unwrap();
    let minutes = (last - start_time()).num_minutes();
    let expected = new as i64 / budget - 1;
    assert!((expected..expected + 90).contains(&minutes), "the last one is due after {minutes} minutes");
    let disordered = "select count(*) from (select due_at < lag(due_at) over (order by wanted) as before
                      from subject where state = 'unread') as s where before";
    assert_eq!(count(&world, disordered).await, 0);
    for part in 1..=10_i64 {
        let read = known + part * keys.len() as i64 / 10;
        let all_read =
            async |world: &World| count(world, "select count(*) from subject where state <> 'unread'").await >= read;
        world.until("a tenth of them is read", all_read).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_burst_of_new_keys_beyond_the_budget_ends_equal_to_the_truth() {
    burst("300", 1_500).await;
}

#[tokio::test]
#[ignore = "takes ten minutes or more without optimisation"]
async fn fifty_thousand_new_keys_in_a_burst_end_equal_to_the_truth() {
    burst("2000", 50_000).await;
}

#[tokio::test]
async fn the_longest_lifetime_of_a_signature_is_shown_and_can_be_bounded() {
    let world = World::start(Plan::sized(0, 0).with("RECEIVE__SIGNATURE_LIFETIME_LIMIT", "1h")).await;
    let query = format!("client_id={CLIENT_ID}");
    let send = async |after: i64| {
        let expires = (start_time().timestamp() + after).to_string();
        let signature = raw::signature_until("POST", super::EVENTS, SECRET, &query, &expires);
        let target = format!("{}?{query}&signature={signature}", super::EVENTS);
        raw::send(&world.public, "POST", &target, &[("X-TS-REC-Expires", &expires)], b"{}").await.status
    };
    let shown = async || {
        let (_, metrics) = world.get(&world.operators, "/metrics").await;
        let line = metrics.lines().find(|line| line.starts_with("cegid_indexer_signature_lifetime_seconds{"));
        line.and_then(|line| line.rsplit_once(' ')).map_or(0, |(_, value)| value.parse().unwrap())
    };
    assert_eq!(send(3600).await, 200);
    assert_eq!(send(900).await, 200);
    assert_eq!(shown().await, 3600);
    assert_eq!(send(3601).await, 403);
    assert_eq!(shown().await, 3601);
    let (_, metrics) = world.get(&world.operators, "/metrics").await;
    assert!(metrics.contains(r#"refusals_total{tenant="acme",reason="long_lived"} 1"#), "{metrics}");
    let (_, tenants) = world.get(&world.operators, "/api/v1/tenants").await;
    assert!(tenants.contains(r#""signature_lifetime_seconds":3601"#), "{tenants}");
    world.leave().await;
}
