//! The ledger as text, for operators.

use std::fmt;

use super::Ledger;

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ledger { received, settled, waiting, dead, ignored, .. } = self;
        writeln!(
            f,
            "deliveries: received {received} = settled {settled} + waiting {waiting} + dead {dead} + ignored {ignored}"
        )?;
        for (of, by) in [("dead", &self.dead_by_cause), ("ignored", &self.ignored_by_reason)] {
            for (why, count) in by {
                writeln!(f, "            {of} {count}: {why}")?;
            }
        }
        writeln!(
            f,
            "index:      {} held, {} documents, {} missing, {} in excess; {} subjects waiting, {} given up",
            self.held,
            self.documents,
            self.documents_missing,
            self.documents_extra,
            self.subjects_waiting,
            self.subjects_dead
        )?;
        for (count, what) in [
            (
                self.status_unknown,
                "vacancies never had a readable status: hidden unless a list of published ones shows them",
            ),
            (self.anonymisation_unclear, "people hidden because isAnonymized is neither yes nor no"),
        ] {
            if count > 0 {
                writeln!(f, "            {count} {what}")?;
            }
        }
        writeln!(
            f,
            "reports:    {} reported, {} waiting, {} refused, {} missing",
            self.reported, self.reports_waiting, self.reports_dead, self.reports_missing
        )?;
        write!(f, "gaps:       {} changes were found that no callback announced", self.gaps)?;
        if self.unreadable > 0 {
            let (all, unnamed) = (self.unreadable, self.unreadable_unnamed);
            write!(f, "\nlists:      {all} records could not be read, {unnamed} of them without a readable key")?;
            for (why, count) in &self.unreadable_by_cause {
                write!(f, "\n            {count}: {why}")?;
            }
        }
        if self.vanished + self.removals_held + self.removals_undone > 0 {
            let (vanished, held, undone) = (self.vanished, self.removals_held, self.removals_undone);
            write!(
                f,
                "\nremovals:   {vanished} vanished in 24 h, {held} wait for `sweeps confirm`; {undone} were shown again"
            )?;
            if self.removals_unproven > 0 {
                let unproven = self.removals_unproven;
                write!(f, "\n            {unproven} were removed without a proof, or beyond the bulk guard")?;
            }
        }
        if self.lists_stalled + self.sweeps_late + self.subjects_passed_over > 0 {
            let (stalled, late, passed_over) = (self.lists_stalled, self.sweeps_late, self.subjects_passed_over);
            write!(
                f,
                "\nsweeps:     {late} are late, {stalled} have a list that does not advance; {passed_over} subjects were \
                 passed over"
            )?;
        }
        Ok(())
    }
}
