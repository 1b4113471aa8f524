//! The one path that refreshes a subject, whoever asked for it.
//!
//! Due subjects of one kind are claimed together and asked for in one export call; what the call shows is settled in
//! one transaction. What is missing from the answer is judged by [`super::refresh::judge`]'s rules: an absence counts
//! only from an answer read to its clean end, and removes nothing before a second one has confirmed it.

mod control;
mod due;
mod front;
mod judge;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use chrono::{DateTime, TimeDelta, Utc};
use tracing::{debug, warn};

use super::{
    Context,
    halving::Parts,
    settlement::{NotWritten, Written},
};
use crate::{
    cegid::{CallError, Class, Page, Query, Stage, digest_text},
    domain::Kind,
    kill,
    metrics::{OfKind, Outcome},
    subjects::{self, Claimed},
};
pub(super) use front::Front;
use judge::Judgement;

/// Refused queries with nothing answered after which a control decides whether the endpoint refuses everything: halving
/// 100 subjects down to one takes seven, and the largest of the other parts are then tried.
const MAX_REFUSED_QUERIES: u32 = 16;
/// Pages of what changed that are searched for subjects that no filter finds.
const SEARCH_PAGES: usize = 20;
/// Zones and seconds of update dates are not known well: what changed is searched from so long before the callback.
const SEARCH_OVERLAP: TimeDelta = TimeDelta::days(1);

/// Refreshes subjects of one kind until the worker drains.
pub(super) async fn run(context: Arc<Context>, kind: Kind) {
    let refresher = Refresher::new(context, kind);
    let most = refresher.context.shared.settings.worker.batch_subjects;
    let mut front = Front::new();
    while !refresher.context.stop.asked() {
        let mut prompt = None;
        refresher.give_way().await;
        if !refresher.is_behind() {
            refresher.gather().await;
            prompt = Some(refresher.context.shared.courtesy.prompt(&refresher.context.tenant));
        }
        let claimed = refresher.claim(most, &mut front).await;
        let Some(claimed) = refresher.context.or_wait("claiming subjects", claimed).await else { continue };
        refresher.behind.store(claimed.len() == most, Ordering::Relaxed);
        if claimed.is_empty() {
            drop(prompt);
            refresher.wait(&front).await;
        } else {
            kill::point("claimed");
            prompt = prompt.filter(|_| !refresher.is_behind());
            refresher.refresh(refresher.batch(claimed)).await;
            drop(prompt);
        }
    }
}

pub(super) struct Refresher {
    pub(super) context: Arc<Context>,
    pub(super) kind: Kind,
    /// Whether more was due than one call can ask for.
    behind: AtomicBool,
    /// How often subjects were claimed.
    claims: AtomicU32,
}

/// A read that was sent.
pub(super) struct Asked {
    /// Its number.
    pub(super) read: i64,
    pub(super) began: DateTime<Utc>,
    pub(super) control: Option<String>,
    /// Whether a control was answered apart from this.
    pub(super) control_answered: bool,
}

/// Whether to go on after a part of a batch.
pub(super) enum Part {
    Done,
    /// Cegid refuses these, or cannot answer for them: to be asked for in smaller parts. Of a lone subject this is
    /// written.
    Refused(CallError),
    /// These are to be asked for again, in smaller parts.
    Again(Vec<Claimed>),
    /// Cegid, or the database, is not well, or the tenant is to be left alone for a while.
    Failed,
}

/// Whether no filter finds these; a batch holds either such subjects alone or none.
fn is_unfilterable(part: &[Claimed]) -> bool {
    part.iter().any(|subject| subject.unfilterable)
}

impl Refresher {
    /// Of one kind; not behind, as far as is known.
    pub(super) fn new(context: Arc<Context>, kind: Kind) -> Refresher {
        Refresher { context, kind, behind: AtomicBool::new(false), claims: AtomicU32::new(0) }
    }

    fn stage(&self) -> Stage {
        match self.kind {
            Kind::Vacancy => Stage::Vacancies,
            Kind::Candidate => Stage::Candidates,
        }
    }

    fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    async fn give_way(&self) {
        if self.is_behind() {
            self.context.shared.courtesy.give_way(&self.context.tenant).await;
        }
    }

