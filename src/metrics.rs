//! Every metric of the service, in one registry that is a value.
//!
//! Base units; labels are tenant, kind, state, event, outcome, stage, class, reason and listener only, and each of them
//! has few values: nothing that a sender can choose becomes a label.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Labels of what is received.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Received {
    /// Name of the tenant in the settings.
    pub tenant: String,
    /// A known event's name, `ping`, or `other`.
    pub event: String,
    /// `stored` or `not_stored`.
    pub outcome: &'static str,
}

/// Labels of what is turned away.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Refused {
    /// The configured tenant that the request named; empty when it named none.
    pub tenant: String,
    /// Why.
    pub reason: &'static str,
}

/// Labels of a listener.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OfListener {
    /// `public` or `operators`.
    pub listener: &'static str,
}

/// Labels of connections that the service ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ConnectionEnded {
    /// `public` or `operators`.
    pub listener: &'static str,
    /// `gave_way`, `write_timeout` or `age`.
    pub reason: &'static str,
}

/// Labels of what concerns a tenant's vacancies or candidates.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OfKind {
    /// Name of the tenant in the settings.
    pub tenant: String,
    /// `vacancy` or `candidate`.
    pub kind: &'static str,
}

/// Labels of documents.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Documents {
    /// Name of the tenant in the settings.
    pub tenant: String,
    /// `vacancy` or `candidate`.
    pub kind: &'static str,
    /// `live` or `hidden`.
    pub state: &'static str,
}

/// Labels of what became of a subject or a report.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Outcome {
    /// Name of the tenant in the settings.
    pub tenant: String,
    /// `vacancy` or `candidate`.
    pub kind: &'static str,
    /// What became of it.
    pub outcome: &'static str,
}

/// Labels of what concerns a tenant.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OfTenant {
    /// Name of the tenant in the settings.
    pub tenant: String,
}

/// Labels of what became of a resume that a record lists.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Listed {
    /// Name of the tenant in the settings.
    pub tenant: String,
    /// `kept`, `missing`, `too_large`, `type`, `corrupt` or `unnamed`.
    pub outcome: &'static str,
}

/// Labels of a tenant's hooks.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Hooks {
    /// Name of the tenant in the settings.
    pub tenant: String,
    /// `registered` or `refused`.
    pub outcome: &'static str,
}

/// Labels of a call to Cegid.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Call {
    /// Name of the tenant in the settings.
    pub tenant: String,
    /// `token`, `vacancies`, `candidates`, `reports`, `webhooks` or `referentials`.
    pub stage: &'static str,
    /// `ok`, or the class of the failure.
    pub class: &'static str,
}

/// Labels of how Cegid stands to a tenant.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Standing {
    /// Name of the tenant in the settings.
    pub tenant: String,
    /// `ok`, `transient` when it is away, or `credentials` when it refuses them.
    pub class: &'static str,
    /// `none`; for the credentials `refused`, or `secret_changed` when callbacks are refused for their signature too.
    pub reason: &'static str,
}

/// Labels of the build.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// All of them.
#[derive(Debug)]
#[allow(missing_docs, reason = "the registry holds the sentence of each")]
pub struct Metrics {
    registry: Registry,
    pub deliveries: Family<Received, Counter>,
    pub refusals: Family<Refused, Counter>,
    pub connections_open: Family<OfListener, Gauge>,
    pub connections_limit: Family<OfListener, Gauge>,
    pub connections_ended: Family<ConnectionEnded, Counter>,
    pub signature_lifetime: Family<OfTenant, Gauge<i64, AtomicI64>>,
    pub accept: Histogram,
    pub commits: Histogram,
    pub waiting: Family<OfKind, Gauge>,
    pub oldest: Family<OfKind, Gauge<f64, AtomicU64>>,
    pub dead: Family<OfKind, Gauge>,
    pub documents: Family<Documents, Gauge>,
    pub reports_waiting: Family<OfKind, Gauge>,
    pub attachments: Family<OfTenant, Gauge>,
    pub attachment_bytes: Family<OfTenant, Gauge>,
    pub listed: Family<Listed, Counter>,
    pub mistyped: Family<OfKind, Counter>,
    pub settled: Family<Outcome, Counter>,
    pub doubts: Family<Outcome, Counter>,
    pub freshness: Family<OfKind, Histogram>,
    pub calls: Family<Call, Counter>,
    pub standing: Family<Standing, Gauge>,
    pub reports: Family<Outcome, Counter>,
    pub load_remaining: Family<OfKind, Gauge>,
    pub gaps: Family<OfKind, Gauge>,
    pub removals_held: Family<OfKind, Gauge>,
    pub unreadable: Family<OfKind, Gauge>,
    pub leases: Gauge<i64, AtomicI64>,
    pub clock_difference: Gauge<f64, AtomicU64>,
    pub settings_reload_failed: Gauge<i64, AtomicI64>,
    pub hooks: Family<Hooks, Gauge>,
}

fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}

