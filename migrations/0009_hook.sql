-- One row per registration: what is to be registered is written before the call, and what is to be deleted at Cegid
-- stays until it is. Beside it, what is wanted of the hooks of a tenant, and who deals with them.

alter table hook
  drop constraint hook_pkey,
  drop constraint hook_registered,
  drop constraint hook_refused,
  drop constraint hook_answered,
  add column id            bigint generated always as identity,
  add column state         text,
  add column unanswered_at timestamptz,
  add column leaving_at    timestamptz;

-- An event that was refused after it had been registered is still registered.
update hook set
  state = case when hook_id is null then 'refused' else 'registered' end,
  refused = case when hook_id is null then refused end,
  refused_at = case when hook_id is null then refused_at end;

alter table hook
  alter column state set not null,
  add constraint hook_pkey primary key (id),
  add constraint hook_state check (state in ('intended', 'registered', 'leaving', 'refused')),
  add constraint hook_registered check ((state in ('registered', 'leaving')) = (registered_at is not null)),
  add constraint hook_answered check ((hook_id is null) = (registered_at is null)),
  add constraint hook_leaving check ((state = 'leaving') = (leaving_at is not null)),
  add constraint hook_refused check ((refused is null) = (refused_at is null)),
  add constraint hook_refused_state check (case state
    when 'refused' then refused is not null
    when 'leaving' then true
    else refused is null end);
comment on table hook is
  'No list of hooks can be had from Cegid: this table is the register. A row is one registration.';
comment on column hook.id is 'Order in which they were wanted.';
comment on column hook.event is 'The event it is registered for.';
comment on column hook.state is
  'intended: to be registered, and perhaps asked for; registered: Cegid holds it; leaving: to be deleted at Cegid; refused: Cegid does not take it.';
comment on column hook.registered_at is 'When Cegid answered with the id; kept when it is leaving.';
comment on column hook.unanswered_at is
  'Set before Cegid is called and cleared when it answers: a call since then may have left a registration there that nobody knows the id of.';
comment on column hook.leaving_at is 'When it was found to be in excess.';
comment on column hook.refused_at is 'When Cegid last refused to register it, or to delete it when it is leaving.';
comment on column hook.refused is 'What it said.';

create unique index hook_current on hook (tenant, event, callback_url, ping_url) where state <> 'leaving';
comment on index hook_current is 'One registration of an event with the same addresses, beside those that are to be deleted.';

create table hook_tenant (
  tenant           text not null,
  claimed_by       uuid,
  claimed_until    timestamptz,
  withdrawn_at     timestamptz,
  withdrawn_events text[] not null default '{}',
  repaired_at      timestamptz,
  heard_at         timestamptz,
  heard_until      timestamptz,
  constraint hook_tenant_pkey primary key (tenant),
  constraint hook_tenant_claimed check ((claimed_by is null) = (claimed_until is null)),
  constraint hook_tenant_heard check (heard_at is null or heard_until is not null)
);
comment on table hook_tenant is 'What is wanted of the hooks of a tenant beyond the settings, and who deals with them now.';
comment on column hook_tenant.tenant is 'Name of the tenant in the settings.';
comment on column hook_tenant.claimed_by is
  'Who takes a step now: the service, whose lease decides which replica, is 0; a command draws its own.';
comment on column hook_tenant.claimed_until is 'Nobody else takes a step before; longer than a call can last.';
comment on column hook_tenant.withdrawn_at is
  'Set by an operator: all hooks are to be gone and none is registered, until the wish is lifted.';
comment on column hook_tenant.withdrawn_events is 'The same for single events.';
comment on column hook_tenant.repaired_at is 'When all hooks were last deleted and registered again because they seemed lost.';
comment on column hook_tenant.heard_at is 'When the newest event from the tenant was received, as far as was looked.';
comment on column hook_tenant.heard_until is 'Up to when deliveries were looked at for it.';
