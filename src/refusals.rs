//! Tables `refusal_count` and `refusal`: what was turned away, and why.
//!
//! A stranger must not be able to make us write: refusals are counted and kept in memory, and written at most once a
//! second, in a bounded number of rows, however many come.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use tracing::warn;

use crate::{
    clock::Clock,
    database::{Database, told},
    domain::TenantId,
    lifecycle::Stop,
    settings,
};

/// Newest refusals kept between two writings.
const KEPT: usize = 50;
/// Bytes of a path that are kept.
const PATH: usize = 120;
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

#[derive(Debug, Default)]
struct Gathered {
    counts: HashMap<(DateTime<Utc>, String, &'static str), i64>,
    last: VecDeque<(DateTime<Utc>, Refused)>,
}

/// Where refusals are noted.
#[derive(Debug)]
pub struct Refusals {
    gathered: Mutex<Gathered>,
    clock: Clock,
}

impl Refusals {
    /// None yet.
    pub fn new(clock: Clock) -> Refusals {
        Refusals { gathered: Mutex::default(), clock }
    }

    /// Counts it and keeps it among the last.
    pub fn note(&self, mut refused: Refused) {
        let now = self.clock.now();
        let minute = now.duration_trunc(TimeDelta::minutes(1)).unwrap_or(now);
        refused.path = refused.path.chars().filter(|c| !c.is_control()).take(PATH).collect();
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

    /// Writes what was noted, until the stop; what could not be written is kept for the next time.
    pub async fn run(&self, database: Database, retention: settings::Retention, stop: Stop) {
        loop {
            let last_time = tokio::select! {
                () = stop.draining() => true,
                () = tokio::time::sleep(WRITE_EVERY) => false,
            };
            if let Err(error) = self.write(&database, &retention).await {
                warn!(error = %told(&error), "writing refused requests failed: they are kept for the next time");
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
        let written = insert(database, &taken, retention).await;
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