    async fn refresh(&self, batch: Vec<Claimed>) {
        let mut parts = Parts::new([batch].into_iter());
        let mut control_answered = false;
        while let Some(part) = parts.next() {
            match self.part(&part, &mut control_answered).await {
                Part::Done => parts.accept(),
                Part::Refused(error) if !parts.accepted() && parts.refused() + 1 >= MAX_REFUSED_QUERIES => {
                    control_answered = control_answered || self.control_answers(&part).await == Some(true);
                    parts.refuse(part);
                    return self.set_aside(&error, parts, control_answered).await;
                }
                Part::Refused(_) => drop(parts.refuse(part)),
                Part::Again(left) => {
                    parts.accept();
                    parts.halve(left);
                }
                Part::Failed => return,
            }
        }
    }

    /// Nothing of a batch was answered: others are asked for first. If no control was answered either, it is not these
    /// subjects but the endpoint.
    async fn set_aside(&self, error: &CallError, parts: Parts<Claimed>, control_answered: bool) {
        let context = &self.context;
        let keys: Vec<String> = parts.rest().into_iter().map(|subject| subject.key).collect();
        if !control_answered {
            context.pace.refused(self.stage(), error, keys.len());
        }
        let deferred = subjects::defer(context.database(), &context.tenant, self.kind, context.now(), &keys).await;
        let _done = context.or_wait("deferring subjects", deferred).await;
    }

    async fn part(&self, part: &[Claimed], control_answered: &mut bool) -> Part {
        let context = &self.context;
        let unfilterable = is_unfilterable(part);
        if !self.probe(part).await {
            return Part::Failed;
        }
        let control = self.control(part).await;
        let Some(control) = context.or_wait("choosing a control", control).await else { return Part::Failed };
        let control = control.filter(|_| !unfilterable);
        let keys: Vec<String> = part.iter().map(|subject| subject.key.clone()).chain(control.clone()).collect();
        let Some(place) = context.may_export(self.stage()).await else { return Part::Failed };
        let read = subjects::draw(context.database()).await;
        let Some(read) = context.or_wait("drawing a read number", read).await else { return Part::Failed };
        kill::point("number-drawn");
        let began = context.now();
        let answer = if unfilterable {
            drop(place);
            self.search_changes(part, began).await
        } else {
            let answer = context.client.export(&Query::keys(self.kind, &keys)).await;
            drop(place);
            answer
        };
        kill::point("answer-read");
        let page = match answer {
            Ok(page) => page,
            Err(error) => {
                let answered = match self.blame(part, &error, control_answered).await {
                    Ok(answered) => answered,
                    Err(failed) => return failed,
                };
                // Nothing has this key: an absence like that from an empty answer.
                if !(answered && part.len() == 1 && error.status == Some(404)) {
                    return self.failed(part, read, &error).await;
                }
                Page::default()
            }
        };
        match &page.cut {
            Some(cut)
                if cut.class == Class::Full || !*control_answered && self.control_answers(part).await != Some(true) =>
            {
                context.pace.failed(self.stage(), cut);
            }
            _ => context.pace.succeeded(self.stage()),
        }
        let control_answered = *control_answered;
        self.shown(part, Asked { read, began, control, control_answered }, page).await
    }

