-- Which replica works a tenant.

create table tenant_lease (
  tenant     text primary key,
  holder     uuid not null,
  token      bigint not null,
  held_until timestamptz not null,
  constraint tenant_lease_token unique (tenant, token)
);
comment on constraint tenant_lease_token on tenant_lease is
  'Makes the token part of a key, so that a take-over waits for a settling transaction''s key share.';
comment on table tenant_lease is 'A settling transaction begins by locking the row for key share under its token.';
comment on column tenant_lease.tenant is 'Name of the tenant in the settings.';
comment on column tenant_lease.holder is 'The replica; drawn at its start.';
comment on column tenant_lease.token is 'Fencing token: raised at every take-over, never reused.';
comment on column tenant_lease.held_until is 'The lease ends here unless it is renewed.';
