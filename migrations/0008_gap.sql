-- What sweeps found that no callback announced.

create table gap_count (
  tenant text not null,
  kind   text not null,
  hour   timestamptz not null,
  count  bigint not null,
  constraint gap_count_pkey primary key (tenant, kind, hour),
  constraint gap_count_kind check (kind in ('vacancy', 'candidate'))
);
comment on table gap_count is 'Differences that a sweep found and no delivery announced, by the hour in which they were counted.';
comment on column gap_count.tenant is 'Name of the tenant in the settings.';
comment on column gap_count.kind is 'vacancy or candidate.';
comment on column gap_count.hour is 'Start of the hour.';
comment on column gap_count.count is 'How many.';
