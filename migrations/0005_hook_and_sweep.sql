-- Our registrations at Cegid, and the walks over the exports.

create table hook (
  tenant        text not null,
  event         text not null,
  hook_id       text,
  callback_url  text not null,
  ping_url      text not null,
  registered_at timestamptz,
  refused_at    timestamptz,
  refused       text,
  constraint hook_pkey primary key (tenant, event),
  constraint hook_registered check ((hook_id is null) = (registered_at is null)),
  constraint hook_refused check ((refused is null) = (refused_at is null)),
  constraint hook_answered check (hook_id is not null or refused is not null)
);
comment on table hook is 'No list of hooks can be had from Cegid: this table is the register.';
comment on column hook.tenant is 'Name of the tenant in the settings.';
comment on column hook.event is 'The event it is registered for; one registration each.';
comment on column hook.hook_id is 'Cegid''s id of the registration, opaque; needed to delete it; empty when Cegid named none.';
comment on column hook.callback_url is 'The address that was registered.';
comment on column hook.ping_url is 'The ping address that was registered.';
comment on column hook.registered_at is 'When Cegid answered with the id.';
comment on column hook.refused_at is 'When Cegid last refused the event.';
comment on column hook.refused is 'What it said; null when registered.';

create table sweep (
  tenant      text not null,
  kind        text not null,
  use         text not null,
  position    integer not null,
  since       timestamptz,
  until       timestamptz,
  next_offset integer not null default 0,
  records     bigint not null default 0,
  broken      bigint not null default 0,
  started_at  timestamptz,
  finished_at timestamptz,
  constraint sweep_pkey primary key (tenant, kind, use, position),
  constraint sweep_kind check (kind in ('vacancy', 'candidate')),
  constraint sweep_use check (use in ('initial')),
  constraint sweep_order check (finished_at is null or started_at is not null)
);
comment on table sweep is 'One row per window of a walk over an export; a restart goes on where it stopped.';
comment on column sweep.tenant is 'Name of the tenant in the settings.';
comment on column sweep.kind is 'Which export.';
comment on column sweep.use is 'What the walk is for.';
comment on column sweep.position is 'Order of the windows, newest first, from 0.';
comment on column sweep.since is 'Start of the window in update dates; null for open-ended.';
comment on column sweep.until is 'End of the window, not included; null for open-ended.';
comment on column sweep.next_offset is 'Items of the window that are settled.';
comment on column sweep.records is 'Records read.';
comment on column sweep.broken is 'Records that could not be read.';
comment on column sweep.started_at is 'When its first page was asked for.';
comment on column sweep.finished_at is 'When the empty page that ends it was read.';
