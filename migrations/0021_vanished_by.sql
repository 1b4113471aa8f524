-- What showed that a subject was gone, and what the bulk guard let through then, so that the ledger sees a removal that
-- rests on neither.
alter table subject
  add column vanished_by    text,
  add column vanished_limit bigint;
comment on column subject.vanished_by is
  'What showed it, when it vanished: control, operator, lists or reads; nothing where a rule was broken; null before version 0021.';
comment on column subject.vanished_limit is
  'How many of the kind the bulk guard let vanish in 24 hours then; null before version 0021.';
