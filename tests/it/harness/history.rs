//! What was written, in its order: kept by triggers in the database of each test, beside the service's tables.

use cegid_indexer::database::Database;

/// Notes the numbers under which each subject was read, indexed and reported, and deliveries that were deleted.
pub const TRIGGERS: &str = "
create schema it;
create table it.history (n bigint generated always as identity, what text, whose text, kind text, key text, number bigint);
create function it.note() returns trigger language plpgsql as $$
begin
  case tg_argv[0]
    when 'indexed' then
      insert into it.history (what, whose, kind, key, number) values ('indexed', new.tenant, new.kind, new.key, new.read_number);
    when 'settled' then
      insert into it.history (what, whose, kind, key, number) values ('settled', new.tenant, new.kind, new.key, new.settled);
    when 'reported' then
      insert into it.history (what, whose, kind, key, number)
        values ('noted', new.tenant, new.kind, new.key, new.noted);
      -- A subject that was removed and came back was not reported yet.
      if new.reported > 0 then
        insert into it.history (what, whose, kind, key, number)
          values ('reported', new.tenant, new.kind, new.key, new.reported);
      end if;
    when 'forgotten' then
      insert into it.history (what, whose, kind, key, number) values ('forgotten', old.tenant, old.kind, old.key, old.id);
  end case;
  return null;
end
$$;
create trigger it_indexed after insert on document for each row execute function it.note('indexed');
create trigger it_indexed_again after update on document for each row
  when (new.read_number <> old.read_number) execute function it.note('indexed');
create trigger it_settled after insert on subject for each row when (new.settled > 0) execute function it.note('settled');
create trigger it_settled_again after update on subject for each row
  when (new.settled <> old.settled) execute function it.note('settled');
create trigger it_reported after insert on report_item for each row execute function it.note('reported');
create trigger it_reported_again after update on report_item for each row
  when ((new.noted, new.reported) <> (old.noted, old.reported)) execute function it.note('reported');
create trigger it_forgotten after delete on delivery for each row execute function it.note('forgotten');
";

/// A server of a test's own has no triggers.
async fn is_kept(database: &Database) -> bool {
    sqlx::query_scalar("select to_regclass('it.history') is not null").fetch_one(database.pool()).await.unwrap()
}

/// Numbers that went back, and documents that were written by a read that is not newer than what was settled before.
pub async fn steps_back(database: &Database) -> Vec<String> {
    if !is_kept(database).await {
        return Vec::new();
    }
    let steps = "
      select format('%s %s %s: %s under %s after %s', whose, kind, key, what, number, before)
      from (select *, max(number) over (partition by what, whose, kind, key order by n
                                        rows between unbounded preceding and 1 preceding) as before
            from it.history where what in ('indexed', 'settled', 'noted', 'reported')) w
      where number < before
      union all
      select format('%s %s %s: indexed under %s, settled under %s before', whose, kind, key, number, settled)
      from (select *, max(number) filter (where what = 'settled') over (partition by whose, kind, key order by n) as settled
            from it.history where what in ('indexed', 'settled')) w
      where what = 'indexed' and number <= settled
      limit 20";
    sqlx::query_scalar(steps).fetch_all(database.pool()).await.unwrap()
}

/// Deliveries of a tenant that were deleted.
pub async fn forgotten(database: &Database, tenant: &str) -> i64 {
    if !is_kept(database).await {
        return 0;
    }
    let count = "select count(*) from it.history where what = 'forgotten' and whose = $1";
    sqlx::query_scalar(count).bind(tenant).fetch_one(database.pool()).await.unwrap()
}
