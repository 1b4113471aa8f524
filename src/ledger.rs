//! The ledger: reads across the tables, writes none.
//!
//! What became of a delivery is derived from its id and its subject: ignored, dead, waiting or settled, in this order of
//! precedence. A ledger balances when every delivery is one of these and nothing waits, the index holds exactly the
//! subjects that are settled as held, and the outcome of each was reported: the outcome noted last is compared with the
//! state of the subject, since numbers alone do not say what Cegid was told. What waits will be done; what is lost will
//! not, and should not happen.

mod shown;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{
    database::Database,
    domain::{Kind, TenantId},
    subjects,
    sweeps::Use,
};

/// The counts of one tenant. Deliveries and gaps are those since a time; the rest is as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Deliveries stored.
    pub received: i64,
    /// Deliveries whose subject was read since, or was erased.
    pub settled: i64,
    /// Deliveries whose subject is still to be read.
    pub waiting: i64,
    /// Deliveries whose subject was buried.
    pub dead: i64,
    /// The same by what was said when it was buried.
    pub dead_by_cause: BTreeMap<String, i64>,
    /// Deliveries that raise no subject.
    pub ignored: i64,
    /// The same by reason.
    pub ignored_by_reason: BTreeMap<String, i64>,
    /// Subjects still to be read, whoever asked.
    pub subjects_waiting: i64,
    /// Subjects that were given up, with or without a delivery: their documents stay as they are until they change.
    pub subjects_dead: i64,
    /// Subjects that the index should hold.
    pub held: i64,
    /// Documents in the index.
    pub documents: i64,
    /// Subjects that are held without a document.
    pub documents_missing: i64,
    /// Documents without a subject that is held, or newer than it.
    pub documents_extra: i64,
    /// Documents that are searchable and whose subject is not live, or the other way round.
    pub documents_misplaced: i64,
    /// Vacancies that never had a readable status: hidden unless a list of published ones has shown them.
    pub status_unknown: i64,
    /// Candidates that are hidden because it is unclear whether they are anonymised.
    pub anonymisation_unclear: i64,
    /// Outcomes reported.
    pub reported: i64,
    /// Outcomes still to be reported.
    pub reports_waiting: i64,
    /// Outcomes that Cegid refused.
    pub reports_dead: i64,
    /// Subjects whose outcome is not the one noted last: documents that were never noted or were written since,
    /// subjects that are settled as held and noted as failed, those that are not noted as failed and are buried or
    /// failed alike several times.
    pub reports_missing: i64,
    /// Deliveries, subjects and report items with a number that the sequence has yet to reach: what arrives meanwhile
    /// would count as settled.
    pub numbers_ahead: i64,
    /// Differences that a sweep found and no delivery announced.
    pub gaps: i64,
    /// Frames of lists that could not be read.
    pub unreadable: i64,
    /// The same by what was wrong.
    pub unreadable_by_cause: BTreeMap<String, i64>,
    /// Those of them that have no readable key: no subject stands for them, and nobody else is told.
    pub unreadable_unnamed: i64,
    /// Subjects that stopped being searchable in the last 24 hours without a record that said so.
    pub vanished: i64,
    /// Those of them that nothing showed to be gone, and those beyond what the bulk guard let through.
    pub removals_unproven: i64,
    /// Subjects that would, and wait for an operator.
    pub removals_held: i64,
    /// Subjects that vanished and were shown again in the last 24 hours, without a callback that said so: Cegid's
    /// answers lacked what was there.
    pub removals_undone: i64,
    /// Sweeps whose list does not advance.
    pub lists_stalled: i64,
    /// Sweeps that should have ended by now, or begun a day ago, or were not planned again within a day, by the time
    /// until which the tenant's lease is held: what no callback announced may be missing.
    pub sweeps_late: i64,
    /// Subjects that the last finished full sweep, or round over hidden vacancies, neither read nor asked for: Cegid
    /// may have deleted them.
    pub subjects_passed_over: i64,
}

/// What a ledger says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing is lost, nothing waits, and everything was told.
    Balances,
    /// Nothing is lost; something is still to be done, by the service or by an operator.
    Waits,
    /// Something is accounted for nowhere.
    Lost,
}

impl Ledger {
    /// Nothing is lost, nothing waits, and everything was told.
    pub fn balances(&self) -> bool {
        self.verdict() == Verdict::Balances
    }

