//! The index and the reports against what the simulator knows.

use std::collections::BTreeMap;

use cegid_indexer::{domain::Kind, index::documents};

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

    /// The last report that Cegid holds of everything indexed says success, about the record as it is now.
    pub async fn assert_reported(&self) {
        let last = self.simulator.last_reports();
        for (kind, report_type) in [(Kind::Vacancy, "vacancies"), (Kind::Candidate, "candidates")] {
            for key in self.indexed(kind).await.into_keys() {
                let report = last.get(&(report_type.into(), key.clone()));
                let truth = self.simulator.truth_of(kind.as_str(), &key).expect("a record of the simulator's");
                assert!(report.is_some_and(|report| report.status == "success"), "{kind} {key}: {report:?}");
                assert!(report.is_some_and(|report| report.is_of(&truth)), "as it was before: {key}: {report:?}");
            }
        }
    }
}
