-- What was turned away, and why; written at most once a second, whatever strangers send.

create table refusal_count (
  minute timestamptz not null,
  tenant text not null,
  reason text not null,
  count  bigint not null,
  constraint refusal_count_pkey primary key (minute, tenant, reason)
);
comment on table refusal_count is 'Refused requests by reason and minute.';
comment on column refusal_count.minute is 'Start of the minute.';
comment on column refusal_count.tenant is 'The configured tenant that the request named; empty when it named none.';
comment on column refusal_count.reason is 'Why it was refused.';
comment on column refusal_count.count is 'How many.';

create table refusal (
  id         bigint generated always as identity primary key,
  refused_at timestamptz not null,
  tenant     text not null,
  reason     text not null,
  method     text not null,
  path       text not null,
  peer       text not null
);
comment on table refusal is 'The last refused requests, without query and without body; only the newest are kept.';
comment on column refusal.id is 'Order of arrival.';
comment on column refusal.refused_at is 'When it was refused.';
comment on column refusal.tenant is 'The configured tenant that the request named; empty when it named none.';
comment on column refusal.reason is 'Why it was refused.';
comment on column refusal.method is 'HTTP method.';
comment on column refusal.path is 'Path without the query, cut.';
comment on column refusal.peer is 'Address of the peer of the connection.';
