//! Walking a list: page after page, each settled directly.
//!
//! Pages carry whole records, so they settle subjects under the number drawn before the page was asked for: a slow page
//! changes nothing after a newer refresh. The next page is under way while one is settled. A restart goes on behind the
//! last settled page; the page in between is read again.
//!
//! Pages overlap: a record that leaves the list while it is read moves those behind it, and without an overlap as many
//! would be passed over. The end is a page that shows nothing behind what was read before; one that shows nothing at all
//! is asked for a second time.

use std::{collections::HashSet, sync::atomic::Ordering, time::Duration};

use chrono::{DateTime, Utc};
use tracing::warn;

use super::{
    super::{
        pace::Lane,
        settlement::{ANONYMISED, Indexed, NotWritten, Settlement, Written},
    },
    Sweeper,
    page_size::PageSize,
};
use crate::{
    cegid::{Class, Page, Query},
    domain::Kind,
    kill,
    metrics::Outcome,
    subjects::{self, Postponed, State, Why},
    sweeps::{self, Progress, Sweep, Use},
    tenancy::fence,
};

/// After so many pages the tables have grown out of what the planner knows of them.
const ANALYZED: [u32; 3] = [3, 30, 300];
/// Items of a page that the page before has shown.
const OVERLAP: usize = 10;
/// Pages after which it is looked whether something more urgent is due.
const PAGES: usize = 50;
/// Before a query that Cegid will not answer is tried again.
const REFUSED: Duration = Duration::from_secs(300);
/// Before a sweep whose page failed goes on.
const UNWELL: Duration = Duration::from_secs(20);
/// A page, and the number drawn before it was asked for.
pub(in super::super) struct Read {
    read: i64,
    page: Page,
    /// Items of the list before the page.
    offset: i32,
    /// Items passed over, because Cegid cannot answer them.
    skipped: i32,
}

impl Read {
    /// A page by itself.
    pub(in super::super) fn one(read: i64, page: Page) -> Read {
        Read { read, page, offset: 0, skipped: 0 }
    }

    /// How far the list is read with this page.
    fn end(&self) -> i32 {
        self.offset.saturating_add(i32::try_from(self.page.frames()).unwrap_or(i32::MAX))
    }
}

impl Sweeper {
    /// Reads on in a list, as far as nothing fails and nothing more urgent may be due. True when the sweep is finished.
    pub(super) async fn walk(&self, sweep: &Sweep) -> sqlx::Result<bool> {
        let mut settled = sweep.next_offset;
        let mut empty = false;
        let mut shown: HashSet<String> = HashSet::new();
        let Some(mut current) = self.page(sweep, settled, OVERLAP).await? else { return Ok(false) };
        for nth in 1.. {
            let (end, whole) = (current.end(), current.page.cut.is_none());
            let frames = current.page.frames();
            let nothing = frames == 0;
            let ended = whole && end <= settled && (!nothing || empty);
            empty = nothing;
            // What the page before has shown is settled.
            let keys: HashSet<String> =
                current.page.records.iter().map(|record| record.subject.key().to_owned()).collect();
            current.page.records.retain(|record| !shown.contains(record.subject.key()));
            shown = keys;
            let mut progress = Progress {
                next_offset: settled.max(end),
                records: i64::from((end - settled).max(0)),
                broken: current.page.broken.len() as i64 + i64::from(current.skipped),
                listed: ended,
                finished: ended && sweep.purpose != Use::Full,
                ..Progress::default()
            };
            settled = progress.next_offset;
            // A page that was cut may be short: what the next one repeats must be less, or the walk stands still.
            let overlap = if whole { OVERLAP } else { OVERLAP.min(frames / 4) };
            let finished = progress.finished;
            if progress.broken > 0 {
                warn!(
                    tenant = %self.context.tenant, kind = %self.kind, sweep = sweep.purpose.as_str(),
                    records = progress.broken,
                    "records of a sweep cannot be read: they are indexed once Cegid shows them readable"
                );
            }
            // Noted before the next page is there: it may be long in coming.
            let settle = async {
                self.context.shared.courtesy.give_way(&self.context.tenant).await;
                let written = self.settle(current).await?;
                kill::point("page-settled");
                progress.changed = (written.indexed + written.removed) as i64;
                let context = &self.context;
                sweeps::advance(context.database(), &context.tenant, self.kind, sweep, context.now(), &progress)
                    .await?;
                Ok::<_, NotWritten>(())
            };
            let (written, next) = if ended || nth >= PAGES || self.context.stop.asked() {
                (settle.await, Ok(None))
            } else {
                tokio::join!(settle, self.page(sweep, settled, overlap))
            };
            match written {
                Ok(()) => {}
                Err(NotWritten::Database(error)) => return Err(error),
                Err(NotWritten::LeaseLost) => {
                    // The worker is about to be ended.
                    self.context.stop.draining().await;
                    return Ok(false);
                }
            }
            let Some(page) = next? else { return Ok(finished) };
            current = page;
            self.context.pause(self.context.settings.load_pause).await;
        }
        Ok(false)
    }

