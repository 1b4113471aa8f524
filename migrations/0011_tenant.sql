-- Which replicas run, and what people have decided about each tenant.

create table replica (
  id         uuid not null,
  seen_until timestamptz not null,
  constraint replica_pkey primary key (id)
);
comment on table replica is 'One row per replica that runs: they share the tenants evenly.';
comment on column replica.id is 'Drawn at its start; the holder of its leases.';
comment on column replica.seen_until is 'It counts as running until then; renewed like a lease.';

alter table tenant_lease add column taken bigint not null default 0;
comment on column tenant_lease.taken is 'How often it was taken: each worker asks Cegid for a token of its own.';

create table tenant_state (
  tenant            text not null,
  paused_fetch_at   timestamptz,
  paused_report_at  timestamptz,
  pause_reason      text,
  disconnected_at   timestamptz,
  purge_after       timestamptz,
  unhooked_at       timestamptz,
  purged_at         timestamptz,
  auth_failed_since timestamptz,
  auth_says         text,
  constraint tenant_state_pkey primary key (tenant),
  constraint tenant_state_reason check
    (pause_reason is null or paused_fetch_at is not null or paused_report_at is not null),
  constraint tenant_state_purge check ((disconnected_at is null) = (purge_after is null)),
  constraint tenant_state_unhooked check (unhooked_at is null or disconnected_at is not null),
  constraint tenant_state_purged check (purged_at is null or disconnected_at is not null),
  constraint tenant_state_auth check ((auth_failed_since is null) = (auth_says is null))
);
comment on table tenant_state is 'What differs from a tenant that is worked and well; the settings define the tenants.';
comment on column tenant_state.tenant is 'Name of the tenant in the settings.';
comment on column tenant_state.paused_fetch_at is 'Since when nothing is read from Cegid, by an operator; null when it is.';
comment on column tenant_state.paused_report_at is 'Since when nothing is reported to Cegid, by an operator; null when it is.';
comment on column tenant_state.pause_reason is 'What the operator gave as the reason of the last pause.';
comment on column tenant_state.disconnected_at is 'Since when its callbacks are refused, by an operator; null while it is connected.';
comment on column tenant_state.purge_after is 'When everything that is held of it is deleted.';
comment on column tenant_state.unhooked_at is 'When the last of its hooks was unregistered.';
comment on column tenant_state.purged_at is 'When everything was deleted; this row stays, so that it is not begun anew.';
comment on column tenant_state.auth_failed_since is 'Since when Cegid refuses the credentials; null while it accepts them.';
comment on column tenant_state.auth_says is 'What it said, and what to do.';
