//! The numbers of the sequence `request_number` never go backwards, even where the database does.
//!
//! Wanted: nothing is settled at a number that the sequence has yet to reach, and no delivery gets an id that is not
//! above every number known; a database that has lost commits makes every worker begin again from what it holds.
//!
//! A failover to a standby that lacked the last commits, a restore and logical replication can leave the sequence below
//! numbers that the tables hold or that a read under way has drawn. Each statement that appends, draws or settles asks
//! `numbers_stand` in its own transaction, which also works behind a pooler: is this the server that this process has
//! verified, has it not been started anew since, is its sequence not below the highest number that this process knows,
//! and does it draw numbers in order? If not, nothing is written, and [`Database::verify_numbers`] looks what has
//! happened, and repairs it, before the statement is tried again.
//!
//! A server that was started anew may have been given back an older state of itself, with the same identity. This
//! process then looks for what it knows to be committed. Only an operator can tell that of a state that was put back
//! while no process ran: `database repair-numbers --restored`.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::PgConnection;
use tracing::{info, warn};

use super::{Database, statements::in_time};
use crate::domain::{Kind, TenantId};

/// Added when the sequence is raised: more numbers than could have been drawn in commits that were lost, by replicas
/// that have not noticed yet.
const RAISE_MARGIN: i64 = 1_000_000_000;
/// How long after a commit its rows are looked for: retention and forgetting leave them for longer.
const COMMITTED_LIMIT: Duration = Duration::from_secs(12 * 3600);
/// Longest repair, which reads every number of every tenant once: beyond it, the connection was dropped without a word.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(600);
/// A repair that did not reach the connection that is drawn on is not repeated for ever.
const DRAW_ATTEMPTS: u32 = 3;

/// What this process knows of the sequence.
#[derive(Debug, Default)]
pub struct Numbers {
    highest: AtomicI64,
    run: Mutex<String>,
    committed: Mutex<Committed>,
    /// When the sequence was last made to draw its numbers in order.
    ordered: Mutex<Option<Instant>>,
    /// One repair at a time.
    repair: tokio::sync::Mutex<()>,
}

/// The last commits of this process that the database has confirmed.
#[derive(Debug, Clone, Default)]
struct Committed {
    delivery: Option<(i64, Instant)>,
    settled: Option<(TenantId, Kind, String, i64, Instant)>,
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

