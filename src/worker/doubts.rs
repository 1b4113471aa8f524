//! Records that do not say clearly whether they may be found, and vacancies that left their live status: counted, and
//! said once for each read.

use tracing::warn;

use super::{Context, settlement::Written};
use crate::{domain::Kind, metrics::Outcome};

/// Vacancies hidden by one read that are worth a warning: fewer end every day.
const HIDDEN_WARNING_COUNT: usize = 10;

impl Context {
    /// Counts what a read showed, and warns.
    pub(super) fn count_doubts(&self, kind: Kind, written: &Written) {
        let Written { hidden, status_unknown, unclear, .. } = *written;
        for (outcome, count) in
            [("hidden_by_status", hidden), ("status_unknown", status_unknown), ("anonymisation_unclear", unclear)]
        {
            if count > 0 {
                let labels = Outcome { tenant: self.tenant.to_string(), kind: kind.as_str(), outcome };
                self.shared.metrics.doubts.get_or_create(&labels).inc_by(count as u64);
            }
        }
        let tenant = &self.tenant;
        if hidden >= HIDDEN_WARNING_COUNT {
            warn!(
                %tenant, %kind, hidden,
                "vacancies are hidden: Cegid shows them in a status that tenants.*.live_statuses does not name"
            );
        }
        if status_unknown > 0 {
            warn!(
                %tenant, %kind, records = status_unknown,
                "records have no readable status: what is held stays live or hidden as it was"
            );
        }
        if unclear > 0 {
            warn!(
                %tenant, %kind, records = unclear,
                "isAnonymized is neither yes nor no: these people are hidden and read again"
            );
        }
    }
}
