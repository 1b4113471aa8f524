//! One step towards the hooks that are wanted: for the service, and for the commands beside it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    cegid::{CallError, Class, Client, Stage},
    clock::Clock,
    database::{Database, told},
    domain::TenantId,
    hooks::{self, Hook, Registration, Step, Wanted, Wish},
    kill,
    lifecycle::Stop,
    telemetry::FailureLog,
};

/// For one step. Longer than a call can last, so that nobody takes a step beside it.
const CLAIM: Duration = Duration::from_secs(90);
/// For one call, with the token that it may need.
const CALL: Duration = Duration::from_secs(75);
/// Before what Cegid answered is written again, when the database did not take it; it doubles.
const AGAIN: Duration = Duration::from_secs(1);
/// Attempts to write it: about half an hour.
const ATTEMPTS: u32 = 36;

/// Deals with the hooks of one tenant.
pub struct Registrar {
    /// The way to PostgreSQL.
    pub database: Database,
    /// The one clock.
    pub clock: Clock,
    /// Whose hooks.
    pub tenant: TenantId,
    /// Speaks to the tenant.
    pub client: Client,
    /// What the settings want.
    pub wanted: Wanted,
    /// Who claims.
    pub holder: Uuid,
    /// Ends the wait for a database that is away.
    pub stop: Stop,
    /// By event, what Cegid said when it last refused it: the hourly attempts are logged when that changes.
    pub refusals: Mutex<HashMap<String, String>>,
}

