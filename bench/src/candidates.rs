//! P16: how much memory reading candidates takes whose attachments are as large as real ones.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;

use crate::{
    ats::Ats,
    machine::memory,
    postgres::{CANDIDATES, Postgres},
    records,
    service::{Service, Setup},
    table::Figures,
};

const POLL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the initial load of the candidates in `directory`, once.
pub fn run(postgres: &Postgres, program: &Path, directory: &Path, figures: &mut Figures) -> anyhow::Result<()> {
    let ats = Ats::start(records::of(directory))?;
    let setup = Setup {
        database: postgres.url(CANDIDATES)?,
        cegid: ats.simulator.base_url(),
        further: vec![("TENANTS__BENCH__LOAD_PAUSE", "0s".to_owned())],
    };
    let began = Instant::now();
    let service = Service::start(program, &setup)?;
    let (at_first, _) = memory(service.pid());
    let expected = ats.simulator.truth().len();
    let left =
        "select count(*) filter (where finished_at is null) + (count(*) = 0)::int from sweep where use = 'initial'";
    while postgres.number(CANDIDATES, left).unwrap_or(1.0) > 0.0 {
        if began.elapsed() > PATIENCE {
            bail!("the initial load of candidates did not end: {}", service.log_end());
        }
        thread::sleep(POLL);
    }
    let took = began.elapsed().as_secs_f64();
    let documents = postgres.number(CANDIDATES, "select count(*) from document")?;
    figures.gate("candidates", documents == expected as f64, || format!("{documents} documents of {expected}"));
    let (_, most) = memory(service.pid());
    figures.add("P16", "MB", most);
    figures.add("P16 resident at the start", "MB", at_first);
    figures.add("candidates with attachments: fetched, decoded and stored", "candidates/s", documents / took);
    Ok(())
}
