//! What has to be done so that the registrations are what is wanted: the rows against the wish, nothing else.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
};

use chrono::{DateTime, TimeDelta, Utc};

use super::{Hook, Registration, State, Wish};

/// Before what Cegid has refused is tried again.
const REFUSED: TimeDelta = TimeDelta::hours(1);

/// What is to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where callbacks go.
    pub callback_url: String,
    /// Where pings go.
    pub ping_url: String,
    /// The events.
    pub events: BTreeSet<String>,
}

impl Wanted {
    /// The same without what operators have withdrawn.
    #[must_use]
    pub fn under(&self, wish: &Wish) -> Wanted {
        let withdrawn = |event: &&String| wish.withdrawn_at.is_some() || wish.withdrawn_events.contains(event);
        let events = self.events.iter().filter(|event| !withdrawn(event)).cloned().collect();
        Wanted { events, ..self.clone() }
    }

    fn has(&self, hook: &Hook) -> bool {
        hook.callback_url == self.callback_url && hook.ping_url == self.ping_url
    }
}

/// One line of a plan. The first that can be taken is taken, and the plan made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Registered as wanted.
    Keep(Hook),
    /// To be registered.
    Register(Registration),
    /// Refused by Cegid not long ago: to be tried again when an hour has passed.
    Refused(Hook),
    /// To be deleted at Cegid.
    Unregister(Hook),
    /// To be deleted at Cegid once the event is registered with the addresses that are wanted.
    Afterwards(Hook),
    /// To be forgotten without a call: Cegid has it not, names it not, or keeps it under the same id.
    Forget(Hook),
}

impl Step {
    /// The event it is about.
    pub fn event(&self) -> &str {
        match self {
            Step::Register(registration) => &registration.event,
            Step::Keep(hook)
            | Step::Refused(hook)
            | Step::Unregister(hook)
            | Step::Afterwards(hook)
            | Step::Forget(hook) => &hook.event,
        }
    }

    /// Whether something can be done now.
    pub fn is_due(&self) -> bool {
        matches!(self, Step::Register(_) | Step::Unregister(_) | Step::Forget(_))
    }

    /// Whether Cegid may hold a registration afterwards that nobody knows the id of: an earlier call for it was not
    /// answered, or was answered without an id. Its callbacks come twice and do no harm.
    pub fn may_leave_orphan(&self) -> bool {
        match self {
            Step::Register(registration) => registration.unanswered_at.is_some(),
            Step::Forget(hook) => hook.unanswered_at.is_some() || hook.hook_id.as_deref() == Some(""),
            Step::Keep(_) | Step::Refused(_) | Step::Unregister(_) | Step::Afterwards(_) => false,
        }
    }

    /// Tells the due steps of a plan apart, also from one plan to the next.
    pub fn key(&self) -> (String, Option<i64>) {
        let row = match self {
            Step::Register(_) => None,
            Step::Keep(hook)
            | Step::Refused(hook)
            | Step::Unregister(hook)
            | Step::Afterwards(hook)
            | Step::Forget(hook) => Some(hook.id),
        };
        (self.event().to_owned(), row)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = |hook: &Hook| match hook.hook_id.as_deref() {
            None | Some("") => "without an id".to_owned(),
            Some(id) => id.to_owned(),
        };
        let says = |hook: &Hook| hook.refused.clone().unwrap_or_default();
        match self {
            Step::Keep(hook) => write!(f, "= keep {} ({})", hook.event, id(hook)),
            Step::Register(registration) => write!(f, "+ register {}", registration.event),
            Step::Refused(hook) if hook.state == State::Leaving => {
                write!(f, "! not unregistered {} ({}): {}", hook.event, id(hook), says(hook))
            }
            Step::Refused(hook) => write!(f, "! refused {}: {}", hook.event, says(hook)),
            Step::Unregister(hook) | Step::Afterwards(hook) => write!(f, "- unregister {} ({})", hook.event, id(hook)),
            Step::Forget(hook) => write!(f, "- forget {} ({})", hook.event, id(hook)),
        }
    }
}

