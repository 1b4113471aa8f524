//! Tables `refusal_count` and `refusal`: what was turned away, and why.
//!
//! A stranger must not be able to make us write: refusals are counted and kept in memory, and written at most once a
//! second, in a bounded number of rows, however many come. Log lines are bounded in the same way: one when a series of
//! refusals begins, for one reason and one tenant, summaries at growing intervals, and one when it is over. None holds
//! what the sender chose.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use tracing::{info, warn};

use crate::{
    clock::Clock,
    database::{Database, told},
    domain::TenantId,
    lifecycle::Stop,
    settings,
    telemetry::{FailureCount, FailureLog, FailureSeries},
};

/// Newest refusals kept between two writings.
const KEPT: usize = 50;
/// Characters of a path that are kept.
const PATH: usize = 120;
/// Characters of a method that are kept; the parser takes any token for one.
const MAX_METHOD_LENGTH: usize = 16;
/// After this much time without one, a series of refusals is over: Cegid sends callbacks every 15 minutes.
const SERIES_QUIET_TIME: Duration = Duration::from_secs(3600);
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Minutes counted in memory while the database is away.
const COUNTED: usize = 10_000;

/// One request that was turned away; neither its query nor its body.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Why.
    pub reason: &'static str,
    /// The configured tenant that it named.
    pub tenant: Option<TenantId>,
    /// HTTP method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Address of the connection's peer.
    pub peer: Option<IpAddr>,
}

impl Refused {
    /// Of a request that was refused before its path was known.
    pub fn unread(reason: &'static str, peer: IpAddr) -> Refused {
        Refused { reason, tenant: None, method: String::new(), path: String::new(), peer: Some(peer) }
    }
}

#[derive(Debug, Default)]
struct Gathered {
    counts: HashMap<(DateTime<Utc>, String, &'static str), i64>,
    last: VecDeque<(DateTime<Utc>, Refused)>,
}

/// Where refusals are noted.
#[derive(Debug)]
pub struct Refusals {
    gathered: Mutex<Gathered>,
    series: Mutex<HashMap<(&'static str, Option<TenantId>), FailureSeries>>,
    clock: Clock,
}

impl Refusals {
    /// None yet.
    pub fn new(clock: Clock) -> Refusals {
        Refusals { gathered: Mutex::default(), series: Mutex::default(), clock }
    }

    /// Counts it and keeps it among the last. What the service could not take, whoever sent it, is its own fault.
    pub fn note(&self, mut refused: Refused, is_our_fault: bool) {
        // What concerns all tenants is logged once.
        self.log(refused.reason, refused.tenant.as_ref().filter(|_| !is_our_fault));
        let now = self.clock.now();
        let minute = now.duration_trunc(TimeDelta::minutes(1)).unwrap_or(now);
        refused.path = refused.path.chars().filter(|c| !c.is_control()).take(PATH).collect();
        refused.method = refused.method.chars().take(MAX_METHOD_LENGTH).collect();
        let tenant = refused.tenant.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if gathered.counts.len() < COUNTED {
            *gathered.counts.entry((minute, tenant, refused.reason)).or_default() += 1;
        }
        if gathered.last.len() == KEPT {
            gathered.last.pop_front();
        }
        gathered.last.push_back((now, refused));
    }

    fn log(&self, reason: &'static str, tenant: Option<&TenantId>) {
        let count = {
            let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
            series.entry((reason, tenant.cloned())).or_default().failed()
        };
        let Some(FailureCount { failures: requests, time }) = count else { return };
        let (tenant, seconds) = (tenant.map(tracing::field::display), time.as_secs());
        warn!(tenant, reason, requests, seconds, "requests are refused: table refusal holds the last ones");
    }

    /// Logs which series of refusals are over.
    fn end_series(&self) {
        self.series.lock().unwrap_or_else(PoisonError::into_inner).retain(|(reason, tenant), series| {
            let Some(FailureCount { failures: requests, time }) = series.end_if_quiet(SERIES_QUIET_TIME) else {
                return true;
            };
            let (tenant, seconds) = (tenant.as_ref().map(tracing::field::display), time.as_secs());
            info!(tenant, reason, requests, seconds, "no request was refused for this reason for an hour");
            false
        });
    }

