//! How often each subject was asked for by its key.

use std::collections::BTreeMap;

use url::form_urlencoded;

use super::World;

/// Keys that one request asked for.
fn asked(query: &str) -> Vec<String> {
    let filters = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "filter");
    let by_key = |filter: &str| filter.strip_prefix("reference::").or(filter.strip_prefix("id::")).map(str::to_owned);
    let keys = filters.filter_map(|(_, filter)| by_key(&filter).filter(|keys| !keys.contains('|')));
    keys.flat_map(|keys| keys.split(',').map(str::to_owned).collect::<Vec<_>>()).collect()
}

impl World {
    /// Fails if a subject was asked for more often since that request than it was announced, looked for again on its own
    /// account, and asked for in vain; controls, asked for alone after a call that failed, are left out.
    pub async fn assert_sparing(&self, since: u64) {
        let mut fetched: BTreeMap<String, i64> = BTreeMap::new();
        let mut allowed: BTreeMap<String, i64> = BTreeMap::new();
        // The keys of the last call to each export, if it failed.
        let mut failed: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for request in self.simulator.requests() {
            if request.number <= since || !request.path.starts_with("/api/exports/") {
                continue;
            }
            let keys = asked(&request.query);
            let in_vain = failed.insert(request.path.clone(), keys.clone()).filter(|_| request.status == 200);
            if request.status == 200 {
                failed.remove(&request.path);
            }
            if keys.len() == 1 && in_vain.is_some_and(|others| !others.is_empty() && !others.contains(&keys[0])) {
                continue;
            }
            for key in keys {
                *fetched.entry(key.clone()).or_default() += 1;
                *allowed.entry(key).or_default() += i64::from(request.status != 200);
            }
        }
        let announced = "select key, count(*) from delivery where key is not null group by key";
        let again = "select key, (confirms + (confirm_at is not null)::int)::bigint from subject";
        for statement in [announced, again] {
            let rows: Vec<(String, i64)> = sqlx::query_as(statement).fetch_all(self.database.pool()).await.unwrap();
            for (key, count) in rows {
                *allowed.entry(key).or_default() += count;
            }
        }
        let total: i64 = fetched.values().sum();
        assert!(total > 0, "nothing was fetched by key");
        let excess: Vec<String> = fetched
            .iter()
            .filter(|(key, count)| **count > allowed.get(*key).copied().unwrap_or(0))
            .map(|(key, count)| format!("{key}: fetched {count} times, allowed {:?}", allowed.get(key)))
            .collect();
        assert!(excess.is_empty(), "{}", excess.join("\n"));
    }
}
