//! Table `tenant_lease`: which replica works a tenant.
//!
//! Wanted: at most one holder whose writes count; a dead replica's tenants are worked again within two leases; renewal
//! never waits for a settling transaction, nor the other way round; a replica needs few statements however many tenants
//! it works; one tenant's settling leaves connections to the others.
//!
//! A take-over raises the token. A settling transaction begins by locking the row for key share under its token
//! ([`fence`]): renewal touches no key column and passes, a take-over passes over a row that is locked so and has to
//! come again.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, Transaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::{clock::Clock, database::Database, domain::TenantId};

/// Once as usual, and once after the numbers were repaired.
const FENCE_ATTEMPTS: u32 = 2;

/// Replicas renew their leases for seconds, usually.
const IMPLAUSIBLE_LEASE: Duration = Duration::from_secs(300);

/// The right to work a tenant, until its deadline.
#[derive(Debug, Clone)]
pub struct Lease {
    tenant: TenantId,
    token: i64,
    /// Microseconds since 1970, by the clock.
    deadline: Arc<AtomicI64>,
    clock: Clock,
    /// Settling transactions that the tenant may have open.
    settling: Arc<Semaphore>,
}

/// Who asks for leases, and for how long.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The replica.
    pub replica: Uuid,
    /// How long a lease is held unless it is renewed.
    pub length: Duration,
    /// What leases are judged by.
    pub clock: Clock,
}

impl Holder {
    /// No replica that runs holds anything until then: what is held for longer was written by a clock that has been
    /// set back since. Others may have another `worker.lease` for a while.
    pub fn too_late(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now + (self.length * 4).max(IMPLAUSIBLE_LEASE)
    }

    /// Takes at most so many of these tenants' leases that nobody holds, or whose holder has not renewed them.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub async fn acquire(&self, database: &Database, tenants: &[TenantId], most: usize) -> sqlx::Result<Vec<Lease>> {
        let now = self.clock.now();
        let until = now + self.length;
        let names: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
        // Rows are made beforehand: who inserts one would wait for whoever inserts it too.
        sqlx::query!(
            "insert into tenant_lease (tenant, holder, token, held_until)
             select tenant, $2, nextval('request_number'), 'epoch' from unnest($1::text[]) as wanted (tenant)
             where not exists (select from tenant_lease where tenant_lease.tenant = wanted.tenant)
             order by tenant on conflict (tenant) do nothing",
            &names as _,
            self.replica
        )
        .execute(database.vital())
        .await?;
        // What another replica is taking at this moment, or is still settling, is passed over.
        let taken = sqlx::query!(
            "with free as (
               select tenant from tenant_lease
               where tenant = any($1) and (held_until <= $2 or held_until > $6)
               order by tenant limit $3 for update skip locked
             )
             update tenant_lease as lease
               set holder = $4, token = nextval('request_number'), held_until = $5, taken = taken + 1
               from free where lease.tenant = free.tenant
             returning lease.tenant, lease.token",
            &names as _,
            now,
            i64::try_from(most).unwrap_or(i64::MAX),
            self.replica,
            until,
            self.too_late(now)
        )
        .fetch_all(database.vital())
        .await?;
        let lease = |tenant: &str, token: i64| {
            Some(Lease {
                tenant: tenants.iter().find(|known| known.as_str() == tenant)?.clone(),
                token,
                deadline: Arc::new(AtomicI64::new(until.timestamp_micros())),
                clock: self.clock.clone(),
                settling: Arc::new(Semaphore::new(database.part())),
            })
        };
        Ok(taken.iter().filter_map(|row| lease(&row.tenant, row.token)).collect())
    }

    /// Holds these for so long from now, in one statement; gives those that are another's now.
    ///
    /// # Errors
    /// When the database cannot be used; the leases then run until their deadlines.
    pub async fn renew<'a>(&self, database: &Database, leases: &[&'a Lease]) -> sqlx::Result<Vec<&'a Lease>> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let until = self.clock.now() + self.length;
        let tokens: Vec<i64> = leases.iter().map(|lease| lease.token).collect();
        let tenants: Vec<&str> = leases.iter().map(|lease| lease.tenant.as_str()).collect();
        let renewed = sqlx::query_scalar!(
            "update tenant_lease as lease set held_until = $3
             from unnest($1::text[], $2::bigint[]) as mine (tenant, token)
             where lease.tenant = mine.tenant and lease.token = mine.token
             returning lease.token",
            &tenants as _,
            &tokens,
            until
        )
        .fetch_all(database.vital())
        .await?;
        let (held, lost): (Vec<&Lease>, Vec<&Lease>) = leases.iter().partition(|lease| renewed.contains(&lease.token));
        for lease in held {
            lease.deadline.store(until.timestamp_micros(), Ordering::Relaxed);
        }
        Ok(lost)
    }
}

