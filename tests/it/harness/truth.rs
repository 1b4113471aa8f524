//! The index and the reports against what the simulator knows.

use std::collections::BTreeMap;

use cegid_indexer::{domain::Kind, index::documents};
use cegid_simulator::ReportRow;

use super::{World, tenant};

impl World {
    /// Key, title and searchability of what is indexed.
    pub async fn indexed(&self, kind: Kind) -> BTreeMap<String, (String, bool)> {
        let titles = documents::titles(&self.database, &tenant(), kind).await.unwrap();
        titles.into_iter().map(|(key, title, searchable)| (key, (title, searchable))).collect()
    }

    /// What differs between the index and the simulator's truth. Vacancies that never were live may be left out: the
    /// initial load does not ask for them.
    pub async fn differences(&self) -> Vec<String> {
        let mut differences = Vec::new();
        for kind in Kind::ALL {
            let mut indexed = self.indexed(kind).await;
            for row in self.simulator.truth().into_iter().filter(|row| row.kind == kind.as_str()) {
                let held = indexed.remove(&row.key);
                let wanted = row.present && !row.anonymised;
                match held {
                    Some(_) if !wanted => differences.push(format!("{kind} {} should be gone", row.key)),
                    Some((title, live)) if title != row.title || live != row.live => differences.push(format!(
                        "{kind} {}: {title:?} live {live}, should be {:?} live {}",
                        row.key, row.title, row.live
                    )),
                    None if wanted && row.live => differences.push(format!("{kind} {} is missing", row.key)),
                    _ => {}
                }
            }
            differences.extend(indexed.into_keys().map(|key| format!("{kind} {key} is nowhere at Cegid")));
        }
        differences
    }

    pub async fn assert_equal_to_truth(&self) {
        let differences = self.differences().await;
        assert!(differences.is_empty(), "the index differs from the truth:\n{}", differences.join("\n"));
    }

    /// The last report that Cegid holds of every subject is its outcome: success for what is settled as indexed, about
    /// the record as it is now, and error for what was given up. Where Cegid refuses the report, it cannot hold it.
    pub async fn assert_reported(&self) {
        let subjects: Vec<(String, String, String, bool)> = sqlx::query_as(
            "select s.kind, s.key, coalesce(r.report_id, s.key), s.dead_at is not null
             from subject s left join report_item r on r.tenant = s.tenant and r.kind = s.kind and r.key = s.key
             where s.tenant = $1 and not s.waiting and r.dead_at is null
               and (s.state in ('live', 'hidden') or s.dead_at is not null)",
        )
        .bind(tenant().as_str())
        .fetch_all(self.database.pool())
        .await
        .unwrap();
        let last = self.simulator.last_reports();
        for (kind, key, id, dead) in subjects {
            let report_type = if kind == "vacancy" { "vacancies" } else { "candidates" };
            let report = last.get(&(report_type.into(), id));
            let wanted = if dead { "error" } else { "success" };
            assert!(report.is_some_and(|report| report.status == wanted), "{kind} {key} is {wanted}: {report:?}");
            let truth = self.simulator.truth_of(&kind, &key);
            let current = |report: &ReportRow| truth.as_ref().is_some_and(|truth| report.is_of(truth));
            assert!(dead || report.is_some_and(current), "as it was before: {key}: {report:?}");
        }
    }
}
