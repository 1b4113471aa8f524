//! The one path that refreshes a subject, whoever asked for it.
//!
//! Due subjects of one kind are claimed together and asked for in one export call; what the call shows is settled in
//! one transaction. What is missing from the answer is judged by [`super::refresh::judge`]'s rules: an absence counts
//! only from an answer read to its clean end, and removes nothing before a second one has confirmed it.

mod front;
mod judge;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tracing::{debug, warn};

use super::{Context, linger::linger, settlement::NotWritten};
use crate::{
    cegid::{CallError, Class, Page, Query, Stage, encoded_length, is_awkward},
    domain::Kind,
    erasure,
    metrics::{OfKind, Outcome},
    subjects::{self, Claimed, Due},
};
use front::Front;
use judge::Judgement;

/// Refusals of a query in a row, nothing taken, after which it is the endpoint that refuses: halving 100 subjects down
/// to one takes seven.
const REFUSALS: u32 = 8;
/// Bytes of the query that are not keys.
const QUERY_REST: usize = 80;

/// Refreshes subjects of one kind until the worker drains.
pub(super) async fn run(context: Arc<Context>, kind: Kind) {
    let refresher = Refresher { context, kind };
    let most = refresher.context.shared.settings.worker.batch_subjects;
    // Halved while calls fail, so that a subject that provokes the failure is found; doubled while they succeed.
    let mut limit = most;
    // Whether more was due than one call can ask for.
    let mut backlog = false;
    let mut front = Front::new();
    while !refresher.context.stop.asked() {
        if !backlog {
            refresher.gather().await;
        }
        match refresher.claim(most, &mut front).await {
            Ok(claimed) if claimed.is_empty() => {
                backlog = false;
                refresher.wait(&front).await;
            }
            Ok(claimed) => {
                backlog = claimed.len() == most;
                let batch = refresher.batch(claimed, limit);
                let size = batch.len();
                limit = match refresher.refresh(batch).await {
                    Round::Well => (limit * 2).min(most),
                    Round::Failed => (size / 2).max(1),
                    Round::Paused => limit,
                };
            }
            Err(error) => refresher.context.after_failure("claiming subjects", &error).await,
        }
    }
}

struct Refresher {
    context: Arc<Context>,
    kind: Kind,
}

/// How a batch went.
enum Round {
    Well,
    /// Cegid, or the database, is not well.
    Failed,
    /// Nothing is wrong with what was asked: the tenant is to be left alone for a while.
    Paused,
}

/// Whether to go on after a part of a batch.
enum Part {
    Done,
    /// Cegid refused the query: to be asked for again in smaller parts, if there are any.
    Refused(Vec<Vec<Claimed>>, CallError),
    /// To be asked for again, in smaller parts.
    Again(Vec<Vec<Claimed>>),
    /// As [`Round::Failed`].
    Failed,
    /// As [`Round::Paused`].
    Paused,
}

impl Refresher {
    fn stage(&self) -> Stage {
        match self.kind {
            Kind::Vacancy => Stage::Vacancies,
            Kind::Candidate => Stage::Candidates,
        }
    }

    /// Due subjects. Those that were erased are not read: a later callback's trace of them is taken away instead.
    async fn claim(&self, most: usize, front: &mut Front) -> sqlx::Result<Vec<Claimed>> {
        let context = &self.context;
        let (database, tenant, now) = (context.database(), &context.tenant, context.now());
        let due = Due { from: front.claim(now), until: now, most };
        let mut claimed = subjects::claim(database, tenant, self.kind, due).await?;
        if claimed.len() < most {
            front.shown(now, &claimed);
        }
        if claimed.is_empty() {
            return Ok(claimed);
        }
        let keys: Vec<&str> = claimed.iter().map(|subject| subject.key.as_str()).collect();
        let erased = erasure::erased(database.pool(), tenant, self.kind, &keys).await?;
        if !erased.is_empty() {
            erasure::scrub(database, tenant, self.kind, &erased, now).await?;
            claimed.retain(|subject| !erased.contains(&subject.key));
        }
        Ok(claimed)
    }

    /// Waits while a burst goes on, and takes it.
    async fn gather(&self) {
        let queue = &self.context.queues[self.kind as usize];
        while let Some(burst) = queue.burst(self.context.now()) {
            let wait = linger(&burst, &self.context.shared.settings.worker);
            if wait.is_zero() || self.context.stop.asked() {
                break;
            }
            self.context.pause(wait).await;
        }
        queue.take();
    }

    /// Waits until something may be due.
    async fn wait(&self, front: &Front) {
        let context = &self.context;
        let poll = context.shared.settings.worker.poll_interval;
        let due = match self.next_due(front).await {
            Ok(due) => due,
            Err(error) => return context.after_failure("reading the queue", &error).await,
        };
        tokio::select! {
            () = context.queues[self.kind as usize].arrived() => {}
            () = context.shared.clock.sleep_until(due.min(context.now() + poll)) => {}
            () = context.stop.draining() => {}
        }
    }

