//! What must stand in no log, no metric and no answer: the secrets, and what the simulators made up of people.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use crate::{balance::Line, world::World};

/// A shorter word may stand somewhere by chance.
const LETTERS: usize = 6;
/// Members of a candidate's record that are about the person.
const PERSONAL: [&str; 4] = ["firstName", "lastName", "email", "phoneNumber"];
/// What the operators' listener shows that is no document.
const SHOWN: [&str; 4] = ["/metrics", "/readyz?verbose", "/api/v1/tenants", "/api/v1/tenants/nobody/candidates"];
/// Columns that hold what went wrong, in words.
const WORDS: &str = "select coalesce(string_agg(words, ' '), '') from (
    select last_error as words from subject
    union all select array_to_string(messages, ' ') || coalesce(last_error, '') from report_item
    union all select row_to_json(refusal)::text from refusal
  ) as said";

/// Adds what a record says of the person, wherever it stands in it.
fn collect(record: &Value, canaries: &mut BTreeSet<String>) {
    match record {
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(word) = value.as_str().filter(|word| word.chars().count() >= LETTERS)
                    && PERSONAL.contains(&name.as_str())
                {
                    canaries.insert(word.to_owned());
                }
                collect(value, canaries);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, canaries)),
        _ => {}
    }
}

/// Looks everywhere.
///
/// # Errors
/// When something cannot be read.
pub async fn line(world: &World) -> anyhow::Result<Line> {
    let mut canaries: BTreeSet<String> = BTreeSet::from([world.password.clone()]);
    canaries.extend(world.tenants.iter().map(|tenant| tenant.simulator.config().client_secret.clone()));
    let records: Vec<String> =
        sqlx::query_scalar("select raw from document where kind = 'candidate'").fetch_all(&world.pool).await?;
    for record in records {
        collect(&serde_json::from_str(&record)?, &mut canaries);
    }
    let mut texts: Vec<(String, String)> =
        world.replicas.iter().map(|replica| (format!("the log of {}", replica.name), replica.log())).collect();
    texts.push(("the words in the tables".to_owned(), sqlx::query_scalar(WORDS).fetch_one(&world.pool).await?));
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    for replica in world.replicas.iter().filter(|replica| replica.is_running()) {
        for path in SHOWN {
            let answer = client.get(format!("http://{}{path}", replica.operators.at)).send().await?;
            texts.push((format!("{path} of {}", replica.name), answer.text().await?));
        }
    }
    let mut wrong = Vec::new();
    for (place, text) in &texts {
        wrong.extend(canaries.iter().filter(|word| text.contains(*word)).map(|word| format!("{word} is in {place}")));
    }
    let bytes: usize = texts.iter().map(|(_, text)| text.len()).sum();
    let counted = format!("{} words in {bytes} bytes of logs, metrics and lists", canaries.len());
    Ok(Line { holds: "no secret and nothing personal leaks", counted, wrong })
}
