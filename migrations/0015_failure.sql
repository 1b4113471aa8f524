-- Failures that several reads give alike, and refusals of report items that prove something.

alter table subject
  add column failure_digest  bytea,
  add column failure_repeats integer not null default 0;
alter table subject add constraint subject_failure check ((failure_repeats > 0) = (failure_digest is not null));
comment on column subject.failure_digest is
  'SHA-256 of what the last failed read could not use; null when the failure says nothing about the record.';
comment on column subject.failure_repeats is 'Failed reads in a row with this digest; from the third on Cegid is told.';
comment on column report_item.attempts is 'Refusals in a row of the item alone, each followed by another item that was accepted.';
