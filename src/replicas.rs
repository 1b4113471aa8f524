//! Table `replica`: which replicas run, so that each knows its share of the tenants.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::database::Database;

/// Where a replica stands among those that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// How many were begun before it.
    pub before: usize,
    /// How many run, itself among them.
    pub live: usize,
}

impl Place {
    /// How many of these tenants are this replica's: the shares of all add up, and differ by one at most. The one
    /// more is the elder's, so that a replica that joins moves as few tenants as can be.
    pub fn share(self, tenants: usize) -> usize {
        let live = self.live.max(1);
        tenants / live + usize::from(self.before < tenants % live)
    }
}

/// Announces the replica until then, and says where it stands. What was announced until `too_late` or later is
/// forgotten: it was written by a clock that has been set back since.
///
/// # Errors
/// When the database cannot be used.
pub async fn announce(
    database: &Database,
    replica: Uuid,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
    too_late: DateTime<Utc>,
) -> sqlx::Result<Place> {
    let row = sqlx::query!(
        r#"
        with announced as (
          insert into replica (id, seen_until) values ($1, $3)
          on conflict (id) do update set seen_until = excluded.seen_until
        ), forgotten as (
          delete from replica where (seen_until <= $2 or seen_until > $4) and id <> $1
        )
        select count(*) filter (where id < $1) as "before!", count(*) as "others!"
        from replica where id <> $1 and seen_until > $2 and seen_until <= $4
        "#,
        replica,
        now,
        until,
        too_late
    )
    .fetch_one(database.vital())
    .await?;
    let count = |rows: i64| usize::try_from(rows).unwrap_or(0);
    Ok(Place { before: count(row.before), live: count(row.others) + 1 })
}

/// The replica ends: the others need not wait for that.
///
/// # Errors
/// When the database cannot be used; the row then runs out by itself.
pub async fn leave(database: &Database, replica: Uuid) -> sqlx::Result<()> {
    sqlx::query!("delete from replica where id = $1", replica).execute(database.vital()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_add_up_and_differ_by_one_at_most() {
        for live in 1..=12 {
            for tenants in 0..=40 {
                let shares: Vec<usize> = (0..live).map(|before| Place { before, live }.share(tenants)).collect();
                assert_eq!(shares.iter().sum::<usize>(), tenants, "{shares:?}");
                let (most, least) = (shares.iter().max().unwrap(), shares.iter().min().unwrap());
                assert!(most - least <= 1, "{shares:?}");
            }
        }
    }
}
