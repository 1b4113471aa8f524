//! `database`: what an operator does to the database by hand.

use std::{path::Path, process::ExitCode};

use clap::Subcommand;

use super::with_database;

const EXIT_CODES: &str = "\
Exit codes:
  0   the numbers are right, or were put right; it is said which
  2   the command line cannot be read
  69  the database is away, or its schema is another version's
  78  the settings are wrong";

#[derive(Subcommand)]
pub enum Maintenance {
    /// Raise the sequence of numbers beyond all that the tables hold, as the service does after a failover or a restore
    #[command(after_help = EXIT_CODES)]
    RepairNumbers {
        /// The database was given back an older state, from a backup or a snapshot, while no service ran: nothing in it
        /// tells, so that only this makes sure that every outcome is reported once more and that sweeps begin at once
        #[arg(long)]
        restored: bool,
    },
}

pub fn maintain(file: Option<&Path>, Maintenance::RepairNumbers { restored }: Maintenance) -> ExitCode {
    with_database(file, "repairing the numbers", async |_, database| {
        let repair = database.repair_numbers(restored).await?;
        match repair.raised_to {
            None => print_line!(
                "the sequence is at {}, nothing has a higher number: nothing was changed; after a restore say so with \
                 --restored",
                repair.found
            ),
            Some(to) => print_line!(
                "{}the sequence was at {}, and the highest number known is {}: raised to {to}; {} subjects are read again, \
                 {} outcomes are reported once more, workers begin again, incremental sweeps are due",
                if repair.moved { "the server is not the one that was verified last; " } else { "" },
                repair.found,
                repair.highest,
                repair.reread,
                repair.renoted
            ),
        }
        Ok(ExitCode::SUCCESS)
    })
}
