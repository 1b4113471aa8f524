//! The numbers of the sequence `request_number` never go backwards, even where the database does.
//!
//! Wanted: nothing is settled at a number that the sequence has yet to reach, and no delivery gets an id that is not
//! above every number known; a database that has lost commits makes every worker begin again from what it holds.
//!
//! A failover to a standby that lacked the last commits, a restore and logical replication can leave the sequence below
//! numbers that the tables hold or that a read under way has drawn. Each statement that appends, draws or settles asks
//! `numbers_hold` in its own transaction, which also works behind a pooler: is this the server that this process has
//! verified, and is its sequence not below the highest number that this process knows? If not, nothing is written, and
//! [`Database::verify_numbers`] repairs it before the statement is tried again.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use tracing::warn;

use super::Database;

/// Added when the sequence is raised: more numbers than could have been drawn in commits that were lost, by replicas
/// that have not noticed yet.
const RAISE_MARGIN: i64 = 1_000_000_000;
/// A repair that did not reach the connection that is drawn on is not repeated for ever.
const DRAW_ATTEMPTS: u32 = 3;

/// What this process knows of the sequence.
#[derive(Debug, Default)]
pub struct Numbers {
    highest: AtomicI64,
    server: Mutex<String>,
    /// One repair at a time.
    repair: tokio::sync::Mutex<()>,
}

impl Numbers {
    /// A number that was drawn, or that a table holds.
    pub fn saw(&self, number: i64) {
        self.highest.fetch_max(number, Ordering::Relaxed);
    }

    /// The highest number drawn or seen.
    pub fn highest(&self) -> i64 {
        self.highest.load(Ordering::Relaxed)
    }

    /// Identity of the server that was verified last; empty before the first time.
    pub fn server(&self) -> String {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a repair found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// Last number of the sequence as it was found.
    pub found: i64,
    /// Highest number in the tables, or known to this process.
    pub highest: i64,
    /// Whether the server is another one than was verified last, or on another timeline.
    pub moved: bool,
    /// What the sequence was raised to; none when it was right.
    pub raised_to: Option<i64>,
    /// Subjects that are read again because a callback about them had counted as settled.
    pub reread: u64,
    /// Outcomes that are reported once more.
    pub renoted: u64,
}

impl Database {
    /// The numbers that this process knows.
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// Verifies that the server is the known one and that its sequence has not gone back; repairs it otherwise.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub async fn verify_numbers(&self) -> sqlx::Result<()> {
        let _one = self.numbers.repair.lock().await;
        let hold = sqlx::query_scalar!(
            r#"select numbers_hold($1, $2) as "hold!""#,
            self.numbers.server(),
            self.numbers.highest()
        );
        if !hold.fetch_one(self.vital()).await? {
            self.repair().await?;
        }
        Ok(())
    }

    /// Draws a number above every one that is known.
    ///
    /// # Errors
    /// When the database cannot be used, or its numbers cannot be repaired.
    pub async fn draw_number(&self) -> sqlx::Result<i64> {
        for _ in 0..DRAW_ATTEMPTS {
            let drawn = sqlx::query_scalar!(
                r#"select nextval('request_number') as "number!" where numbers_hold($1, $2)"#,
                self.numbers.server(),
                self.numbers.highest()
            )
            .fetch_optional(self.pool())
            .await?;
            if let Some(number) = drawn {
                self.numbers.saw(number);
                return Ok(number);
            }
            self.verify_numbers().await?;
        }
        Err(sqlx::Error::Protocol(
            "connections lead to different servers: numbers of one are not those of another".into(),
        ))
    }

    /// Compares the server with the one that was verified last, and the sequence with every number in the tables. Where
    /// it is another server, or the sequence is behind, it is raised beyond all of them; subjects whose callbacks
    /// counted as settled meanwhile are read again; all leases end, so that no read that was under way is settled and
    /// every worker begins again from what the tables hold; every outcome is reported once more; and the incremental
    /// sweeps are due at once. They begin where the last run that the database knows of began, which is before anything
    /// that was lost.
    ///
    /// # Errors
    /// When the database cannot be used. Nothing but the sequence is changed then.
    pub async fn repair_numbers(&self) -> sqlx::Result<Repair> {
        let _one = self.numbers.repair.lock().await;
        self.repair().await
    }