    /// What the dates of records show at this time: those of vacancies have no zone, and are of the tenant's clock.
    fn dated(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        match self.kind {
            Kind::Vacancy => at.with_timezone(&self.context.settings.zone()).naive_local().and_utc(),
            Kind::Candidate => at,
        }
    }

    /// What a sweep asks for behind `offset`.
    fn query(&self, sweep: &Sweep, offset: usize, limit: usize) -> Query {
        let live = if self.kind == Kind::Vacancy { self.context.settings.load_vacancy_filter.as_str() } else { "" };
        let also = if sweep.purpose == Use::Incremental { "" } else { live };
        let (since, until) = (sweep.since.map(|at| self.dated(at)), sweep.until.map(|at| self.dated(at)));
        Query::window(self.kind, since, until, also, offset, limit)
    }

    /// The page behind what is settled, with an overlap; none when it cannot be had now.
    async fn page(&self, sweep: &Sweep, settled: i32, overlap: usize) -> sqlx::Result<Option<Read>> {
        let (size, ahead, passed) =
            self.page_size(sweep, |page_size| (page_size.size(), page_size.ahead(), page_size.passed()));
        if let Some(ahead) = ahead {
            return self.past(sweep, settled, ahead).await;
        }
        let overlap = i32::try_from(overlap.min(size / 2)).unwrap_or(0);
        Ok(self.ask(sweep, (settled - overlap).max(passed), size).await?.ok())
    }

    /// One record keeps failing. If another can be had, and it fails once more right after, it is that record and not all
    /// of Cegid: it is passed over.
    async fn past(&self, sweep: &Sweep, settled: i32, ahead: i32) -> sqlx::Result<Option<Read>> {
        if self.ask(sweep, settled.saturating_add(ahead), 1).await?.is_err() {
            return Ok(None);
        }
        match self.ask(sweep, settled, 1).await? {
            Ok(read) => Ok(Some(read)),
            Err(Some(Class::Transient | Class::Unexpected)) => {
                let offset = settled + 1;
                self.page_size(sweep, |page_size| page_size.pass(offset));
                let read = subjects::draw(self.context.database()).await?;
                Ok(Some(Read { read, page: Page::default(), offset, skipped: 1 }))
            }
            Err(_) => Ok(None),
        }
    }

