-- Numbers that would go backwards are noticed: after a failover, a restore, or by hand.

create function server_identity() returns text
  language plpgsql stable as $$
declare
  system text := '?';
  timeline text := '?';
begin
  if pg_is_in_recovery() then
    return null;
  end if;
  -- A managed server may refuse either.
  begin
    system := (select system_identifier from pg_control_system())::text;
  exception when others then null;
  end;
  -- Not that of pg_control_checkpoint(), which a promotion changes minutes later.
  begin
    timeline := left(pg_walfile_name(pg_current_wal_lsn()), 8);
  exception when others then null;
  end;
  return system || '/' || timeline || '/' || 'request_number'::regclass::oid;
end
$$;
comment on function server_identity is
  'System identifier, timeline and the sequence''s own oid: a failover changes the second, a restore the first or the last. Null on a standby.';

create function numbers_hold(server text, highest bigint) returns boolean
  language sql stable
  return coalesce(server_identity() = server, false) and (select last_value >= highest from request_number);
comment on function numbers_hold is
  'Whether this is the server that the caller has verified, and its sequence has not fallen behind a number that the caller knows. Statements that append, draw or settle ask it.';

create table request_number_state (
  single boolean not null default true,
  server text not null,
  constraint request_number_state_pkey primary key (single),
  constraint request_number_state_single check (single)
);
comment on table request_number_state is 'One row: for which server the sequence was last verified; locked while it is.';
comment on column request_number_state.single is 'Always true.';
comment on column request_number_state.server is 'server_identity() at that time.';
insert into request_number_state (server) values (coalesce(server_identity(), ''));
