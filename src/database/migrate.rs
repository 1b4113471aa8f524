//! Migrates the schema beside replicas that go on receiving.
//!
//! Wanted: receiving goes on whatever has locked a table, so no statement of a migration waits for a lock for long,
//! since every other session queues behind it; a migration that did not get its locks is rolled back as a whole and
//! tried again until it gets them; the log says which session is in the way; of several replicas one migrates, and the
//! others wait for it without a lock on any table; a replica whose schema is current waits for nobody.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    Connection, PgConnection, PgPool, Row,
    migrate::{Migrate, MigrateError, Migrator},
    postgres::PgPoolOptions,
};
use tracing::warn;

use super::{
    Database, DatabaseError, Failure, failure,
    schema::{MIGRATIONS, Schema, require_utf8},
};

/// How long a migration waits for one table's lock. Callbacks wait behind it for that long.
const TABLE_LOCK_TIMEOUT: Duration = Duration::from_millis(200);
/// The same in every [`AUTOVACUUM_ATTEMPT`]th attempt: longer than `deadlock_timeout`, 1 s by default, after which the
/// server ends an autovacuum that is in the way; shorter than `database.lock_timeout` and `receive.commit_timeout`, so
/// that callbacks are stored all the same.
const AUTOVACUUM_LOCK_TIMEOUT: Duration = Duration::from_millis(1200);
const AUTOVACUUM_ATTEMPT: u32 = 5;
/// How long it waits for another session that migrates, which delays nobody else.
const MIGRATOR_LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two attempts to lock tables: receiving is held up for a small share of the time.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// How often the sessions in the way are looked up during an attempt.
const BLOCKER_LOOKUP_INTERVAL: Duration = Duration::from_millis(50);
/// A setting of a session that means nothing to the server: a pooler that passes the session on keeps it.
const MARK: (&str, &str) = ("cegid_indexer.session", "own");

impl Database {
    /// Applies what is missing of the schema. Through a pooler nothing is applied: the lock that keeps two from
    /// migrating at once is a session's, and would be left behind in one that others are given.
    ///
    /// # Errors
    /// When the database cannot be reached, a migration fails, the schema is newer than this version, or there is a
    /// pooler in between. Locks that others hold are no error: they are waited for.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        match self.apply(&MIGRATIONS).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(self.explain(failure).await),
        }
    }

    /// Applies what is missing of these migrations, as tests need for a version that is yet to come. Returns how many
    /// attempts did not get their locks.
    #[doc(hidden)]
    pub async fn apply(&self, migrations: &Migrator) -> Result<u32, DatabaseError> {
        if self.pooled {
            return Err(DatabaseError::Pooled);
        }
        // A migration may take longer than a statement of the worker.
        let options = self.options.clone().options([("statement_timeout", "0"), MARK]);
        // One that migrates, and one that looks up what is in its way.
        let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(self.connect_timeout).connect_with(options);
        let pool = pool.await.map_err(refused)?;
        let applied = apply(&pool, migrations).await;
        pool.close().await;
        applied
    }
}

