//! The ledger: reads across the tables, writes none.
//!
//! What became of a delivery is derived from its id and its subject: ignored, dead, waiting or settled, in this order of
//! precedence. A ledger balances when every delivery is one of these and nothing waits, the index holds exactly the
//! subjects that are settled as held, and the outcome of each was reported.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::{database::Database, domain::TenantId};

/// The counts of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Deliveries stored.
    pub received: i64,
    /// Deliveries whose subject was read since.
    pub settled: i64,
    /// Deliveries whose subject is still to be read.
    pub waiting: i64,
    /// Deliveries whose subject was buried.
    pub dead: i64,
    /// Deliveries that raise no subject.
    pub ignored: i64,
    /// Subjects still to be read, whoever asked.
    pub subjects_waiting: i64,
    /// Documents in the index.
    pub documents: i64,
    /// Subjects that are held without a document, or the other way round.
    pub index_differences: i64,
    /// Outcomes reported.
    pub reported: i64,
    /// Outcomes still to be reported.
    pub reports_waiting: i64,
    /// Outcomes that Cegid refused.
    pub reports_dead: i64,
    /// Documents whose outcome was never noted, or noted before they were last written.
    pub reports_missing: i64,
}

impl Ledger {
    /// Nothing is lost, nothing waits, and everything was told.
    pub fn balances(&self) -> bool {
        self.received == self.settled + self.dead + self.ignored
            && self.waiting == 0
            && self.subjects_waiting == 0
            && self.index_differences == 0
            && self.reports_waiting == 0
            && self.reports_missing == 0
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ledger { received, settled, waiting, dead, ignored, .. } = self;
        writeln!(
            f,
            "deliveries: received {received} = settled {settled} + waiting {waiting} + dead {dead} + ignored {ignored}"
        )?;
        writeln!(
            f,
            "index:      {} documents, {} subjects waiting, {} differences",
            self.documents, self.subjects_waiting, self.index_differences
        )?;
        write!(
            f,
            "reports:    {} reported, {} waiting, {} refused, {} missing",
            self.reported, self.reports_waiting, self.reports_dead, self.reports_missing
        )
    }
}

/// Reads the ledger of a tenant, of deliveries since then.
///
/// The joins are full ones because these are hashed whatever the planner believes: it takes a table that was not yet
/// analysed for a nearly empty one, and would compare every pair of rows.
///
/// # Errors
/// When the database cannot be read.
pub async fn read(database: &Database, tenant: &TenantId, since: DateTime<Utc>) -> sqlx::Result<Ledger> {
    sqlx::query_as!(
        Ledger,
        r#"with deliveries as (
             select count(d.id) as received,
               count(*) filter (where d.ignored is not null) as ignored,
               count(*) filter (where d.ignored is null and d.id > s.settled and s.dead_at is not null) as dead,
               count(*) filter (where d.ignored is null and d.id > s.settled and s.dead_at is null) as waiting,
               count(*) filter (where d.ignored is null and d.id <= s.settled) as settled
             from (select * from delivery where tenant = $1 and received_at >= $2) d
             full join (select * from subject where tenant = $1) s on s.kind = d.kind and s.key = d.key
           ), held as (
             select coalesce(s.key, d.key) as key, coalesce(s.kind, d.kind) as kind, s.settled, d.read_number
             from (select * from subject where tenant = $1 and state in ('live', 'hidden')) s
             full join (select * from document where tenant = $1) d on d.kind = s.kind and d.key = s.key
           )
           select received as "received!", settled as "settled!", waiting as "waiting!", dead as "dead!",
             ignored as "ignored!",
             (select count(*) from subject where tenant = $1 and waiting) as "subjects_waiting!",
             (select count(*) from document where tenant = $1) as "documents!",
             (select count(*) from held where settled is null or read_number is null or read_number > settled) as "index_differences!",
             (select count(*) from report_item where tenant = $1 and reported >= noted) as "reported!",
             (select count(*) from report_item where tenant = $1 and reported < noted and dead_at is null) as "reports_waiting!",
             (select count(*) from report_item where tenant = $1 and dead_at is not null) as "reports_dead!",
             (select count(*) filter (where held.read_number is not null and (r.noted is null or r.noted < held.read_number))
              from held full join (select * from report_item where tenant = $1) r on r.kind = held.kind and r.key = held.key) as "reports_missing!"
           from deliveries"#,
        tenant.as_str(),
        since
    )
    .fetch_one(database.pool())
    .await
}
