//! `erase`: a request that cannot wait for a sweep.

use std::{io::BufRead, path::Path, process::ExitCode};

use cegid_indexer::{
    domain::{Kind, Subject},
    erasure::{self, Receipt},
    subjects,
};
use clap::Args;

use super::{EXIT_USAGE, fail, known_tenant, sweeps::Of, with_database};

/// Whom to erase.
#[derive(Args)]
pub struct Erase {
    #[arg(long)]
    tenant: String,
    /// Candidate or vacancy
    #[arg(long, value_enum, default_value = "candidate")]
    kind: Of,
    /// The candidate's id or the vacancy's reference, or `-` to read it from the standard input, where no history keeps it
    #[arg(long)]
    key: String,
    /// Why, such as the number of the request; no personal data
    #[arg(long, default_value = "")]
    reason: String,
    /// Take an erasure back: the subject may be fetched again, and is
    #[arg(long)]
    lift: bool,
}

pub fn erase(file: Option<&Path>, asked: Erase) -> ExitCode {
    let key = match key(&asked.key) {
        Ok(key) => key,
        Err(code) => return code,
    };
    let subject = Subject::new(asked.kind.into(), key);
    with_database(file, "erasing", async |settings, database| {
        let tenant = match known_tenant(&settings, &asked.tenant) {
            Ok(tenant) => tenant,
            Err(code) => return Ok(code),
        };
        let now = database.time().await?;
        database.verify_numbers().await?;
        if asked.lift {
            if !erasure::lift(&database, &tenant, &subject, now).await? {
                return Ok(fail(1, &"no erasure of this key holds"));
            }
            let kind: Kind = asked.kind.into();
            subjects::want(&database, &tenant, kind, subject.key(), now).await?;
            print_line!("lifted: the service reads it again");
            return Ok(ExitCode::SUCCESS);
        }
        let receipt = erasure::erase(&database, &tenant, &subject, &asked.reason, now).await?;
        print(&receipt);
        Ok(ExitCode::SUCCESS)
    })
}

fn print(receipt: &Receipt) {
    print_line!("erased {}", receipt.hash);
    print_line!(
        "  {} document, {} kept files and {} noted report deleted; {} deliveries without key and body",
        receipt.documents,
        receipt.attachments,
        receipt.reports,
        receipt.deliveries
    );
    print_line!("  it holds until `erase --lift`; backups and Cegid itself are not reached by it");
}

fn key(given: &str) -> Result<String, ExitCode> {
    let mut key = given.to_owned();
    if given == "-" {
        key.clear();
        if let Err(error) = std::io::stdin().lock().read_line(&mut key) {
            return Err(fail(EXIT_USAGE, &format!("reading the key from the standard input: {error}")));
        }
        key.truncate(key.trim_end_matches(['\r', '\n']).len());
    }
    if key.is_empty() || key.contains('\0') {
        return Err(fail(EXIT_USAGE, &"the key is empty or cannot be one"));
    }
    Ok(key)
}