async fn apply(pool: &PgPool, migrations: &Migrator) -> Result<u32, DatabaseError> {
    if !is_own(pool).await.map_err(DatabaseError::Connect)? {
        return Err(DatabaseError::Pooler("it ignores the settings that one is started with".to_owned()));
    }
    require_utf8(pool).await?;
    let mut session = pool.acquire().await.map_err(DatabaseError::Connect)?;
    let pid = sqlx::query_scalar!(r#"select pg_backend_pid() as "pid!""#).fetch_one(&mut *session).await;
    let pid = pid.map_err(DatabaseError::Connect)?;
    let (mut attempts, mut given_up, mut is_migrator) = (0, 0, false);
    loop {
        match Schema::read(&mut *session, migrations).await? {
            Schema::Newer(unknown) => return Err(DatabaseError::Newer(unknown)),
            Schema::Current => return Ok(given_up),
            Schema::Older(_) => {}
        }
        let timeout = if is_migrator { table_lock_timeout(attempts) } else { MIGRATOR_LOCK_TIMEOUT };
        set_lock_timeout(&mut session, timeout).await.map_err(DatabaseError::Connect)?;
        let blockers = Mutex::default();
        let attempt = async {
            // The migrators' lock is kept between attempts. It is this session's, which may take it again.
            if is_migrator { migrations.run_direct(None, &mut *session, false).await } else { session.lock().await }
        };
        let attempted = tokio::select! {
            attempted = attempt => attempted,
            attempted = look_up_blockers(pool, pid, &blockers) => attempted,
        };
        match attempted {
            Ok(()) if is_migrator => return Ok(given_up),
            // Another may have migrated until this one got the lock.
            Ok(()) => is_migrator = true,
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _))
                if failure(&error) == Failure::Contention =>
            {
                given_up += 1;
                let in_the_way = blockers.into_inner().unwrap_or_else(PoisonError::into_inner);
                report(is_migrator, given_up, &in_the_way);
                if is_migrator {
                    attempts += 1;
                    // Sends the rollback: sqlx leaves it for the next statement, and the session idle in a transaction.
                    session.ping().await.map_err(DatabaseError::Connect)?;
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// How long an attempt waits for each table's lock, after so many that did not get one.
fn table_lock_timeout(attempts: u32) -> Duration {
    if attempts % AUTOVACUUM_ATTEMPT == AUTOVACUUM_ATTEMPT - 1 { AUTOVACUUM_LOCK_TIMEOUT } else { TABLE_LOCK_TIMEOUT }
}

async fn set_lock_timeout(session: &mut PgConnection, timeout: Duration) -> sqlx::Result<()> {
    let timeout = timeout.as_millis().to_string();
    sqlx::query_scalar!("select set_config('lock_timeout', $1, false)", timeout).fetch_one(session).await?;
    Ok(())
}

/// A session that holds a lock which a migration waits for. Its statement may hold personal data: only the command is
/// known here.
#[derive(Debug, Default)]
struct Blocker {
    /// 0: a prepared transaction.
    pid: i32,
    /// The table that is waited for.
    table: Option<String>,
    /// Seconds since its transaction began.
    age: Option<i64>,
    /// What kind of process it is; unknown, as all that follows, where the role may not see others' sessions.
    process: Option<String>,
    state: Option<String>,
    command: Option<String>,
}

/// Keeps the sessions that the session `pid` waits for, until dropped.
async fn look_up_blockers<T>(pool: &PgPool, pid: i32, blockers: &Mutex<Vec<Blocker>>) -> T {
    loop {
        tokio::time::sleep(BLOCKER_LOOKUP_INTERVAL).await;
        let found = sqlx::query_as!(
            Blocker,
            r#"select blocker.pid as "pid!",
                 (select relation::regclass::text from pg_locks where pid = $1 and not granted limit 1) as "table",
                 extract(epoch from clock_timestamp() - activity.xact_start)::bigint as "age",
                 activity.backend_type as "process", activity.state,
                 upper(substring(activity.query from '(?i)^\s*(select|with|copy|insert|update|delete|merge|fetch|declare'
                   || '|lock|vacuum|analyze|reindex|cluster|create|alter|drop|truncate|refresh|call|do|explain)\M'))
                   as "command"
               from (select distinct unnest(pg_blocking_pids($1)) as pid) as blocker
               left join pg_stat_activity as activity on activity.pid = blocker.pid
               order by activity.xact_start"#,
            pid
        );
        // What cannot be looked up is not named.
        if let Ok(found) = found.fetch_all(pool).await
            && !found.is_empty()
        {
            *blockers.lock().unwrap_or_else(PoisonError::into_inner) = found;
        }
    }
}

impl Blocker {
    fn describe(&self) -> String {
        if self.pid == 0 {
            return "a prepared transaction (see pg_prepared_xacts)".to_owned();
        }
        let age = self.age.map(|age| format!("for {age} s"));
        let told = [&self.process, &self.state, &self.command, &age];
        let told: Vec<&str> = told.into_iter().filter_map(|part| part.as_deref()).collect();
        let told = if told.is_empty() { "this role may not see what it does".to_owned() } else { told.join(", ") };
        format!("pid {} ({told})", self.pid)
    }
}

fn report(is_migrator: bool, attempt: u32, blockers: &[Blocker]) {
    let in_the_way: Vec<String> = blockers.iter().map(Blocker::describe).collect();
    let in_the_way = if in_the_way.is_empty() { "not seen".to_owned() } else { in_the_way.join("; ") };
    if is_migrator {
        let table = blockers.iter().find_map(|blocker| blocker.table.as_deref()).unwrap_or_default();
        warn!(
            attempt,
            table,
            in_the_way,
            "a migration did not get a lock and was rolled back: it is tried again in {} s",
            RETRY_INTERVAL.as_secs()
        );
    } else {
        warn!(
            attempt,
            in_the_way, "another session migrates the database, or holds the migrators' lock: waiting for it"
        );
    }
}

/// Asked without a prepared statement, which such a session may not keep either.
async fn is_own(pool: &PgPool) -> sqlx::Result<bool> {
    let mark = sqlx::raw_sql("select current_setting('cegid_indexer.session', true)").fetch_one(pool).await?;
    Ok(mark.try_get::<Option<String>, _>(0)?.as_deref() == Some(MARK.1))
}

/// Poolers say so when they do not know a setting that a session is started with.
fn refused(error: sqlx::Error) -> DatabaseError {
    match error.as_database_error().map(|error| error.message()) {
        Some(message) if message.contains("startup parameter") => DatabaseError::Pooler(message.to_owned()),
        _ => DatabaseError::Connect(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fifth_attempt_waits_long_enough_for_the_server_to_end_an_autovacuum() {
        let timeouts: Vec<u128> = (0..10).map(|attempts| table_lock_timeout(attempts).as_millis()).collect();
        assert_eq!(timeouts, [200, 200, 200, 200, 1200, 200, 200, 200, 200, 1200]);
    }

    #[test]
    fn what_is_in_the_way_is_told_by_what_is_known_of_it() {
        let reader = Blocker {
            pid: 17,
            age: Some(3600),
            process: Some("client backend".into()),
            state: Some("active".into()),
            command: Some("COPY".into()),
            ..Blocker::default()
        };
        assert_eq!(reader.describe(), "pid 17 (client backend, active, COPY, for 3600 s)");
        assert_eq!(Blocker { pid: 17, ..reader }.describe().matches("17").count(), 1);
        let hidden = Blocker { pid: 17, ..Blocker::default() };
        assert_eq!(hidden.describe(), "pid 17 (this role may not see what it does)");
        assert_eq!(Blocker::default().describe(), "a prepared transaction (see pg_prepared_xacts)");
    }

    #[test]
    fn every_migration_is_one_transaction() {
        let outside: Vec<i64> = MIGRATIONS.iter().filter(|one| one.no_tx).map(|one| one.version).collect();
        assert!(
            outside.is_empty(),
            "{outside:?}: an attempt that does not get its locks would leave half of it behind"
        );
    }
}
