//! Shows how Cegid stands to a tenant: a gauge, a sentence in the log that says what to ask for, and the same in the
//! tenant's state, for operators to see.
//!
//! [`Pace`](super::pace::Pace) says that the credentials are refused; why is looked for here. The client secret is also
//! the key of the signatures: when callbacks are refused for their signature since a token was last given, the secret
//! was changed on the other side.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use tracing::{info, warn};

use super::{Context, pace::Condition};
use crate::{
    inbox,
    metrics::{Metrics, Standing},
    refusals,
    tenants::{self, State},
};

/// How often refused callbacks are looked for while the credentials are refused.
const LOOK: Duration = Duration::from_secs(60);
/// How often it is looked whether a token was given, until one was.
const TOKEN_LOOK: Duration = Duration::from_secs(1);
const AGAIN_SOON: &str = "it is tried again in a minute";
/// How far back a callback that verified is looked for: Cegid sends them every quarter of an hour.
const HEARD_WITHIN: TimeDelta = TimeDelta::hours(1);
/// The two labels of everything that is shown.
const SHOWN: [(&str, &str); 4] =
    [("ok", "none"), ("transient", "none"), ("credentials", "refused"), ("credentials", "secret_changed")];

/// Follows the condition until the worker drains.
pub(super) async fn run(context: Arc<Context>) {
    let began = context.now();
    let mut conditions = context.pace.condition();
    let shown = Shown { metrics: context.shared.metrics.clone(), tenant: context.tenant.to_string() };
    // Until something is known, what the worker before has written stands.
    let were_refused = |state: &State| state.auth_failed_since.is_some();
    let were_refused = context.shared.states.borrow().of(&context.tenant).is_some_and(were_refused);
    let mut told = if were_refused { SHOWN[2] } else { SHOWN[0] };
    shown.set(told);
    let mut noted = false;
    while !context.stop.asked() {
        let condition = conditions.borrow_and_update().clone();
        if condition == Condition::Well && context.client.token_given_at().is_none() {
            tokio::select! {
                _ = conditions.changed() => {}
                () = context.pause(TOKEN_LOOK) => {}
                () = tokio::time::sleep(TOKEN_LOOK) => {}
            }
            continue;
        }
        let refused = matches!(condition, Condition::AuthFailed { .. });
        let forged = if refused { callbacks_refused(&context, began).await } else { 0 };
        let labels = labels(&condition, forged);
        if labels != told {
            tell(&context, &condition, forged);
            shown.set(labels);
            told = labels;
            noted = false;
        }
        if !noted {
            noted = note(&context, &condition, forged).await;
        }
        tokio::select! {
            // The sender lives in the context.
            _ = conditions.changed() => {}
            () = context.pause(LOOK), if refused || !noted => {}
            () = context.stop.draining() => {}
        }
    }
}

/// Callbacks of the tenant refused for their signature since a token was last given, and since the last one that was
/// not: anyone can send a wrong signature, and one that verifies shows that the secret is the same.
async fn callbacks_refused(context: &Context, began: DateTime<Utc>) -> i64 {
    let (database, tenant) = (context.database(), &context.tenant);
    let token_given_at = context.client.token_given_at().unwrap_or(began);
    let refused = async {
        let heard = inbox::heard_since(database, tenant, token_given_at.max(context.now() - HEARD_WITHIN)).await?;
        refusals::of_signature(database, tenant, heard.unwrap_or(token_given_at)).await
    };
    match refused.await {
        Ok(refused) => refused,
        Err(error) => {
            let (failures, error) = (&context.shared.failures, crate::database::told(&error));
            failures.failed(Some(&context.tenant), "reading the refused callbacks", AGAIN_SOON, &error);
            0
        }
    }
}

