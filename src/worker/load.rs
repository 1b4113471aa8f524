//! The initial load: on the first start for a tenant, everything, the newest first.
//!
//! Pages carry whole records, so they settle subjects directly, under the number drawn before the page was asked for:
//! a slow page changes nothing after a newer refresh. The next page is under way while one is settled. A restart goes on
//! behind the last settled page; the page in between is read again.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tracing::{info, warn};

use super::{
    Context,
    pace::Lane,
    settlement::{NotWritten, Settlement, Written},
};
use crate::{
    cegid::{Class, Page, Query},
    domain::Kind,
    metrics::Outcome,
    subjects::{self, Postponed, State, Why},
    sweeps::{self, Progress, Window},
};

/// After so many pages the tables have grown out of what the planner knows of them.
const ANALYZED: [u32; 3] = [3, 30, 300];
/// Items of a page that the page before has shown.
const OVERLAP: i32 = 10;
/// Before a window that Cegid will not answer is tried again.
const REFUSED: std::time::Duration = std::time::Duration::from_secs(300);

/// Loads one kind, unless that was done before.
pub(super) async fn run(context: Arc<Context>, kind: Kind) {
    let load = Loader { context, kind, pages: AtomicU32::new(0) };
    let context = &load.context;
    let windows = sweeps::windows(context.now(), context.settings.load_window, context.settings.load_windows);
    while let Err(error) = sweeps::plan_initial(context.database(), &context.tenant, kind, &windows).await {
        context.after_failure("planning the initial load", &error).await;
        if context.stop.asked() {
            return;
        }
    }
    while !context.stop.asked() {
        match sweeps::next_window(context.database(), &context.tenant, kind).await {
            Ok(None) => break,
            Ok(Some(window)) => load.window(window).await,
            Err(error) => context.after_failure("reading the initial load's progress", &error).await,
        }
    }
    // The stage stays until the worker ends.
    context.stop.draining().await;
}

struct Loader {
    context: Arc<Context>,
    kind: Kind,
    /// Settled since the worker began.
    pages: AtomicU32,
}

/// A page, and the number drawn before it was asked for.
struct Read {
    read: i64,
    page: Page,
    /// Items of the window before the page.
    offset: i32,
}

impl Read {
    /// How far the window is read with this page.
    fn end(&self) -> i32 {
        self.offset + i32::try_from(self.page.frames()).unwrap_or(i32::MAX / 2)
    }
}

impl Loader {
    /// Reads a window to its end, as far as nothing fails; what is left is begun again by the caller.
    ///
    /// Pages overlap: a record that leaves the list while it is read moves those behind it, and without an overlap as
    /// many would be passed over. The end is a page that shows nothing behind what was read before; one that shows
    /// nothing at all is asked for a second time.
    async fn window(&self, window: Window) {
        let mut settled = window.next_offset;
        let mut empty = false;
        let mut shown: HashSet<String> = HashSet::new();
        let Some(mut current) = self.page(&window, settled, OVERLAP).await else { return };
        loop {
            let (end, whole) = (current.end(), current.page.cut.is_none());
            let nothing = current.page.frames() == 0;
            let finished = whole && end <= settled && (!nothing || empty);
            empty = nothing;
            // What the page before has shown is settled.
            let keys: HashSet<String> =
                current.page.records.iter().map(|record| record.subject.key().to_owned()).collect();
            current.page.records.retain(|record| !shown.contains(record.subject.key()));
            shown = keys;
            let progress = Progress {
                next_offset: settled.max(end),
                records: i64::from((end - settled).max(0)),
                broken: current.page.broken.len() as i64,
                finished,
            };
            settled = progress.next_offset;
            // A page that was cut may be short: what the next one repeats must be less, or the walk stands still.
            let overlap = if whole { OVERLAP } else { OVERLAP.min((end - current.offset) / 4) };
            if !current.page.broken.is_empty() {
                warn!(
                    tenant = %self.context.tenant, kind = %self.kind, records = current.page.broken.len(),
                    "records of the initial load cannot be read: they are indexed when a callback announces them readable"
                );
            }
            // Noted before the next page is there: it may be long in coming.
            let settle = async {
                self.settle(current).await?;
                let (context, position) = (&self.context, window.position);
                sweeps::advance(context.database(), &context.tenant, self.kind, position, context.now(), progress)
                    .await?;
                Ok::<_, NotWritten>(())
            };
            let (written, next) = if finished || self.context.stop.asked() {
                (settle.await, None)
            } else {
                tokio::join!(settle, self.page(&window, settled, overlap))
            };
            let written = match written {
                Err(NotWritten::LeaseLost) => return self.context.stop.draining().await,
                written => written,
            };
            if let Err(error) = written {
                return self.context.after_failure("settling a page of the initial load", &error).await;
            }
            if finished {
                info!(
                    tenant = %self.context.tenant, kind = %self.kind, window = window.position, items = settled,
                    "a window of the initial load is done"
                );
            }
            match next {
                Some(page) => current = page,
                None => return,
            }
            self.context.pause(self.context.settings.load_pause).await;
        }
    }

