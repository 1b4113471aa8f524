//! The index beside the truth, which the simulators hold.

use std::collections::{BTreeMap, HashSet};

use cegid_indexer::{domain::Kind, index::documents};

use crate::{
    balance::Known,
    world::{Tenant, World},
};

/// What differs between the index of a tenant and the truth. A vacancy that never was live may be left out: nothing
/// asks for it. Nothing is said of `broken`, whose records cannot be read.
///
/// # Errors
/// When the index cannot be read.
pub async fn differences(world: &World, tenant: &Tenant, broken: &HashSet<String>) -> anyhow::Result<Vec<String>> {
    let mut differences = Vec::new();
    let truth = tenant.simulator.truth();
    for kind in Kind::ALL {
        let titles = documents::titles(&world.database, &tenant.id, kind).await?;
        let mut indexed: BTreeMap<String, (String, bool)> =
            titles.into_iter().map(|(key, title, searchable)| (key, (title, searchable))).collect();
        for row in truth.iter().filter(|row| row.kind == kind.as_str()) {
            let held = indexed.remove(&row.key);
            let wanted = row.present && !row.anonymised;
            match held {
                _ if broken.contains(&row.key) => {}
                Some((_, live)) if !wanted => {
                    differences.push(format!("{kind} {} (live {live}) should be gone", row.key))
                }
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
    Ok(differences)
}

/// Subjects whose last report at Cegid is not the outcome that they have, and how many were looked at. Only what Cegid
/// refuses for good may have been given up: it holds an older outcome then, or none.
///
/// # Errors
/// When the database cannot be read.
pub async fn unreported(world: &World, tenant: &Tenant, known: &Known) -> anyhow::Result<(usize, Vec<String>)> {
    let (broken, refused) = (known.broken(tenant), known.refused(tenant));
    let last = tenant.simulator.last_reports();
    let (mut looked, mut wrong) = (0, Vec::new());
    let subjects: Vec<(String, String, bool, bool)> = sqlx::query_as(
        "select s.kind, s.key, s.dead_at is not null, r.dead_at is not null
         from subject s left join report_item r on r.tenant = s.tenant and r.kind = s.kind and r.key = s.key
         where s.tenant = $1 and (s.state in ('live', 'hidden') or s.dead_at is not null)",
    )
    .bind(tenant.id.as_str())
    .fetch_all(&world.pool)
    .await?;
    for (kind, key, dead, given_up) in subjects.into_iter().filter(|(_, key, ..)| !broken.contains(key)) {
        looked += 1;
        if given_up && refused.contains(&key) {
            continue;
        }
        let report_type = if kind == "vacancy" { "vacancies" } else { "candidates" };
        let report = last.get(&(report_type.to_owned(), key.clone()));
        let truth = tenant.simulator.truth_of(&kind, &key);
        let told = match report.zip(truth) {
            Some((report, _)) if dead => report.status == "error",
            Some((report, truth)) => report.status == "success" && report.is_of(&truth),
            None => false,
        };
        if !told {
            wrong.push(format!("{kind} {key} (dead {dead}, given up {given_up}): {report:?}"));
        }
    }
    for key in &broken {
        looked += 1;
        let report = ["vacancies", "candidates"].iter().find_map(|kind| last.get(&((*kind).to_owned(), key.clone())));
        if report.is_none_or(|report| report.status != "error" || report.messages.is_empty()) {
            wrong.push(format!("{key} cannot be read: {report:?}"));
        }
    }
    Ok((looked, wrong))
}
