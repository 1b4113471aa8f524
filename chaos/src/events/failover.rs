//! A failover to a standby that lacks the last commits.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::ensure;

use super::Event;
use crate::{patience::until_holds, storm::Storm};

const RAISED: &str = "the sequence is raised beyond all that is known";
/// What the bound on reads is made of.
const READS: &str = "select (select count(*) from delivery) + (select coalesce(sum(unseen), 0)::bigint from sweep)
    + (select count(*) from chaos.attempt)";

/// What commits were lost, and the balance must know.
#[derive(Debug, Default, Clone)]
pub struct Lost {
    /// By tenant, the bodies of deliveries that were stored and lost, and how often.
    pub deliveries: HashMap<String, HashMap<String, i64>>,
    /// What the bound on reads counts of what was lost.
    pub reads: u64,
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("a directory could not be copied")) }
}

impl Storm {
    /// Deliveries with an id above this one.
    async fn deliveries_above(&self, id: i64) -> anyhow::Result<Vec<(i64, String, String)>> {
        let query = "select id, tenant, convert_from(body, 'UTF8') from delivery where id > $1";
        Ok(sqlx::query_as(query).bind(id).fetch_all(&self.world.pool).await?)
    }

    /// The standby is the primary as it was some seconds ago. Before the primary dies no replica reaches it any more,
    /// and no transaction is open: what it holds then and the standby does not is exactly what was lost.
    pub(super) async fn fail_over(&mut self) -> anyhow::Result<()> {
        self.calm().await?;
        let server = self.world.server.clone();
        let (data, standby) = (server.data_dir(), server.dir().join("standby"));
        let above = self.world.number("select coalesce(max(id), 0) from delivery").await?;
        let (from, to) = (data.clone(), standby.clone());
        tokio::task::spawn_blocking(move || {
            server.stop_postgres()?;
            copy(&from, &to)?;
            server.start_again()?;
            anyhow::Ok(())
        })
        .await??;
        let time = self.random.between(2000, 6000);
        self.pause(Duration::from_millis(time)).await?;
        let raised = |storm: &Storm| storm.count_lines(RAISED);
        let before = raised(self);

        for links in &self.world.links {
            links.database.refuse().await?;
            links.database.cut().await;
        }
        until_holds("no replica has a transaction open", async || {
            let left = "select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity
                        where application_name = 'cegid-indexer'";
            Ok(self.world.number(left).await? == 0)
        })
        .await?;
        let (stored, reads) = (self.deliveries_above(above).await?, self.world.number(READS).await?);
        let server = self.world.server.clone();
        tokio::task::spawn_blocking(move || {
            server.kill()?;
            fs::remove_dir_all(&data)?;
            fs::rename(&standby, &data)?;
            fs::write(data.join("standby.signal"), "")?;
            server.start_again()?;
            anyhow::Ok(())
        })
        .await??;
        until_holds("the standby can be read", async || Ok(self.world.number("select 1::bigint").await.is_ok()))
            .await?;
        let promoted = self.world.number("select pg_promote()::int::bigint").await?;
        ensure!(promoted == 1, "the standby was not promoted");
        let kept: HashSet<i64> = self.deliveries_above(above).await?.into_iter().map(|(id, ..)| id).collect();
        let lost: Vec<_> = stored.into_iter().filter(|(id, ..)| !kept.contains(id)).collect();
        let count = lost.len() as u64;
        for (_, tenant, body) in lost {
            *self.lost.deliveries.entry(tenant).or_default().entry(body).or_default() += 1;
        }
        self.lost.reads += (reads - self.world.number(READS).await?).max(0).unsigned_abs();

        for links in &self.world.links {
            links.database.accept_again().await?;
        }
        let more = self.more(before, raised).await?;
        self.tally.felt(Event::Failover, if more > 0 { count } else { 0 });
        Ok(())
    }
}