    /// What all counts come to.
    pub fn verdict(&self) -> Verdict {
        if !self.lost().is_empty() {
            Verdict::Lost
        } else if self.waiting == 0
            && self.subjects_waiting == 0
            && self.reports_waiting == 0
            && self.unreadable_unnamed == 0
            && self.removals_held == 0
            && self.removals_undone == 0
            && self.removals_unproven == 0
            && self.lists_stalled == 0
            && self.sweeps_late == 0
            && self.subjects_passed_over == 0
        {
            Verdict::Balances
        } else {
            Verdict::Waits
        }
    }

    /// Deliveries that are neither settled nor waiting, dead or ignored.
    pub fn unaccounted(&self) -> i64 {
        self.received - self.settled - self.waiting - self.dead - self.ignored
    }

    /// What is lost, in words; nothing when nothing is.
    pub fn lost(&self) -> Vec<String> {
        let counts = [
            (self.unaccounted(), "deliveries have no subject"),
            (self.documents_missing, "subjects are held without a document"),
            (self.documents_extra, "documents are of no subject that is held"),
            (self.documents_misplaced, "documents are searchable and should be hidden, or the other way round"),
            (self.reports_missing, "outcomes were never noted for reporting"),
            (self.numbers_ahead, "rows have numbers above the sequence: run `cegid-indexer database repair-numbers`"),
        ];
        counts.iter().filter(|(count, _)| *count != 0).map(|(count, what)| format!("{count} {what}")).collect()
    }

    fn add(&mut self, figure: &str, detail: Option<String>, count: i64) {
        let mut by = None;
        let place = match figure {
            "settled" => &mut self.settled,
            "waiting" => &mut self.waiting,
            "dead" => {
                by = Some(&mut self.dead_by_cause);
                &mut self.dead
            }
            "ignored" => {
                by = Some(&mut self.ignored_by_reason);
                &mut self.ignored
            }
            "subjects_waiting" => &mut self.subjects_waiting,
            "subjects_dead" => &mut self.subjects_dead,
            "held" => &mut self.held,
            "documents" => &mut self.documents,
            "documents_missing" => &mut self.documents_missing,
            "documents_extra" => &mut self.documents_extra,
            "documents_misplaced" => &mut self.documents_misplaced,
            "status_unknown" => &mut self.status_unknown,
            "anonymisation_unclear" => &mut self.anonymisation_unclear,
            "reported" => &mut self.reported,
            "reports_waiting" => &mut self.reports_waiting,
            "reports_dead" => &mut self.reports_dead,
            "reports_missing" => &mut self.reports_missing,
            "numbers_ahead" => &mut self.numbers_ahead,
            "gaps" => &mut self.gaps,
            "unreadable" => {
                by = Some(&mut self.unreadable_by_cause);
                &mut self.unreadable
            }
            "unreadable_unnamed" => &mut self.unreadable_unnamed,
            "vanished" => &mut self.vanished,
            "removals_held" => &mut self.removals_held,
            "removals_undone" => &mut self.removals_undone,
            "removals_unproven" => &mut self.removals_unproven,
            "lists_stalled" => &mut self.lists_stalled,
            "sweeps_late" => &mut self.sweeps_late,
            "subjects_passed_over" => &mut self.subjects_passed_over,
            _ => &mut self.received,
        };
        *place += count;
        if let (Some(by), Some(detail)) = (by, detail) {
            *by.entry(detail).or_default() += count;
        }
    }
}

/// Reads the ledger of a tenant, of deliveries since then.
///
/// # Errors
/// When the database cannot be read.
pub async fn read(database: &Database, tenant: &TenantId, since: DateTime<Utc>) -> sqlx::Result<Ledger> {
    let mut all = read_all(database, Some(tenant.as_str()), since).await?;
    Ok(all.remove(tenant.as_str()).unwrap_or_default())
}

