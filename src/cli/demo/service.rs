//! The service, as `serve` runs it, with settings that fit the simulator.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use cegid_indexer::{
    app::App,
    clock::Clock,
    lifecycle::{Stop, TaskDied},
    settings::Settings,
};
use cegid_simulator::Config;
use tokio::task::JoinHandle;

use super::{
    TENANT,
    addresses::Addresses,
    ending::{Failure, Interrupt},
};

/// An absence is confirmed so long after it was first read, so that removals are seen.
const CONFIRM_AFTER: &str = "3s";
/// Between two pages of the initial load.
const LOAD_PAUSE: &str = "20ms";
/// Settings that a person who runs the demo may change.
const FROM_ENVIRONMENT: [&str; 2] = ["CEGID_INDEXER__LOG__LEVEL", "CEGID_INDEXER__LOG__FORMAT"];
/// How long a stop in good order may take before it is cut short.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// The service's settings for the demo.
///
/// # Errors
/// When they are wrong, with every problem.
pub fn settings(addresses: &Addresses, database_url: &str, tenant: &Config) -> Result<Settings, Failure> {
    let own = |key: &str| format!("CEGID_INDEXER__{key}");
    let of_tenant = |key: &str| format!("CEGID_INDEXER__TENANTS__{}__{key}", TENANT.to_uppercase());
    let mut pairs = vec![
        (own("LOG__LEVEL"), "warn".to_owned()),
        (own("LOG__FORMAT"), "text".to_owned()),
        (own("PUBLIC_URL"), addresses.public_url()),
        (own("RECEIVE__BIND"), addresses.receiver.to_string()),
        (own("OPS__BIND"), addresses.operators.to_string()),
        (own("DATABASE__URL"), database_url.to_owned()),
        (own("WORKER__CONFIRM_AFTER"), CONFIRM_AFTER.to_owned()),
        (own("WORKER__POLL_INTERVAL"), "1s".to_owned()),
        (of_tenant("BASE_URL"), addresses.simulator_url()),
        (of_tenant("CLIENT_ID"), tenant.client_id.clone()),
        (of_tenant("CLIENT_SECRET"), tenant.client_secret.clone()),
        (of_tenant("LOAD_PAUSE"), LOAD_PAUSE.to_owned()),
    ];
    pairs.extend(
        std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(key, _)| FROM_ENVIRONMENT.contains(&key.as_str())),
    );
    Settings::load(None, pairs).map_err(|problems| {
        let says: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow!("the demo's settings are wrong: {}", says.join("; ")).into()
    })
}

/// A proxy would be asked for the simulator on the loopback, and cannot reach it.
///
/// # Errors
/// When one is set and the loopback is not excepted, with what to do.
pub fn refuse_proxy() -> Result<(), Failure> {
    let set = |name: &str| {
        let found = std::env::vars_os().find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_empty());
        found.map(|(_, value)| value.to_string_lossy().into_owned())
    };
    let Some(name) = ["http_proxy", "all_proxy"].into_iter().find(|name| set(name).is_some()) else { return Ok(()) };
    let excepted = set("no_proxy").unwrap_or_default();
    if excepted.split(',').map(str::trim).any(|host| ["*", "127.0.0.1", "127.0.0.0/8"].contains(&host)) {
        return Ok(());
    }
    Err(anyhow!("{name} is set, and the demo talks to itself on 127.0.0.1: run it with NO_PROXY=127.0.0.1").into())
}

/// The running service.
pub struct Service {
    stop: Stop,
    running: JoinHandle<Result<(), TaskDied>>,
}

impl Service {
    /// Binds and runs it.
    ///
    /// # Errors
    /// When it cannot start.
    pub async fn start(settings: Settings) -> Result<Service, Failure> {
        let app = App::bind(settings, Clock::machine()).await.context("starting the service")?;
        let stop = Stop::default();
        let running = tokio::spawn(app.run(stop.clone()));
        Ok(Service { stop, running })
    }

    /// Ends when the service does, which it should not.
    pub async fn died(&mut self) -> Failure {
        match (&mut self.running).await {
            Ok(Ok(())) => anyhow!("the service ended by itself").into(),
            Ok(Err(died)) => anyhow::Error::new(died).context("the service ended").into(),
            Err(error) => anyhow::Error::new(error).context("the service ended").into(),
        }
    }

    /// Drains it, and aborts it at a second signal or when it takes too long.
    pub async fn stop(mut self, interrupt: &Interrupt) {
        self.stop.drain();
        if self.running.is_finished() {
            return;
        }
        tokio::select! {
            _ = &mut self.running => return,
            () = interrupt.asked_again() => {}
            () = tokio::time::sleep(STOP_LIMIT) => {}
        }
        self.stop.abort();
        // It only drops what is under way now.
        tokio::time::timeout(STOP_LIMIT, self.running).await.ok();
    }
}
