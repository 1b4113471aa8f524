//! `demo`: the whole service at work on this machine, against a simulated tenant, with the proof at the end.
//!
//! Every phase runs under [`Interrupt`], and what was started is stopped in the reverse order however a phase ends:
//! no process and no directory is left.

mod addresses;
mod balance;
mod change;
mod ending;
mod follow;
mod load;
mod screen;
mod service;
mod store;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use cegid_indexer::{database::Database, domain::TenantId};
use cegid_simulator::{Config, Simulator};
use clap::Args;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use self::{
    addresses::Addresses,
    balance::Balance,
    change::Changer,
    ending::{Failure, Interrupt},
    follow::Follower,
    screen::Screen,
    service::Service,
    store::Store,
};
use super::serve::runtime;

/// The simulated customer.
const TENANT: &str = "acme";
/// Between two changes.
const CHANGE_EVERY: Duration = Duration::from_millis(300);
/// Between two looks at what became of them.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The first callback has gone through the whole loop in this time, or something is wrong.
const FIRST_LIMIT: Duration = Duration::from_secs(60);
/// What is under way after the last change is done in this time, or something is wrong.
const QUIET_LIMIT: Duration = Duration::from_secs(60);
/// For threads that are still at work when everything is stopped.
const LEAVE: Duration = Duration::from_secs(5);

const EXIT_CODES: &str = "\
Exit codes:
  0    what is in the index, what was reported and the ledger equal the simulator's truth
  1    they differ; what differs is listed
  2    the command line cannot be read
  69   no PostgreSQL was found and none could be fetched
  70   something else failed
  73   a disk is full
  75   an address cannot be listened on: another program has it
  130  stopped by Ctrl-C before it was ready, or by a second Ctrl-C (143: by SIGTERM): nothing was compared

Once it is ready, the first Ctrl-C or SIGTERM ends the changes; what is under way is finished and everything is compared.
The second stops at once. Either way no process and no directory is left.

The settings are the demo's own: no file is read, and of the environment only CEGID_INDEXER__LOG__LEVEL (warn unless set) \
and CEGID_INDEXER__LOG__FORMAT. PG_BIN names the directory with PostgreSQL's programs.";

/// What can be asked for.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct Demo {
    /// Where the simulated tenant calls; port 0 is any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    receiver: SocketAddr,
    /// Health, metrics and search
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    operators: SocketAddr,
    /// The simulated tenant, with its control API
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8600")]
    simulator: SocketAddr,
    /// Vacancies of the tenant at the start
    #[arg(long, value_name = "N", default_value_t = 300)]
    vacancies: usize,
    /// Candidates of the tenant at the start
    #[arg(long, value_name = "N", default_value_t = 2000)]
    candidates: usize,
    /// The same seed gives the same records and the same choice of changes
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Directory of JSON files that join the tenant's records
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
    /// Use this PostgreSQL server, in a database made for the demo and dropped afterwards, instead of a private one
    #[arg(long, value_name = "URL", env = "CEGID_INDEXER_DEMO_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// End by itself so long after it is ready, such as 20s or 5m
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lasting: Option<Duration>,
    /// Print neither progress nor what happens, only what is started and what came of it
    #[arg(long)]
    quiet: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    // Written as in the settings.
    let read: Result<Duration, serde::de::value::Error> =
        humantime_serde::deserialize(serde::de::value::StrDeserializer::new(text));
    read.map_err(|_| "not a duration such as 20s or 5m".to_owned())
}

/// Runs the demo to its end.
pub fn demo(demo: Demo) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let code = runtime.block_on(async {
        let interrupt = match Interrupt::on_signals() {
            Ok(interrupt) => interrupt,
            Err(error) => return super::fail(super::EXIT_SOFTWARE, &format!("listening for signals: {error}")),
        };
        let screen = Screen::new(demo.quiet, interrupt.clone());
        match Box::pin(with_store(&demo, &screen, &interrupt)).await {
            Ok(balance) if balance.holds() => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(failure) => {
                screen.clear();
                super::fail(failure.exit_code(), &failure)
            }
        }
    });
    runtime.shutdown_timeout(LEAVE);
    code
}

