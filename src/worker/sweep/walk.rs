//! Walking a list: page after page, each settled directly.
//!
//! Pages carry whole records, so they settle subjects under the number drawn before the page was asked for: a slow page
//! changes nothing after a newer refresh. The next page is under way while one is settled. A restart goes on behind the
//! last settled page; the page in between is read again.
//!
//! Pages overlap, so that a list that loses records while it is read shows it: the page then begins with what no page
//! has shown, and is read again from further back. The full list of candidates goes without: what it passes over is
//! asked for by key. What a page says about the list is [`super::walk_state`]'s.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::{
    super::{pace::Lane, refresh::Refresher, settlement::NotWritten},
    Sweeper,
    walk_state::{ListState, OVERLAP, PageShape},
};
use crate::{
    cegid::{Broken, CallError, Class, Page, Query, Stage},
    domain::Kind,
    kill, subjects,
    sweeps::{self, Progress, Sweep, Use},
    unreadable::{List, Seen},
};

/// Pages after which a walk looks whether something more urgent is due.
const MAX_PAGES_PER_STEP: usize = 50;
/// Before a query that Cegid will not answer is tried again.
const REFUSED_QUERY_PAUSE: Duration = Duration::from_secs(300);
/// Before a sweep whose page failed goes on.
const FAILED_PAGE_PAUSE: Duration = Duration::from_secs(20);
/// Before a list that did not advance is read on; doubled each time, up to the limit.
const STALL_PAUSE: Duration = Duration::from_secs(300);
const STALL_PAUSE_LIMIT: Duration = Duration::from_secs(3600);

/// A page, and the number drawn before it was asked for.
pub(in super::super) struct Read {
    pub(super) read: i64,
    pub(super) page: Page,
    /// Items of the list before the page.
    pub(super) offset: i32,
    /// How many were asked for.
    asked: usize,
    /// Why one item was passed over instead: Cegid cannot answer it.
    unserved: Option<String>,
    /// The list was asked for published vacancies alone.
    pub(super) published: bool,
}

impl Read {
    /// A page by itself.
    pub(in super::super) fn one(read: i64, page: Page) -> Read {
        Read { read, page, offset: 0, asked: 0, unserved: None, published: false }
    }

    /// How far the list is read with this page.
    pub(super) fn end(&self) -> i32 {
        let items = self.page.frames() + usize::from(self.unserved.is_some());
        self.offset.saturating_add(i32::try_from(items).unwrap_or(i32::MAX))
    }

    /// Where a frame stands in the list.
    fn place_of(&self, broken: &Broken) -> i32 {
        self.offset.saturating_add(i32::try_from(broken.place).unwrap_or(i32::MAX))
    }

    /// What of the page could not be read.
    pub(super) fn unreadable(&self, list: &List) -> Vec<Seen> {
        let broken = self.page.broken.iter().map(|broken| Seen {
            digest: broken.digest.unwrap_or_else(|| digest_of_place(list, self.place_of(broken))),
            named: broken.key.is_some(),
            served: true,
            cause: broken.cause.clone(),
            place: self.place_of(broken),
        });
        let unserved = self.unserved.iter().map(|cause| Seen {
            digest: digest_of_place(list, self.offset),
            named: false,
            served: false,
            cause: cause.clone(),
            place: self.offset,
        });
        broken.chain(unserved).collect()
    }
}

/// What stands for an item of which nothing else is known.
fn digest_of_place(list: &List, place: i32) -> [u8; 32] {
    Sha256::digest(format!("{list:?} {place}")).into()
}

/// Why there is no page.
pub(super) enum NoPage {
    /// The worker drains.
    Draining,
    /// Cegid refuses a page with an item of this one, or cannot answer for it.
    ItemFailed(CallError),
    /// Cegid refuses the list, or is not well.
    Failed(CallError),
}

/// How a walk spends its time.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Pages in one step.
    pages: usize,
    /// From one step to the next; none while nothing more urgent is due.
    interval: Option<Duration>,
}