fn ages() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 4.0, 12))
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("cegid_indexer"),
            deliveries: Family::default(),
            refusals: Family::default(),
            connections_open: Family::default(),
            connections_limit: Family::default(),
            connections_ended: Family::default(),
            signature_lifetime: Family::default(),
            accept: latency(),
            commits: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            waiting: Family::default(),
            oldest: Family::default(),
            dead: Family::default(),
            documents: Family::default(),
            reports_waiting: Family::default(),
            attachments: Family::default(),
            attachment_bytes: Family::default(),
            listed: Family::default(),
            mistyped: Family::default(),
            settled: Family::default(),
            doubts: Family::default(),
            freshness: Family::new_with_constructor(ages),
            calls: Family::default(),
            standing: Family::default(),
            reports: Family::default(),
            load_remaining: Family::default(),
            gaps: Family::default(),
            removals_held: Family::default(),
            unreadable: Family::default(),
            leases: Gauge::default(),
            clock_difference: Gauge::default(),
            settings_reload_failed: Gauge::default(),
            hooks: Family::default(),
        };
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        let registry = &mut metrics.registry;
        registry.register("build_info", "Version that runs", build);
        registry.register("deliveries", "Signed events received", metrics.deliveries.clone());
        registry.register("refusals", "Requests turned away", metrics.refusals.clone());
        registry.register("connections_open", "Open connections", metrics.connections_open.clone());
        registry.register(
            "connections_limit",
            "Connections that may be open at once",
            metrics.connections_limit.clone(),
        );
        registry.register(
            "connections_ended",
            "Connections that the service ended before their peers did",
            metrics.connections_ended.clone(),
        );
        let seconds = || Unit::Seconds;
        registry.register_with_unit(
            "signature_lifetime",
            "Longest time that a verified signature was still valid on arrival, during which it can be sent again",
            seconds(),
            metrics.signature_lifetime.clone(),
        );
        registry.register_with_unit(
            "accept",
            "Time from the end of a callback's headers to its answer",
            seconds(),
            metrics.accept.clone(),
        );
        registry.register("commit_rows", "Deliveries in one commit", metrics.commits.clone());
        registry.register("subjects_waiting", "Subjects that are not settled", metrics.waiting.clone());
        registry.register_with_unit(
            "subject_oldest",
            "Time that the oldest unsettled subject has waited",
            seconds(),
            metrics.oldest.clone(),
        );
        registry.register("subjects_dead", "Subjects that were buried", metrics.dead.clone());
        registry.register("documents", "Documents in the index", metrics.documents.clone());
        registry.register("reports_waiting", "Outcomes not yet reported", metrics.reports_waiting.clone());
        registry.register("attachments", "Resumes that are kept", metrics.attachments.clone());
        registry.register_with_unit(
            "attachments_size",
            "Size of the resumes that are kept",
            Unit::Bytes,
            metrics.attachment_bytes.clone(),
        );
        registry.register("resumes_listed", "What became of resumes that records list", metrics.listed.clone());
        registry.register(
            "mistyped_members",
            "Members of records whose value had another type than is known, and were left out",
            metrics.mistyped.clone(),
        );
        registry.register("subjects_settled", "What became of subjects", metrics.settled.clone());
        registry.register(
            "doubts",
            "Vacancies hidden by their status, and records that do not say clearly whether they may be found",
            metrics.doubts.clone(),
        );
        registry.register_with_unit(
            "freshness",
            "Time from the first unsettled callback of a subject until its document is written",
            seconds(),
            metrics.freshness.clone(),
        );
        registry.register("cegid_calls", "Calls to Cegid", metrics.calls.clone());
        registry.register(
            "tenant_state",
            "How Cegid stands to a tenant that this replica works: 1 for what holds",
            metrics.standing.clone(),
        );
        registry.register("report_items", "What became of report items", metrics.reports.clone());
        registry.register(
            "load_windows_remaining",
            "Windows of the initial load to be read",
            metrics.load_remaining.clone(),
        );
        registry.register(
            "gaps",
            "Differences of the last 90 days that sweeps found and no callback announced",
            metrics.gaps.clone(),
        );
        registry.register(
            "removals_held",
            "Removals by absence that wait for an operator's confirmation",
            metrics.removals_held.clone(),
        );
        registry.register(
            "unreadable_records",
            "Records of lists that could not be read when they were last shown",
            metrics.unreadable.clone(),
        );
        registry.register("hooks", "Events that are registered at Cegid, or that it refuses", metrics.hooks.clone());
        registry.register("leases_held", "Tenants that this replica works", metrics.leases.clone());
        registry.register_with_unit(
            "clock_difference",
            "How much the database's time is ahead of this machine's",
            seconds(),
            metrics.clock_difference.clone(),
        );
        registry.register(
            "settings_reload_failed",
            "1 when the settings were wrong as they were last read, and older ones are in use",
            metrics.settings_reload_failed.clone(),
        );
        metrics
    }
}

impl Metrics {
    /// The page that Prometheus reads.
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing into a String cannot fail.
        let _infallible = encode(&mut page, &self.registry);
        page
    }
}
