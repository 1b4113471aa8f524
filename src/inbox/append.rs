//! The statement that makes callbacks durable.

use chrono::{DateTime, Utc};
use sqlx::{Acquire, PgExecutor};
use uuid::Uuid;

use super::budget::Turns;
use crate::{
    database::{Held, Numbers},
    domain::{Subject, TenantId},
    intake::VerifiedCallback,
};

/// Reason of a delivery whose data the database refused.
const UNSTORABLE: &str = "unstorable";

/// How many subjects of each tenant were never read; none when nothing was appended.
pub(super) type Appended = Option<Vec<(String, i64)>>;

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
) -> sqlx::Result<Appended> {
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
          order by tenant collate "C", kind collate "C", key collate "C"
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

/// The subjects that these callbacks name and that another transaction holds locked now. It waits for no row.
pub(super) async fn locked(
    connection: impl PgExecutor<'_>,
    callbacks: &[&VerifiedCallback],
) -> sqlx::Result<Vec<(TenantId, Subject)>> {
    let named: Vec<(&TenantId, &Subject)> = callbacks
        .iter()
        .flat_map(|callback| callback.events().iter().filter_map(|event| Some((callback.tenant(), event.raised()?))))
        .collect();
    let tenants: Vec<&str> = named.iter().map(|(tenant, _)| tenant.as_str()).collect();
    let kinds: Vec<&str> = named.iter().map(|(_, subject)| subject.kind().as_str()).collect();
    let keys: Vec<&str> = named.iter().map(|(_, subject)| subject.key()).collect();
    let locked = sqlx::query_scalar!(
        r#"with named as (
             select * from unnest($1::text[], $2::text[], $3::text[]) with ordinality as named (tenant, kind, key, nth)
           ), free as (
             select s.tenant, s.kind, s.key from subject s
             where (s.tenant, s.kind, s.key) in (select tenant, kind, key from named)
             for no key update skip locked
           )
           select nth as "nth!" from named join subject using (tenant, kind, key)
           where (tenant, kind, key) not in (select tenant, kind, key from free)"#,
        &tenants as _,
        &kinds as _,
        &keys as _,
    )
    .fetch_all(connection)
    .await?;
    let subject = |nth: i64| named.get(usize::try_from(nth).ok()?.checked_sub(1)?);
    Ok(locked
        .into_iter()
        .filter_map(subject)
        .map(|(tenant, subject)| ((*tenant).clone(), (*subject).clone()))
        .collect())
}

/// Does everything that storing a callback does, and keeps nothing of it: whether a commit would succeed now. It would
/// not while the numbers are to be repaired.
pub(super) async fn rehearse(connection: &mut Held, numbers: &Numbers) -> sqlx::Result<bool> {
    let mut transaction = connection.begin().await?;
    let mut attempt = transaction.begin().await?;
    sqlx::query!(
        "insert into delivery (tenant, request_id, received_at, event, ignored, body)
         values ('', '00000000-0000-0000-0000-000000000000', now(), '', 'ping', '')"
    )
    .execute(&mut *attempt)
    .await?;
    attempt.rollback().await?;
    sqlx::query!("lock table subject in row exclusive mode").execute(&mut *transaction).await?;
    // A record of the log that means nothing to anybody: the commit is written and, where it is so set, replicated.
    let stand = sqlx::query_scalar!(
        r#"select numbers_stand($1, $2) as "stand!" from pg_logical_emit_message(true, 'cegid-indexer', 'ready')"#,
        numbers.run(),
        numbers.highest()
    )
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(stand)
}