    /// One call; its failure's class, or none where there was no call, after the sweep was put off.
    async fn ask(&self, sweep: &Sweep, offset: i32, size: usize) -> sqlx::Result<Result<Read, Option<Class>>> {
        let context = &self.context;
        let query = self.query(sweep, offset.unsigned_abs() as usize, size);
        let lane = Lane::Sweep(self.kind);
        let Some(place) = context.may_export(lane).await else { return Ok(Err(None)) };
        let read = subjects::draw(context.database()).await?;
        let answer = context.client.export(&query).await;
        drop(place);
        let error = match answer {
            Ok(page) => {
                match &page.cut {
                    // Read as far as its files have room: nothing is wrong.
                    Some(cut) if cut.class == Class::Full => context.pace.succeeded(lane),
                    Some(cut) => {
                        context.pace.failed(lane, cut);
                        self.page_size(sweep, PageSize::failed);
                    }
                    None => {
                        context.pace.succeeded(lane);
                        self.page_size(sweep, PageSize::succeeded);
                    }
                }
                return Ok(Ok(Read { read, page, offset, skipped: 0 }));
            }
            Err(error) => error,
        };
        context.pace.failed(lane, &error);
        let mut wait = UNWELL;
        match error.class {
            Class::Query => {
                wait = REFUSED;
                warn!(
                    tenant = %context.tenant, kind = %self.kind, error = %error,
                    "Cegid does not answer a sweep's query: is tenants.*.load_vacancy_filter right?"
                );
            }
            Class::Transient | Class::Unexpected => self.page_size(sweep, PageSize::failed),
            Class::Throttled | Class::Credentials | Class::Forbidden | Class::Full => {}
        }
        // Another sweep may be able to go on.
        sweeps::put_off(context.database(), &context.tenant, self.kind, sweep, context.now() + wait).await?;
        Ok(Err(Some(error.class)))
    }

    pub(in super::super) async fn settle(&self, read: Read) -> Result<Written, NotWritten> {
        let (context, kind) = (&self.context, self.kind);
        let (database, tenant) = (context.database(), &context.tenant);
        let keys: Vec<String> = read.page.records.iter().map(|record| record.subject.key().to_owned()).collect();
        if keys.is_empty() {
            // A failover ends the lease, and may have lost the pages before this one: their end is not noted then.
            let fenced = fence(database, &context.lease).await?.ok_or(NotWritten::LeaseLost)?;
            fenced.rollback().await?;
            return Ok(Written::default());
        }
        let known = subjects::states(database, tenant, kind, &keys).await?;
        let removed = |key: &str| known.iter().any(|(known, state)| known == key && *state == State::Removed);
        let mut settlement = Settlement::new(kind, read.read, context.guard());
        // Nothing was to be announced of what was there before.
        settlement.gaps = !sweeps::loading(database, tenant, kind).await?;
        let mut seen = HashSet::new();
        for record in read.page.records {
            let key = record.subject.key();
            // A list over moving data can show a record twice.
            if !seen.insert(key.to_owned()) {
                continue;
            }
            if record.document.anonymised {
                settlement.removed.push((key.to_owned(), ANONYMISED));
            } else if removed(key) {
                let due_at = context.now();
                settlement.postponed.push(Postponed { key: key.to_owned(), due_at, why: Why::Asked });
            } else {
                let noted = context.noted(&record.document);
                settlement.indexed.push(Indexed { document: record.document, noted, announced: false, returns: false });
            }
        }
        let asked = !settlement.postponed.is_empty();
        let written = settlement.write(database, &context.lease, context.now()).await?;
        for (key, cause) in &written.unstorable {
            // Read again by itself, so that it takes the way of every record that cannot be indexed.
            subjects::want_once(database, tenant, kind, key, context.now()).await?;
            warn!(%tenant, %kind, cause, "a record of a sweep cannot be stored");
        }
        if asked || !written.unstorable.is_empty() {
            context.queues[kind as usize].wake();
        }
        context.wrote();
        let pages = self.pages.fetch_add(1, Ordering::Relaxed) + 1;
        if ANALYZED.contains(&pages) {
            database.analyze().await?;
        }
        self.count(&written);
        Ok(written)
    }

    fn count(&self, written: &Written) {
        let context = &self.context;
        for (outcome, count) in [("loaded", written.indexed), ("same", written.same), ("removed", written.removed)] {
            if count > 0 {
                let labels = Outcome { tenant: context.tenant.to_string(), kind: self.kind.as_str(), outcome };
                context.shared.metrics.settled.get_or_create(&labels).inc_by(count as u64);
            }
        }
        if written.noted > 0 {
            context.noted[self.kind as usize].notify_one();
        }
    }
}
