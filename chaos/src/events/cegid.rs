//! What becomes of Cegid.

use cegid_simulator::{Compression, Endpoint, Fault, FaultKind, RequestRow, Simulator};

use super::Event;
use crate::storm::Storm;

/// The exports.
pub(super) const EXPORTS: [Endpoint; 2] = [Endpoint::Vacancies, Endpoint::Candidates];
/// Those that are called all the time; the token's is, once tokens are worth nothing.
const ENDPOINTS: [Endpoint; 5] =
    [Endpoint::Token, Endpoint::Vacancies, Endpoint::Candidates, Endpoint::Reports, Endpoint::Any];

/// Most are cut inside a member, or hold something behind it.
const COMPRESSIONS: [Compression; 7] = [
    Compression::CutMember,
    Compression::Rest,
    Compression::LongLength,
    Compression::OnlySaid,
    Compression::SaidBr,
    Compression::SaidTwice,
    Compression::Members,
];

impl Storm {
    /// Answers of all tenants that pass the test.
    pub(super) fn count_answers(&self, test: fn(&RequestRow) -> bool) -> u64 {
        self.world.tenants.iter().map(|tenant| tenant.simulator.count_requests(test) as u64).sum()
    }

    fn some_cegid(&mut self) -> Simulator {
        let nth = self.random.below(self.world.loaded());
        self.world.tenants[nth].simulator.clone()
    }

    /// Sets it at one tenant, and waits until it is felt.
    async fn at_some_cegid(
        &mut self,
        event: Event,
        fault: Fault,
        answered: fn(&RequestRow) -> bool,
    ) -> anyhow::Result<()> {
        let cegid = self.some_cegid();
        let before = self.count_answers(answered);
        if fault.endpoint == Endpoint::Token {
            cegid.expire_tokens();
        }
        cegid.add_fault(fault);
        let more = self.more(before, |storm| storm.count_answers(answered)).await?;
        self.tally.felt(event, more);
        Ok(())
    }

    pub(super) async fn unavailable(&mut self) -> anyhow::Result<()> {
        let kind = FaultKind::Status { code: 503, retry_after: None };
        let (endpoint, seconds) = (self.random.pick(&ENDPOINTS), self.random.between(2, 6));
        self.at_some_cegid(Event::Unavailable, Fault::new(endpoint, kind).seconds(seconds), |row| row.status == 503)
            .await
    }

    pub(super) async fn throttled(&mut self) -> anyhow::Result<()> {
        let kind = FaultKind::Status { code: 429, retry_after: Some(self.random.between(1, 3)) };
        let (endpoint, times) = (self.random.pick(&ENDPOINTS), self.random.between(1, 6));
        self.at_some_cegid(Event::Throttled, Fault::new(endpoint, kind).times(times), |row| row.status == 429).await
    }

    pub(super) async fn cut_exports(&mut self) -> anyhow::Result<()> {
        // In the first size, in the first record, or in a later one.
        let kind = FaultKind::Break { bytes: usize::try_from(self.random.between(0, 6000))? };
        let (endpoint, times) = (self.random.pick(&EXPORTS), self.random.between(1, 8));
        self.at_some_cegid(Event::CutExport, Fault::new(endpoint, kind).times(times), |row| {
            row.note.contains("broken off")
        })
        .await
    }

    pub(super) async fn compress_badly(&mut self) -> anyhow::Result<()> {
        let kind = FaultKind::Compressed { how: self.random.pick(&COMPRESSIONS) };
        let (endpoint, times) = (self.random.pick(&EXPORTS), self.random.between(1, 8));
        self.at_some_cegid(Event::BadCompression, Fault::new(endpoint, kind).times(times), |row| {
            row.note.contains("compressed")
        })
        .await
    }

    pub(super) async fn worthless_tokens(&mut self) -> anyhow::Result<()> {
        let before = self.count_answers(|row| row.status == 401);
        self.some_cegid().expire_tokens();
        let more = self.more(before, |storm| storm.count_answers(|row| row.status == 401)).await?;
        self.tally.felt(Event::Tokens, more);
        Ok(())
    }
}
