-- People who asked to be erased: known by a salted hash of their id alone.

create table erasure_salt (
  single boolean primary key default true,
  salt   bytea not null,
  constraint erasure_salt_single check (single)
);
comment on table erasure_salt is 'One row: without it the hashes cannot be compared with anything.';
comment on column erasure_salt.single is 'Always true.';
comment on column erasure_salt.salt is 'Random, drawn once.';
insert into erasure_salt (salt)
  select sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8'));

create function key_hash(tenant text, kind text, key text) returns text
  language sql stable parallel safe
  return (select 'erased:' || encode(sha256(salt || convert_to(tenant || '/' || kind || '/' || key, 'UTF8')), 'hex')
          from erasure_salt);
comment on function key_hash is 'What stands in the place of the key of someone who was erased.';

create table erasure (
  tenant    text not null,
  kind      text not null,
  hash      text not null,
  erased_at timestamptz not null,
  reason    text not null,
  lifted_at timestamptz,
  constraint erasure_pkey primary key (tenant, kind, hash),
  constraint erasure_kind check (kind in ('vacancy', 'candidate'))
);
comment on table erasure is 'An erasure holds until it is lifted: nothing about the subject is fetched or stored.';
comment on column erasure.tenant is 'Name of the tenant in the settings.';
comment on column erasure.kind is 'vacancy or candidate.';
comment on column erasure.hash is 'key_hash of the key; the key itself is not kept.';
comment on column erasure.erased_at is 'When it was last asked for.';
comment on column erasure.reason is 'What the operator gave as the reason; no personal data belongs there.';
comment on column erasure.lifted_at is 'When the erasure was lifted; null while it holds.';
