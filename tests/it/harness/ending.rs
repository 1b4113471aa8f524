//! The end of a world, and what must hold then.

use std::collections::BTreeSet;

use super::{
    World, history,
    stored::{self, Others},
    tenant,
};

impl World {
    /// Fails on what must hold at any time: what was answered 2xx is stored, and of no other tenant; nothing went back;
    /// nothing that is nobody's business was said.
    async fn assert_nothing_lost_or_told(&self, others: Others) {
        let tenant = tenant();
        let mut wrong = stored::differences(&self.simulator, &self.database, tenant.as_str(), others).await;
        let tenants = self.tenants();
        let tenants: Vec<&str> = tenants.iter().map(String::as_str).collect();
        wrong.extend(stored::strangers(&self.database, &tenants).await);
        wrong.extend(history::steps_back(&self.database).await);
        if self.running.is_some() {
            wrong.extend(self.leaks().await);
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Those that the service's settings name.
    fn tenants(&self) -> BTreeSet<String> {
        let named = self.pairs.iter().filter_map(|(key, _)| key.strip_prefix("CEGID_INDEXER__TENANTS__"));
        named.filter_map(|rest| Some(rest.split_once("__")?.0.to_lowercase())).collect()
    }

    /// Settles, and fails unless everything adds up; then stops.
    pub async fn end(self) {
        self.end_beside(Others::SendNothing).await;
    }

    /// The same for a test that has sent callbacks of its own, and has looked by itself whether these are stored.
    pub async fn end_having_sent(self) {
        self.end_beside(Others::MaySend).await;
    }

    async fn end_beside(mut self, others: Others) {
        self.settle().await;
        self.assert_equal_to_truth().await;
        self.assert_reported().await;
        self.assert_nothing_lost_or_told(others).await;
        self.stop_service().await;
        self.simulator.stop().await;
    }

    /// Stops without a look at whether everything is done, for a test that has looked by itself.
    pub async fn leave(mut self) {
        // Some have no database.
        if self.database.time().await.is_ok() {
            self.assert_nothing_lost_or_told(Others::MaySend).await;
        }
        self.stop_service().await;
        self.simulator.stop().await;
    }
}
