//! `cegid-simulator`: a Cegid Recruiting tenant on a port of its own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use cegid_simulator::{Config, Simulator};
use clap::Parser;

/// A Cegid Recruiting (ex Talentsoft) tenant seen from the outside
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address and port to listen on
    #[arg(long, default_value = "127.0.0.1:8600")]
    listen: String,
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
    let listener = tokio::net::TcpListener::bind(&arguments.listen)
        .await
        .with_context(|| format!("listening on {}", arguments.listen))?;
    let config = Config {
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
        ..Config::default()
    };
    let simulator = Simulator::start(config, listener).await?;
    let url = simulator.base_url();
    println!("tenant   {url}");
    println!("client   {}", simulator.config().client_id);
    println!("control  {url}/control/summary");
    println!("story    {url}/control/requests?story=true&last=50");
    let interrupted = tokio::signal::ctrl_c();
    tokio::select! {
        result = interrupted => result.context("waiting for Ctrl-C")?,
        () = keep_changing(&simulator, arguments.change_every) => {}
    }
    simulator.stop().await;
    Ok(())
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
        tracing::info!("{}", simulator.change_at_random());
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
    use super::{Duration, duration};

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("15"), Ok(Duration::from_secs(15)));
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        assert!(duration("soon").is_err());
        assert!(duration("3d").is_err());
    }
}
