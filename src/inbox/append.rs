//! The statement that makes callbacks durable.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::budget::Turns;
use crate::{database::Numbers, intake::VerifiedCallback};

/// Reason of a delivery whose data the database refused.
const UNSTORABLE: &str = "unstorable";

/// Appends one row per event and raises the subjects that the events name, in one statement. Gives how many of each
/// tenant's were never read: each of these is due in its turn, which naming it again does not bring forward.
///
/// Keys are raised in order, as everywhere, so that two writers cannot deadlock. Raising brings a dead subject back, and
/// does not shorten a back-off that is running.
///
/// None, and nothing is appended, on a database whose numbers have gone back: they are to be repaired first.
pub(super) async fn append(
    connection: impl PgExecutor<'_>,
    numbers: &Numbers,
    turns: &Turns,
    callbacks: &[&VerifiedCallback],
    bare: bool,
) -> sqlx::Result<Option<Vec<(String, i64)>>> {
    let rows = callbacks.iter().map(|callback| callback.events().len()).sum();
    let mut tenants: Vec<&str> = Vec::with_capacity(rows);
    let mut requests: Vec<Uuid> = Vec::with_capacity(rows);
    let mut received: Vec<DateTime<Utc>> = Vec::with_capacity(rows);
    let mut events: Vec<&str> = Vec::with_capacity(rows);
    let mut kinds: Vec<Option<&str>> = Vec::with_capacity(rows);
    let mut keys: Vec<Option<&str>> = Vec::with_capacity(rows);
    let mut dates: Vec<Option<DateTime<Utc>>> = Vec::with_capacity(rows);
    let mut ignored: Vec<Option<&str>> = Vec::with_capacity(rows);
    let mut bodies: Vec<&[u8]> = Vec::with_capacity(rows);
    for callback in callbacks {
        for event in callback.events() {
            let subject = event.raised().filter(|_| !bare);
            tenants.push(callback.tenant().as_str());
            requests.push(callback.request_id());
            received.push(callback.received_at());
            events.push(if bare { "" } else { event.event() });
            kinds.push(subject.map(|subject| subject.kind().as_str()));
            keys.push(subject.map(|subject| subject.key()));
            dates.push(event.event_date().filter(|_| !bare));
            ignored.push(if bare { Some(UNSTORABLE) } else { event.ignored() });
            bodies.push(event.body());
        }
    }
    let rows = sqlx::query!(
        r#"
        with appended as (
          insert into delivery (tenant, request_id, received_at, event, kind, key, event_date, ignored, body)
          select * from unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[],
                               $7::timestamptz[], $8::text[], $9::bytea[])
          where numbers_stand($10, $11)
          returning id, tenant, kind, key, received_at
        ), named as (
          select tenant, kind, key, max(id) as id, min(received_at) as since,
            row_number() over (partition by tenant order by max(id)) as nth
          from appended where key is not null group by tenant, kind, key
        ), raised as (
          -- Due in its turn, unless it is held and was read: then as it was received, which the update takes from
          -- waiting_since.
          insert into subject (tenant, kind, key, wanted, announced, due_at, waiting_since)
          select tenant, kind, key, id, id, greatest(since, turn.after + make_interval(secs => $14::double precision * nth)), since
          from named join unnest($12::text[], $13::timestamptz[]) as turn (tenant, after) using (tenant)
          order by tenant, kind, key
          on conflict (tenant, kind, key) do update set
            wanted = greatest(subject.wanted, excluded.wanted),
            announced = greatest(subject.announced, excluded.announced),
            due_at = case
              when subject.waiting and subject.attempts > 0 then subject.due_at
              else least(case when subject.waiting then subject.due_at end,
                         case subject.state when 'unread' then excluded.due_at else excluded.waiting_since end) end,
            waiting_since = coalesce(subject.waiting_since, excluded.waiting_since),
            attempts = case when subject.dead_at is null then subject.attempts else 0 end,
            failing_since = case when subject.dead_at is null then subject.failing_since end,
            dead_at = null
          returning tenant, state
        )
        select null as tenant, 0::bigint as "unread!", max(id) as id from appended
        union all
        select tenant, count(*), null from raised where state = 'unread' group by tenant
        "#,
        &tenants as _,
        &requests as _,
        &received as _,
        &events as _,
        &kinds as _,
        &keys as _,
        &dates as _,
        &ignored as _,
        &bodies as _,
        numbers.run(),
        numbers.highest(),
        &turns.tenants as _,
        &turns.after as _,
        turns.interval.as_secs_f64(),
    )
    .fetch_all(connection)
    .await?;
    let Some(id) = rows.iter().find_map(|row| row.id) else { return Ok(None) };
    numbers.stored(id);
    Ok(Some(rows.into_iter().filter_map(|row| Some((row.tenant?, row.unread))).collect()))
}