/// The plan, event by event. Of one event, what is leaving goes first, and what is superseded last.
pub fn plan(wanted: &Wanted, hooks: &[Hook], now: DateTime<Utc>) -> Vec<Step> {
    let kept = |hook: &Hook| hook.state == State::Registered && wanted.has(hook) && wanted.events.contains(&hook.event);
    let kept_ids: HashSet<&str> =
        hooks.iter().filter(|hook| kept(hook)).filter_map(|hook| hook.hook_id.as_deref()).collect();
    let lately = |hook: &Hook| hook.refused_at.is_some_and(|at| at + REFUSED > now);
    // What Cegid keeps under the same id must not be deleted.
    let unregister = |hook: &Hook| match hook.hook_id.as_deref() {
        None | Some("") => Step::Forget(hook.clone()),
        Some(id) if kept_ids.contains(id) => Step::Forget(hook.clone()),
        Some(_) if lately(hook) => Step::Refused(hook.clone()),
        Some(_) => Step::Unregister(hook.clone()),
    };
    let events: BTreeSet<&String> = wanted.events.iter().chain(hooks.iter().map(|hook| &hook.event)).collect();
    let mut steps = Vec::new();
    for event in events {
        let of_event = || hooks.iter().filter(|hook| hook.event == *event);
        steps.extend(of_event().filter(|hook| hook.state == State::Leaving).map(unregister));
        let current = of_event().find(|hook| hook.state != State::Leaving && wanted.has(hook));
        let is_wanted = wanted.events.contains(event);
        match current {
            _ if !is_wanted => {}
            Some(hook) if hook.state == State::Registered => steps.push(Step::Keep(hook.clone())),
            Some(hook) if lately(hook) => steps.push(Step::Refused(hook.clone())),
            missing => steps.push(Step::Register(Registration {
                event: event.clone(),
                callback_url: wanted.callback_url.clone(),
                ping_url: wanted.ping_url.clone(),
                unanswered_at: missing.and_then(|hook| hook.unanswered_at),
            })),
        }
        let is_kept = current.is_some_and(&kept);
        for hook in of_event().filter(|hook| hook.state != State::Leaving) {
            match hook.state {
                _ if is_wanted && current == Some(hook) => {}
                State::Registered if is_wanted && !is_kept => steps.push(Step::Afterwards(hook.clone())),
                State::Registered => steps.push(unregister(hook)),
                _ => steps.push(Step::Forget(hook.clone())),
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "https://here/events";
    const THERE: &str = "https://there/events";

    fn wanted(events: &[&str]) -> Wanted {
        let events = events.iter().map(|event| (*event).to_owned()).collect();
        Wanted { callback_url: HERE.into(), ping_url: HERE.into(), events }
    }

    fn hook(id: i64, event: &str, state: State, url: &str) -> Hook {
        let registered = matches!(state, State::Registered | State::Leaving);
        Hook {
            id,
            event: event.into(),
            state,
            hook_id: registered.then(|| format!("h{id}")),
            callback_url: url.into(),
            ping_url: url.into(),
            registered_at: registered.then_some(DateTime::UNIX_EPOCH),
            unanswered_at: None,
            leaving_at: None,
            refused_at: (state == State::Refused).then_some(DateTime::UNIX_EPOCH),
            refused: (state == State::Refused).then(|| "no".into()),
        }
    }

    fn lines(wanted: &Wanted, hooks: &[Hook], seconds: i64) -> Vec<String> {
        let now = DateTime::from_timestamp(seconds, 0).unwrap();
        let due = |step: &Step| if step.is_due() { "" } else { "(not now) " };
        plan(wanted, hooks, now).iter().map(|step| format!("{}{step}", due(step))).collect()
    }

    #[test]
    fn what_is_missing_is_registered_and_what_is_held_is_kept() {
        let held = [hook(1, "a", State::Registered, HERE)];
        assert_eq!(lines(&wanted(&["a", "b"]), &held, 0), ["(not now) = keep a (h1)", "+ register b"]);
    }

    #[test]
    fn another_address_is_registered_before_the_old_one_goes() {
        let mut held = vec![hook(1, "a", State::Registered, THERE)];
        assert_eq!(lines(&wanted(&["a"]), &held, 0), ["+ register a", "(not now) - unregister a (h1)"]);
        held.push(hook(2, "a", State::Registered, HERE));
        assert_eq!(lines(&wanted(&["a"]), &held, 0), ["(not now) = keep a (h2)", "- unregister a (h1)"]);
        let mut ping_only = hook(1, "a", State::Registered, HERE);
        ping_only.ping_url = THERE.into();
        assert_eq!(lines(&wanted(&["a"]), &[ping_only], 0)[0], "+ register a");
    }

    #[test]
    fn an_id_that_is_kept_is_never_deleted() {
        let mut held = vec![hook(1, "a", State::Leaving, THERE), hook(2, "a", State::Registered, HERE)];
        held[0].hook_id = held[1].hook_id.clone();
        assert_eq!(lines(&wanted(&["a"]), &held, 0), ["- forget a (h2)", "(not now) = keep a (h2)"]);
        // Neither when the id of another event equals it.
        let mut held = vec![hook(1, "gone", State::Registered, HERE), hook(2, "a", State::Registered, HERE)];
        held[0].hook_id = held[1].hook_id.clone();
        assert_eq!(lines(&wanted(&["a"]), &held, 0), ["(not now) = keep a (h2)", "- forget gone (h2)"]);
    }

    #[test]
    fn an_event_that_is_not_wanted_goes_whatever_its_state() {
        let held = [
            hook(1, "a", State::Registered, HERE),
            hook(2, "b", State::Refused, HERE),
            hook(3, "c", State::Intended, HERE),
            hook(4, "d", State::Registered, THERE),
        ];
        let expected =
            ["- unregister a (h1)", "- forget b (without an id)", "- forget c (without an id)", "- unregister d (h4)"];
        assert_eq!(lines(&wanted(&[]), &held, 0), expected);
    }

    #[test]
    fn what_was_refused_waits_an_hour_and_keeps_the_old_one() {
        let held = [hook(1, "a", State::Registered, THERE), hook(2, "a", State::Refused, HERE)];
        let expected = ["(not now) ! refused a: no", "(not now) - unregister a (h1)"];
        assert_eq!(lines(&wanted(&["a"]), &held, 3599), expected);
        assert_eq!(lines(&wanted(&["a"]), &held, 3600)[0], "+ register a");
    }

    #[test]
    fn what_was_suspected_leaves_before_it_is_registered_again() {
        let held = [hook(1, "a", State::Leaving, HERE), hook(2, "b", State::Leaving, HERE)];
        let expected = ["- unregister a (h1)", "+ register a", "- unregister b (h2)", "+ register b"];
        assert_eq!(lines(&wanted(&["a", "b"]), &held, 0), expected);
    }

    #[test]
    fn what_operators_withdrew_is_not_wanted() {
        let withdrawn = Wish { withdrawn_at: None, withdrawn_events: vec!["a".into()] };
        assert_eq!(wanted(&["a", "b"]).under(&withdrawn), wanted(&["b"]));
        let all = Wish { withdrawn_at: Some(DateTime::UNIX_EPOCH), withdrawn_events: Vec::new() };
        assert_eq!(wanted(&["a", "b"]).under(&all), wanted(&[]));
    }
}
