//! `cegid-indexer hooks …`, alone and beside a running service.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Output, Stdio},
};

use cegid_indexer::hooks::State;
use cegid_simulator::{Down, Endpoint, Fault, FaultKind};

use crate::{
    harness::{
        Plan, World,
        process::{self, Service},
    },
    hooks::{Stranger, assert_registered_once, deletes, posts, register},
};

fn plan() -> Plan {
    Plan::sized(2, 2).with("WORKER__LEASE", "3s").with("WORKER__POLL_INTERVAL", "1s").stopped()
}

async fn hooks(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let environment = world.environment();
    let arguments: Vec<String> = ["hooks"].iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
    let run = move || process::run(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &environment);
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(run).await.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

fn count(text: &str, begins: &str) -> usize {
    text.lines().filter(|line| line.trim_start().starts_with(begins)).count()
}

/// A right or a scope that is missing is the likeliest trouble of a first registration.
#[tokio::test]
async fn calls_that_cegid_refuses_altogether_are_told_from_a_cegid_that_is_away() {
    let world = World::start(plan()).await;
    world.simulator.follow_system_time();
    for (code, exit, says) in [(403, 1, "hook_scope"), (401, 1, "is enabled"), (404, 1, "404"), (503, 69, "503")] {
        world
            .simulator
            .add_fault(Fault::new(Endpoint::Hooks, FaultKind::Status { code, retry_after: None }).times(100));
        let (ended, text) = hooks(&world, &["apply"]).await;
        assert!(ended == Some(exit) && text.contains(says), "{code}: {ended:?} {text}");
        world.simulator.clear_faults();
    }
    let (code, text) = hooks(&world, &["apply"]).await;
    assert_eq!((code, count(&text, "+ register")), (Some(0), 8), "{text}");
    world.leave().await;
}

#[tokio::test]
async fn without_a_service_the_commands_register_show_and_unregister() {
    let world = World::start(plan()).await;
    world.simulator.follow_system_time();
    let (code, text) = hooks(&world, &["list"]).await;
    assert_eq!((code, text.matches(" missing ").count()), (Some(0), 8), "{text}");
    let (code, text) = hooks(&world, &["apply", "--dry-run"]).await;
    assert_eq!((code, count(&text, "+ register")), (Some(0), 8), "{text}");
    assert!(world.simulator.requests().is_empty() && register(&world).await.is_empty(), "a dry run did something");

    let (code, text) = hooks(&world, &["apply"]).await;
    assert_eq!((code, count(&text, "+ register")), (Some(0), 8), "{text}");
    assert_registered_once(&world).await;
    let (code, text) = hooks(&world, &["apply", "--tenant", "acme"]).await;
    assert_eq!((code, count(&text, "= keep"), count(&text, "+")), (Some(0), 8, 0), "{text}");
    assert_eq!(posts(&world), 8);

    let (code, text) = hooks(&world, &["list", "--json"]).await;
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    let first = &list[0]["hooks"][0];
    let held = world.simulator.hooks().into_iter().find(|hook| hook.event == first["event"].as_str().unwrap()).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(
        (&list[0]["tenant"], &first["state"], &first["wanted"]),
        (&"acme".into(), &"registered".into(), &true.into())
    );
    assert_eq!((&first["hook_id"], &first["callback_url"]), (&held.hook_id.into(), &held.callback_url.into()));
    assert!(first["since"].is_string());

    // What is not ours stays.
    Stranger::at(&world.simulator).await.register("vacancy_new").await;
    let one = ["unregister", "--tenant", "acme", "--event", "vacancy_new"];
    let id = register(&world).await.into_iter().find(|hook| hook.event == "vacancy_new").unwrap().hook_id.unwrap();
    let planned = format!("- unregister vacancy_new ({id})");
    let (code, text) = hooks(&world, &[&one[..], &["--dry-run"]].concat()).await;
    assert_eq!((code, count(&text, &planned), count(&text, "-")), (Some(0), 1, 1), "{text}");
    assert_eq!(deletes(&world), 0, "a dry run did something");
    let (code, text) = hooks(&world, &one).await;
    assert_eq!((code, count(&text, &planned), deletes(&world)), (Some(0), 1, 1), "{text}");
    let (_, text) = hooks(&world, &["list"]).await;
    assert_eq!((text.matches(" withdrawn ").count(), text.matches(" registered ").count()), (1, 7), "{text}");
    let (code, text) = hooks(&world, &["unregister", "--tenant", "acme"]).await;
    assert_eq!((code, count(&text, "- unregister")), (Some(0), 7), "{text}");
    let left = world.simulator.hooks();
    assert_eq!(
        left.iter().map(|hook| hook.callback_url.as_str()).collect::<Vec<_>>(),
        ["https://stranger.example.com/events"]
    );
    assert!(register(&world).await.is_empty());
    world.leave().await;
}

#[tokio::test]
async fn a_command_does_what_was_asked_when_nobody_reads_what_it_says() {
    let world = World::start(plan()).await;
    world.simulator.follow_system_time();
    let run = async |command: &'static str, output: Stdio, errors: Stdio| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_cegid-indexer"));
        program.args(["hooks", command]).envs(world.environment()).stdout(output).stderr(errors);
        tokio::task::spawn_blocking(move || program.spawn().unwrap().wait_with_output().unwrap()).await.unwrap()
    };
    let read_by_nobody = || Stdio::from(std::io::pipe().unwrap().1);
    let applied = run("apply", read_by_nobody(), read_by_nobody()).await;
    assert_eq!(applied.status.code(), Some(0));
    assert_registered_once(&world).await;
    assert_eq!(posts(&world), 8);
    #[cfg(target_os = "linux")]
    {
        // Somebody waits for this.
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let listed = run("list", full.into(), Stdio::piped()).await;
        let says = String::from_utf8(listed.stderr).unwrap();
        assert_eq!((listed.status.code(), says.contains("No space left")), (Some(74), true), "{says}");
    }
    world.leave().await;
}

