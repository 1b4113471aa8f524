//! `cegid-simulator`: Cegid Recruiting tenants, each on a port of its own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use cegid_simulator::{Config, Simulator};
use clap::Parser;
use futures_util::future::join_all;
use tokio::net::TcpListener;

/// A Cegid Recruiting (ex Talentsoft) tenant seen from the outside
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address and port to listen on; further tenants take the ports after it
    #[arg(long, default_value = "127.0.0.1:8600")]
    listen: String,
    /// How many tenants there are
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    tenants: u16,
    /// A tenant by its name; may be given several times
    #[arg(long, value_name = "NAME", conflicts_with = "tenants")]
    tenant: Vec<String>,
    /// The same seed gives the same records
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Vacancies at the start
    #[arg(long, default_value_t = 300)]
    vacancies: usize,
    /// Candidates at the start
    #[arg(long, default_value_t = 2000)]
    candidates: usize,
    /// Credential that partners ask for tokens with
    #[arg(long, default_value_t = Config::default().client_id)]
    client_id: String,
    /// Its secret, which also signs callbacks
    #[arg(long, default_value_t = Config::default().client_secret)]
    client_secret: String,
    /// Directory of JSON files that join the records
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
    /// Time between two bursts of callbacks, such as 500ms, 15s or 15m; 0 sends
    /// only when asked to
    #[arg(long, value_parser = duration, default_value = "1s")]
    burst_every: Duration,
    /// Change something at random this often
    #[arg(long, value_parser = duration)]
    change_every: Option<Duration>,
    /// Callbacks under way at once
    #[arg(long, default_value_t = 8)]
    callback_concurrency: usize,
    /// Send callbacks without Content-MD5, which leaves their body unsigned
    #[arg(long)]
    no_content_md5: bool,
    /// Give no vacancy a reference with a comma, a bar or a colon, which filters
    /// cannot ask for
    #[arg(long)]
    no_unaskable_references: bool,
    /// How often a callback that was not answered 2xx is sent again
    #[arg(long, default_value_t = 0)]
    callback_retries: u32,
    /// How many requests and how many callbacks the logs keep, the latest; all
    /// without a number
    #[arg(long, value_name = "COUNT")]
    keep_log: Option<usize>,
    /// Ask a running simulator whether it is well, and end with that answer
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "http://127.0.0.1:8600")]
    healthcheck: Option<String>,
}

/// A number with `ms`, `s`, `m` or `h`; without a unit, seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "a duration begins with a number".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        "h" => Ok(Duration::from_secs(number.saturating_mul(3600))),
        _ => Err(format!("the unit '{unit}' is not ms, s, m or h")),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .init();
    if let Some(url) = &arguments.healthcheck {
        return healthcheck(url).await;
    }
    let change_every = arguments.change_every;
    let mut bound = Vec::new();
    for (config, address) in plan(arguments)? {
        let listener = TcpListener::bind(&address).await.with_context(|| format!("listening on {address}"))?;
        bound.push((config, listener));
    }
    let mut simulators = Vec::new();
    for (config, listener) in bound {
        let simulator = Simulator::start(config, listener).await?;
        present(&simulator);
        simulators.push(simulator);
    }
    let changing = join_all(simulators.iter().map(|simulator| keep_changing(simulator, change_every)));
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.context("waiting for Ctrl-C")?,
        _ = changing => {}
    }
    join_all(simulators.iter().map(Simulator::stop)).await;
    Ok(())
}

/// What each tenant is like, and where it listens.
fn plan(arguments: Arguments) -> anyhow::Result<Vec<(Config, String)>> {
    let (host, port) = arguments.listen.rsplit_once(':').context("the address to listen on has no port")?;
    let port: u16 = port.parse().with_context(|| format!("the port to listen on is not one: '{port}'"))?;
    let first = Config {
        seed: arguments.seed,
        vacancies: arguments.vacancies,
        candidates: arguments.candidates,
        client_id: arguments.client_id,
        client_secret: arguments.client_secret,
        records: arguments.records,
        burst_every: Some(arguments.burst_every).filter(|every| !every.is_zero()),
        callback_concurrency: arguments.callback_concurrency,
        callback_retries: arguments.callback_retries,
        unaskable_references: !arguments.no_unaskable_references,
        content_md5: !arguments.no_content_md5,
        keep_log: arguments.keep_log,
        ..Config::default()
    };
    let mut names = arguments.tenant.into_iter();
    let count = u16::try_from(names.len().max(arguments.tenants.into())).context("so many tenants have no ports")?;
    (0..count)
        .map(|place| {
            let mut config = first.another(u64::from(place) + 1);
            config.name = names.next().unwrap_or(config.name);
            // Port 0 is any free one, for each.
            let step = if port == 0 { 0 } else { place };
            let port = port.checked_add(step).context("there are not so many ports after the first")?;
            Ok((config, format!("{host}:{port}")))
        })
        .collect()
}

fn present(simulator: &Simulator) {
    let (config, url) = (simulator.config(), simulator.base_url());
    println!("tenant   {}  {url}", config.name);
    println!("client   {}", config.client_id);
    println!("secret   {}", config.client_secret);
    println!("seed     {}", config.seed);
    println!("control  {url}/control/summary");
    println!("story    {url}/control/requests?story=true&last=50");
}

/// Changes things for ever, or waits for ever.
async fn keep_changing(simulator: &Simulator, every: Option<Duration>) {
    let Some(every) = every.filter(|every| !every.is_zero()) else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tracing::info!(tenant = simulator.config().name, "{}", simulator.change_at_random());
    }
}

async fn healthcheck(url: &str) -> anyhow::Result<()> {
    let address = format!("{}/control/health", url.trim_end_matches('/'));
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(3))
        .build()
        .context("building the health check's client")?;
    let answer = client.get(&address).send().await.context("asking for health")?;
    answer.error_for_status().context("asking for health")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{Arguments, Duration, duration, plan};

    #[test]
    fn tenants_stand_side_by_side() {
        let plan = |arguments: &[&str]| plan(Arguments::try_parse_from(arguments).expect("arguments"));
        let two = plan(&["", "--tenant", "acme", "--tenant", "globex", "--listen", "[::1]:8600"]).expect("a plan");
        let seen: Vec<_> = two.iter().map(|(config, address)| (config.name.as_str(), address.as_str())).collect();
        assert_eq!(seen, [("acme", "[::1]:8600"), ("globex", "[::1]:8601")]);
        assert_ne!(two[0].0.client_id, two[1].0.client_id);
        let three = plan(&["", "--tenants", "3", "--listen", "127.0.0.1:0", "--seed", "7"]).expect("a plan");
        let seen: Vec<_> = three.iter().map(|(config, _)| (config.name.as_str(), config.seed)).collect();
        assert_eq!(seen, [("tenant-1", 7), ("tenant-2", 8), ("tenant-3", 9)]);
        assert!(three.iter().all(|(_, address)| address == "127.0.0.1:0"));
        assert!(plan(&["", "--tenants", "3", "--listen", "127.0.0.1:65534"]).is_err());
        assert!(plan(&["", "--listen", "8600"]).is_err());
        assert!(Arguments::try_parse_from(["", "--tenants", "2", "--tenant", "acme"]).is_err());
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("15"), Ok(Duration::from_secs(15)));
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        assert!(duration("soon").is_err());
        assert!(duration("3d").is_err());
    }
}
