//! What the other side saw answered 2xx, against what is stored.

use std::collections::{BTreeMap, BTreeSet};

use cegid_indexer::database::Database;
use cegid_simulator::{Outcome, Sent, Simulator};
use serde_json::value::RawValue;

use super::history;

/// More elements of one array are kept in another cut.
const ELEMENTS: usize = 1000;

/// How often the other side saw a body accepted, may have had it accepted without seeing it, and how often it is stored.
#[derive(Default)]
struct Count {
    accepted: i64,
    unknown: i64,
    stored: i64,
}

/// The bodies of the deliveries that a callback must be stored as.
fn bodies(sent: &Sent) -> Vec<String> {
    let body = sent.body.trim_start_matches('\u{feff}').trim_start();
    match serde_json::from_str::<Vec<&RawValue>>(body) {
        Ok(elements) if elements.len() > ELEMENTS => Vec::new(),
        Ok(elements) if !elements.is_empty() => elements.into_iter().map(|element| element.get().to_owned()).collect(),
        _ => vec![body.to_owned()],
    }
}

/// Whether a test spoke to the service by itself, and not through the simulator alone.
#[derive(Clone, Copy, PartialEq)]
pub enum Others {
    MaySend,
    SendNothing,
}

/// Events that the simulator saw answered 2xx and that are not stored just so and just as often, and events that are
/// stored though nobody sent them to this tenant. Deliveries whose body an erasure took, and those that were deleted
/// when their time was over, may be missing.
pub async fn differences(simulator: &Simulator, database: &Database, tenant: &str, others: Others) -> Vec<String> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let mut announced = BTreeSet::new();
    for sent in simulator.sent().iter().chain(&simulator.sent_raw()) {
        let unknown = match &sent.outcome {
            Outcome::Answered(status) => *status >= 500,
            Outcome::Failed(_) => true,
            Outcome::Dropped | Outcome::Unheard => false,
        };
        for body in bodies(sent).into_iter().filter(|_| unknown || sent.accepted()) {
            if !sent.event.is_empty() && sent.accepted() {
                announced.insert((sent.event.clone(), body.clone()));
            }
            let count = counts.entry(body).or_default();
            count.unknown += i64::from(unknown);
            count.accepted += i64::from(sent.accepted());
        }
    }
    let read = "select event, body, key like 'erased:%' and body = '' as erased from delivery where tenant = $1";
    let rows: Vec<(String, Vec<u8>, Option<bool>)> =
        sqlx::query_as(read).bind(tenant).fetch_all(database.pool()).await.unwrap();
    let mut excused = history::forgotten(database, tenant).await;
    for (event, body, erased) in rows {
        if erased == Some(true) {
            excused += 1;
        } else {
            let body = String::from_utf8_lossy(&body).into_owned();
            announced.remove(&(event, body.clone()));
            counts.entry(body).or_default().stored += 1;
        }
    }
    let mut differences = Vec::new();
    for (body, Count { accepted, unknown, stored }) in counts {
        let missing = (accepted - stored).max(0);
        if missing > excused {
            differences.push(format!("{tenant}: {missing} of {accepted} that were answered 2xx are lost: {body:.200}"));
        }
        excused = (excused - missing).max(0);
        if others == Others::SendNothing && stored > accepted + unknown {
            let never = stored - accepted - unknown;
            differences.push(format!("{tenant}: {never} of {stored} that are stored were never accepted: {body:.200}"));
        }
        if stored > 0 {
            // Another event than was sent.
            let other = announced.iter().filter(|(_, announced)| *announced == body);
            differences.extend(other.map(|(event, body)| format!("{tenant}: not stored as {event}: {body:.200}")));
        }
    }
    differences
}

/// Tenants that rows are of and that there are not.
pub async fn strangers(database: &Database, tenants: &[&str]) -> Vec<String> {
    let named = "
      select format('%s in %s', tenant, origin) from (
        select distinct tenant, 'delivery' as origin from delivery
        union select distinct tenant, 'subject' from subject union select distinct tenant, 'document' from document
        union select distinct tenant, 'report_item' from report_item union select distinct tenant, 'hook' from hook
        union select distinct tenant, 'attachment' from attachment) t
      where tenant <> all($1)";
    sqlx::query_scalar(named).bind(tenants).fetch_all(database.pool()).await.unwrap()
}