impl Sweeper {
    /// Reads on in a list, as far as nothing fails and nothing more urgent may be due. True when the sweep is finished.
    pub(super) async fn walk(&self, sweep: &Sweep) -> sqlx::Result<bool> {
        let pace = self.pace_of_walk(sweep).await?;
        let mut settled = sweep.next_offset;
        let Some(mut current) = self.page(sweep, settled).await? else { return Ok(false) };
        for nth in 1.. {
            let (offset, end, whole) = (current.offset, current.end(), current.page.cut.is_none());
            let frames = current.page.frames();
            let unserved = usize::from(current.unserved.is_some());
            let (list, records, broken, step_back) = self.with_walk(sweep, |walk| {
                if unserved > 0 {
                    return (ListState::Advances, 0, unserved, 0);
                }
                let shape = PageShape::new(&current.page, offset, current.asked, offset < settled);
                let observed = walk.observe(&shape);
                walk.overlap = self.overlap_after(sweep, whole, frames, current.asked);
                (observed.list, observed.records, observed.broken, walk.step_back(current.asked))
            });
            if list == ListState::DoesNotAdvance {
                return self.stall(sweep, settled).await.map(|()| false);
            }
            if list == ListState::Repeats {
                warn!(
                    tenant = %self.context.tenant, kind = %self.kind, sweep = sweep.purpose.as_str(), offset,
                    "a list repeats itself: taken as its end; what is held and was not shown is asked for by key"
                );
            }
            let ended = matches!(list, ListState::Ended | ListState::Repeats);
            settled = if list == ListState::Moved { (offset - step_back).max(0) } else { settled.max(end) };
            let last = ended || nth >= pace.pages || self.context.stop.asked();
            let unnamed = current.page.broken.iter().filter(|broken| broken.key.is_none()).count() + unserved;
            let mut progress = Progress {
                next_offset: settled,
                records: records as i64,
                broken: broken as i64,
                unnamed: unnamed as i64,
                listed: ended,
                finished: ended && sweep.purpose != Use::Full,
                due_at: pace.interval.filter(|_| last && !ended).map(|interval| self.now() + interval),
                ..Progress::default()
            };
            let finished = progress.finished;
            // Noted before the next page is there: it may be long in coming.
            let settle = async {
                self.context.shared.courtesy.give_way(&self.context.tenant).await;
                let list = self.list(sweep);
                self.remember(&list, &current.unreadable(&list)).await?;
                let written = self.settle(current).await?;
                kill::point("page-settled");
                progress.changed = (written.indexed + written.removed) as i64;
                let context = &self.context;
                sweeps::advance(context.database(), &context.tenant, self.kind, sweep, context.now(), &progress)
                    .await?;
                Ok::<_, NotWritten>(())
            };
            let (written, next) =
                if last { (settle.await, Ok(None)) } else { tokio::join!(settle, self.page(sweep, settled)) };
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

    /// A walk over all candidates is spread over a part of its period; every other one goes on as fast as it may.
    async fn pace_of_walk(&self, sweep: &Sweep) -> sqlx::Result<Pace> {
        if !self.is_spread(sweep.purpose) || sweep.asked {
            return Ok(Pace { pages: MAX_PAGES_PER_STEP, interval: None });
        }
        let time = self.time_of_list();
        let known = self.with_walk(sweep, |walk| walk.list_pages);
        let pages = match known {
            Some(pages) => pages,
            None => self.pages_of_list().await?,
        };
        self.with_walk(sweep, |walk| walk.list_pages = Some(pages));
        let steps = (time.as_secs_f64() / super::STEP_INTERVAL.as_secs_f64()).max(1.0);
        let pages = (pages as f64 / steps).ceil().clamp(1.0, MAX_PAGES_PER_STEP as f64);
        Ok(Pace { pages: pages as usize, interval: Some(super::STEP_INTERVAL) })
    }

    /// How many items the next page repeats.
    fn overlap_after(&self, sweep: &Sweep, whole: bool, frames: usize, asked: usize) -> usize {
        if !whole {
            // A page that was cut may be short: what the next one repeats must be less, or the walk stands still.
            OVERLAP.min(frames / 4)
        } else if self.is_spread(sweep.purpose) && frames >= asked {
            0
        } else {
            OVERLAP
        }
    }

    /// The list answers with its first page whatever is asked for.
    async fn stall(&self, sweep: &Sweep, offset: i32) -> sqlx::Result<()> {
        let context = &self.context;
        self.with_walk(sweep, |walk| walk.page_size.vary());
        let pause = |stalls: u32| STALL_PAUSE.saturating_mul(1 << (stalls - 1).min(10)).min(STALL_PAUSE_LIMIT);
        let until = |stalls| context.now() + pause(stalls);
        let stalls = sweeps::stall(context.database(), &context.tenant, self.kind, sweep, until).await?;
        warn!(
            tenant = %context.tenant, kind = %self.kind, sweep = sweep.purpose.as_str(), offset, stalls,
            pause_s = pause(stalls).as_secs(),
            "Cegid's list does not advance: it shows nothing new whatever the offset; other sweeps go on"
        );
        Ok(())
    }

    /// What the dates of records show at this time: those of vacancies have no zone, and are of the tenant's clock.
    fn dated(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        match self.kind {
            Kind::Vacancy => at.with_timezone(&self.context.settings.zone()).naive_local().and_utc(),
            Kind::Candidate => at,
        }
    }

    /// The list that a sweep walks.
    fn list(&self, sweep: &Sweep) -> List {
        let live = if self.kind == Kind::Vacancy { self.context.settings.load_vacancy_filter.as_str() } else { "" };
        let also = if sweep.purpose == Use::Incremental { "" } else { live };
        List { since: sweep.since, until: sweep.until, also: also.to_owned() }
    }

    /// What is asked of a list behind `offset`.
    pub(super) fn query(&self, list: &List, offset: i32, limit: usize) -> Query {
        let (since, until) = (list.since.map(|at| self.dated(at)), list.until.map(|at| self.dated(at)));
        Query::window(self.kind, since, until, &list.also, offset.unsigned_abs() as usize, limit)
    }

    /// The page behind what is settled, with an overlap; none when it cannot be had now.
    async fn page(&self, sweep: &Sweep, settled: i32) -> sqlx::Result<Option<Read>> {
        let (size, ahead, passed, overlap) = self.with_walk(sweep, |walk| {
            let page_size = &walk.page_size;
            (page_size.size(), page_size.ahead(), page_size.passed(), walk.overlap)
        });
        if let Some(ahead) = ahead {
            return self.past(sweep, settled, ahead).await;
        }
        let overlap = i32::try_from(overlap.min(size / 2)).unwrap_or(0);
        Ok(self.ask(sweep, (settled - overlap).max(passed.min(settled)), size).await?.ok())
    }

    /// One record keeps failing. If another can be had, and it fails once more right after, it is that record and not all
    /// of Cegid: it is passed over.
    async fn past(&self, sweep: &Sweep, settled: i32, ahead: i32) -> sqlx::Result<Option<Read>> {
        if self.ask(sweep, settled.saturating_add(ahead), 1).await?.is_err() {
            let until = self.context.now() + FAILED_PAGE_PAUSE;
            sweeps::put_off(self.context.database(), &self.context.tenant, self.kind, sweep, until).await?;
            return Ok(None);
        }
        match self.ask(sweep, settled, 1).await? {
            Ok(read) => Ok(Some(read)),
            Err(Some(error)) if matches!(error.class, Class::Transient | Class::Unexpected | Class::Query) => {
                self.with_walk(sweep, |walk| walk.page_size.pass(settled + 1));
                let read = subjects::draw(self.context.database()).await?;
                let unserved = Some(format!("Cegid does not serve it: {error}"));
                Ok(Some(Read { read, page: Page::default(), offset: settled, asked: 1, unserved, published: false }))
            }
            Err(_) => Ok(None),
        }
    }

    /// One call; its failure, or none where there was no call, after the sweep was put off.
    async fn ask(&self, sweep: &Sweep, offset: i32, size: usize) -> sqlx::Result<Result<Read, Option<CallError>>> {
        let context = &self.context;
        let error = match self.call(&self.list(sweep), offset, size).await? {
            Ok(read) => {
                match &read.page.cut {
                    // Read as far as its files have room: nothing is wrong.
                    Some(cut) if cut.class == Class::Full => {}
                    Some(_) => self.with_walk(sweep, |walk| walk.page_size.failed()),
                    None => self.with_walk(sweep, |walk| walk.page_size.succeeded()),
                }
                return Ok(Ok(read));
            }
            Err(NoPage::Draining) => return Ok(Err(None)),
            Err(NoPage::Failed(error)) => error,
            Err(NoPage::ItemFailed(error)) => {
                self.with_walk(sweep, |walk| walk.page_size.failed_by_item());
                return Ok(Err(Some(error)));
            }
        };
        let mut wait = FAILED_PAGE_PAUSE;
        match error.class {
            Class::Query => {
                // It may be about one record, which is then passed over.
                self.with_walk(sweep, |walk| walk.page_size.failed());
                wait = REFUSED_QUERY_PAUSE;
                let doing = match self.kind {
                    Kind::Vacancy => "the query of a sweep of vacancies",
                    Kind::Candidate => "the query of a sweep of candidates",
                };
                let hint = "is tenants.*.load_vacancy_filter right?";
                context.shared.failures.failed(Some(&context.tenant), doing, hint, &error);
            }
            Class::Transient | Class::Unexpected => self.with_walk(sweep, |walk| walk.page_size.failed()),
            Class::Throttled | Class::Credentials | Class::Forbidden | Class::Full => {}
        }
        // Another sweep may be able to go on.
        sweeps::put_off(context.database(), &context.tenant, self.kind, sweep, context.now() + wait).await?;
        Ok(Err(Some(error)))
    }

    /// One call. What Cegid refuses or cannot answer while it answers for a control is wrong with an item of the page,
    /// and nothing pauses for it.
    pub(super) async fn call(&self, list: &List, offset: i32, size: usize) -> sqlx::Result<Result<Read, NoPage>> {
        let context = &self.context;
        let query = self.query(list, offset, size);
        let lane = Lane::Sweep(self.kind);
        let Some(place) = context.may_export(lane).await else { return Ok(Err(NoPage::Draining)) };
        let read = subjects::draw(context.database()).await?;
        let answer = context.client.export(&query).await;
        drop(place);
        match answer {
            Ok(page) => {
                match page.cut.as_ref().filter(|cut| cut.class != Class::Full) {
                    Some(cut) => context.pace.failed(lane, cut),
                    None => context.pace.succeeded(lane),
                };
                let published = !list.also.is_empty();
                Ok(Ok(Read { read, page, offset, asked: size, unserved: None, published }))
            }
            Err(error) => {
                let of_item = matches!(error.class, Class::Query | Class::Transient | Class::Unexpected)
                    && error.stage != Stage::Token
                    && Refresher::new(context.clone(), self.kind).control_answers(&[]).await == Some(true);
                if of_item {
                    context.pace.succeeded(lane);
                    return Ok(Err(NoPage::ItemFailed(error)));
                }
                context.pace.failed(lane, &error);
                Ok(Err(NoPage::Failed(error)))
            }
        }
    }
}
