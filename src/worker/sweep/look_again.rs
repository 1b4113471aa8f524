//! Places of lists that could not be read are read again, soon at first and then less often.

use std::time::Duration;

use tracing::info;

use super::{super::settlement::NotWritten, Sweeper, walk::NoPage};
use crate::{
    tenancy::fence,
    unreadable::{self, Look, Place},
};

/// Before a place is read a second time; four times longer before each further one, up to the limit.
const FIRST_PAUSE: Duration = Duration::from_secs(240);
const PAUSE_LIMIT: Duration = Duration::from_secs(3600);
/// Empty answers that are needed before what was there counts as gone: one may be an error.
const EMPTY_ANSWERS: u32 = 2;

/// Delay before a place is read again, by the number of readings so far.
fn pause_after(looks: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(4_u32.saturating_pow(looks.min(10))).min(PAUSE_LIMIT)
}

impl Sweeper {
    /// Reads a page from the place that has been due for the longest time; false when none is due.
    pub(super) async fn look_again(&self) -> sqlx::Result<bool> {
        let context = &self.context;
        let (database, tenant, kind) = (context.database(), &context.tenant, self.kind);
        let Some(place) = unreadable::next_due(database, tenant, kind, context.now()).await? else {
            return Ok(false);
        };
        match self.read_place(&place).await {
            Ok(()) => Ok(true),
            Err(NotWritten::Database(error)) => Err(error),
            Err(NotWritten::LeaseLost) => {
                // The worker is about to be ended.
                context.stop.draining().await;
                Ok(true)
            }
        }
    }

    async fn read_place(&self, place: &Place) -> Result<(), NotWritten> {
        let context = &self.context;
        let (database, tenant, kind) = (context.database(), &context.tenant, self.kind);
        // A page fails as a whole for one record that is not served: every other time the place is asked for alone.
        let alone = !place.served || place.looks % 2 == 1;
        let size = if alone { 1 } else { context.shared.settings.export.page_size };
        let due_at = context.now() + pause_after(place.looks);
        let answer = self.call(&place.list, place.place, size).await?;
        let mut look = Look { list: &place.list, from: place.place, to: place.place.saturating_add(1), due_at };
        let read = match answer {
            Ok(read) if read.page.frames() > 0 || place.looks >= EMPTY_ANSWERS => read,
            Ok(_) | Err(NoPage::Failed(_) | NoPage::ItemFailed(_)) => {
                return Ok(unreadable::put_off(database, tenant, kind, &look).await?);
            }
            Err(NoPage::Draining) => return Ok(()),
        };
        look.to = read.end().max(look.to);
        let still = read.unreadable(&place.list);
        self.remember(&place.list, &still).await?;
        self.settle(read).await?;
        let noting = async {
            let mut tx = fence(database, &context.lease).await?.ok_or(NotWritten::LeaseLost)?;
            let gone = unreadable::looked(&mut tx, tenant, kind, &look, &still).await?;
            tx.commit().await?;
            Ok::<_, NotWritten>(gone)
        };
        let gone = database.in_time(noting).await?;
        if gone > 0 {
            info!(%tenant, %kind, records = gone, "places of a list that could not be read can be read now, or are gone");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_again_after_minutes_and_in_the_end_once_an_hour() {
        let pauses: Vec<u64> = (0..5).map(|looks| pause_after(looks).as_secs() / 60).collect();
        assert_eq!(pauses, [4, 16, 60, 60, 60]);
        assert_eq!(pause_after(u32::MAX), PAUSE_LIMIT);
    }
}