/// Everything that runs, for the phases.
struct Stage<'a> {
    demo: &'a Demo,
    screen: &'a Screen,
    interrupt: &'a Interrupt,
    addresses: &'a Addresses,
    simulator: &'a Simulator,
    database: &'a Database,
    tenant: TenantId,
}

async fn with_store(demo: &Demo, screen: &Screen, interrupt: &Interrupt) -> Result<Balance, Failure> {
    service::refuse_proxy()?;
    let addresses = Addresses::take(demo)?;
    let store = Store::start(demo, screen, interrupt).await?;
    let ended = Box::pin(with_simulator(demo, screen, interrupt, addresses, &store)).await;
    let ended = ended.map_err(|failure| store.explain(failure));
    let stopped = store.stop(screen).await;
    let balance = ended?;
    stopped?;
    Ok(balance)
}

async fn with_simulator(
    demo: &Demo,
    screen: &Screen,
    interrupt: &Interrupt,
    addresses: Addresses,
    store: &Store,
) -> Result<Balance, Failure> {
    let (addresses, listener) = addresses.release()?;
    let config = Config {
        seed: demo.seed,
        vacancies: demo.vacancies,
        candidates: demo.candidates,
        records: demo.records.clone(),
        ..Config::default()
    };
    let simulator = interrupt.cut(Simulator::start(config, listener)).await?.context("starting the simulator")?;
    screen.line(&format!(
        "simulator   {}  a tenant with {} vacancies and {} candidates, callbacks every second",
        addresses.simulator_url(),
        simulator.truth().iter().filter(|row| row.kind == "vacancy").count(),
        simulator.truth().iter().filter(|row| row.kind == "candidate").count(),
    ));
    let ended = Box::pin(with_service(demo, screen, interrupt, &addresses, store, &simulator)).await;
    simulator.stop().await;
    ended
}

async fn with_service(
    demo: &Demo,
    screen: &Screen,
    interrupt: &Interrupt,
    addresses: &Addresses,
    store: &Store,
    simulator: &Simulator,
) -> Result<Balance, Failure> {
    let tenant: TenantId = TENANT.parse().map_err(|error| anyhow::anyhow!("naming the tenant: {error}"))?;
    let settings = service::settings(addresses, store.url(), simulator.config())?;
    screen.start_logging(&settings.log)?;
    let database = Database::new(&settings.database, settings.worker.lease).context("using the database")?;
    interrupt.cut(database.migrate()).await?.context("preparing the database")?;
    let mut service = Service::start(settings).await?;
    screen.line(&format!(
        "service     {}  receives, {} for operators",
        addresses.public_url(),
        addresses.operators_url()
    ));
    let stage = Stage { demo, screen, interrupt, addresses, simulator, database: &database, tenant };
    let ended = tokio::select! {
        ended = Box::pin(show(&stage)) => ended,
        failure = service.died() => Err(failure),
        failure = store.filled() => Err(failure),
    };
    screen.clear();
    service.stop(interrupt).await;
    database.pool().close().await;
    ended
}

/// What is seen: the load, one callback through the whole loop, changes, and the comparison.
async fn show(stage: &Stage<'_>) -> Result<Balance, Failure> {
    let (screen, interrupt) = (stage.screen, stage.interrupt);
    interrupt.cut(load::watch(stage)).await??;
    let mut follower = Follower::new(stage);
    let mut changer = Changer::new(stage.simulator.clone(), stage.demo.seed);
    let line = interrupt.cut(first_callback(stage, &mut follower, &mut changer)).await??;
    screen.line(&line);
    ready(stage);
    let made = keep_changing(stage, &mut follower, &mut changer).await?;
    screen.line(&format!("stopping: {made} changes were made; what is under way is finished"));
    let balance = interrupt.cut_hard(async {
        finish(stage, &mut follower).await?;
        Balance::read(stage).await
    });
    let balance = balance.await??;
    screen.result(&balance.to_string());
    Ok(balance)
}

