-- What was received, appended once and never updated.

create sequence request_number as bigint cache 1;
comment on sequence request_number is
  'Orders everything: deliveries, requests for a refresh and reads draw from it. CACHE 1, so that a number drawn later is higher in every session.';

create table delivery (
  id          bigint primary key default nextval('request_number'),
  tenant      text not null,
  request_id  uuid not null,
  received_at timestamptz not null,
  event       text not null,
  kind        text,
  key         text,
  event_date  timestamptz,
  ignored     text,
  body        bytea not null,
  constraint delivery_kind check (kind in ('vacancy', 'candidate')),
  constraint delivery_subject check ((kind is null) = (key is null)),
  constraint delivery_accounted check (key is not null or ignored is not null)
);
comment on table delivery is 'One row per event received; its state is derived from its subject.';
comment on column delivery.id is 'The request for a refresh that this delivery makes.';
comment on column delivery.tenant is 'Whose secret verified the request.';
comment on column delivery.request_id is 'The HTTP request it came in; the events of one JSON array share it.';
comment on column delivery.received_at is 'When the request was read to its end, by the service''s clock.';
comment on column delivery.event is 'event_type in the wire''s words; empty when there was none.';
comment on column delivery.kind is 'Kind of the subject that it raised; null when ignored.';
comment on column delivery.key is 'Vacancy reference or candidate id, verbatim; null when ignored.';
comment on column delivery.event_date is 'When Cegid says the change happened; whole seconds.';
comment on column delivery.ignored is 'Why no subject was raised; null when one was.';
comment on column delivery.body is 'The event''s bytes as received.';

create index delivery_received_at on delivery using brin (received_at);
comment on index delivery_received_at is 'Retention and "since" queries read by time; deliveries arrive in its order.';
create index delivery_ping on delivery (tenant, received_at) where ignored = 'ping';
comment on index delivery_ping is 'Finds the last ping of a tenant.';
