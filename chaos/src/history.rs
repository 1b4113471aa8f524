//! What the service wrote and when, kept by the database itself in tables of the suite's own.
//!
//! The triggers write in the service's transactions: what is in the history was committed, in the order of `n` for one
//! subject.

/// Made once the schema is there. A clock is wrong when it differs from the database's by more than a process is ever
/// frozen, and less than machines are set wrong by.
pub const TABLES: &str = r#"
create schema chaos;

create table chaos.document (
  n bigserial primary key, at timestamptz not null default clock_timestamp(), tenant text not null, kind text not null,
  key text not null, gone boolean not null, read_number bigint not null, title text not null
);
create table chaos.settled (
  n bigserial primary key, at timestamptz not null default clock_timestamp(), tenant text not null, kind text not null,
  key text not null, before bigint not null, settled bigint not null
);
create table chaos.attempt (
  n bigserial primary key, at timestamptz not null default clock_timestamp(), tenant text not null, kind text not null,
  key text not null, attempts int not null, says text
);
create table chaos.lease (
  n bigserial primary key, at timestamptz not null default clock_timestamp(), tenant text not null,
  holder uuid not null, before uuid, token bigint not null, token_before bigint
);
create table chaos.wrong_time (n bigserial primary key, what text not null, by interval not null);
create table chaos.report_back (n bigserial primary key, tenant text not null, key text not null);

create function chaos.on_document() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' then
    insert into chaos.document (tenant, kind, key, gone, read_number, title)
    values (old.tenant, old.kind, old.key, true, old.read_number, old.title);
  elsif tg_op = 'INSERT' or new.read_number <> old.read_number or new.title <> old.title then
    insert into chaos.document (tenant, kind, key, gone, read_number, title)
    values (new.tenant, new.kind, new.key, false, new.read_number, new.title);
  end if;
  return null;
end $$;
create trigger chaos after insert or update or delete on document for each row execute function chaos.on_document();

create function chaos.on_subject() returns trigger language plpgsql as $$
begin
  if new.settled <> old.settled then
    insert into chaos.settled (tenant, kind, key, before, settled)
    values (new.tenant, new.kind, new.key, old.settled, new.settled);
  end if;
  if new.attempts > old.attempts then
    insert into chaos.attempt (tenant, kind, key, attempts, says)
    values (new.tenant, new.kind, new.key, new.attempts, new.last_error);
  end if;
  return null;
end $$;
create trigger chaos after update on subject for each row execute function chaos.on_subject();

create function chaos.on_lease() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then return null; end if;
  if new.token <> old.token then
    insert into chaos.lease (tenant, holder, before, token, token_before)
    values (new.tenant, new.holder, old.holder, new.token, old.token);
  end if;
  if new.held_until > clock_timestamp() + interval '10 minutes' then
    insert into chaos.wrong_time (what, by) values ('a lease', new.held_until - clock_timestamp());
  end if;
  return null;
end $$;
create trigger chaos after insert or update on tenant_lease for each row execute function chaos.on_lease();

create function chaos.on_delivery() returns trigger language plpgsql as $$
begin
  if abs(extract(epoch from clock_timestamp() - new.received_at)) > 600 then
    insert into chaos.wrong_time (what, by) values ('a delivery', clock_timestamp() - new.received_at);
  end if;
  return null;
end $$;
create trigger chaos after insert on delivery for each row execute function chaos.on_delivery();

create function chaos.on_report() returns trigger language plpgsql as $$
begin
  if new.reported < old.reported then
    insert into chaos.report_back (tenant, key) values (new.tenant, new.key);
  end if;
  return null;
end $$;
create trigger chaos after update on report_item for each row execute function chaos.on_report();

-- A version that is yet to come migrates (see `events/upgrade.rs`), and today's replicas start again afterwards.
create function chaos.on_migration() returns trigger language plpgsql as $$ begin return null; end $$;
create trigger chaos before insert on _sqlx_migrations for each row when (new.version > 9000)
  execute function chaos.on_migration();
"#;
