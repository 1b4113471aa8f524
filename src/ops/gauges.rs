//! Gauges that are read from the tables: at most once a minute, however often Prometheus asks.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Clock,
    database::{Database, told},
    domain::Kind,
    gaps, hooks,
    index::{attachments, documents},
    lifecycle::Stop,
    metrics::{Documents, Hooks, Metrics, OfKind, OfTenant},
    outbox, subjects, sweeps,
    telemetry::FailureLog,
    unreadable,
};

const EVERY: Duration = Duration::from_secs(60);

/// Reads them until the stop.
pub async fn run(database: Database, metrics: Arc<Metrics>, clock: Clock, stop: Stop) {
    let failures = FailureLog::new("reading the gauges", "they stay as they are");
    loop {
        match read(&database, &metrics, &clock).await {
            Ok(()) => failures.succeeded(),
            Err(error) => failures.failed(&told(&error)),
        }
        tokio::select! {
            () = stop.draining() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

fn labels(tenant: &str, kind: &str) -> Option<OfKind> {
    Some(OfKind { tenant: tenant.to_owned(), kind: kind.parse::<Kind>().ok()?.as_str() })
}

fn set_documents(metrics: &Metrics, OfKind { tenant, kind }: &OfKind, live: i64, hidden: i64) {
    for (state, count) in [("live", live), ("hidden", hidden)] {
        metrics.documents.get_or_create(&Documents { tenant: tenant.clone(), kind, state }).set(count);
    }
}

async fn read(database: &Database, metrics: &Metrics, clock: &Clock) -> sqlx::Result<()> {
    let (depths, documents) = (subjects::depths(database).await?, documents::counts(database).await?);
    let (reports, loads) = (outbox::depths(database).await?, sweeps::loads(database).await?);
    for depth in &depths {
        let Some(labels) = labels(&depth.tenant, &depth.kind) else { continue };
        metrics.waiting.get_or_create(&labels).set(depth.waiting);
        metrics.dead.get_or_create(&labels).set(depth.dead);
        let age = depth.oldest.map_or(0.0, |oldest| (clock.now() - oldest).as_seconds_f64().max(0.0));
        metrics.oldest.get_or_create(&labels).set(age);
        // What has no row below has none.
        set_documents(metrics, &labels, 0, 0);
        metrics.reports_waiting.get_or_create(&labels).set(0);
        metrics.removals_held.get_or_create(&labels).set(0);
    }
    for counts in &documents {
        let Some(labels) = labels(&counts.tenant, &counts.kind) else { continue };
        set_documents(metrics, &labels, counts.live, counts.hidden);
    }
    for (tenant, kind, count) in &reports {
        labels(tenant, kind).map(|labels| metrics.reports_waiting.get_or_create(&labels).set(*count));
    }
    for (tenant, kind, count) in &gaps::totals(database).await? {
        labels(tenant, kind).map(|labels| metrics.gaps.get_or_create(&labels).set(*count));
    }
    for held in &subjects::held(database).await? {
        labels(&held.tenant, &held.kind).map(|labels| metrics.removals_held.get_or_create(&labels).set(held.count));
    }
    // Lists are walked of every tenant that has a load, and what is unreadable is counted by cause.
    let unreadable = unreadable::counts(database).await?;
    for load in &loads {
        let of_load = unreadable.iter().filter(|of| of.tenant == load.tenant && of.kind == load.kind);
        let count = of_load.map(|of| of.count).sum();
        labels(&load.tenant, &load.kind).map(|labels| metrics.unreadable.get_or_create(&labels).set(count));
    }
    // A tenant whose resumes are all gone has no row any more.
    for depth in &depths {
        let labels = OfTenant { tenant: depth.tenant.clone() };
        metrics.attachments.get_or_create(&labels).set(0);
        metrics.attachment_bytes.get_or_create(&labels).set(0);
    }
    for kept in attachments::counts(database).await? {
        let labels = OfTenant { tenant: kept.tenant };
        metrics.attachments.get_or_create(&labels).set(kept.files);
        metrics.attachment_bytes.get_or_create(&labels).set(kept.bytes);
    }
    for load in &loads {
        labels(&load.tenant, &load.kind)
            .map(|labels| metrics.load_remaining.get_or_create(&labels).set(load.remaining));
    }
    for (tenant, registered, refused) in hooks::counts(database).await? {
        for (outcome, count) in [("registered", registered), ("refused", refused)] {
            metrics.hooks.get_or_create(&Hooks { tenant: tenant.clone(), outcome }).set(count);
        }
    }
    Ok(())
}
