//! Settings that change while the service runs.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use cegid_indexer::{settings::Settings, tenants};
use cegid_simulator::Outcome;

use super::{Town, id, secret};

const SECRETS: &str = "client_secret_file = \"{}/current\"\nprevious_client_secret_file = \"{}/previous\"";

async fn answer(town: &Town, tenant: &str, secret: &str) -> u16 {
    match town.send(tenant, 0, secret).await.outcome {
        Outcome::Answered(status) => status,
        other => panic!("{other:?}"),
    }
}

async fn is_worked(town: &Town, tenant: &str) -> bool {
    town.held().await.values().flatten().any(|held| held == tenant)
}

#[tokio::test]
async fn tenants_are_added_changed_and_taken_out_and_the_others_do_not_notice() {
    let mut town = Town::new(&[("a", 4), ("b", 4), ("c", 4)]).await;
    town.configure(&[("a", ""), ("b", "")]);
    town.start_replica().await;
    let is_quiet = async |town: &Town, tenants: &[&str]| {
        for tenant in tenants {
            if !town.is_quiet(tenant).await {
                return false;
            }
        }
        true
    };
    town.until("two tenants are loaded", async |town: &Town| is_quiet(town, &["a", "b"]).await).await;
    assert_eq!(answer(&town, "c", &secret("c")).await, 403);
    let (a, b) = (town.token("a").await, town.token("b").await);

    town.configure(&[("a", ""), ("b", "calls_at_once = 1"), ("c", "")]);
    town.until("the third is loaded", async |town: &Town| is_quiet(town, &["a", "b", "c"]).await).await;
    assert_eq!(answer(&town, "c", &secret("c")).await, 200);
    town.until("the changed one is begun again", async |town: &Town| {
        town.token("b").await != b && is_worked(town, "b").await
    })
    .await;
    assert_eq!(town.token("a").await, a, "the worker of a tenant that has not changed was begun again");
    assert_eq!(town.simulators["a"].token_calls(), 1);

    town.configure(&[("a", ""), ("b", "calls_at_once = 1")]);
    town.until("the third is refused", async |town: &Town| answer(town, "c", &secret("c")).await == 403).await;
    town.until("and not worked", async |town: &Town| !is_worked(town, "c").await).await;
    assert_eq!(town.token("a").await, a);
    let listed = town.get(format!("{}/api/v1/tenants", town.replicas[0].operators)).await;
    assert!(listed.contains("\"a\"") && listed.contains("\"b\"") && !listed.contains("\"c\""), "{listed}");

    // Without its section its hooks cannot be unregistered, and what is held of it is deleted all the same.
    let now = town.clock.now();
    tenants::disconnect(&town.database, &id("c"), now, now + chrono::TimeDelta::minutes(2)).await.unwrap();
    town.until("what is held of the third is deleted", async |town: &Town| {
        town.count("select count(*) from tenant_state where tenant = $1 and purged_at is not null", "c").await == 1
    })
    .await;
    assert!(town.clock.now() >= now + chrono::TimeDelta::minutes(2));
    assert_eq!(town.count("select count(*) from document where tenant = $1", "c").await, 0);
    assert!(town.count("select count(*) from document where tenant = $1", "a").await > 0);
    town.end().await;
}

#[tokio::test]
async fn settings_that_are_wrong_are_said_to_be_and_the_last_good_ones_stay() {
    let mut town = Town::new(&[("a", 4)]).await;
    town.start_replica().await;
    town.until_quiet().await;
    let token = town.token("a").await;
    for wrong in
        ["[tenants.a\nclient_secret = \"half a fi", "[tenants.a]\ncolour = \"blue\"\n", "[export]\npage_size = 900\n"]
    {
        let before = std::fs::read_to_string(town.path("settings.toml")).unwrap();
        town.write("settings.toml", wrong);
        town.until("the failure is shown", async |town: &Town| {
            town.metric("cegid_indexer_settings_reload_failed").await == "1"
        })
        .await;
        assert_eq!(answer(&town, "a", &secret("a")).await, 200);
        town.write("settings.toml", &before);
        town.until("it is over", async |town: &Town| town.metric("cegid_indexer_settings_reload_failed").await == "0")
            .await;
    }
    town.until_quiet().await;
    assert_eq!(town.token("a").await, token, "the worker was begun again");
    town.end().await;
}