impl Lease {
    /// Gives it up, so that another replica need not wait.
    ///
    /// # Errors
    /// When the database cannot be used; the lease then runs out by itself.
    pub async fn release(&self, database: &Database) -> sqlx::Result<()> {
        sqlx::query!(
            "update tenant_lease set held_until = $3 where tenant = $1 and token = $2",
            self.tenant.as_str(),
            self.token,
            self.clock.now()
        )
        .execute(database.vital())
        .await?;
        Ok(())
    }

    /// Gives it up for a tenant that has gone: nobody is to take it again.
    ///
    /// # Errors
    /// When the database cannot be used; the row then stays.
    pub async fn forget(&self, database: &Database) -> sqlx::Result<()> {
        sqlx::query!("delete from tenant_lease where tenant = $1 and token = $2", self.tenant.as_str(), self.token)
            .execute(database.vital())
            .await?;
        Ok(())
    }

    /// Whether work may still begin. Calls to Cegid are not fenced, so each asks this first.
    pub fn holds(&self) -> bool {
        self.clock.now().timestamp_micros() < self.deadline.load(Ordering::Relaxed)
    }

    /// Its fencing token: a later lease has a higher one.
    pub fn token(&self) -> i64 {
        self.token
    }

    /// Whose it is the lease of.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

/// A settling transaction under a lease; rolled back when dropped.
pub struct Fenced {
    transaction: Transaction<'static, Postgres>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Fenced {
    /// Makes it count.
    ///
    /// # Errors
    /// When the database cannot be used: whether it counts is unknown.
    pub async fn commit(self) -> sqlx::Result<()> {
        self.transaction.commit().await
    }

    /// Undoes it.
    ///
    /// # Errors
    /// When the database cannot be used; it is undone all the same.
    pub async fn rollback(self) -> sqlx::Result<()> {
        self.transaction.rollback().await
    }
}

impl Deref for Fenced {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for Fenced {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

/// Begins a settling transaction under the lease: nobody can take it over until the transaction ends. One tenant has a
/// part of the connections at most, and waits here for its turn when it has them all.
///
/// On a database whose numbers have gone back nothing is settled before they are repaired, which ends the lease.
///
/// # Errors
/// When the database cannot be used; `Ok(None)` when the lease was taken over.
pub async fn fence(database: &Database, lease: &Lease) -> sqlx::Result<Option<Fenced>> {
    // The semaphore is never closed.
    let turn = lease.settling.clone().acquire_owned().await.ok();
    for _ in 0..FENCE_ATTEMPTS {
        let mut transaction = database.begin().await?;
        let numbers = database.numbers();
        let held = sqlx::query_scalar!(
            r#"select numbers_stand($3, $4) as "numbers_stand!" from tenant_lease
               where tenant = $1 and token = $2 for key share"#,
            lease.tenant.as_str(),
            lease.token,
            numbers.run(),
            numbers.highest()
        )
        .fetch_optional(&mut *transaction)
        .await?;
        match held {
            Some(true) => return Ok(Some(Fenced { transaction, _turn: turn })),
            Some(false) => {
                transaction.rollback().await?;
                database.verify_numbers().await?;
            }
            None => return Ok(None),
        }
    }
    // A repair ends the lease: not even that could be read here.
    Ok(None)
}

/// Which replica works each tenant now.
///
/// # Errors
/// When the database cannot be read.
pub async fn holders(database: &Database, now: DateTime<Utc>) -> sqlx::Result<BTreeMap<String, Uuid>> {
    let rows = sqlx::query!("select tenant, holder from tenant_lease where held_until > $1", now)
        .fetch_all(database.vital())
        .await?;
    Ok(rows.into_iter().map(|row| (row.tenant, row.holder)).collect())
}

/// Every tenant that was ever worked and not purged since, in the settings or not.
///
/// # Errors
/// When the database cannot be read.
pub async fn known(database: &Database) -> sqlx::Result<Vec<TenantId>> {
    let names = sqlx::query_scalar!("select tenant from tenant_lease").fetch_all(database.vital()).await?;
    // The table takes only what was a name once.
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}
