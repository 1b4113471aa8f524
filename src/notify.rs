//! `NOTIFY` after the commit: callbacks that one replica has stored, for the replica that works their tenant.
//!
//! Wanted: such a callback is worked as soon as one that reaches the right replica; receiving waits for none of this;
//! the number of notifications does not grow with the load; a payload names the tenant and nothing else.
//!
//! A hint, as [`crate::arrivals`] is inside the process: a notification that is lost costs the wait for the next poll.
//! Through a pooler nobody can listen, since a session belongs to a client for one transaction: such a replica polls.

use std::{sync::Arc, time::Duration};

use sqlx::postgres::PgListener;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::{debug, info};
use uuid::Uuid;

use crate::{
    arrivals::Arrivals,
    clock::Clock,
    database::{Database, told},
    domain::TenantId,
    lifecycle::Stop,
    telemetry::FailureLog,
};

/// Whoever listens on it hears of tenants with new callbacks.
pub const CHANNEL: &str = "cegid_indexer_callbacks";
/// Repeated to verify the session, to which it makes no difference.
const LISTEN: &str = "listen cegid_indexer_callbacks";
/// Between two statements that notify, by the machine's clock: the first callback after a pause is announced at once,
/// and those of the interval together at its end.
const NOTIFY_INTERVAL: Duration = Duration::from_millis(100);
/// How often a silent session is verified: the network may have dropped it without a word.
const SESSION_CHECK_INTERVAL: Duration = Duration::from_secs(30);
const SESSION_CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two attempts to listen.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(5);

/// Announces callbacks of tenants that another replica works, until the stop.
pub async fn announce(database: Database, arrivals: Arc<Arrivals>, replica: Uuid, clock: Clock, stop: Stop) {
    let mut throttle = Throttle::new(&arrivals);
    loop {
        let tenants = tokio::select! {
            tenants = throttle.next() => tenants,
            () = stop.draining() => return,
        };
        if let Err(error) = notify(&database, &tenants, replica, &clock).await {
            debug!(error = %told(&error), "notifying other replicas failed: they find the callbacks when they poll");
        }
    }
}

/// Tenants to announce, one set in an interval.
struct Throttle<'a> {
    arrivals: &'a Arrivals,
    next_at: Instant,
}

impl Throttle<'_> {
    fn new(arrivals: &Arrivals) -> Throttle<'_> {
        Throttle { arrivals, next_at: Instant::now() }
    }

    async fn next(&mut self) -> Vec<TenantId> {
        sleep_until(self.next_at).await;
        let tenants = self.arrivals.take_unclaimed().await;
        self.next_at = Instant::now() + NOTIFY_INTERVAL;
        tenants
    }
}

/// Notifies of those tenants that another replica works now: whoever begins to work a tenant reads the table first.
async fn notify(database: &Database, tenants: &[TenantId], replica: Uuid, clock: &Clock) -> sqlx::Result<()> {
    let names: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
    sqlx::query_scalar!(
        "select pg_notify($1, tenant) from tenant_lease
         where tenant = any($2) and held_until > $3 and holder <> $4",
        CHANNEL,
        &names as _,
        clock.now(),
        replica
    )
    .fetch_all(database.vital())
    .await?;
    Ok(())
}

/// Listens while other replicas run, until the stop: callbacks that they announce wake the workers of this one.
pub async fn listen(database: Database, arrivals: Arc<Arrivals>, mut others: watch::Receiver<bool>, stop: Stop) {
    let failures = FailureLog::new(
        "listening for callbacks that other replicas store",
        "they are found by polling until it succeeds",
    );
    while !stop.asked() {
        tokio::select! {
            found = others.wait_for(|others| *others) => if found.is_err() { return },
            () = stop.draining() => return,
        }
        let mut alone = others.clone();
        let error = tokio::select! {
            error = wake_workers(&database, &arrivals, &failures) => error,
            _ = alone.wait_for(|others| !*others) => continue,
            () = stop.draining() => return,
        };
        failures.failed(&told(&error));
        tokio::select! {
            () = sleep(RECONNECT_INTERVAL) => {}
            () = stop.draining() => {}
        }
    }
}

/// Passes on what is heard until the session is lost.
async fn wake_workers(database: &Database, arrivals: &Arrivals, failures: &FailureLog) -> sqlx::Error {
    let mut session = match database.listen(CHANNEL).await {
        Ok(session) => session,
        Err(error) => return error,
    };
    info!("listening for callbacks that other replicas store");
    failures.succeeded();
    // What was announced before is in the table.
    arrivals.wake_all();
    loop {
        match timeout(SESSION_CHECK_INTERVAL, session.try_recv()).await {
            Ok(Ok(Some(heard))) => {
                if let Ok(tenant) = heard.payload().parse() {
                    arrivals.wake(&tenant);
                }
            }
            Ok(Ok(None)) => return std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into(),
            Ok(Err(error)) => return error,
            Err(_silent) => {
                if let Err(error) = verify(&mut session).await {
                    return error;
                }
            }
        }
    }
}

async fn verify(session: &mut PgListener) -> sqlx::Result<()> {
    let asked = sqlx::raw_sql(LISTEN).execute(session);
    timeout(SESSION_CHECK_TIMEOUT, asked).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::domain::{Kind, Subject};

    #[tokio::test(start_paused = true)]
    async fn a_callback_is_announced_at_once_and_those_behind_it_together_after_the_interval() {
        let arrivals = Arrivals::new(Clock::turned(chrono::DateTime::UNIX_EPOCH));
        let (acme, bolt): (TenantId, TenantId) = ("acme".parse().unwrap(), "bolt".parse().unwrap());
        let subject = Subject::new(Kind::Vacancy, "V-1".into());
        let (began, sent) = (Instant::now(), Mutex::new(Vec::new()));
        let sending = async {
            let mut throttle = Throttle::new(&arrivals);
            loop {
                let names: Vec<String> = throttle.next().await.iter().map(ToString::to_string).collect();
                sent.lock().unwrap().push((began.elapsed().as_millis(), names.join(" ")));
            }
        };
        let receiving = async {
            sleep(Duration::from_millis(10)).await;
            for _ in 0..50 {
                arrivals.note(&acme, &subject);
                sleep(Duration::from_millis(1)).await;
            }
            arrivals.note(&bolt, &subject);
            sleep(Duration::from_millis(500)).await;
            arrivals.note(&acme, &subject);
            sleep(Duration::from_millis(500)).await;
        };
        tokio::select! {
            () = sending => {}
            () = receiving => {}
        }
        let wanted = [(10, "acme".to_owned()), (110, "acme bolt".to_owned()), (560, "acme".to_owned())];
        assert_eq!(*sent.lock().unwrap(), wanted);
    }
}
