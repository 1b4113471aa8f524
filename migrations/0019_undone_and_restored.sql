-- An absence that was no absence: what vanished and is shown again, without a callback that said so.
alter table subject add column undone_at timestamptz;
comment on column subject.undone_at is
  'When a read last showed it again after it had vanished, though no callback said that it came back.';

-- A record that reads by key do not find, and lists show.
alter table subject add column listed_at timestamptz;
comment on column subject.listed_at is
  'When a list first showed it although reads by key had removed it; once lists have brought it back, they alone decide about it.';

-- A backup that is put back keeps the server's identity, and PostgreSQL lets a sequence jump ahead at a restart, so that it
-- hides up to 32 numbers that were lost: each process also looks at each start of the server whether what it has
-- committed is still there.
create function server_run() returns text
  language sql stable
  return server_identity() || '/' || extract(epoch from pg_postmaster_start_time());
comment on function server_run is 'server_identity(), and since when that server runs.';

-- Version 0018 still asks numbers_hold.
create function numbers_stand(run text, highest bigint) returns boolean
  language sql stable
  return coalesce(server_run() = run, false)
    and (select last_value >= highest from request_number)
    and (select seqcache = 1 and seqincrement = 1 and not seqcycle
         from pg_sequence where seqrelid = 'request_number'::regclass);
comment on function numbers_stand is
  'Whether this is the run of the server that the caller has verified, its sequence has not fallen behind a number that the caller knows, and draws its numbers in order. Statements that append, draw or settle ask it.';
