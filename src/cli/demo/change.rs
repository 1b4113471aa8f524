//! Changes at random, as people in a recruiting department make them.

use cegid_simulator::{Change, Simulator, TruthRow};

/// Beyond its floor of 20 removals in 24 h the service's bulk guard would hold removals back, and the end would wait.
const DELETIONS: usize = 15;
/// How many subjects are looked at for one that a change fits.
const TRIES: usize = 64;
/// Letters of a word worth searching for.
const WORD: usize = 5;

/// Chooses and makes changes; the same seed chooses the same.
pub struct Changer {
    simulator: Simulator,
    random: Random,
    vacancies: Vec<String>,
    candidates: Vec<String>,
    deletions: usize,
}

impl Changer {
    /// Of the subjects that there are now, and those it makes.
    pub fn new(simulator: Simulator, seed: u64) -> Changer {
        let truth = simulator.truth();
        let keys = |kind| truth.iter().filter(|row| row.kind == kind).map(|row| row.key.clone()).collect();
        Changer {
            random: Random(seed),
            vacancies: keys("vacancy"),
            candidates: keys("candidate"),
            deletions: 0,
            simulator,
        }
    }

    /// Makes one change.
    pub fn change(&mut self) {
        let (live, hidden) = (|row: &TruthRow| row.live, |row: &TruthRow| row.present && !row.live);
        let change = match self.random.below(100) {
            0..30 => self.vacancy(live).map(|key| Change::EditVacancy { key }),
            30..38 => self.vacancy(hidden).map(|key| Change::PublishVacancy { key }),
            38..46 => self.vacancy(live).map(|key| Change::ArchiveVacancy { key }),
            46..49 if self.deletions < DELETIONS => {
                // One that cannot be asked for cannot be found absent either: the service would go on looking for it.
                let key = self.vacancy(|row| row.live && !row.key.contains([',', '|', ':']));
                self.deletions += usize::from(key.is_some());
                key.map(|key| Change::DeleteVacancy { key })
            }
            46..52 => Some(Change::CreateVacancy),
            52..76 => self.candidate().map(|key| Change::EditCandidate { key }),
            76..84 => self.candidate().map(|key| Change::ReplaceResume { key }),
            84..93 => {
                self.candidate().zip(self.vacancy(live)).map(|(key, vacancy)| Change::AddApplication { key, vacancy })
            }
            93..97 => Some(Change::CreateCandidate),
            _ => self.candidate().map(|key| Change::AnonymiseCandidate { key }),
        };
        self.make(&change.unwrap_or(Change::CreateVacancy));
    }

    /// Edits a vacancy that is published; makes one where there is none.
    pub fn edit_some_vacancy(&mut self) {
        if self.vacancy(|row| row.live).is_none() {
            self.make(&Change::CreateVacancy);
        }
        if let Some(key) = self.vacancy(|row| row.live) {
            self.make(&Change::EditVacancy { key });
        }
    }

    fn make(&mut self, change: &Change) {
        // A subject that somebody deletes over the control API at this moment is no reason to stop.
        let Ok(key) = self.simulator.change(change) else { return };
        match change {
            Change::CreateVacancy => self.vacancies.push(key),
            Change::CreateCandidate => self.candidates.push(key),
            _ => {}
        }
    }

    fn vacancy(&mut self, fits: impl Fn(&TruthRow) -> bool) -> Option<String> {
        pick(&self.simulator, &mut self.random, "vacancy", &self.vacancies, fits)
    }

    fn candidate(&mut self) -> Option<String> {
        pick(&self.simulator, &mut self.random, "candidate", &self.candidates, |row| row.live)
    }
}

fn pick(
    simulator: &Simulator,
    random: &mut Random,
    kind: &str,
    keys: &[String],
    fits: impl Fn(&TruthRow) -> bool,
) -> Option<String> {
    if keys.is_empty() {
        return None;
    }
    (0..TRIES)
        .map(|_| &keys[random.below(keys.len())])
        .find(|key| simulator.truth_of(kind, key).is_some_and(|row| fits(&row)))
        .cloned()
}

/// A word of the title that needs no encoding in a URL.
pub fn word(row: &TruthRow) -> Option<String> {
    let words = row.title.split(|character: char| !character.is_alphanumeric());
    words
        .filter(|word| word.len() >= WORD && word.bytes().all(|byte| byte.is_ascii_alphabetic()))
        .map(str::to_lowercase)
        .next()
}

/// SplitMix64: good enough to choose by, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        // The remainder is below a usize.
        (bits % limit.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_chooses_the_same() {
        let draw = |seed| {
            let mut random = Random(seed);
            (0..20).map(|_| random.below(100)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(3).iter().all(|drawn| *drawn < 100));
    }
}
