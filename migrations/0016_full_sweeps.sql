-- Full sweeps of both kinds, the bulk guard's new measure, and frames of lists that could not be read.

-- Candidates are listed by their full sweep from now on; only hidden vacancies are asked for by key in rounds. A round
-- that is over read everyone, as a full sweep does; one under way begins anew.
update sweep set use = 'full', next_key = '',
  started_at = case when finished_at is not null then started_at end,
  read_number = case when finished_at is not null then read_number end
where kind = 'candidate' and use = 'rolling';
alter table sweep
  add column finish_by timestamptz,
  add column unnamed   bigint not null default 0,
  add column stalls    integer not null default 0;
comment on column sweep.use is
  'initial: everything, once; incremental: what was updated; full: every candidate, or every live vacancy; rolling: every hidden vacancy.';
comment on column sweep.finish_by is
  'Full, of candidates: when it must be finished for the bound of rolling_period to hold; permitted hours then give way.';
comment on column sweep.stalls is 'How often in a row its list answered with the first page whatever the offset; 0 once it advances.';
comment on column sweep.unnamed is 'Of the frames that could not be read, those in which no key could be found.';
comment on column sweep.broken is 'Frames that could not be read, each counted once.';

alter table subject add column vanished_at timestamptz;
comment on column subject.vanished_at is
  'When it stopped being searchable without a record that said so: absent, or missing from two lists. Counts for the bulk guard.';
update subject set vanished_at = removed_at where removed_cause = 'absence' and removed_at > now() - interval '2 days';
drop index subject_removed_lately;
create index subject_vanished on subject (tenant, kind, vanished_at) where vanished_at is not null;
comment on index subject_vanished is 'Counts what vanished lately for the bulk guard.';

create table unreadable (
  tenant     text not null,
  kind       text not null,
  digest     bytea not null,
  named      boolean not null,
  served     boolean not null,
  cause      text not null,
  since      timestamptz,
  until      timestamptz,
  also       text not null,
  place      integer not null,
  first_at   timestamptz not null,
  last_at    timestamptz not null,
  looks      integer not null default 0,
  due_at     timestamptz not null,
  constraint unreadable_pkey primary key (tenant, kind, digest),
  constraint unreadable_kind check (kind in ('vacancy', 'candidate')),
  constraint unreadable_looks check (looks >= 0)
);
comment on table unreadable is 'Frames of lists that could not be read, until the list no longer shows them.';
comment on column unreadable.tenant is 'Name of the tenant in the settings.';
comment on column unreadable.kind is 'vacancy or candidate: which export listed it.';
comment on column unreadable.digest is 'SHA-256 of the frame; of its place in the list where Cegid did not serve it.';
comment on column unreadable.named is 'Whether a key could be found in it: its subject is then read by key as well.';
comment on column unreadable.served is 'Whether Cegid served it; otherwise it answers with an error in its place.';
comment on column unreadable.cause is 'What was wrong; no personal data.';
comment on column unreadable.since is 'Start of the list''s window in update dates; null for open-ended.';
comment on column unreadable.until is 'End of the window, not included; null for open-ended.';
comment on column unreadable.also is 'The list''s further filter; empty for none.';
comment on column unreadable.place is 'Items of the list before it when it was last seen.';
comment on column unreadable.first_at is 'When a list first showed it.';
comment on column unreadable.last_at is 'When a list last showed it.';
comment on column unreadable.looks is 'How often its place was read again.';
comment on column unreadable.due_at is 'When its place is read again.';
create index unreadable_due on unreadable (tenant, kind, due_at);
comment on index unreadable_due is 'Finds what is to be read again.';
