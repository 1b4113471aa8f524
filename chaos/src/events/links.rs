//! Links that fail.

use std::time::Duration;

use fault_proxy::{Pattern, Proxy, Trap, Way};

use super::Event;
use crate::storm::Storm;

impl Storm {
    /// A replica, and one of its links.
    fn some_link(&mut self) -> (usize, usize) {
        let nth = self.random.below(self.world.links.len());
        (nth, self.random.below(self.world.links[nth].all().count()))
    }

    fn link(&self, (nth, which): (usize, usize)) -> Option<&Proxy> {
        self.world.links[nth].all().nth(which)
    }

    /// For how long the link is so.
    fn while_it_lasts(&mut self, replica: usize, event: Event) {
        let time = self.random.between(1000, 5000);
        self.lasts(replica, Duration::from_millis(time));
        self.tally.felt(event, 1);
    }

    pub(super) async fn slow_link(&mut self) -> anyhow::Result<()> {
        let place = self.some_link();
        let (there, back) = (self.random.between(10, 300), self.random.between(10, 300));
        if let Some(link) = self.link(place) {
            link.set_latency(Duration::from_millis(there), Duration::from_millis(back));
        }
        self.while_it_lasts(place.0, Event::Latency);
        Ok(())
    }

    pub(super) async fn cut_link(&mut self) -> anyhow::Result<()> {
        for _ in 0..self.random.between(1, 6) {
            let place = self.some_link();
            if let Some(link) = self.link(place) {
                let cut = link.cut().await;
                self.tally.felt(Event::Cut, cut);
            }
            let gap = self.random.between(0, 300);
            self.pause(Duration::from_millis(gap)).await?;
        }
        Ok(())
    }

    pub(super) async fn cut_amid(&mut self) -> anyhow::Result<()> {
        // The way of callbacks, or the one to PostgreSQL: something goes over both all the time.
        let place = (self.random.below(self.world.links.len()), self.random.below(2));
        let (bytes, way) = (self.random.between(1, 5000), self.random.pick(&[Way::ToTarget, Way::ToClient]));
        let cuts = |storm: &Storm| storm.link(place).map_or(0, |link| link.counts().cut);
        let before = cuts(self);
        if let Some(link) = self.link(place) {
            link.cut_after(way, bytes);
        }
        let cut = self.more(before, cuts).await?;
        self.tally.felt(Event::CutAmid, cut);
        Ok(())
    }

    pub(super) async fn black_hole(&mut self) -> anyhow::Result<()> {
        let place = self.some_link();
        if let Some(link) = self.link(place) {
            link.set_black_hole(true);
        }
        self.while_it_lasts(place.0, Event::BlackHole);
        Ok(())
    }

    pub(super) async fn refuse(&mut self) -> anyhow::Result<()> {
        let place = self.some_link();
        if let Some(link) = self.link(place) {
            link.refuse().await?;
            link.cut().await;
        }
        self.while_it_lasts(place.0, Event::Refuse);
        Ok(())
    }

    pub(super) async fn silence(&mut self) -> anyhow::Result<()> {
        let nth = self.random.below(self.world.links.len());
        let silent = self.world.links[nth].database.silence();
        self.tally.felt(Event::Silence, silent);
        Ok(())
    }

    /// Before a COMMIT reaches PostgreSQL, or after it was done and before it is known.
    pub(super) async fn cut_commits(&mut self) -> anyhow::Result<()> {
        let nth = self.random.below(self.world.links.len());
        let trap = if self.random.percent(50) { Trap::before(Pattern::Commit) } else { Trap::after(Pattern::Commit) };
        let (skip, times) = (self.random.between(0, 4), self.random.between(1, 5));
        let sprung = |storm: &Storm| storm.world.links[nth].database.counts().sprung;
        let before = sprung(self);
        self.world.links[nth].database.set_trap(trap.skip(skip).times(times));
        let cut = self.more(before, sprung).await?;
        self.tally.felt(Event::Commit, cut);
        Ok(())
    }
}
