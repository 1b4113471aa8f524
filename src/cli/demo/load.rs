//! Watching the initial load: what is in the index and what was reported, against what the simulator has.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use cegid_indexer::{domain::Kind, index::documents, sweeps};
use indicatif::ProgressBar;
use tokio::time::sleep;

use super::{Stage, ending::Failure};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Where bars are not drawn.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// A load that does not move for so long is given up.
const STUCK: Duration = Duration::from_secs(60);

/// One of the three counts.
struct Count {
    name: &'static str,
    now: usize,
    of: usize,
    bar: ProgressBar,
}

impl Count {
    fn is(&mut self, now: usize) -> bool {
        self.bar.set_position(now as u64);
        std::mem::replace(&mut self.now, now) != now
    }
}

/// Returns once everything is loaded and reported.
///
/// # Errors
/// When the tables cannot be read or nothing moves any more.
pub async fn watch(stage: &Stage<'_>) -> Result<(), Failure> {
    let truth = stage.simulator.truth();
    let live = |kind: Kind| truth.iter().filter(|row| row.live && row.kind == kind.as_str()).count();
    let (vacancies, candidates) = (live(Kind::Vacancy), live(Kind::Candidate));
    let count = |name, of| Count { name, now: 0, of, bar: stage.screen.bar(name, of) };
    let mut counts =
        [count("vacancies", vacancies), count("candidates", candidates), count("reports", vacancies + candidates)];
    let began = Instant::now();
    let (mut moved, mut printed) = (began, began);
    loop {
        let held = documents::counts(stage.database).await?;
        let held = |kind: Kind| {
            let of_kind = held.iter().find(|of| of.tenant == stage.tenant.as_str() && of.kind == kind.as_str());
            of_kind.and_then(|of| usize::try_from(of.live + of.hidden).ok()).unwrap_or(0)
        };
        let now = [held(Kind::Vacancy), held(Kind::Candidate), stage.simulator.report_count()];
        for (count, now) in counts.iter_mut().zip(now) {
            if count.is(now) {
                moved = Instant::now();
            }
        }
        let loads = sweeps::loads(stage.database).await?;
        let read = loads.len() == Kind::ALL.len() && loads.iter().all(|load| load.remaining == 0);
        // Records that could not be read are missing from the counts; the comparison names them.
        let broken: i64 = loads.iter().map(|load| load.broken).sum();
        if read && (broken > 0 || counts.iter().all(|count| count.now >= count.of)) {
            counts.iter().for_each(|count| count.bar.finish_and_clear());
            stage.screen.line(&format!("loaded      {} in {:.1} s", summary(&counts), began.elapsed().as_secs_f64()));
            if broken > 0 {
                stage.screen.line(&format!("            {broken} records could not be read"));
            }
            return Ok(());
        }
        if moved.elapsed() > STUCK {
            let says = format!("the initial load has not moved for {} s: {}", STUCK.as_secs(), summary(&counts));
            return Err(anyhow!("{says}; run with CEGID_INDEXER__LOG__LEVEL=info to see why").into());
        }
        if !stage.screen.draws() && printed.elapsed() > LINE_EVERY {
            printed = Instant::now();
            stage.screen.line(&format!("loading     {}", summary(&counts)));
        }
        sleep(LOOK_EVERY).await;
    }
}

fn summary(counts: &[Count]) -> String {
    let parts: Vec<String> = counts.iter().map(|count| format!("{} {}/{}", count.name, count.now, count.of)).collect();
    parts.join(" · ")
}