    async fn repair(&self) -> sqlx::Result<Repair> {
        let mut tx = self.vital().begin().await?;
        // Every number of every tenant is read once.
        sqlx::query!("set local statement_timeout = 0").execute(&mut *tx).await?;
        let verified =
            sqlx::query_scalar!("select server from request_number_state for update").fetch_optional(&mut *tx).await?;
        let now = sqlx::query!(
            r#"select server_identity() as "server!", (select last_value from request_number) as "last!",
                 greatest(
                   (select max(greatest(wanted, settled, announced, found)) from subject),
                   (select max(id) from delivery),
                   (select max(read_number) from document),
                   (select max(read_number) from attachment),
                   (select max(greatest(noted, reported)) from report_item),
                   (select max(read_number) from sweep),
                   (select max(token) from tenant_lease),
                   0) as "highest!""#
        )
        .fetch_one(&mut *tx)
        .await?;
        let moved = verified.as_deref() != Some(&now.server);
        let highest = now.highest.max(self.numbers.highest());
        let mut repair = Repair { found: now.last, highest, moved, raised_to: None, reread: 0, renoted: 0 };
        if moved || highest > now.last {
            let raised = sqlx::query_scalar!(
                r#"select setval('request_number', $1) as "to!""#,
                highest.max(now.last) + RAISE_MARGIN
            );
            repair.raised_to = Some(raised.fetch_one(&mut *tx).await?);
            if now.highest > now.last {
                // Received after the sequence went back: later than what bears a higher number.
                let reread = sqlx::query!(
                    "with unread as (
                       select d.tenant, d.kind, d.key, max(d.received_at) as due_at, min(d.received_at) as since
                       from delivery d join subject s on s.tenant = d.tenant and s.kind = d.kind and s.key = d.key
                       where s.settled > $1 and d.id <= $1
                         and d.received_at >= coalesce((select max(received_at) from delivery where id > $1), '-infinity')
                       group by 1, 2, 3 order by 1, 2, 3
                     )
                     update subject s set wanted = nextval('request_number'), due_at = unread.due_at,
                       waiting_since = coalesce(s.waiting_since, unread.since)
                     from unread where s.tenant = unread.tenant and s.kind = unread.kind and s.key = unread.key",
                    now.last
                );
                repair.reread = reread.execute(&mut *tx).await?.rows_affected();
            }
            // Reports that were sent in the lost time are not known: Cegid may hold an outcome that was overtaken
            // since.
            let renoted = sqlx::query!(
                "with these as (
                   select tenant, kind, key from report_item where dead_at is null order by 1, 2, 3 for no key update
                 )
                 update report_item r set noted = nextval('request_number'), attempts = 0, last_error = null
                 from these where r.tenant = these.tenant and r.kind = these.kind and r.key = these.key"
            );
            repair.renoted = renoted.execute(&mut *tx).await?.rows_affected();
            sqlx::query!("update tenant_lease set token = nextval('request_number'), held_until = '-infinity'")
                .execute(&mut *tx)
                .await?;
            sqlx::query!(
                "update sweep set asked = true, due_at = '-infinity' where use = 'incremental' and finished_at is null"
            )
            .execute(&mut *tx)
            .await?;
            sqlx::query!(
                "insert into request_number_state (server) values ($1)
                 on conflict (single) do update set server = excluded.server",
                now.server
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        if let Some(raised_to) = repair.raised_to {
            warn!(
                verified = verified.unwrap_or_default(),
                server = now.server,
                sequence = now.last,
                highest,
                raised_to,
                reread = repair.reread,
                renoted = repair.renoted,
                "the database is another one or has gone back, after a failover or a restore: its sequence of numbers is \
                 raised beyond all that is known, the workers begin again, incremental sweeps are due, and every outcome is \
                 reported once more; commits may be \
                 lost: run `cegid-indexer ledger`, and see \"Failover and restore\" in docs/operate.md"
            );
        }
        self.numbers.saw(now.highest.max(repair.raised_to.unwrap_or(0)));
        *self.numbers.server.lock().unwrap_or_else(PoisonError::into_inner) = now.server;
        Ok(repair)
    }
}
