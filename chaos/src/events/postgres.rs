//! What becomes of PostgreSQL.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use super::Event;
use crate::storm::Storm;

impl Storm {
    /// How often the replicas have written these words.
    pub(super) fn count_lines(&self, words: &str) -> u64 {
        self.world.replicas.iter().map(|replica| replica.log().matches(words).count() as u64).sum()
    }

    /// Failures that repeat are warned of once, and each is a line of level debug.
    fn warnings(&self) -> u64 {
        self.count_lines("\"level\":\"WARN\"") + self.count_lines(" failed again\"")
    }

    async fn start_postgres_again(&self) -> anyhow::Result<()> {
        let server = self.world.server.clone();
        Ok(tokio::task::spawn_blocking(move || server.start_again()).await??)
    }

    pub(super) async fn crash_postgres(&mut self) -> anyhow::Result<()> {
        let before = self.warnings();
        let server = self.world.server.clone();
        tokio::task::spawn_blocking(move || server.kill()).await??;
        let away = self.random.between(0, 2000);
        self.pause(Duration::from_millis(away)).await?;
        self.start_postgres_again().await?;
        self.tally.felt(Event::PostgresCrash, self.warnings() - before);
        Ok(())
    }

    pub(super) async fn stop_postgres(&mut self) -> anyhow::Result<()> {
        let before = self.warnings();
        let server = self.world.server.clone();
        tokio::task::spawn_blocking(move || server.stop_postgres()).await??;
        let away = self.random.between(500, 5000);
        self.pause(Duration::from_millis(away)).await?;
        self.start_postgres_again().await?;
        self.tally.felt(Event::PostgresAway, self.warnings() - before);
        Ok(())
    }

    pub(super) async fn terminate(&mut self) -> anyhow::Result<()> {
        for _ in 0..self.random.between(1, 5) {
            let ended = self
                .world
                .number(
                    "select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity
                     where application_name = 'cegid-indexer'",
                )
                .await?;
            self.tally.felt(Event::Terminate, ended.unsigned_abs());
            let gap = self.random.between(0, 500);
            self.pause(Duration::from_millis(gap)).await?;
        }
        Ok(())
    }

    async fn reload(&self, setting: &'static str) -> anyhow::Result<()> {
        sqlx::query(setting).execute(&self.world.pool).await?;
        sqlx::query("select pg_reload_conf()").execute(&self.world.pool).await?;
        Ok(())
    }

    /// As many as PostgreSQL gives, held for a while.
    /// Every replica has its connection, and nothing takes it away meanwhile: another one cannot be made.
    pub(super) async fn take_slots(&mut self) -> anyhow::Result<()> {
        self.calm().await?;
        let options = self.world.pool.connect_options();
        let mut taken = Vec::new();
        while let Ok(connection) = PgConnection::connect_with(&options).await {
            taken.push(connection);
        }
        self.tally.felt(Event::Slots, taken.len() as u64);
        let time = self.random.between(1000, 8000);
        self.pause(Duration::from_millis(time)).await?;
        for connection in taken {
            // The server may have gone meanwhile.
            let _closed = connection.close().await;
        }
        Ok(())
    }

    pub(super) async fn read_only(&mut self) -> anyhow::Result<()> {
        let before = self.warnings();
        self.reload("alter system set default_transaction_read_only = on").await?;
        let time = self.random.between(1000, 5000);
        self.pause(Duration::from_millis(time)).await?;
        self.reload("alter system reset default_transaction_read_only").await?;
        self.tally.felt(Event::ReadOnly, self.warnings() - before);
        Ok(())
    }
}
