//! Table `tenant_lease`: which replica works a tenant.
//!
//! Wanted: at most one holder whose writes count; a dead replica's tenants are worked again within two leases; renewal
//! never waits for a settling transaction, nor the other way round.
//!
//! A take-over raises the token. A settling transaction begins by locking the row for key share under its token
//! ([`fence`]): renewal touches no key column and passes, a take-over locks for update and waits for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::{clock::Clock, database::Database, domain::TenantId};

/// The right to work a tenant, until its deadline.
#[derive(Debug, Clone)]
pub struct Lease {
    tenant: TenantId,
    token: i64,
    /// Microseconds since 1970, by the clock.
    deadline: Arc<AtomicI64>,
    clock: Clock,
}

/// The lease is another replica's now; nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease was taken over by another replica")]
pub struct LeaseLost;

impl Lease {
    /// Takes the lease if nobody holds it, or its holder has not renewed it.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub async fn acquire(
        database: &Database,
        clock: &Clock,
        tenant: &TenantId,
        holder: Uuid,
        length: Duration,
    ) -> sqlx::Result<Option<Lease>> {
        let now = clock.now();
        let until = now + length;
        let token = sqlx::query_scalar!(
            "insert into tenant_lease as lease (tenant, holder, token, held_until)
             values ($1, $2, nextval('request_number'), $3)
             on conflict (tenant) do update
               set holder = excluded.holder, token = excluded.token, held_until = excluded.held_until
               where lease.held_until <= $4
             returning token",
            tenant.as_str(),
            holder,
            until,
            now
        )
        .fetch_optional(database.vital())
        .await?;
        Ok(token.map(|token| Lease {
            tenant: tenant.clone(),
            token,
            deadline: Arc::new(AtomicI64::new(until.timestamp_micros())),
            clock: clock.clone(),
        }))
    }

    /// Holds it for so long from now; false when it is another's.
    ///
    /// # Errors
    /// When the database cannot be used; the lease then runs until its deadline.
    pub async fn renew(&self, database: &Database, length: Duration) -> sqlx::Result<bool> {
        let until = self.clock.now() + length;
        let renewed = sqlx::query!(
            "update tenant_lease set held_until = $3 where tenant = $1 and token = $2",
            self.tenant.as_str(),
            self.token,
            until
        )
        .execute(database.vital())
        .await?
        .rows_affected()
            == 1;
        if renewed {
            self.deadline.store(until.timestamp_micros(), Ordering::Relaxed);
        }
        Ok(renewed)
    }

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

    /// Whether work may still begin. Calls to Cegid are not fenced, so each asks this first.
    pub fn holds(&self) -> bool {
        self.clock.now().timestamp_micros() < self.deadline.load(Ordering::Relaxed)
    }

    /// Whose it is the lease of.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

/// Begins a settling transaction under the lease: nobody can take it over until the transaction ends.
///
/// # Errors
/// When the database cannot be used; `Ok(None)` when the lease was taken over.
pub async fn fence(database: &Database, lease: &Lease) -> sqlx::Result<Option<Transaction<'static, Postgres>>> {
    let mut tx = database.begin().await?;
    let held = sqlx::query_scalar!(
        r#"select 1 as "held!" from tenant_lease where tenant = $1 and token = $2 for key share"#,
        lease.tenant.as_str(),
        lease.token
    )
    .fetch_optional(&mut *tx)
    .await?;
    Ok(held.map(|_| tx))
}
