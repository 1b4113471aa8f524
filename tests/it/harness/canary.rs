//! What must not be said aloud: people and secrets, searched for in everything that the service says in this process.

use std::{
    io::{self, Write},
    sync::{Mutex, OnceLock},
};

use cegid_indexer::domain::Kind;
use cegid_simulator::Simulator;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use super::World;

/// Everything of ours; of others what the service lets through. The simulator knows people, and is not the service.
const FILTER: &str = "warn,cegid_indexer=trace,sqlx=error,cegid_simulator=off,private_postgres=off";
/// People whose words are searched for.
const PEOPLE: usize = 40;
/// Shorter words stand in other words.
const SHORTEST: usize = 5;

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

#[derive(Clone, Copy)]
struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what is logged from now on, by all tests of this process. Gives how much there is already.
pub fn listen() -> usize {
    static LISTENING: OnceLock<()> = OnceLock::new();
    LISTENING.get_or_init(|| {
        let lines = fmt::layer().with_ansi(false).with_writer(|| Log);
        tracing_subscriber::registry().with(EnvFilter::new(FILTER)).with(lines).init();
    });
    LOG.lock().unwrap().len()
}

/// What was logged since, and the beginning of a line that is being written.
pub fn logged(since: usize) -> String {
    String::from_utf8_lossy(&LOG.lock().unwrap()[since..]).into_owned()
}

/// Whether the text holds the word, not as a part of a longer one.
fn holds(text: &str, word: &str) -> bool {
    let ends = |character: Option<char>| character.is_none_or(|character| !character.is_alphanumeric());
    text.match_indices(word)
        .any(|(at, _)| ends(text[..at].chars().next_back()) && ends(text[at + word.len()..].chars().next()))
}

/// Where each word stands that must not stand there.
pub fn found(place: &str, text: &str, words: &[String]) -> Vec<String> {
    let line = |word: &str| text.lines().find(|line| holds(line, word)).unwrap_or_default();
    let told = words.iter().filter(|word| word.chars().count() >= SHORTEST && holds(text, word));
    told.map(|word| format!("{place} holds {word:?}: {}", line(word))).collect()
}

/// Words of a tenant's people, and its secrets, that the log holds since then.
pub fn in_the_log(simulator: &Simulator, secrets: &[String], since: usize) -> Vec<String> {
    let mut words = simulator.personal_words(PEOPLE);
    words.extend_from_slice(secrets);
    let candidates = simulator.truth().into_iter().filter(|row| row.kind == "candidate");
    let ids: Vec<String> = candidates.map(|row| row.key).collect();
    words.extend(ids.iter().step_by(ids.len().div_ceil(PEOPLE).max(1)).cloned());
    let log = logged(since);
    let mut leaks = found("the log", &log, &words);
    let keys = ["signature=", "client_secret=", "Bearer "];
    leaks.extend(keys.iter().filter(|key| log.contains(**key)).map(|key| format!("the log holds {key:?}")));
    leaks
}

impl World {
    /// Words of people and secrets that this world has said aloud: in a log line, in the metrics, in a refusal, in a list.
    pub async fn leaks(&self) -> Vec<String> {
        let secrets = [super::SECRET.to_owned()];
        let mut leaks = in_the_log(&self.simulator, &secrets, self.log_from);
        let mut words = self.simulator.personal_words(PEOPLE);
        words.extend(secrets);
        leaks.extend(self.said(&words).await);
        leaks
    }

    /// The same of what is answered to operators, whose pages name keys, titles and codes alone, and to strangers.
    async fn said(&self, words: &[String]) -> Vec<String> {
        let tenant = "/api/v1/tenants/acme";
        let candidates = self.indexed(Kind::Candidate).await;
        let candidate = candidates.keys().next().map_or("nobody", String::as_str);
        let mut leaks = Vec::new();
        for path in [
            "/metrics".to_owned(),
            "/readyz?verbose".to_owned(),
            "/api/v1/tenants".to_owned(),
            "/api/v1/nothing".to_owned(),
            format!("{tenant}/candidates?limit=100"),
            format!("{tenant}/candidates?limit=100&offset=10001"),
            format!("{tenant}/candidates/nobody"),
            format!("{tenant}/candidates/{candidate}"),
            format!("{tenant}/referentials"),
        ] {
            let (status, text) = self.get(&self.operators, &path).await;
            assert_ne!(status, 0, "{path}: nobody answers");
            leaks.extend(found(&path, &text, words));
        }
        let word = words.first().cloned().unwrap_or_default();
        for path in ["/", "/api/talentsoft/v1/acme/events", "/api/talentsoft/v1/nobody/events"] {
            let url = format!("{}{path}?client_id=x&signature=y", self.public);
            let body = serde_json::json!({ "applicantId": word, "event_type": word }).to_string();
            let answer = self.http.post(url).body(body).send().await.unwrap();
            assert!(answer.status().is_client_error(), "{path}: {}", answer.status());
            leaks.extend(found(path, &answer.text().await.unwrap(), words));
        }
        leaks
    }
}
