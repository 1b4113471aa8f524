-- A removal that is held because no other record of the kind was left to prove it ends as soon as there is one.
alter table subject add column held_unproven boolean not null default false;
comment on column subject.held_unproven is
  'held_at is set because no control was left, not by the bulk guard: a read that shows a control ends it.';
