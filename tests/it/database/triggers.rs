//! Triggers that somebody has put on the tables: what they refuse costs that row alone, and what they say of a row is
//! not repeated.

use std::time::Duration;

use cegid_indexer::domain::Kind;

use crate::{
    convergence::{live_candidates, live_vacancies},
    database::run,
    harness::{Plan, World},
};

#[tokio::test]
async fn what_a_trigger_refuses_of_one_subject_costs_nobody_else_anything() {
    let world = World::start(Plan::sized(0, 30)).await;
    world.settle().await;
    let keys = live_candidates(&world);
    run(
        &world,
        &format!(
            "create function refuse() returns trigger language plpgsql as
               $$ begin raise exception 'not this one: %', new; end $$;
             create trigger refuse before insert or update on document for each row when (new.key = '{}')
               execute function refuse();",
            keys[0]
        ),
    )
    .await;
    for key in &keys {
        world.simulator.edit_candidate(key).unwrap();
    }
    world.simulator.flush().await;
    world
        .until("the others are indexed", async |world: &World| {
            let indexed = world.indexed(Kind::Candidate).await;
            keys[1..].iter().all(|key| indexed[key].0.ends_with("(v2)"))
        })
        .await;
    run(&world, "drop trigger refuse on document").await;
    world.end().await;
}

#[tokio::test]
async fn what_a_trigger_says_of_a_record_is_in_no_log() {
    let world = World::start(Plan::sized(4, 6)).await;
    world.settle().await;
    run(
        &world,
        "create function quote() returns trigger language plpgsql as
           $$ begin raise exception 'audit: % %', new, (select string_agg(raw, ' ') from document); end $$;
         create function quote_denied() returns trigger language plpgsql as
           $$ begin raise exception 'audit: % %', new, (select string_agg(raw, ' ') from document)
              using errcode = 'insufficient_privilege'; end $$;",
    )
    .await;
    for (table, function) in [
        ("delivery", "quote"),
        ("delivery", "quote_denied"),
        ("document", "quote"),
        ("document", "quote_denied"),
        ("subject", "quote"),
        ("subject", "quote_denied"),
        ("report_item", "quote_denied"),
        ("sweep", "quote_denied"),
        ("tenant_lease", "quote_denied"),
        ("hook", "quote_denied"),
        ("refusal", "quote_denied"),
    ] {
        run(
            &world,
            &format!(
                "create trigger quote before insert or update or delete on {table} for each row execute function {function}()"
            ),
        )
        .await;
        for key in live_candidates(&world) {
            world.simulator.edit_candidate(&key).unwrap();
        }
        world.simulator.edit_vacancy(&live_vacancies(&world)[0]).unwrap();
        world.simulator.flush().await;
        world.pass(Duration::from_secs(600)).await;
        run(&world, &format!("drop trigger quote on {table}")).await;
    }
    let resent = async |world: &World| {
        world.simulator.resend_failed(usize::MAX);
        world.simulator.flush().await.iter().all(|sent| sent.accepted())
    };
    world.until("callbacks are taken again", resent).await;
    world.end().await;
}
