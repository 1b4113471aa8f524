//! The log of one test, apart from that of the tests beside it: what is logged on the test's own thread.

use std::{
    io,
    sync::{Arc, Mutex},
};

use cegid_indexer::{settings::Settings, telemetry};
use tracing_subscriber::{
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
};

/// Where the log of this test's thread goes.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Kept {
    type Writer = Kept;

    fn make_writer(&self) -> Kept {
        self.clone()
    }
}

impl Kept {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Keeps the log in both formats, as `log.level = "debug"` shows it.
pub fn keep_log() -> (Kept, Kept, tracing::subscriber::DefaultGuard) {
    let url = [("DATABASE__URL", "postgres://x/y"), ("LOG__LEVEL", "debug")];
    let url = url.map(|(key, value)| (format!("CEGID_INDEXER__{key}"), value.to_owned()));
    let settings = Settings::load(None, url).unwrap().log;
    let (text, lines) = (Kept::default(), Kept::default());
    let subscriber = tracing_subscriber::registry()
        .with(telemetry::filter(&settings).unwrap())
        .with(fmt::layer().with_target(false).with_ansi(false).with_writer(text.clone()))
        .with(fmt::layer().json().flatten_event(true).with_writer(lines.clone()));
    (text, lines, tracing::subscriber::set_default(subscriber))
}

/// The warnings among the lines of a text log that hold this.
pub fn warnings(log: &Kept, words: &str) -> Vec<String> {
    log.text().lines().filter(|line| line.contains(" WARN ") && line.contains(words)).map(str::to_owned).collect()
}