#[tokio::test]
async fn beside_a_service_what_is_unregistered_stays_away_until_it_is_applied() {
    let world = World::start(plan()).await;
    world.simulator.follow_system_time();
    hooks(&world, &["apply"]).await;
    hooks(&world, &["unregister", "--tenant", "acme", "--event", "vacancy_new"]).await;
    // Something behind it in the plan tells when the service has passed over it.
    let forget = "delete from hook where event = 'vacancy_update'";
    sqlx::query(forget).execute(world.database.pool()).await.unwrap();
    let service = Service::start(&world.environment());
    let held = async |world: &World, events: usize| {
        register(world).await.iter().filter(|hook| hook.state == State::Registered).count() == events
    };
    world.until_by_itself("the service has looked", async |world: &World| held(world, 7).await).await;
    assert_eq!(posts(&world), 9);
    assert!(register(&world).await.iter().all(|hook| hook.event != "vacancy_new"));

    let (code, text) = hooks(&world, &["unregister", "--tenant", "acme"]).await;
    assert_eq!((code, count(&text, "- unregister")), (Some(0), 7), "{text}");
    // The one that the register was made to forget is nobody's.
    assert_eq!(world.simulator.hooks().len(), 1);
    drop(service);
    // Each step of anybody writes the row, and ends by giving it back.
    let steps = async || {
        let read = "select xmin::text from hook_tenant where claimed_by is null";
        sqlx::query_scalar::<_, String>(read).fetch_optional(world.database.pool()).await.unwrap()
    };
    let before = steps().await;
    let again = Service::start(&world.environment());
    world
        .until_by_itself("the service has looked", async |_: &World| {
            let now = steps().await;
            now.is_some() && now != before
        })
        .await;
    assert_eq!((posts(&world), world.simulator.hooks().len()), (9, 1));

    let (code, text) = hooks(&world, &["apply"]).await;
    assert_eq!((code, count(&text, "+ register")), (Some(0), 8), "{text}");
    assert_eq!((posts(&world), world.simulator.hooks().len()), (17, 9));
    assert!(held(&world, 8).await);
    drop(again);
    world.leave().await;
}