    /// Records that no filter finds, searched together among what changed since the first of their callbacks.
    async fn search_changes(&self, part: &[Claimed], began: DateTime<Utc>) -> Result<Page, CallError> {
        let context = &self.context;
        let limit = context.shared.settings.export.page_size;
        let mut missing: HashSet<&str> = part.iter().map(|subject| subject.key.as_str()).collect();
        let since = part.iter().filter_map(|subject| subject.waiting_since).min().unwrap_or(began) - SEARCH_OVERLAP;
        let (mut found, mut offset) = (Page::default(), 0);
        for _ in 0..SEARCH_PAGES {
            let Some(_place) = context.may_export(self.stage()).await else { break };
            let query = Query::window(self.kind, Some(since), None, "", offset, limit);
            let page = context.client.export(&query).await?;
            offset += page.frames();
            let ended = page.frames() == 0 || page.cut.as_ref().is_some_and(|cut| cut.class != Class::Full);
            found.records.extend(page.records.into_iter().filter(|record| missing.remove(record.subject.key())));
            if ended || missing.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// Judges what was shown, and writes it.
    pub(super) async fn shown(&self, part: &[Claimed], asked: Asked, page: Page) -> Part {
        let context = &self.context;
        let Asked { read, began, control, control_answered } = asked;
        debug!(tenant = %context.tenant, kind = %self.kind, asked = part.len(), records = page.records.len(), "read");
        let mut judgement = Judgement::new(self, part, read, began);
        let left = judgement.judge(page, control.as_deref(), control_answered);
        if let Some(control) = judgement.unseen_control(control) {
            // It is to be read itself, and not to be chosen again.
            let wanted = subjects::want(context.database(), &context.tenant, self.kind, &control, context.now());
            if context.or_wait("asking for the control", wanted.await).await.is_none() {
                return Part::Failed;
            }
        }
        match self.settled(judgement).await {
            false => Part::Failed,
            true if left.is_empty() => Part::Done,
            true => Part::Again(left),
        }
    }

    /// A call failed as a whole, and that says something about these.
    async fn failed(&self, part: &[Claimed], read: i64, error: &CallError) -> Part {
        let context = &self.context;
        let unfilterable = is_unfilterable(part);
        if part.len() > 1 && !unfilterable {
            debug!(tenant = %context.tenant, error = %error, "asking for fewer subjects at once");
            return Part::Refused(error.clone());
        }
        let mut judgement = Judgement::new(self, part, read, context.now());
        for subject in part {
            judgement.fail(subject, &error.to_string(), None);
        }
        match self.settled(judgement).await {
            false => Part::Failed,
            // The list failed, which says nothing about these.
            true if unfilterable => Part::Done,
            true => Part::Refused(error.clone()),
        }
    }

    /// Settles what was judged; false, after a wait, when it was not written.
    async fn settled(&self, judgement: Judgement<'_>) -> bool {
        match self.settle(judgement).await {
            Err(NotWritten::LeaseLost) => {
                // The worker is about to be ended.
                self.context.stop.draining().await;
                false
            }
            settled => self.context.or_wait("settling", settled).await.is_some(),
        }
    }

    async fn settle(&self, judgement: Judgement<'_>) -> Result<(), NotWritten> {
        let context = &self.context;
        let (settlement, waited) = (judgement.settlement, judgement.waited);
        let (part, read) = (judgement.part, settlement.read);
        let mut written = Written::default();
        let piece = if self.is_behind() { context.shared.courtesy.piece(&context.tenant) } else { usize::MAX };
        for piece in settlement.pieces(piece) {
            self.give_way().await;
            written.add(piece.write(context.database(), &context.lease, context.now()).await?);
        }
        context.wrote();
        self.count(&written, &waited);
        if written.noted > 0 {
            context.noted[self.kind as usize].notify_one();
        }
        if written.unstorable.is_empty() {
            return Ok(());
        }
        let mut refused = Judgement::new(self, part, read, context.now());
        for (key, cause) in &written.unstorable {
            if let Some(subject) = part.iter().find(|subject| subject.key == *key) {
                refused.fail(subject, cause, Some(digest_text(cause)));
            }
        }
        refused.settlement.write(context.database(), &context.lease, context.now()).await?;
        Ok(())
    }

    fn count(&self, written: &Written, waited: &[f64]) {
        if written.held > 0 {
            warn!(
                tenant = %self.context.tenant, kind = %self.kind, held = written.held,
                "removals by absence are held back: more than the guard lets through in 24 h have vanished; check the \
                 count in Cegid, then run `cegid-indexer sweeps confirm`"
            );
        }
        if written.unproven > 0 {
            warn!(
                tenant = %self.context.tenant, kind = %self.kind, held = written.unproven,
                "removals by absence are held back: no other record of the kind is left that could prove them; check in \
                 Cegid that none is there, then run `cegid-indexer sweeps confirm`"
            );
        }
        if written.buried > 0 {
            warn!(
                tenant = %self.context.tenant, kind = %self.kind, subjects = written.buried,
                "reading them failed until worker.retry_horizon was over: they are given up and reported as errors, and stay \
                 as they are in the index until they change; `cegid-indexer ledger` counts them"
            );
        }
        self.context.count_doubts(self.kind, written);
        let metrics = &self.context.shared.metrics;
        let (tenant, kind) = (self.context.tenant.to_string(), self.kind.as_str());
        for (outcome, count) in [
            ("indexed", written.indexed),
            ("same", written.same),
            ("removed", written.removed),
            ("buried", written.buried),
            ("superseded", written.superseded),
        ] {
            if count > 0 {
                metrics.settled.get_or_create(&Outcome { tenant: tenant.clone(), kind, outcome }).inc_by(count as u64);
            }
        }
        let freshness = metrics.freshness.get_or_create(&OfKind { tenant, kind });
        waited.iter().for_each(|seconds| freshness.observe(*seconds));
    }
}