    /// When something is due; what is to be read once more is asked for as its time comes.
    async fn next_due(&self, front: &Front) -> sqlx::Result<DateTime<Utc>> {
        let (context, kind) = (&self.context, self.kind);
        let (database, tenant, now) = (context.database(), &context.tenant, context.now());
        if subjects::want_again(database, tenant, kind, now).await? > 0 {
            return Ok(now);
        }
        let due = subjects::next_due(database, tenant, kind, front.from()).await?.unwrap_or(DateTime::<Utc>::MAX_UTC);
        let confirm = subjects::next_confirm(database, tenant, kind).await?.unwrap_or(DateTime::<Utc>::MAX_UTC);
        Ok(due.min(confirm))
    }

    /// What is asked for in one call: one that failed before, or whose key has no place in a list, alone.
    fn batch(&self, claimed: Vec<Claimed>, limit: usize) -> Vec<Claimed> {
        let alone = |subject: &Claimed| subject.attempts > 0 || is_awkward(&subject.key);
        if claimed.first().is_some_and(alone) {
            return claimed.into_iter().take(1).collect();
        }
        let mut left = self.context.shared.settings.worker.batch_query_bytes.saturating_sub(QUERY_REST);
        // An answer holds 100 records at most, and a control may have to be among them.
        let limit = limit.min(Query::MOST - 1);
        let mut batch = Vec::new();
        for subject in claimed.into_iter().filter(|subject| !alone(subject)).take(limit) {
            let length = encoded_length(&subject.key);
            if length > left && !batch.is_empty() {
                break;
            }
            left = left.saturating_sub(length);
            batch.push(subject);
        }
        batch
    }

    async fn refresh(&self, batch: Vec<Claimed>) -> Round {
        let mut parts = vec![batch];
        let (mut taken, mut refusals) = (false, 0);
        while let Some(part) = parts.pop() {
            match self.part(&part).await {
                Part::Done => taken = true,
                Part::Refused(smaller, error) => {
                    refusals += 1;
                    parts.extend(smaller);
                    if !taken && refusals >= REFUSALS {
                        // Not one subject but the endpoint: nothing more is asked for now.
                        let endpoint = CallError { class: Class::Unexpected, ..error };
                        self.context.pace.failed(self.stage(), &endpoint);
                        return Round::Failed;
                    }
                }
                Part::Again(smaller) => parts.extend(smaller),
                Part::Failed => return Round::Failed,
                Part::Paused => return Round::Paused,
            }
        }
        Round::Well
    }

    async fn part(&self, part: &[Claimed]) -> Part {
        let context = &self.context;
        let mut keys: Vec<String> = part.iter().map(|subject| subject.key.clone()).collect();
        let confirms = part.iter().any(judge::needs_control);
        let control = if confirms {
            match subjects::control(context.database(), &context.tenant, self.kind, &keys).await {
                Ok(control) => control,
                Err(error) => {
                    context.after_failure("choosing a control", &error).await;
                    return Part::Failed;
                }
            }
        } else {
            None
        };
        keys.extend(control.clone());
        let Some(place) = context.may_export(self.stage()).await else { return Part::Failed };
        let read = match subjects::draw(context.database()).await {
            Ok(read) => read,
            Err(error) => {
                context.after_failure("drawing a read number", &error).await;
                return Part::Failed;
            }
        };
        let began = context.now();
        let answer = context.client.export(&Query::keys(self.kind, &keys)).await;
        drop(place);
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
            Ok(()) => Part::Again(halves(left)),
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
                return Part::Refused(halves(part.to_vec()), error.clone());
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
            judgement.fail(subject, &error.to_string());
        }
        match self.settle(judgement).await {
            Ok(()) if error.class == Class::Query => Part::Refused(Vec::new(), error.clone()),
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
        let written = settlement.write(context.database(), &context.lease, context.now()).await?;
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
                refused.fail(subject, cause);
            }
        }
        refused.settlement.write(context.database(), &context.lease, context.now()).await?;
        Ok(())
    }

    fn count(&self, written: &super::settlement::Written, waited: &[f64]) {
        if written.held > 0 {
            warn!(
                tenant = %self.context.tenant, kind = %self.kind, held = written.held,
                "removals by absence are held back: more than the guard lets through in 24 h have vanished; check the \
                 count in Cegid, then run `cegid-indexer sweeps confirm`"
            );
        }
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

/// Two halves, so that what is in the way is found in few calls.
fn halves(mut subjects: Vec<Claimed>) -> Vec<Vec<Claimed>> {
    if subjects.len() < 2 {
        return vec![subjects];
    }
    let half = subjects.split_off(subjects.len() / 2);
    vec![half, subjects]
}
