//! The simulator as the tenant's Cegid, on one thread of its own, whose processor time is told apart by its name.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use cegid_simulator::{Config, Simulator};
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Runtime};

use crate::{
    machine,
    request::{CLIENT_ID, SECRET},
};

const THREAD: &str = "ats";
/// The most that an export shows at once.
const PAGE: usize = 100;

fn credited(config: Config) -> Config {
    Config { client_id: CLIENT_ID.to_owned(), client_secret: SECRET.to_owned(), burst_every: None, ..config }
}

/// A running tenant, gone when dropped.
pub struct Ats {
    /// The tenant.
    pub simulator: Simulator,
    runtime: Runtime,
}

impl Ats {
    /// Starts one with this bench's credential; it sends no callbacks by itself.
    pub fn start(config: Config) -> anyhow::Result<Ats> {
        Ats::run(credited(config), false)
    }

    /// Starts one with a seed and a credential of its own, to stand beside another. Its thread takes what the others
    /// leave of the machine: a real Cegid has its own.
    pub fn beside(config: Config) -> anyhow::Result<Ats> {
        Ats::run(credited(config).another(2), true)
    }

    fn run(config: Config, stands_back: bool) -> anyhow::Result<Ats> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(THREAD)
            .on_thread_start(move || {
                if stands_back && let Err(error) = machine::stand_back() {
                    eprintln!("the large tenant's simulator keeps its priority: {error:#}");
                }
            })
            .enable_all()
            .build()?;
        let simulator = runtime.block_on(async {
            // On the runtime's own thread, so that its time is the thread's.
            let started = tokio::spawn(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.context("listening")?;
                Simulator::start(config, listener).await
            });
            started.await.context("the simulator failed at its start")?
        })?;
        Ok(Ats { simulator, runtime })
    }

    /// Seconds of processor time that simulators have taken.
    pub fn seconds() -> f64 {
        machine::threads_seconds(THREAD)
    }

    /// Whole answers of an export, page by page, as they come from the wire.
    pub fn pages(&self, export: &str) -> anyhow::Result<Vec<Bytes>> {
        let base = self.simulator.base_url();
        let export = export.to_owned();
        self.runtime.block_on(async {
            let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build()?;
            let form = [
                ("client_id", CLIENT_ID),
                ("client_secret", SECRET),
                ("grant_type", "client_credentials"),
                ("scope", "MatchingIndexation"),
            ];
            let token = client.post(format!("{base}/api/token")).form(&form).send().await?.error_for_status()?;
            let token: Value = token.json().await?;
            let Some(token) = token["access_token"].as_str() else { bail!("the simulator gives no token") };
            let mut pages = Vec::new();
            loop {
                let url = format!("{base}/api/exports/v1/{export}?offset={}&limit={PAGE}", pages.len() * PAGE);
                let page = client.get(url).bearer_auth(token).send().await?.error_for_status()?.bytes().await?;
                if page.is_empty() {
                    return Ok(pages);
                }
                pages.push(page);
            }
        })
    }
}