/// What Cegid answered about a row.
#[derive(Clone, Copy)]
enum Answer<'a> {
    Registered(i64, &'a Registration, &'a str),
    Refused(i64, &'a Registration, &'a str),
    Nothing(i64, &'a Registration),
    Gone(i64),
    Kept(i64, &'a str),
}

/// What came of a step.
#[derive(Debug)]
pub enum Progress {
    /// There is nothing to do now.
    Nothing,
    /// Another deals with the hooks: again in a moment.
    Busy,
    /// It is done.
    Done(Step),
    /// Cegid refuses it, and says why; it is recorded.
    Refused(Step, String),
    /// Cegid is not well, or forbids it.
    Failed(Step, CallError),
}

impl Registrar {
    /// What is to be done under a wish, or will be at another time.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn plan(&self, wish: &Wish, now: DateTime<Utc>) -> sqlx::Result<Vec<Step>> {
        let register = hooks::of_tenant(&self.database, &self.tenant).await?;
        Ok(hooks::plan(&self.wanted.under(wish), &register, now))
    }

    /// Takes the first step of the plan that is due, passes `only` and has not failed before.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub async fn step(
        &self,
        failed: &HashSet<(String, Option<i64>)>,
        only: impl Fn(&Step) -> bool,
    ) -> sqlx::Result<Progress> {
        let claim = hooks::claim(&self.database, &self.tenant, self.holder, self.clock.now(), CLAIM);
        let Some(wish) = claim.await? else { return Ok(Progress::Busy) };
        let progress = async {
            let plan = self.plan(&wish, self.clock.now()).await?;
            match plan.into_iter().find(|step| step.is_due() && only(step) && !failed.contains(&step.key())) {
                Some(step) => self.take(step).await,
                None => Ok(Progress::Nothing),
            }
        };
        let progress = progress.await;
        hooks::release(&self.database, &self.tenant, self.holder).await?;
        progress
    }

    async fn take(&self, step: Step) -> sqlx::Result<Progress> {
        match &step {
            Step::Register(asked) => {
                let result = self.register(asked).await?;
                Ok(self.ended(step, result))
            }
            Step::Unregister(hook) => {
                let result = self.unregister(hook).await?;
                Ok(self.ended(step, result))
            }
            Step::Forget(hook) => {
                hooks::forget(&self.database, hook.id).await?;
                Ok(self.ended(step, Ok(())))
            }
            Step::Keep(_) | Step::Refused(_) | Step::Afterwards(_) => Ok(Progress::Nothing),
        }
    }

    fn ended(&self, step: Step, result: Result<(), CallError>) -> Progress {
        match result {
            Ok(()) => {
                if step.may_leave_orphan() {
                    warn!(
                        tenant = %self.tenant, event = step.event(),
                        "an orphan of this hook may exist at Cegid, whose id is not known: an earlier call for it was \
                         not answered, or without an id; its callbacks come twice and do no harm"
                    );
                }
                Progress::Done(step)
            }
            Err(error) if refuses(&error) => Progress::Refused(step, error.to_string()),
            Err(error) => Progress::Failed(step, error),
        }
    }

    fn is_new_refusal(&self, event: &str, says: &str) -> bool {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.insert(event.to_owned(), says.to_owned()).as_deref() != Some(says)
    }

    async fn register(&self, asked: &Registration) -> sqlx::Result<Result<(), CallError>> {
        let (tenant, event) = (&self.tenant, &asked.event);
        let row = hooks::intend(&self.database, tenant, asked, self.clock.now()).await?;
        kill::point("hook-intended");
        let answer = bounded(self.client.register_hook(event, &asked.callback_url, &asked.ping_url)).await;
        kill::point("hook-answered");
        match &answer {
            Ok(hook_id) => {
                self.written(Answer::Registered(row, asked, hook_id)).await?;
                info!(%tenant, event, "hook registered");
            }
            Err(error) if refuses(error) => {
                let says = error.to_string();
                self.written(Answer::Refused(row, asked, &says)).await?;
                if self.is_new_refusal(event, &says) {
                    warn!(%tenant, event, error = says, "Cegid refuses the hook of this event: it is tried again hourly");
                }
            }
            Err(error) if did_nothing(error) => self.written(Answer::Nothing(row, asked)).await?,
            // It may have registered it: the row says so already.
            Err(_) => {}
        }
        Ok(answer.map(drop))
    }

    async fn unregister(&self, hook: &Hook) -> sqlx::Result<Result<(), CallError>> {
        let (tenant, event) = (&self.tenant, &hook.event);
        hooks::leave(&self.database, hook.id, self.clock.now()).await?;
        kill::point("hook-left");
        let hook_id = hook.hook_id.as_deref().unwrap_or_default();
        let answer = bounded(self.client.delete_hook(hook_id)).await;
        kill::point("hook-deleted");
        match &answer {
            Ok(was_there) => {
                self.written(Answer::Gone(hook.id)).await?;
                info!(%tenant, event, hook_id, was_there, "hook unregistered");
            }
            Err(error) if refuses(error) => {
                let says = error.to_string();
                self.written(Answer::Kept(hook.id, &says)).await?;
                if self.is_new_refusal(event, &says) {
                    warn!(%tenant, event, hook_id, error = says, "Cegid does not delete this hook: it is tried again hourly");
                }
            }
            Err(_) => {}
        }
        Ok(answer.map(drop))
    }

    /// Writes what Cegid answered until it is written: an id that is forgotten would be registered once more.
    async fn written(&self, answer: Answer<'_>) -> sqlx::Result<()> {
        let mut attempt = 0;
        let failures = FailureLog::new("noting what became of a hook", "trying again").of_tenant(&self.tenant);
        loop {
            match self.write(answer).await {
                Err(error) if attempt < ATTEMPTS && !self.stop.asked() => {
                    failures.failed(&told(&error));
                    tokio::select! {
                        // A turned clock stands still.
                        () = tokio::time::sleep(AGAIN * (1 << attempt.min(6))) => {}
                        () = self.stop.draining() => {}
                    }
                    attempt += 1;
                }
                written => {
                    if written.is_ok() {
                        failures.succeeded();
                    }
                    return written;
                }
            }
        }
    }

    async fn write(&self, answer: Answer<'_>) -> sqlx::Result<()> {
        let (database, tenant, now) = (&self.database, &self.tenant, self.clock.now());
        match answer {
            Answer::Registered(row, asked, id) => hooks::registered(database, tenant, (row, asked), id, now).await,
            Answer::Refused(row, asked, says) => hooks::refused(database, (row, asked), says, now).await,
            Answer::Nothing(row, asked) => hooks::unregistered(database, row, asked).await,
            Answer::Gone(row) => hooks::forget(database, row).await,
            Answer::Kept(row, says) => hooks::kept(database, row, says, now).await,
        }
    }
}

/// The answer in time, or none.
async fn bounded<T>(call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => answer,
        Err(_) => Err(CallError::new(Stage::Webhooks, Class::Transient, "no answer in time")),
    }
}

/// Cegid does not take what was asked. Whether it refuses to register an event twice is not known; 409 would say so.
fn refuses(error: &CallError) -> bool {
    error.stage == Stage::Webhooks && (error.class == Class::Query || error.status == Some(409))
}

/// The call did nothing for certain: there was no token for it, or it was turned away.
fn did_nothing(error: &CallError) -> bool {
    error.stage == Stage::Token
        || error.class == Class::Throttled
        || error.status.is_some_and(|status| (300..500).contains(&status))
}
