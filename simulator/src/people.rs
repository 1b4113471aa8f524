//! What nobody else may read: words about the people of a tenant.

use crate::data::candidate;
use crate::simulator::Simulator;
use crate::tenant::Source;

/// Members of `candidateDetail` that say who somebody is.
const NAMING: [&str; 3] = ["lastName", "email", "phoneNumber"];

impl Simulator {
    /// Names, e-mail addresses, phone numbers, street addresses and lines of
    /// the CVs of up to `most` generated candidates, spread over all there ever
    /// were, those who left among them.
    #[must_use]
    pub fn personal_words(&self, most: usize) -> Vec<String> {
        let seed = self.inner.config.seed;
        let rows = crate::lock(&self.inner.tenant).candidates.rows.clone();
        let mut words = Vec::new();
        for mut row in rows.iter().step_by(rows.len().div_ceil(most.max(1)).max(1)).cloned() {
            let Source::Seeded(index) = row.source else { continue };
            row.anonymised = false;
            let detail = candidate::detail(seed, index, &row, None, false);
            let person = &detail["candidateDetail"];
            words.extend(NAMING.iter().filter_map(|name| person[name].as_str()).map(str::to_owned));
            words.extend(person["personalInformation"]["address"].as_str().map(str::to_owned));
            words.push(candidate::basics(seed, index).task().to_owned());
        }
        words.sort_unstable();
        words.dedup();
        words
    }
}
