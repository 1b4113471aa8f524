-- Recurring sweeps, what they find, and reads that are made once more.

alter table sweep drop constraint sweep_use;
alter table sweep add constraint sweep_use check (use in ('initial', 'incremental', 'full', 'rolling'));
alter table sweep
  add column due_at      timestamptz not null default '-infinity',
  add column asked       boolean not null default false,
  add column read_number bigint,
  add column next_key    text not null default '',
  add column listed_at   timestamptz,
  add column changed     bigint not null default 0,
  add column unseen      bigint not null default 0;
comment on table sweep is
  'One row per window of a walk over an export, or per run of one that recurs; a restart goes on where it stopped.';
comment on column sweep.use is
  'initial: everything, once; incremental: what was updated; full: every live vacancy; rolling: every indexed candidate.';
comment on column sweep.position is 'Of the initial load, order of its windows, newest first, from 0; of the others, number of the run.';
comment on column sweep.finished_at is 'When nothing was left of it.';
comment on column sweep.due_at is 'Not to go on before.';
comment on column sweep.asked is 'An operator asked for it: it waits neither for permitted hours nor for its pace.';
comment on column sweep.read_number is 'Drawn when it began: a subject settled at a higher number was read since.';
comment on column sweep.next_key is 'Rolling: subjects up to this key were asked for.';
comment on column sweep.listed_at is 'Full: when the list was read to its end; what it did not show is then asked for one by one.';
comment on column sweep.changed is 'Records that differed from what the index held.';
comment on column sweep.unseen is 'Subjects asked for by themselves.';
create unique index sweep_one_run on sweep (tenant, kind, use) where finished_at is null and use <> 'initial';
comment on index sweep_one_run is 'One run at a time of a sweep that recurs.';

alter table document add column content bytea;
update document set content = sha256(convert_to(raw, 'UTF8'));
alter table document alter column content set not null;
alter table document add column form integer not null default 0;
comment on column document.content is 'SHA-256 of raw: tells whether a read shows anything new.';
comment on column document.form is 'Version of the mapping that made this document out of raw.';
comment on column document.read_number is 'The read that first showed this content.';

alter table subject
  add column announced   bigint not null default 0,
  add column confirm_at  timestamptz,
  add column confirms    smallint not null default 0,
  add column found       bigint,
  add column found_at    timestamptz,
  add column held_at     timestamptz,
  add column released_at timestamptz;
update subject set announced = wanted where wanted > settled;
alter table subject add constraint subject_found check ((found is null) = (found_at is null));
comment on column subject.announced is 'Highest delivery that named it; above settled, a change is announced that no read has answered.';
comment on column subject.confirm_at is
  'When it is read once more: an announced change that the export did not show, or a removal that may have been an error.';
comment on column subject.confirms is 'How many of these reads were made.';
comment on column subject.found is 'The read in which a sweep found it changed though no delivery had announced it.';
comment on column subject.found_at is 'When; a gap is counted unless a delivery comes within the grace.';
comment on column subject.held_at is 'When its removal was held back by the bulk guard.';
comment on column subject.released_at is 'When an operator confirmed its removal; such a removal does not count for the guard.';
create index subject_confirm on subject (tenant, kind, confirm_at) where confirm_at is not null;
comment on index subject_confirm is 'Finds the reads to be made once more.';
create index subject_found_at on subject (tenant, found_at) where found_at is not null;
comment on index subject_found_at is 'Finds the differences whose grace is over.';
create index subject_held on subject (tenant, kind) where held_at is not null;
comment on index subject_held is 'Finds the removals that wait for a confirmation.';