/// Writes whether Cegid accepts the credentials into the tenant's state; false while it is away, or when it could not
/// be written.
async fn note(context: &Context, condition: &Condition, forged: i64) -> bool {
    let (database, tenant) = (context.database(), &context.tenant);
    let written = match condition {
        Condition::AuthFailed { since, .. } => {
            tenants::auth_refused(database, tenant, &sentence(condition, forged), *since).await
        }
        Condition::Well => tenants::auth_accepted(database, tenant).await,
        Condition::Away { .. } => return false,
    };
    if let Err(error) = &written {
        let (failures, error) = (&context.shared.failures, crate::database::told(error));
        failures.failed(Some(tenant), "noting whether Cegid accepts the credentials", AGAIN_SOON, &error);
    }
    written.is_ok()
}

fn labels(condition: &Condition, forged: i64) -> (&'static str, &'static str) {
    match condition {
        Condition::Well => SHOWN[0],
        Condition::Away { .. } => SHOWN[1],
        Condition::AuthFailed { .. } if forged == 0 => SHOWN[2],
        Condition::AuthFailed { .. } => SHOWN[3],
    }
}

/// What is said about a condition: what it is, what it means, and what to do next.
pub(super) fn sentence(condition: &Condition, forged: i64) -> String {
    match condition {
        Condition::Well => "Cegid answers".to_owned(),
        Condition::Away { says, .. } => format!(
            "Cegid is away ({says}): one probe at a time goes out, at most every 5 minutes; callbacks are stored, and \
             work resumes by itself"
        ),
        Condition::AuthFailed { says, .. } if forged == 0 => format!(
            "Cegid refuses the credentials ({says}): ask the tenant's administrator whether the application was \
             disabled or its client secret changed; callbacks are stored, a probe goes out every 5 minutes, and work \
             resumes by itself"
        ),
        Condition::AuthFailed { says, .. } => format!(
            "the client secret was changed at Cegid: it refuses the credentials ({says}), and {forged} callbacks were \
             refused for their signature since it last gave a token; ask the tenant's administrator for the new secret \
             and set it as client_secret, the old one as previous_client_secret; callbacks are refused until then, and \
             what they announced is found by the next sweep"
        ),
    }
}

fn tell(context: &Context, condition: &Condition, forged: i64) {
    let says = sentence(condition, forged);
    match condition {
        Condition::Well => info!(tenant = %context.tenant, "{says}"),
        Condition::Away { since, .. } | Condition::AuthFailed { since, .. } => {
            warn!(tenant = %context.tenant, since = %since.format("%Y-%m-%dT%H:%M:%SZ"), "{says}");
        }
    }
}

/// The gauge of one tenant; it is there while this replica works the tenant.
struct Shown {
    metrics: Arc<Metrics>,
    tenant: String,
}

impl Shown {
    fn labels(&self, (class, reason): (&'static str, &'static str)) -> Standing {
        Standing { tenant: self.tenant.clone(), class, reason }
    }

    fn set(&self, now: (&str, &str)) {
        for shown in SHOWN {
            self.metrics.standing.get_or_create(&self.labels(shown)).set(i64::from(shown == now));
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        for shown in SHOWN {
            self.metrics.standing.remove(&self.labels(shown));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_says_what_to_ask_for() {
        let failed = Condition::AuthFailed { since: DateTime::UNIX_EPOCH, says: "400 invalid_client".into() };
        let says = sentence(&failed, 0);
        assert!(says.contains("400 invalid_client") && says.contains("application was disabled"), "{says}");
        let says = sentence(&failed, 3);
        assert!(says.contains("3 callbacks") && says.contains("the new secret"), "{says}");
        assert!(!says.contains("disabled"), "{says}");
        assert_ne!(labels(&failed, 0), labels(&failed, 3));
    }

    #[test]
    fn everything_that_can_be_is_shown() {
        let away = Condition::Away { since: DateTime::UNIX_EPOCH, says: "503".into() };
        assert_eq!(labels(&away, 9), ("transient", "none"));
        assert_eq!(labels(&Condition::Well, 9), ("ok", "none"));
        assert!(sentence(&away, 0).contains("503"));
    }
}
