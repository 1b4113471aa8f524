//! A control: a record that Cegid has shown before, asked for beside others or after a failure.
//!
//! What is not shown is absent only if the control is; what Cegid cannot answer is at fault only if it answers for the
//! control.

use std::sync::atomic::Ordering;

use super::{Part, Refresher, judge};
use crate::{
    cegid::{CallError, Class, Page, Query},
    subjects::{self, Claimed, State},
};

/// Whether Cegid has shown it, and nothing was wrong with it since.
fn can_be_control(subject: &Claimed) -> bool {
    matches!(subject.state, State::Live | State::Hidden)
        && subject.attempts == 0
        && subject.absent_since.is_none()
        && !subject.unfilterable
}

impl Refresher {
    /// What is asked for beside these, if one of them may have to be removed.
    pub(in crate::worker) async fn control(&self, part: &[Claimed]) -> sqlx::Result<Option<String>> {
        if !part.iter().any(judge::needs_control) {
            return Ok(None);
        }
        let keys: Vec<String> = part.iter().map(|subject| subject.key.clone()).collect();
        subjects::control(self.context.database(), &self.context.tenant, self.kind, &keys).await
    }

    /// Whether Cegid shows a record that it has shown before; none when there is no such record. What it refuses or
    /// cannot answer is then wrong with what was asked, and holds up nothing else.
    pub(in crate::worker) async fn control_answers(&self, part: &[Claimed]) -> Option<bool> {
        Some(self.ask_for_control(part).await?.unwrap_or(false))
    }

    /// While the endpoint fails, a control is asked for first: what is due may be what it fails at. False when it still
    /// fails.
    pub(super) async fn probe(&self, part: &[Claimed]) -> bool {
        let pace = &self.context.pace;
        if !pace.is_failing(self.stage()) {
            return true;
        }
        match self.ask_for_control(part).await {
            Some(Err(error)) => {
                pace.control_failed(self.stage(), &error);
                false
            }
            Some(Ok(_)) => {
                pace.succeeded(self.stage());
                true
            }
            None => true,
        }
    }

    /// Whether an answer shows a control; none when there is none.
    async fn ask_for_control(&self, part: &[Claimed]) -> Option<Result<bool, CallError>> {
        let context = &self.context;
        let (database, tenant, kind) = (context.database(), &context.tenant, self.kind);
        let control = self.choose_control(part).await?;
        let place = context.may_export(self.stage()).await?;
        let answer = context.client.export(&Query::keys(kind, std::slice::from_ref(&control))).await;
        drop(place);
        let shows = |page: &Page| page.records.iter().any(|record| record.subject.key() == control);
        let answered = match answer {
            Ok(Page { cut: Some(cut), .. }) => Err(cut),
            Ok(page) => Ok(shows(&page)),
            Err(error) => Err(error),
        };
        if !matches!(answered, Ok(true)) && !part.iter().any(|subject| subject.key == control) {
            // It is to be read itself: if the failure is its own, it is no control any more.
            subjects::want(database, tenant, kind, &control, context.now()).await.ok()?;
        }
        Some(answered)
    }

    /// Picks a known subject to ask for: one that is not in the part, if there is any. Otherwise, as with few records
    /// that are all due at once, one of several in the part, each time another.
    async fn choose_control(&self, part: &[Claimed]) -> Option<String> {
        let context = &self.context;
        let keys: Vec<String> = part.iter().map(|subject| subject.key.clone()).collect();
        let other = subjects::control(context.database(), &context.tenant, self.kind, &keys).await.ok()?;
        if other.is_some() || part.len() == 1 {
            return other;
        }
        let known: Vec<&Claimed> = part.iter().filter(|subject| can_be_control(subject)).collect();
        let nth = self.claims.load(Ordering::Relaxed) as usize % known.len().max(1);
        known.get(nth).map(|subject| subject.key.clone())
    }

    /// Whether a failed call says something about what was asked: where Cegid is not well, it pauses instead. True if a
    /// control was answered.
    pub(super) async fn blame(
        &self,
        part: &[Claimed],
        error: &CallError,
        control_answered: &mut bool,
    ) -> Result<bool, Part> {
        let context = &self.context;
        let mut away = error.class == Class::Throttled || error.stage != self.stage();
        let asks = match error.class {
            _ if away => false,
            Class::Throttled | Class::Full => false,
            Class::Query => error.status == Some(404),
            // A firewall in front of Cegid may refuse a key, whatever the rights are.
            Class::Credentials | Class::Forbidden | Class::Transient | Class::Unexpected => true,
        };
        if asks && !*control_answered {
            let answered = self.control_answers(part).await;
            *control_answered = answered == Some(true);
            away = match error.class {
                Class::Query => false,
                Class::Transient | Class::Unexpected => answered == Some(false),
                _ => answered != Some(true),
            };
        }
        if away {
            context.pace.failed(self.stage(), error);
            return Err(Part::Failed);
        }
        if *control_answered {
            context.pace.succeeded(self.stage());
        }
        Ok(*control_answered)
    }
}
