-- People of whom a record shows a sign of anonymisation in a form that is not known.

alter table subject add column unclear_since timestamptz;
comment on column subject.unclear_since is
  'When a read first showed isAnonymized in a form that is neither yes nor no; hidden until a read shows one of them.';
alter table subject add constraint subject_unclear check (unclear_since is null or state <> 'live');
comment on column subject.removed_cause is 'absence, anonymised, unclear (isAnonymized in no known form, read twice) or erased.';
comment on column document.searchable is
  'False for a vacancy whose status is not live or was never readable, and while it is unclear whether a person is anonymised.';
comment on column document.status is 'Client code of the status; of a vacancy the last one that could be read, null when none ever could.';