    /// Run of the server that was verified last; empty before the first time.
    pub fn run(&self) -> String {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn committed(&self) -> MutexGuard<'_, Committed> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A delivery that is committed.
    pub fn stored(&self, id: i64) {
        self.saw(id);
        self.committed().delivery = Some((id, Instant::now()));
    }

    /// A subject that is committed as settled by this read.
    pub fn settled(&self, tenant: &TenantId, kind: Kind, key: &str, read: i64) {
        self.committed().settled = Some((tenant.clone(), kind, key.to_owned(), read, Instant::now()));
    }

    /// Whether a session of this age holds no numbers that it drew ahead while the sequence had a cache.
    pub fn has_no_cache(&self, age: Duration) -> bool {
        let ordered = *self.ordered.lock().unwrap_or_else(PoisonError::into_inner);
        ordered.is_none_or(|at| age < at.elapsed())
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
    /// Whether something is missing that this process had committed.
    pub lost: bool,
    /// Whether the sequence drew numbers out of order: with a cache, in other steps, or in a cycle.
    pub disordered: bool,
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

    /// Verifies that the server is the known one and that its sequence has neither gone back nor draws out of order;
    /// repairs it otherwise.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub async fn verify_numbers(&self) -> sqlx::Result<()> {
        let _one = self.numbers.repair.lock().await;
        let hold = sqlx::query_scalar!(
            r#"select numbers_stand($1, $2) as "hold!""#,
            self.numbers.run(),
            self.numbers.highest()
        );
        if !hold.fetch_one(self.vital()).await? {
            self.repair(false).await?;
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
                r#"select nextval('request_number') as "number!" where numbers_stand($1, $2)"#,
                self.numbers.run(),
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
    /// it is another server, has lost what this process had committed, or was `restored`, as an operator says, or where
    /// the sequence is behind or draws out of order, it is raised beyond all numbers; subjects whose callbacks counted
    /// as settled meanwhile are read again; all leases end, so that no read that was under way is settled and every
    /// worker begins again from what the tables hold; every outcome is reported once more; and the incremental sweeps
    /// are due at once. They begin where the last run that the database knows of began, which is before anything that
    /// was lost.
    ///
    /// # Errors
    /// When the database cannot be used, or the sequence is to be altered and belongs to another role. Nothing but the
    /// sequence is changed then.
    pub async fn repair_numbers(&self, restored: bool) -> sqlx::Result<Repair> {
        let _one = self.numbers.repair.lock().await;
        self.repair(restored).await
    }

    /// Whether what this process had committed lately is there.
    async fn keeps_committed(&self, tx: &mut PgConnection) -> sqlx::Result<bool> {
        let Committed { delivery, settled } = self.numbers.committed().clone();
        if let Some((id, _)) = delivery.filter(|(_, at)| at.elapsed() < COMMITTED_LIMIT) {
            let there = sqlx::query_scalar!(r#"select exists (select from delivery where id = $1) as "there!""#, id);
            if !there.fetch_one(&mut *tx).await? {
                return Ok(false);
            }
        }
        let Some((tenant, kind, key, read, _)) = settled.filter(|(.., at)| at.elapsed() < COMMITTED_LIMIT) else {
            return Ok(true);
        };
        let there = sqlx::query_scalar!(
            r#"select exists (select from subject where tenant = $1 and kind = $2 and key = $3 and settled >= $4) as "there!""#,
            tenant.as_str(),
            kind.as_str(),
            key,
            read
        );
        there.fetch_one(&mut *tx).await
    }

    async fn repair(&self, restored: bool) -> sqlx::Result<Repair> {
        in_time(REPAIR_TIMEOUT, self.repair_patiently(restored)).await
    }

    async fn repair_patiently(&self, restored: bool) -> sqlx::Result<Repair> {
        let mut tx = self.vital().begin().await?;
        // Every number of every tenant is read once.
        sqlx::query!("set local statement_timeout = 0").execute(&mut *tx).await?;
        let verified =
            sqlx::query_scalar!("select server from request_number_state for update").fetch_optional(&mut *tx).await?;
        // Before the sequence is read: what is drawn meanwhile is no sign of its having gone back.
        let known = self.numbers.highest();
        let server = sqlx::query!(
            r#"select server_identity() as "identity!", server_run() as "run!", last_value as "last!",
                 (select seqcache <> 1 or seqincrement <> 1 or seqcycle
                  from pg_sequence where seqrelid = 'request_number'::regclass) as "disordered!"
               from request_number"#
        )
        .fetch_one(&mut *tx)
        .await?;
        let mut repair = Repair {
            found: server.last,
            highest: known,
            moved: verified.as_deref() != Some(&server.identity),
            lost: !self.keeps_committed(&mut tx).await?,
            disordered: server.disordered,
            raised_to: None,
            reread: 0,
            renoted: 0,
        };
        let doubted = restored || repair.moved || repair.lost || repair.disordered;
        if !doubted && repair.highest <= server.last && !self.numbers.run().is_empty() {
            tx.rollback().await?;
            info!("the database was started anew, and holds what this process had committed");
            *self.numbers.run.lock().unwrap_or_else(PoisonError::into_inner) = server.run;
            return Ok(repair);
        }
        // One statement: the sequence is read as it is, the tables as they were before.
        let now = sqlx::query!(
            r#"select (select last_value from request_number) as "last!", greatest(
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
        let (last, highest) = (now.last, now.highest);
        repair.found = last;
        repair.highest = known.max(highest);
        if doubted || repair.highest > last {
            if server.disordered {
                let ordered = sqlx::query!("alter sequence request_number increment by 1 cache 1 no cycle");
                ordered.execute(&mut *tx).await?;
            }
            let raised = sqlx::query_scalar!(
                r#"select setval('request_number', $1) as "to!""#,
                repair.highest.max(last) + RAISE_MARGIN
            );
            repair.raised_to = Some(raised.fetch_one(&mut *tx).await?);
            // Before any row that a settling transaction locks: it locks its lease first.
            sqlx::query!("update tenant_lease set token = nextval('request_number'), held_until = '-infinity'")
                .execute(&mut *tx)
                .await?;
            if highest > last {
                // Received after the sequence went back: later than what bears a higher number.
                let reread = sqlx::query!(
                    "with unread as (
                       select d.tenant, d.kind, d.key, max(d.received_at) as due_at, min(d.received_at) as since
                       from delivery d join subject s on s.tenant = d.tenant and s.kind = d.kind and s.key = d.key
                       where s.settled > $1 and d.id <= $1
                         and d.received_at >= coalesce((select max(received_at) from delivery where id > $1), '-infinity')
                       group by 1, 2, 3
                     )
                     update subject s set wanted = nextval('request_number'), due_at = unread.due_at,
                       waiting_since = coalesce(s.waiting_since, unread.since)
                     from unread where s.tenant = unread.tenant and s.kind = unread.kind and s.key = unread.key",
                    last
                );
                repair.reread = reread.execute(&mut *tx).await?.rows_affected();
            }
            // Reports that were sent in the lost time are not known: Cegid may hold an outcome that was overtaken
            // since.
            let renoted = sqlx::query!(
                r#"with these as (
                   select tenant, kind, key from report_item where dead_at is null
                   order by tenant collate "C", kind collate "C", key collate "C" for no key update
                 )
                 update report_item r set noted = nextval('request_number'), attempts = 0, last_error = null
                 from these where r.tenant = these.tenant and r.kind = these.kind and r.key = these.key"#
            );
            repair.renoted = renoted.execute(&mut *tx).await?.rows_affected();
            sqlx::query!(
                "update sweep set asked = true, due_at = '-infinity' where use = 'incremental' and finished_at is null"
            )
            .execute(&mut *tx)
            .await?;
            sqlx::query!(
                "insert into request_number_state (server) values ($1)
                 on conflict (single) do update set server = excluded.server",
                server.identity
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        if repair.disordered {
            *self.numbers.ordered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        if let Some(raised_to) = repair.raised_to {
            warn!(
                verified = verified.unwrap_or_default(),
                server = server.identity,
                sequence = last,
                highest = repair.highest,
                lost_commits = repair.lost,
                disordered = repair.disordered,
                raised_to,
                reread = repair.reread,
                renoted = repair.renoted,
                "the database is another one or has gone back, after a failover or a restore, or its sequence of numbers was \
                 altered: the sequence is raised beyond all that is known, the workers begin again, incremental sweeps are \
                 due, and every outcome is reported once more; commits may be lost: run `cegid-indexer ledger`, and see \"Failover and restore\" in docs/operate.md"
            );
        }
        self.numbers.saw(highest.max(repair.raised_to.unwrap_or(0)));
        *self.numbers.committed() = Committed::default();
        *self.numbers.run.lock().unwrap_or_else(PoisonError::into_inner) = server.run;
        Ok(repair)
    }
}