    /// Writes what was noted, until the stop; what could not be written is kept for the next time.
    pub async fn run(&self, database: Database, retention: settings::Retention, stop: Stop) {
        let failures = FailureLog::new("writing refused requests", "they are kept for the next time");
        loop {
            let last_time = tokio::select! {
                () = stop.draining() => true,
                () = tokio::time::sleep(WRITE_EVERY) => false,
            };
            self.end_series();
            match self.write(&database, &retention).await {
                Ok(()) => failures.succeeded(),
                Err(error) => failures.failed(&told(&error)),
            }
            if last_time {
                return;
            }
        }
    }

    /// Writes what was noted.
    ///
    /// # Errors
    /// When the database cannot take it; nothing is then forgotten.
    pub async fn write(&self, database: &Database, retention: &settings::Retention) -> sqlx::Result<()> {
        let taken = std::mem::take(&mut *self.gathered.lock().unwrap_or_else(PoisonError::into_inner));
        if taken.counts.is_empty() && taken.last.is_empty() {
            return Ok(());
        }
        let written = database.in_time(insert(database, &taken, retention)).await;
        if written.is_err() {
            let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, count) in taken.counts {
                *gathered.counts.entry(key).or_default() += count;
            }
            for refused in taken.last.into_iter().rev() {
                if gathered.last.len() < KEPT {
                    gathered.last.push_front(refused);
                }
            }
        }
        written
    }
}

async fn insert(database: &Database, taken: &Gathered, retention: &settings::Retention) -> sqlx::Result<()> {
    let (mut minutes, mut tenants, mut reasons, mut counts) = (vec![], vec![], vec![], vec![]);
    for ((minute, tenant, reason), count) in &taken.counts {
        minutes.push(*minute);
        tenants.push(tenant.clone());
        reasons.push((*reason).to_owned());
        counts.push(*count);
    }
    let mut at = vec![];
    let mut rows: [Vec<String>; 5] = Default::default();
    for (refused_at, refused) in &taken.last {
        at.push(*refused_at);
        let values = [
            refused.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            refused.reason.to_owned(),
            refused.method.clone(),
            refused.path.clone(),
            refused.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        ];
        rows.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
    }
    let [row_tenants, row_reasons, methods, paths, peers] = rows;
    let mut tx = database.begin().await?;
    sqlx::query!(
        "insert into refusal_count (minute, tenant, reason, count)
         select * from unnest($1::timestamptz[], $2::text[], $3::text[], $4::bigint[]) order by 1, 2, 3
         on conflict (minute, tenant, reason) do update set count = refusal_count.count + excluded.count",
        &minutes,
        &tenants,
        &reasons,
        &counts
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "insert into refusal (refused_at, tenant, reason, method, path, peer)
         select * from unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])",
        &at,
        &row_tenants,
        &row_reasons,
        &methods,
        &paths,
        &peers
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "delete from refusal where id <= (select id from refusal order by id desc offset $1 limit 1)",
        i64::from(retention.refusals)
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Requests that named the tenant and were signed with none of its secrets, from the minute of `since`.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_signature(database: &Database, tenant: &TenantId, since: DateTime<Utc>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select coalesce(sum(count), 0)::bigint as "count!" from refusal_count
           where tenant = $1 and reason = 'mismatch' and minute >= date_trunc('minute', $2::timestamptz)"#,
        tenant.as_str(),
        since
    )
    .fetch_one(database.pool())
    .await
}

/// Forgets refused requests, and their counts, from before then.
///
/// # Errors
/// When the database cannot be used.
pub async fn forget(database: &Database, before: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!("delete from refusal where refused_at < $1", before).execute(database.pool()).await?;
    sqlx::query!("delete from refusal_count where minute < $1", before).execute(database.pool()).await?;
    Ok(())
}

/// Refused requests by reason since then: reason and number.
///
/// # Errors
/// When the database cannot be read.
pub async fn by_reason(database: &Database, since: DateTime<Utc>) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query!(
        r#"select reason, sum(count)::bigint as "count!" from refusal_count where minute >= $1 group by reason order by 1"#,
        since
    )
    .map(|row| (row.reason, row.count))
    .fetch_all(database.pool())
    .await
}