#[tokio::test]
async fn a_secret_is_rotated_by_its_file_without_a_refused_callback() {
    let mut town = Town::new(&[("a", 4)]).await;
    let (old, new) = (secret("a"), "another-secret".to_owned());
    town.write("current", &old);
    town.write("previous", "");
    let directory = town.path("").display().to_string();
    town.configure(&[("a", &SECRETS.replace("{}", directory.trim_end_matches('/')))]);
    town.start_replica().await;
    town.until_quiet().await;
    assert_eq!(answer(&town, "a", &new).await, 403);

    // Callbacks come all the while, with the secret that Cegid has at that time.
    let town = Arc::new(town);
    let (turned, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let traffic = tokio::spawn({
        let (town, turned, done, old, new) = (town.clone(), turned.clone(), done.clone(), old.clone(), new.clone());
        async move {
            let mut counts = [0, 0];
            while !done.load(Ordering::Relaxed) {
                let is_turned = turned.load(Ordering::Relaxed);
                assert_eq!(answer(&town, "a", if is_turned { &new } else { &old }).await, 200, "{counts:?}");
                counts[usize::from(is_turned)] += 1;
            }
            counts
        }
    });
    town.write("previous", &format!("{old}\n"));
    // Whoever waits here, or restarts, has the same secret twice.
    let loaded = Settings::load(Some(&town.path("settings.toml")), town.environment(0));
    assert!(loaded.is_ok(), "{:?}", loaded.err());
    town.write("current", &format!("{new}\n"));
    town.until("the new one is accepted", async |town: &Town| answer(town, "a", &new).await == 200).await;
    turned.store(true, Ordering::Relaxed);
    town.pass(chrono::TimeDelta::seconds(20)).await;
    done.store(true, Ordering::Relaxed);
    let counts = traffic.await.unwrap();
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");

    // The overlap ends: the old one is refused.
    town.write("previous", "");
    town.until("the old one is refused", async |town: &Town| answer(town, "a", &old).await == 403).await;
    assert_eq!(answer(&town, "a", &new).await, 200);
    let received = town.count("select count(*) from delivery where tenant = $1", id("a").as_str()).await;
    assert!(received >= i64::from(counts[0] + counts[1]), "{received} of {counts:?}");
    Arc::into_inner(town).unwrap().end().await;
}

#[tokio::test]
async fn sighup_reads_the_settings_again_and_ends_nothing() {
    let town = Town::new(&[("a", 0)]).await;
    town.simulators["a"].follow_system_time();
    let port = crate::harness::free_port();
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut service = std::process::Command::new(env!("CARGO_BIN_EXE_cegid-indexer"))
        .args(["--config", town.path("settings.toml").to_str().unwrap(), "serve"])
        .envs(town.environment(port))
        .env("CEGID_INDEXER__LOG__LEVEL", "info")
        .env("CEGID_INDEXER__LOG__FORMAT", "json")
        .stdin(std::process::Stdio::null())
        .stderr(log.reopen().unwrap())
        .spawn()
        .unwrap();
    let lines = || std::fs::read_to_string(log.path()).unwrap();
    let said = async |words: &str| {
        let since = tokio::time::Instant::now();
        while !lines().contains(words) {
            assert!(since.elapsed() < super::PATIENCE, "not said: {words}\n{}", lines());
            tokio::time::sleep(super::LOOK).await;
        }
    };
    said("working the tenant").await;
    let process = rustix::process::Pid::from_child(&service);
    rustix::process::kill_process(process, rustix::process::Signal::HUP).unwrap();
    said("asked to read the settings again").await;
    // It lives, and what counts from the next start only is said.
    let settings = std::fs::read_to_string(town.path("settings.toml")).unwrap();
    town.write("settings.toml", &settings.replace("connections = 3", "connections = 4"));
    said("count from the next start on").await;
    assert!(lines().contains("\"keys\":\"database\""), "{}", lines());
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    assert!(service.wait().unwrap().success(), "{}", lines());
    town.end().await;
}