/// Sends one signed callback through the whole loop.
async fn first_callback(
    stage: &Stage<'_>,
    follower: &mut Follower<'_>,
    changer: &mut Changer,
) -> Result<String, Failure> {
    // The hooks are registered beside the load; a callback without one is heard by nobody.
    let registered =
        stage.simulator.wait_for(|tenant| tenant.hooks().iter().any(|hook| hook.event == "vacancy_update"));
    timeout(FIRST_LIMIT, registered).await.map_err(|_| anyhow::anyhow!("the service registered no hook in time"))?;
    changer.edit_some_vacancy();
    stage.simulator.flush().await;
    let through = async {
        loop {
            if let Some(line) = follower.look().await?.pop() {
                return Ok::<_, Failure>(line);
            }
            sleep(LOOK_EVERY).await;
        }
    };
    match timeout(FIRST_LIMIT, through).await {
        Ok(line) => line,
        Err(_) => Err(anyhow::anyhow!(
            "the first callback did not go through the loop in {} s: {}",
            FIRST_LIMIT.as_secs(),
            follower.under_way()
        )
        .into()),
    }
}

fn ready(stage: &Stage<'_>) {
    let (public, operators) = (stage.addresses.public_url(), stage.addresses.operators_url());
    let simulator = stage.addresses.simulator_url();
    let word = stage.simulator.truth().iter().filter(|row| row.live && row.kind == "vacancy").find_map(change::word);
    let word = word.unwrap_or_else(|| "manager".to_owned());
    let last = match stage.demo.lasting {
        Some(time) => format!("for {} s, or until Ctrl-C", time.as_secs()),
        None => "until Ctrl-C".to_owned(),
    };
    stage.screen.result(&format!(
        "ready: one signed callback was stored, fetched, indexed and reported; changing things {last}
  receiver    {public}
  health      curl '{operators}/readyz?verbose'
  metrics     curl {operators}/metrics
  search      curl '{operators}/api/v1/tenants/{TENANT}/vacancies?q={word}'
              curl '{operators}/api/v1/tenants/{TENANT}/candidates?q={word}'
  simulator   curl {simulator}/control/summary
              curl {simulator}/control/changes -d '{{\"do\":\"create_vacancy\"}}'"
    ));
}

/// Changes things and prints what became of them, until it is time or the first signal. Returns how many were made.
async fn keep_changing(
    stage: &Stage<'_>,
    follower: &mut Follower<'_>,
    changer: &mut Changer,
) -> Result<usize, Failure> {
    let mut changes = interval(CHANGE_EVERY);
    let mut looks = interval(LOOK_EVERY);
    changes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = async {
        match stage.demo.lasting {
            Some(time) => sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    let mut made = 0;
    loop {
        tokio::select! {
            () = &mut end => return Ok(made),
            () = stage.interrupt.asked() => return Ok(made),
            _ = changes.tick() => {
                changer.change();
                made += 1;
            }
            _ = looks.tick() => print(stage, follower.look().await?),
        }
    }
}

fn print(stage: &Stage<'_>, lines: Vec<String>) {
    for line in lines {
        stage.screen.line(&line);
    }
}

/// Sends the callbacks that wait and waits until nothing is under way.
async fn finish(stage: &Stage<'_>, follower: &mut Follower<'_>) -> Result<(), Failure> {
    balance::end_faults(stage);
    let quiet = async {
        loop {
            stage.simulator.flush().await;
            print(stage, follower.look().await?);
            if stage.simulator.queued_callbacks() == 0 && balance::is_quiet(stage).await? {
                print(stage, follower.look().await?);
                return Ok::<_, Failure>(());
            }
            sleep(LOOK_EVERY * 2).await;
        }
    };
    // What is not done by then is listed by the comparison.
    timeout(QUIET_LIMIT, quiet).await.unwrap_or(Ok(()))
}
