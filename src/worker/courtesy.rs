//! A tenant that is behind gives way to those that are not: a batch of a long queue or a page of a sweep keeps the
//! machine busy for longer than a callback that can be served at once. While others are served it works in small pieces
//! with a rest before each, and waits a little longer when one of them is under way.
//!
//! Plain state of the process, for all its tenants. Wanted: a tenant with ten unsettled subjects is served nearly as
//! soon beside one with 100,000 as alone; who gives way goes on, however busy the others are.

use std::{collections::HashMap, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::domain::TenantId;

/// The longest wait before a piece of work.
const MOST: Duration = Duration::from_millis(50);
/// Before a piece of work beside others, which finds the processors and the disk free for them: a piece takes about as
/// long, so that who is behind keeps half of its pace.
const REST: Duration = Duration::from_millis(10);
/// Documents that are settled at once beside others.
const PIECE: usize = 16;
/// For so long at most others give way to what begins: it may be waiting for Cegid.
const SOON: Duration = Duration::from_secs(1);

/// Knows which tenants are being served without a queue behind it.
#[derive(Debug, Default)]
pub struct Courtesy {
    served: watch::Sender<HashMap<TenantId, Served>>,
}

#[derive(Debug)]
struct Served {
    under_way: usize,
    /// When the last one of them began.
    latest: Instant,
}

/// Something is being served that has no queue behind it.
#[derive(Debug)]
pub struct Prompt<'a> {
    courtesy: &'a Courtesy,
    tenant: &'a TenantId,
}

impl Drop for Prompt<'_> {
    fn drop(&mut self) {
        self.courtesy.served.send_modify(|served| {
            if let Some(own) = served.get_mut(self.tenant) {
                own.under_way -= 1;
            }
        });
    }
}

impl Courtesy {
    /// Others give way until this is dropped.
    pub fn prompt<'a>(&'a self, tenant: &'a TenantId) -> Prompt<'a> {
        let latest = Instant::now();
        self.served.send_modify(|served| {
            served.retain(|_, served| served.under_way > 0 || served.latest.elapsed() < SOON);
            let own = served.entry(tenant.clone()).or_insert(Served { under_way: 0, latest });
            own.under_way += 1;
            own.latest = latest;
        });
        Prompt { courtesy: self, tenant }
    }

    /// Before a piece of work of a tenant that is behind: rests if another that is not was served lately, and waits a
    /// little while one is.
    pub async fn give_way(&self, tenant: &TenantId) {
        let mut served = self.served.subscribe();
        if others(&served.borrow(), tenant).next().is_none() {
            return;
        }
        tokio::time::sleep(REST).await;
        // The sender lives in this, so waiting ends only when nobody is left, or when it has been long enough.
        let gone = served.wait_for(|served| !others(served, tenant).any(|other| other.under_way > 0));
        let _waited = tokio::time::timeout(MOST, gone).await;
    }

    /// How much a tenant that is behind does in one piece: less while others are served beside it.
    pub fn piece(&self, tenant: &TenantId) -> usize {
        let alone = others(&self.served.borrow(), tenant).next().is_none();
        if alone { usize::MAX } else { PIECE }
    }
}

/// What others were served lately.
fn others<'a>(served: &'a HashMap<TenantId, Served>, tenant: &TenantId) -> impl Iterator<Item = &'a Served> {
    served.iter().filter(move |(of, served)| *of != tenant && served.latest.elapsed() < SOON).map(|(_, served)| served)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_behind_waits_a_little_for_those_who_are_not() {
        let [big, small, other] = ["big", "small", "other"].map(|tenant| tenant.parse::<TenantId>().unwrap());
        let courtesy = Courtesy::default();
        let began = Instant::now();
        let own = courtesy.prompt(&big);
        courtesy.give_way(&big).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "it waits for itself");
        drop(own);
        let prompts = (courtesy.prompt(&small), courtesy.prompt(&other));
        courtesy.give_way(&big).await;
        assert_eq!(began.elapsed(), REST + MOST);
        drop(prompts.0);
        tokio::join!(courtesy.give_way(&big), async {
            tokio::time::sleep(REST + MOST / 5).await;
            drop(prompts.1);
        });
        assert_eq!(began.elapsed(), REST * 2 + MOST * 6 / 5);
        courtesy.give_way(&big).await;
        assert_eq!(began.elapsed(), REST * 3 + MOST * 6 / 5, "another may follow");
        assert_eq!(courtesy.piece(&big), PIECE);
        let _waits_for_cegid = courtesy.prompt(&small);
        tokio::time::sleep(SOON).await;
        assert_eq!(courtesy.piece(&big), usize::MAX);
        courtesy.give_way(&big).await;
        assert_eq!(began.elapsed(), SOON + REST * 3 + MOST * 6 / 5, "it waits for who waits for Cegid");
    }
}
