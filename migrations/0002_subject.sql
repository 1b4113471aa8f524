-- One row per vacancy or candidate: the queue, and the tombstone.

create table subject (
  tenant        text not null,
  kind          text not null,
  key           text not null,
  wanted        bigint not null,
  settled       bigint not null default 0,
  state         text not null default 'unread',
  due_at        timestamptz not null,
  waiting_since timestamptz,
  attempts      integer not null default 0,
  failing_since timestamptz,
  last_error    text,
  absent_since  timestamptz,
  returned_at   timestamptz,
  dead_at       timestamptz,
  removed_at    timestamptz,
  removed_cause text,
  waiting       boolean not null generated always as (wanted > settled and dead_at is null) stored,
  constraint subject_pkey primary key (tenant, kind, key),
  constraint subject_kind check (kind in ('vacancy', 'candidate')),
  constraint subject_state check (state in ('unread', 'live', 'hidden', 'removed')),
  constraint subject_removed check ((state = 'removed') = (removed_at is not null)),
  constraint subject_removed_cause check ((removed_at is null) = (removed_cause is null)),
  constraint subject_failing check ((attempts > 0) = (failing_since is not null)),
  constraint subject_dead check (dead_at is null or last_error is not null)
) with (fillfactor = 80);
comment on table subject is 'The queue is the set of rows with wanted > settled that are not dead.';
comment on column subject.tenant is 'Name of the tenant in the settings.';
comment on column subject.kind is 'vacancy or candidate.';
comment on column subject.key is 'Vacancy reference or candidate id, verbatim.';
comment on column subject.wanted is 'Highest request that asked for a refresh: a delivery, a sweep, an operator.';
comment on column subject.settled is 'Number of the newest read whose result is in the index.';
comment on column subject.state is 'unread: never read; live: searchable; hidden: kept, not searchable; removed: tombstone.';
comment on column subject.due_at is 'Not to be fetched before.';
comment on column subject.waiting_since is 'When it went from settled to wanted; null once settled.';
comment on column subject.attempts is 'Failed reads in a row; a throttled or interrupted read does not count.';
comment on column subject.failing_since is 'When the first of these failed; the horizon is counted from it.';
comment on column subject.last_error is 'What the last failed read said; no personal data.';
comment on column subject.absent_since is 'When the first of two absences was read.';
comment on column subject.returned_at is 'When a removed subject was first read as present again.';
comment on column subject.dead_at is 'When it was buried; last_error holds the cause.';
comment on column subject.removed_at is 'When it was removed from the index.';
comment on column subject.waiting is
  'In the queue. A column of its own, so that raising a subject that waits already changes nothing indexed.';
comment on column subject.removed_cause is 'absence, anonymised or erased.';

create index subject_due on subject (tenant, kind, (attempts > 0), due_at) where waiting;
comment on index subject_due is 'The queue: those that never failed first, then by time.';
create index subject_removed_lately on subject (tenant, kind, removed_at) where removed_cause = 'absence';
comment on index subject_removed_lately is 'Counts removals by absence for the bulk guard.';