#[tokio::test]
async fn a_command_waits_for_the_step_of_the_service_and_both_register_once() {
    let world = World::start(plan()).await;
    world.simulator.follow_system_time();
    world.simulator.add_fault(Fault::new(Endpoint::Hooks, FaultKind::Hold).times(1));
    let service = Service::start(&world.environment());
    world.until_by_itself("an answer is kept back", async |world: &World| world.simulator.held() == 1).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_cegid-indexer"));
    command.args(["hooks", "apply"]).envs(world.environment()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut command = command.spawn().unwrap();
    let mut says = BufReader::new(command.stderr.take().unwrap()).lines();
    let line = tokio::task::spawn_blocking(move || says.next()).await.unwrap().unwrap().unwrap();
    assert!(line.contains("the service deals with a hook of acme now"), "{line}");
    assert_eq!(posts(&world), 1);
    world.simulator.release_held();
    let status = tokio::task::spawn_blocking(move || command.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert_registered_once(&world).await;
    assert_eq!(posts(&world), 8);
    drop(service);
    world.leave().await;
}

#[tokio::test]
async fn what_a_command_cannot_unregister_while_cegid_is_away_the_service_unregisters() {
    let world = World::start(plan()).await;
    world.simulator.follow_system_time();
    hooks(&world, &["apply"]).await;
    world.simulator.set_down(Down::Unavailable, None);
    let (code, text) = hooks(&world, &["unregister", "--tenant", "acme"]).await;
    assert_eq!((code, world.simulator.hooks().len()), (Some(69), 8), "{text}");
    assert!(register(&world).await.iter().all(|hook| hook.state == State::Leaving), "what is to go is forgotten");
    world.simulator.set_down(Down::No, None);
    let service = Service::start(&world.environment());
    world.until_by_itself("nothing is left", async |world: &World| register(world).await.is_empty()).await;
    assert!(world.simulator.hooks().is_empty());
    assert_eq!(posts(&world), 8);
    drop(service);
    world.leave().await;
}

#[tokio::test]
async fn commands_say_by_their_exit_code_what_is_in_the_way() {
    let world = World::start(plan()).await;
    world.simulator.follow_system_time();
    let (code, text) = hooks(&world, &["list", "--tenant", "nobody"]).await;
    assert_eq!(code, Some(64));
    assert!(text.contains("no tenant is named nobody") && text.contains("there is acme"), "{text}");
    let (code, text) = hooks(&world, &["unregister", "--tenant", "acme", "--event", "vacancy_nwe"]).await;
    assert_eq!(code, Some(64));
    assert!(text.contains("vacancy_nwe"), "{text}");
    assert_eq!(hooks(&world, &["unregister"]).await.0, Some(2), "all tenants at once");

    world.simulator.set_down(Down::Unavailable, None);
    let (code, text) = hooks(&world, &["apply"]).await;
    assert_eq!(code, Some(69));
    assert!(text.contains("+ register vacancy_new: calling token: 503"), "{text}");
    world.simulator.set_down(Down::No, None);
    world.simulator.add_fault(Fault::new(Endpoint::Hooks, FaultKind::Status { code: 400, retry_after: None }).times(1));
    let (code, text) = hooks(&world, &["apply"]).await;
    assert_eq!((code, count(&text, "! refused"), count(&text, "+ register")), (Some(1), 1, 7), "{text}");
    let (code, text) = hooks(&world, &["list"]).await;
    assert_eq!((code, text.matches(" refused ").count()), (Some(0), 1), "{text}");
    assert!(text.contains("calling webhooks: 400 fault: status"), "{text}");
    // Whoever has seen to it need not wait for an hour.
    let (code, text) = hooks(&world, &["apply", "--dry-run"]).await;
    assert_eq!((code, count(&text, "+ register"), posts(&world)), (Some(0), 1, 8), "{text}");
    let (code, text) = hooks(&world, &["apply"]).await;
    assert_eq!((code, count(&text, "+ register"), count(&text, "= keep")), (Some(0), 1, 7), "{text}");
    assert_registered_once(&world).await;
    world.leave().await;
}
