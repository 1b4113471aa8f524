//! `ledger`: whether anything is lost.

use std::{collections::BTreeSet, path::Path, process::ExitCode, time::Duration};

use cegid_indexer::{
    domain::TenantId,
    ledger::{self, Ledger as Account, Verdict},
    tenancy,
};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use humantime_serde::re::humantime;
use serde::Serialize;

use super::{EXIT_UNAVAILABLE, EXIT_USAGE, fail, with_database};

/// Something is accounted for nowhere.
const EXIT_LOST: u8 = 1;
/// SQLSTATE of a statement that took too long.
const CANCELLED: &str = "57014";
const TOO_SLOW: &str = "reading the ledger takes longer than database.statement_timeout: ask for one --tenant, for less \
                        by --since, or set it higher for this command";

const EXIT_CODES: &str = "\
Exit codes:
  0   nothing is lost; what waits is said
  1   something is lost: a delivery without a subject, a subject that is held without a document or a document without
      one, an outcome that was not noted for reporting, a number that the sequence has yet to reach
  2   the command line cannot be read
  64  neither the settings nor the database hold such a tenant
  69  the database is away, or its schema is another version's
  78  the settings are wrong";

/// What is to be added up.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct Ledger {
    /// One tenant; otherwise all of the settings, and those that the database still holds something of
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Deliveries and gaps since then: a time such as 2026-05-26T13:00:00Z, or so long back from now, such as 2h or 7d;
    /// otherwise all that retention has left. The index and the reports are as they are now in either case
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Since>,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Since {
    At(DateTime<Utc>),
    Ago(Duration),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(Since::At(at.to_utc()));
    }
    humantime::parse_duration(text)
        .map(Since::Ago)
        .map_err(|_| "neither a time such as 2026-05-26T13:00:00Z nor a duration such as 2h or 7d".to_owned())
}

/// One tenant's part of the answer.
#[derive(Serialize)]
struct OfTenant {
    tenant: String,
    /// Whether the settings still have it.
    in_settings: bool,
    verdict: Verdict,
    /// What is lost, in words.
    lost: Vec<String>,
    #[serde(flatten)]
    ledger: Account,
}

pub fn ledger(file: Option<&Path>, asked: Ledger) -> ExitCode {
    with_database(file, "reading the ledger", async |settings, database| {
        let since = match asked.since {
            None => DateTime::UNIX_EPOCH,
            Some(Since::At(at)) => at,
            Some(Since::Ago(ago)) => before(database.time().await?, ago),
        };
        let mut ledgers = match ledger::read_all(&database, asked.tenant.as_deref(), since).await {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(CANCELLED) => {
                return Ok(fail(EXIT_UNAVAILABLE, &TOO_SLOW));
            }
            read => read?,
        };
        let configured: BTreeSet<&str> = settings.tenants.keys().map(TenantId::as_str).collect();
        let wanted = |name: &str| asked.tenant.as_deref().is_none_or(|tenant| tenant == name);
        // A tenant that nothing was heard of yet has an empty ledger.
        for name in configured.iter().copied().filter(|name| wanted(name)) {
            ledgers.entry(name.to_owned()).or_default();
        }
        if let (Some(name), true) = (&asked.tenant, ledgers.is_empty()) {
            let held = tenancy::known(&database).await?;
            let known: BTreeSet<&str> = configured.into_iter().chain(held.iter().map(TenantId::as_str)).collect();
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            return Ok(fail(EXIT_USAGE, &format!("no tenant `{name}` in the settings or in the database: {known}")));
        }
        let all: Vec<OfTenant> = ledgers
            .into_iter()
            .map(|(tenant, ledger)| OfTenant {
                in_settings: configured.contains(tenant.as_str()),
                tenant,
                verdict: ledger.verdict(),
                lost: ledger.lost(),
                ledger,
            })
            .collect();
        if asked.json {
            // Nothing in it can fail to be written.
            print_line!("{}", serde_json::to_string_pretty(&all).unwrap_or_default());
        } else {
            all.iter().for_each(print);
        }
        let lost = all.iter().any(|of| of.verdict == Verdict::Lost);
        Ok(if lost { ExitCode::from(EXIT_LOST) } else { ExitCode::SUCCESS })
    })
}

fn before(now: DateTime<Utc>, ago: Duration) -> DateTime<Utc> {
    let ago = TimeDelta::from_std(ago).unwrap_or(TimeDelta::MAX);
    now.checked_sub_signed(ago).unwrap_or(DateTime::UNIX_EPOCH)
}

fn print(of: &OfTenant) {
    let OfTenant { tenant, ledger, .. } = of;
    let says = match of.verdict {
        Verdict::Balances => "balances".to_owned(),
        Verdict::Waits if ledger.waiting + ledger.subjects_waiting + ledger.reports_waiting == 0 => {
            "nothing is lost; what is still to be done is said below".to_owned()
        }
        Verdict::Waits => format!(
            "nothing is lost; {} deliveries, {} subjects and {} reports wait",
            ledger.waiting, ledger.subjects_waiting, ledger.reports_waiting
        ),
        Verdict::Lost => format!("LOST: {}", of.lost.join("; ")),
    };
    let settings = if of.in_settings { "" } else { " (not in the settings)" };
    print_line!("{tenant}{settings}: {says}");
    ledger.to_string().lines().for_each(|line| print_line!("  {line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_so_long_ago() {
        let at = DateTime::from_timestamp(1_789_000_000, 0).unwrap();
        assert_eq!(since("2026-09-10T00:26:40Z"), Ok(Since::At(at)));
        assert_eq!(since("2026-09-10T02:26:40+02:00"), Ok(Since::At(at)));
        assert_eq!(since("2h"), Ok(Since::Ago(Duration::from_secs(7200))));
        assert_eq!(since("7d"), Ok(Since::Ago(Duration::from_secs(7 * 86_400))));
        for text in ["yesterday", "", "2026-09-10", "-2h"] {
            assert!(since(text).is_err(), "{text}");
        }
    }

    #[test]
    fn longer_ago_than_there_was_time_is_the_beginning() {
        let now = DateTime::from_timestamp(1_789_000_000, 0).unwrap();
        assert_eq!(before(now, Duration::from_secs(60)), DateTime::from_timestamp(1_788_999_940, 0).unwrap());
        assert_eq!(before(now, Duration::MAX), DateTime::UNIX_EPOCH);
    }
}
