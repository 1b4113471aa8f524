//! The one path that refreshes a subject, whoever asked for it.
//!
//! Due subjects of one kind are claimed together and asked for in one export call; what the call shows is settled in
//! one transaction. What is missing from the answer is judged by [`super::refresh::judge`]'s rules: an absence counts
//! only from an answer read to its clean end, and removes nothing before a second one has confirmed it.

mod due;
mod front;
mod judge;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use chrono::{DateTime, Utc};
use tracing::{debug, warn};

use super::{
    Context,
    halving::Parts,
    settlement::{NotWritten, Written},
};
use crate::{
    cegid::{CallError, Class, Page, Query, Stage, digest_text, is_awkward},
    domain::Kind,
    kill,
    metrics::{OfKind, Outcome},
    subjects::{self, Claimed},
};
pub(super) use front::Front;
use judge::Judgement;

/// Refused queries with nothing answered after which the endpoint is taken to refuse everything: halving 100 subjects
/// down to one takes seven, and the largest of the other parts are then tried.
const MAX_REFUSED_QUERIES: u32 = 16;

/// Refreshes subjects of one kind until the worker drains.
pub(super) async fn run(context: Arc<Context>, kind: Kind) {
    let refresher = Refresher::new(context, kind);
    let most = refresher.context.shared.settings.worker.batch_subjects;
    // Halved while calls fail, so that a subject that provokes the failure is found; doubled while they succeed.
    let mut limit = most;
    let mut front = Front::new();
    while !refresher.context.stop.asked() {
        let mut prompt = None;
        refresher.give_way().await;
        if !refresher.is_behind() {
            refresher.gather().await;
            prompt = Some(refresher.context.shared.courtesy.prompt(&refresher.context.tenant));
        }
        match refresher.claim(most, &mut front).await {
            Ok(claimed) if claimed.is_empty() => {
                refresher.behind.store(false, Ordering::Relaxed);
                drop(prompt);
                refresher.wait(&front).await;
            }
            Ok(claimed) => {
                kill::point("claimed");
                refresher.behind.store(claimed.len() == most, Ordering::Relaxed);
                prompt = prompt.filter(|_| !refresher.is_behind());
                let batch = refresher.batch(claimed, limit);
                let size = batch.len();
                let retries = batch.first().is_some_and(|subject| subject.attempts > 0);
                limit = match refresher.refresh(batch).await {
                    // It says nothing about the others.
                    _ if retries => limit,
                    Round::Well => (limit * 2).min(most),
                    Round::Failed => (size / 2).max(1),
                    Round::Paused => limit,
                };
                drop(prompt);
            }
            Err(error) => refresher.context.after_failure("claiming subjects", &error).await,
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

/// How a batch went.
enum Round {
    Well,
    /// Cegid, or the database, is not well.
    Failed,
    /// Nothing is wrong with what was asked: the tenant is to be left alone for a while.
    Paused,
}

/// A read that was sent.
pub(super) struct Asked {
    /// Its number.
    pub(super) read: i64,
    pub(super) began: DateTime<Utc>,
    pub(super) control: Option<String>,
}

/// Whether to go on after a part of a batch.
pub(super) enum Part {
    Done,
    /// Cegid refused the query: to be asked for again in smaller parts. Of a lone subject this is written.
    Refused(CallError),
    /// These are to be asked for again, in smaller parts.
    Again(Vec<Claimed>),
    /// As [`Round::Failed`].
    Failed,
    /// As [`Round::Paused`].
    Paused,
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

    async fn refresh(&self, batch: Vec<Claimed>) -> Round {
        let mut parts = Parts::new([batch].into_iter());
        while let Some(part) = parts.next() {
            match self.part(&part).await {
                Part::Done => parts.accept(),
                Part::Refused(error) => {
                    // What stands alone has been written.
                    parts.refuse(part);
                    if !parts.accepted() && parts.refused() >= MAX_REFUSED_QUERIES {
                        return self.give_up(&error, parts).await;
                    }
                }
                Part::Again(left) => {
                    parts.accept();
                    parts.halve(left);
                }
                Part::Failed => return Round::Failed,
                Part::Paused => return Round::Paused,
            }
        }
        Round::Well
    }

    /// Not one subject but the endpoint: others are asked for first when it is asked again.
    async fn give_up(&self, error: &CallError, parts: Parts<Claimed>) -> Round {
        let context = &self.context;
        let keys: Vec<String> = parts.rest().into_iter().map(|subject| subject.key).collect();
        context.pace.refused(self.stage(), error, keys.len());
        let deferred = subjects::defer(context.database(), &context.tenant, self.kind, context.now(), &keys).await;
        if let Err(error) = deferred {
            context.after_failure("deferring subjects", &error).await;
        }
        Round::Failed
    }

    async fn part(&self, part: &[Claimed]) -> Part {
        let context = &self.context;
        let control = match self.control(part).await {
            Ok(control) => control,
            Err(error) => {
                context.after_failure("choosing a control", &error).await;
                return Part::Failed;
            }
        };
        let keys: Vec<String> = part.iter().map(|subject| subject.key.clone()).chain(control.clone()).collect();
        let Some(place) = context.may_export(self.stage()).await else { return Part::Failed };
        let read = match subjects::draw(context.database()).await {
            Ok(read) => read,
            Err(error) => {
                context.after_failure("drawing a read number", &error).await;
                return Part::Failed;
            }
        };
        kill::point("number-drawn");
        let began = context.now();
        let answer = context.client.export(&Query::keys(self.kind, &keys)).await;
        drop(place);
        kill::point("answer-read");
        let page = match answer {
            Ok(page) => page,
            // A bar or a colon makes a query that Cegid refuses: nothing is known of the subject, as when a comma makes
            // one that finds nothing.
            Err(error) if error.class == Class::Query && matches!(part, [subject] if is_awkward(&subject.key)) => {
                Page::default()
            }
            Err(error) => return self.failed(part, read, &error).await,
        };
        if let Some(cut) = &page.cut {
            context.pace.failed(self.stage(), cut);
        } else {
            context.pace.succeeded(self.stage());
        }
        self.shown(part, Asked { read, began, control }, page).await
    }

    /// What is asked for beside these, if one of them may have to be removed.
    pub(super) async fn control(&self, part: &[Claimed]) -> sqlx::Result<Option<String>> {
        if !part.iter().any(judge::needs_control) {
            return Ok(None);
        }
        let keys: Vec<String> = part.iter().map(|subject| subject.key.clone()).collect();
        subjects::control(self.context.database(), &self.context.tenant, self.kind, &keys).await
    }

    /// Judges what was shown, and writes it.
    pub(super) async fn shown(&self, part: &[Claimed], asked: Asked, page: Page) -> Part {
        let context = &self.context;
        let Asked { read, began, control } = asked;
        debug!(tenant = %context.tenant, kind = %self.kind, asked = part.len(), records = page.records.len(), "read");
        let mut judgement = Judgement::new(self, part, read, began);
        let left = judgement.judge(page, control.as_deref());
        if let Some(control) = judgement.unseen_control(control) {
            // It is to be read itself, and not to be chosen again.
            let wanted = subjects::want(context.database(), &context.tenant, self.kind, &control, context.now());
            if let Err(error) = wanted.await {
                context.after_failure("asking for the control", &error).await;
                return Part::Failed;
            }
        }
        if let Err(error) = judgement.find_awkward().await {
            return self.failed(part, read, &error).await;
        }
        match self.settle(judgement).await {
            Ok(()) if left.is_empty() => Part::Done,
            Ok(()) => Part::Again(left),
            Err(NotWritten::LeaseLost) => {
                // The worker is about to be ended.
                context.stop.draining().await;
                Part::Failed
            }
            Err(NotWritten::Database(error)) => {
                context.after_failure("settling", &error).await;
                Part::Failed
            }
        }
    }

    /// A call failed as a whole.
    async fn failed(&self, part: &[Claimed], read: i64, error: &CallError) -> Part {
        let context = &self.context;
        match error.class {
            Class::Query if part.len() > 1 => {
                debug!(tenant = %context.tenant, error = %error, "asking for fewer subjects at once");
                return Part::Refused(error.clone());
            }
            // Nothing is wrong with the subjects.
            Class::Throttled | Class::Credentials | Class::Forbidden => {
                context.pace.failed(self.stage(), error);
                return Part::Paused;
            }
            Class::Query | Class::Full => {}
            Class::Transient | Class::Unexpected => {
                context.pace.failed(self.stage(), error);
                if part.len() > 1 {
                    return Part::Failed;
                }
            }
        }
        let mut judgement = Judgement::new(self, part, read, context.now());
        for subject in part {
            judgement.fail(subject, &error.to_string(), None);
        }
        match self.settle(judgement).await {
            Ok(()) if error.class == Class::Query => Part::Refused(error.clone()),
            Ok(()) => Part::Failed,
            Err(error) => {
                context.after_failure("settling", &error).await;
                Part::Failed
            }
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
