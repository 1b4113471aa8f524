-- What is to be told to Cegid about each subject.

create table report_item (
  tenant      text not null,
  kind        text not null,
  key         text not null,
  report_id   text not null,
  outcome     text not null,
  messages    text[] not null default '{}',
  item_date   text not null,
  item_update text not null,
  noted       bigint not null,
  reported    bigint not null default 0,
  reported_at timestamptz,
  due_at      timestamptz not null,
  attempts    integer not null default 0,
  last_error  text,
  dead_at     timestamptz,
  constraint report_item_pkey primary key (tenant, kind, key),
  constraint report_item_kind check (kind in ('vacancy', 'candidate')),
  constraint report_item_outcome check (outcome in ('success', 'error')),
  constraint report_item_messages check (outcome = 'error' or messages = '{}'),
  constraint report_item_reported check ((reported > 0) = (reported_at is not null)),
  constraint report_item_dead check (dead_at is null or last_error is not null)
);
comment on table report_item is 'One row per subject: the newest outcome noted, and the newest that Cegid took.';
comment on column report_item.tenant is 'Name of the tenant in the settings.';
comment on column report_item.kind is 'Decides the reportType.';
comment on column report_item.key is 'Vacancy reference or candidate id, verbatim.';
comment on column report_item.report_id is 'The id that the report carries.';
comment on column report_item.outcome is 'success (indexed) or error (failed).';
comment on column report_item.messages is 'Only with error; no personal data.';
comment on column report_item.item_date is 'Creation date of the record.';
comment on column report_item.item_update is 'Last update of the record.';
comment on column report_item.noted is 'The read or the request whose outcome this is.';
comment on column report_item.reported is 'Value of noted in the last report that Cegid took.';
comment on column report_item.reported_at is 'When it took it.';
comment on column report_item.due_at is 'Not to be sent before.';
comment on column report_item.attempts is 'Refusals in a row.';
comment on column report_item.last_error is 'What the last refusal said.';
comment on column report_item.dead_at is 'When it was given up; a newer outcome brings it back.';
create index report_item_due on report_item (tenant, kind, due_at) where noted > reported and dead_at is null;
comment on index report_item_due is 'What is still to be sent.';