    /// The page behind what is settled, with an overlap.
    async fn page(&self, window: &Window, settled: i32, overlap: i32) -> Option<Read> {
        let context = &self.context;
        let also = if self.kind == Kind::Vacancy { context.settings.load_vacancy_filter.as_str() } else { "" };
        let size = context.shared.settings.export.page_size;
        let overlap = overlap.min(i32::try_from(size / 2).unwrap_or(0));
        let offset = (settled - overlap).max(0);
        let query = Query::window(self.kind, window.since, window.until, also, offset.unsigned_abs() as usize, size);
        let lane = Lane::Load(self.kind);
        let place = context.may_export(lane).await?;
        let read = match subjects::draw(context.database()).await {
            Ok(read) => read,
            Err(error) => {
                context.after_failure("drawing a read number", &error).await;
                return None;
            }
        };
        let answer = context.client.export(&query).await;
        drop(place);
        match answer {
            Ok(page) => {
                match &page.cut {
                    Some(cut) => context.pace.failed(lane, cut),
                    None => context.pace.succeeded(lane),
                }
                Some(Read { read, page, offset })
            }
            Err(error) => {
                context.pace.failed(lane, &error);
                if error.class == Class::Query {
                    warn!(
                        tenant = %context.tenant, kind = %self.kind, error = %error,
                        "Cegid does not answer the initial load's query: is tenants.*.load_vacancy_filter right?"
                    );
                    context.pause(REFUSED).await;
                }
                None
            }
        }
    }

    async fn settle(&self, read: Read) -> Result<(), NotWritten> {
        let context = &self.context;
        let keys: Vec<String> = read.page.records.iter().map(|record| record.subject.key().to_owned()).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let known = subjects::states(context.database(), &context.tenant, self.kind, &keys).await?;
        let removed = |key: &str| known.iter().any(|(known, state)| known == key && *state == State::Removed);
        let mut settlement = Settlement::new(self.kind, read.read);
        let mut seen = HashSet::new();
        for record in read.page.records {
            let key = record.subject.key();
            // A list over moving data can show a record twice.
            if !seen.insert(key.to_owned()) {
                continue;
            }
            if record.document.anonymised {
                settlement.removed.push((key.to_owned(), "anonymised"));
            } else if removed(key) {
                let due_at = context.now();
                settlement.postponed.push(Postponed { key: key.to_owned(), due_at, why: Why::Asked });
            } else {
                let noted = context.noted(&record.document);
                settlement.indexed.push((record.document, noted));
            }
        }
        let asked = !settlement.postponed.is_empty();
        let written = settlement.write(context.database(), &context.lease, context.now()).await?;
        for (key, cause) in &written.unstorable {
            // Read again by itself, so that it takes the way of every record that cannot be indexed.
            subjects::want(context.database(), &context.tenant, self.kind, key, context.now()).await?;
            warn!(tenant = %context.tenant, kind = %self.kind, cause, "a record of the initial load cannot be stored");
        }
        if asked || !written.unstorable.is_empty() {
            context.queues[self.kind as usize].wake();
        }
        context.wrote();
        let pages = self.pages.fetch_add(1, Ordering::Relaxed) + 1;
        if ANALYZED.contains(&pages) {
            context.database().analyze().await?;
        }
        self.count(&written);
        Ok(())
    }

    fn count(&self, written: &Written) {
        let context = &self.context;
        let labels = Outcome { tenant: context.tenant.to_string(), kind: self.kind.as_str(), outcome: "loaded" };
        context.shared.metrics.settled.get_or_create(&labels).inc_by(written.indexed as u64);
        if written.indexed > 0 {
            context.noted[self.kind as usize].notify_one();
        }
    }
}