/// Reads the ledgers of one tenant or of all that the tables hold anything of, of deliveries since then.
///
/// One statement, so that all counts are of one moment; it only reads, and each table is read once however many tenants
/// there are. The joins are full ones because these are hashed whatever the planner believes: it takes a table that was
/// not yet analysed for a nearly empty one, and would compare every pair of rows.
///
/// While somebody is being erased, deliveries still hold the key that their subject lost: they count as settled.
///
/// # Errors
/// When the database cannot be read, or not in the time that a statement of the settings has.
pub async fn read_all(
    database: &Database,
    tenant: Option<&str>,
    since: DateTime<Utc>,
) -> sqlx::Result<BTreeMap<String, Ledger>> {
    let (kinds, uses): (Vec<&str>, Vec<&str>) = Kind::ALL
        .into_iter()
        .flat_map(|kind| Use::recurring(kind).iter().map(move |purpose| (kind.as_str(), purpose.as_str())))
        .unzip();
    let rows = sqlx::query!(
        r#"with accounts as (
             select d.tenant, count(d.id) as count,
               case when d.id is null then null
                    when d.ignored is not null then 'ignored'
                    when d.id <= s.settled then 'settled'
                    when s.dead_at is not null then 'dead'
                    when s.key is not null then 'waiting'
                    when exists (select from erasure e
                                 where e.tenant = d.tenant and e.kind = d.kind
                                   and e.hash = key_hash(d.tenant, d.kind, d.key)) then 'settled'
               end as fate,
               case when d.ignored is not null then d.ignored
                    when d.id > s.settled and s.dead_at is not null then
                      -- The status says enough of an answer, and a long number differs each time.
                      left(regexp_replace(coalesce(substring(s.last_error from '^calling [a-z]+: [0-9]{3}'), s.last_error),
                                          '[0-9]{4,}', '…', 'g'), 80)
               end as detail
             from (select * from delivery where ($1::text is null or tenant = $1) and received_at >= $2) d
             full join (select * from subject where $1::text is null or tenant = $1) s
               on s.tenant = d.tenant and s.kind = d.kind and s.key = d.key
             group by 1, 3, 4 having count(d.id) > 0
           ), held as (
             select coalesce(s.tenant, d.tenant) as tenant, coalesce(s.kind, d.kind) as kind,
               coalesce(s.key, d.key) as key, coalesce(s.state in ('live', 'hidden'), false) as held, s.settled,
               s.waiting, s.dead_at is not null as dead,
               -- One that Cegid has not shown is no business of its.
               (s.dead_at is not null or s.failure_repeats >= $3)
                 and (s.state <> 'unread' or s.failure_digest is not null) as failed, d.read_number,
               d.searchable is distinct from (s.state = 'live') as misplaced, d.status is null as status_unknown
             from (select * from subject
                   where ($1::text is null or tenant = $1)
                     and (state in ('live', 'hidden') or dead_at is not null or failure_repeats >= $3)) s
             full join (select * from document where $1::text is null or tenant = $1) d
               on d.tenant = s.tenant and d.kind = s.kind and d.key = s.key
           ), told as (
             select coalesce(h.tenant, r.tenant) as tenant,
               count(*) filter (where h.held) as held,
               count(h.read_number) as documents,
               count(*) filter (where h.held and h.read_number is null) as documents_missing,
               count(*) filter (where h.read_number is not null and (not h.held or h.read_number > h.settled)) as documents_extra,
               count(*) filter (where h.held and h.read_number is not null and h.misplaced) as documents_misplaced,
               count(*) filter (where h.kind = 'vacancy' and h.read_number is not null and h.status_unknown) as status_unknown,
               count(*) filter (where r.reported >= r.noted) as reported,
               count(*) filter (where r.reported < r.noted and r.dead_at is null) as reports_waiting,
               count(*) filter (where r.dead_at is not null) as reports_dead,
               count(*) filter (where h.read_number is not null and coalesce(r.noted, 0) < h.read_number
                                   or h.failed and coalesce(r.outcome, '') <> 'error'
                                   -- One that waits to be read may have failed, and Cegid may have heard of it.
                                   or h.held and not h.waiting and not h.dead and coalesce(r.outcome, '') <> 'success')
                 as reports_missing
             from held h
             full join (select * from report_item where $1::text is null or tenant = $1) r
               on r.tenant = h.tenant and r.kind = h.kind and r.key = h.key
             group by 1
           )
           select tenant as "tenant!", 'received' as "figure!", null as detail, sum(count)::bigint as "count!"
             from accounts group by 1
           union all
           select tenant, fate, detail, count from accounts where fate is not null
           union all
           select tenant, 'subjects_waiting', null, count(*) from subject
             where waiting and ($1::text is null or tenant = $1) group by 1
           union all
           select tenant, 'subjects_dead', null, count(*) from subject
             where dead_at is not null and ($1::text is null or tenant = $1) group by 1
           union all
           select tenant, 'anonymisation_unclear', null, count(*) from subject
             where unclear_since is not null and ($1::text is null or tenant = $1) group by 1
           union all
           select told.tenant, of.figure, null, of.count from told cross join lateral (values
             ('held', held), ('documents', documents), ('documents_missing', documents_missing),
             ('documents_extra', documents_extra), ('documents_misplaced', documents_misplaced),
             ('status_unknown', status_unknown), ('reported', reported), ('reports_waiting', reports_waiting),
             ('reports_dead', reports_dead), ('reports_missing', reports_missing)) as of (figure, count)
           union all
           select tenant, 'numbers_ahead', null, count(*) from (
             select tenant, greatest(wanted, settled, announced) as number from subject
             union all select tenant, id from delivery
             union all select tenant, greatest(noted, reported) from report_item
           ) as of (tenant, number)
             where number > (select last_value from request_number) and ($1::text is null or tenant = $1) group by 1
           union all
           select tenant, 'gaps', null, sum(count)::bigint from gap_count
             where ($1::text is null or tenant = $1) and hour >= $2 group by 1
           union all
           select tenant, 'unreadable', cause, count(*) from unreadable
             where $1::text is null or tenant = $1 group by 1, 3
           union all
           select tenant, 'unreadable_unnamed', null, count(*) from unreadable
             where not named and ($1::text is null or tenant = $1) group by 1
           union all
           select s.tenant, of.figure, null, count(*) from subject s left join tenant_lease l using (tenant)
             cross join lateral (values
               ('vanished', s.vanished_at > l.held_until - interval '24 hours'),
               ('removals_held', s.held_at is not null and s.released_at is null),
               ('removals_undone', s.undone_at > l.held_until - interval '24 hours')) as of (figure, counts)
             where of.counts and ($1::text is null or s.tenant = $1)
               and (s.vanished_at is not null or s.held_at is not null or s.undone_at is not null) group by 1, 2
           union all
           select tenant, 'removals_unproven', null, sum(unproven + beyond)::bigint from (
             select s.tenant, count(*) filter (where s.vanished_by = 'nothing') as unproven,
               greatest(count(*) filter (where s.vanished_limit is not null) - max(s.vanished_limit), 0) as beyond
             from subject s join tenant_lease l using (tenant)
             where s.vanished_at > l.held_until - interval '24 hours' and s.released_at is null
               and ($1::text is null or s.tenant = $1) group by s.tenant, s.kind
           ) as of_kind where unproven + beyond > 0 group by 1
           union all
           select s.tenant, of.figure, null, count(*) from sweep s left join tenant_lease l using (tenant)
             cross join lateral (values
               ('lists_stalled', s.stalls > 0),
               ('sweeps_late', s.finish_by < l.held_until
                  or s.use <> 'initial' and s.due_at < l.held_until - interval '1 day')) as of (figure, counts)
             where of.counts and s.finished_at is null and ($1::text is null or s.tenant = $1) group by 1, 2
           union all
           -- A run that ends has the next one planned at once.
           select l.tenant, 'sweeps_late', null, count(*) from tenant_lease l cross join unnest($4::text[], $5::text[])
             as recurring (kind, use)
             where ($1::text is null or l.tenant = $1)
               and exists (select from sweep i where i.tenant = l.tenant and i.kind = recurring.kind and i.use = 'initial'
                             and i.started_at < l.held_until - interval '1 day')
               and not exists (select from sweep s where s.tenant = l.tenant and s.kind = recurring.kind
                                 and s.use = recurring.use
                                 and coalesce(s.finished_at > l.held_until - interval '1 day', true)) group by 1
           union all
           select s.tenant, 'subjects_passed_over', null, count(*) from subject s join (
               select tenant, kind, use, max(read_number) as read_number from sweep
               where use in ('full', 'rolling') and finished_at is not null group by 1, 2, 3
             ) as last on last.tenant = s.tenant and last.kind = s.kind
               and last.use = case when s.kind = 'vacancy' and s.state = 'hidden' then 'rolling' else 'full' end
             where s.state in ('live', 'hidden') and s.settled < last.read_number and not s.waiting and s.dead_at is null
               and s.key !~ '[,|:]' and s.listed_at is null and ($1::text is null or s.tenant = $1) group by 1"#,
        tenant,
        since,
        subjects::REPORTED_REPEATS,
        &kinds as _,
        &uses as _
    )
    .fetch_all(database.pool())
    .await?;
    let mut ledgers: BTreeMap<String, Ledger> = BTreeMap::new();
    for row in rows {
        ledgers.entry(row.tenant).or_default().add(&row.figure, row.detail, row.count);
    }
    Ok(ledgers)
}
