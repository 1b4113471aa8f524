//! Both exports: a page of frames, or an empty body where the list ends.
//!
//! The list is in the order of creation, which the platform does not promise,
//! unless another was set; records asked for by key are always in that order.
//! All statuses are shown unless the filter says otherwise; whether the platform
//! limits them by itself is not known.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use futures_util::stream;

use super::filter::Filter;
use super::token::authorised;
use super::{Note, frames, number, parameters, record, refusal};
use crate::data::random::Random;
use crate::faults::{Asked, Bend, Distorted, Distortion, Endpoint, Spoil};
use crate::simulator::{Inner, Simulator};
use crate::tenant::{Asking, Kind, Row};

/// Page size when none is asked for, as noted of the sibling vacancies list.
const DEFAULT_LIMIT: usize = 20;
/// Larger pages are cut to this, as noted of the same list.
const MAX_LIMIT: usize = 100;
/// Frames that are made ahead of the connection.
const AHEAD: usize = 4;

pub(crate) async fn vacancies(
    State(simulator): State<Simulator>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    bend: Option<Extension<Bend>>,
) -> Response {
    export(&simulator, Kind::Vacancy, query.as_deref(), &headers, bend)
}

pub(crate) async fn candidates(
    State(simulator): State<Simulator>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    bend: Option<Extension<Bend>>,
) -> Response {
    export(&simulator, Kind::Candidate, query.as_deref(), &headers, bend)
}

/// What a request to an endpoint asks an export for.
pub(crate) fn asked(endpoint: Endpoint, query: &str) -> Asked {
    let kind = match endpoint {
        Endpoint::Vacancies => Kind::Vacancy,
        Endpoint::Candidates => Kind::Candidate,
        _ => return Asked::Else,
    };
    match Wish::read(kind, &parameters(Some(query))) {
        Ok(wish) if wish.filter.named().is_some() => Asked::Keys,
        Ok(_) => Asked::List,
        Err(_) => Asked::Else,
    }
}

fn export(
    simulator: &Simulator,
    kind: Kind,
    query: Option<&str>,
    headers: &HeaderMap,
    bend: Option<Extension<Bend>>,
) -> Response {
    let inner = &simulator.inner;
    if let Err(refused) = authorised(inner, headers) {
        return *refused;
    }
    let mut wish = match Wish::read(kind, &parameters(query)) {
        Ok(wish) => wish,
        Err(sentence) => return refusal(StatusCode::BAD_REQUEST, &sentence),
    };
    wish.bend(bend);
    let mut rows = page(inner, kind, &wish);
    if wish.repeat_last && rows.len() < wish.limit {
        let all = page(inner, kind, &Wish { offset: 0, limit: usize::MAX, ..wish.clone() }).len();
        wish.offset = all.saturating_sub(wish.limit);
        rows = page(inner, kind, &wish);
    }
    if wish.missing_is_404 && rows.is_empty() {
        return refusal(StatusCode::NOT_FOUND, "nothing is found");
    }
    if wish.flicker > 0 {
        let mut random = Random::of(inner.config.seed, "flicker", inner.habits.draw());
        rows.retain(|_| !random.percent(wish.flicker));
    }
    let any = |spoil: Spoil| {
        let spoiled = crate::lock(&inner.faults.spoiled);
        rows.iter().any(|row| spoiled.get(&*row.key) == Some(&spoil))
    };
    if any(Spoil::Unservable) {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "a record cannot be served");
    }
    let refused = if wish.filter.named().is_some() { Spoil::Unaskable } else { Spoil::Unlistable };
    if any(refused) {
        return refusal(StatusCode::BAD_REQUEST, "the query is not correct");
    }
    let plural = if kind == Kind::Vacancy { "vacancies" } else { "candidates" };
    let mut note = format!("{} {plural}", rows.len());
    if wish.filter.named().is_none() && !rows.is_empty() {
        for done in simulator.list_page_shown(kind) {
            note.push_str(", then ");
            note.push_str(&done);
        }
    }
    let body = if rows.is_empty() {
        Body::empty()
    } else {
        let spoiled = crate::lock(&inner.faults.spoiled);
        let distorted = crate::lock(&inner.faults.distorted);
        let rows = rows.into_iter().map(|row| Treated::new(row, &spoiled, &distorted)).collect();
        body(inner.config.seed, rows, wish.resume_only, inner.clock.now())
    };
    let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
    let mut answer = (headers, body).into_response();
    answer.extensions_mut().insert(Note(note));
    answer
}

/// What the query asks for.
#[derive(Clone)]
struct Wish {
    offset: usize,
    limit: usize,
    filter: Filter,
    /// What narrows the list, as it was asked.
    question: String,
    /// Free text: every word must be in the title, whatever its case.
    words: Vec<String>,
    resume_only: bool,
    /// Percent of the page that a fault leaves out.
    flicker: u8,
    /// Whether a fault shows the last records again behind the end.
    repeat_last: bool,
    /// Whether a fault answers 404 when nothing is found.
    missing_is_404: bool,
}

impl Wish {
    fn read(kind: Kind, parameters: &[(String, String)]) -> Result<Self, String> {
        let text = |name: &str| {
            let found = parameters.iter().find(|(parameter, _)| parameter == name);
            found.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        let resume_only = match (kind, text("attachmenttype")) {
            (_, "") => false,
            (Kind::Candidate, "resume") => true,
            (_, other) => return Err(format!("the attachmenttype '{other}' is not known")),
        };
        Ok(Self {
            offset: number(parameters, "offset")?.unwrap_or(0),
            limit: number(parameters, "limit")?.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT),
            filter: Filter::read(kind, text("filter"))?,
            question: format!("filter={}&q={}", text("filter"), text("q")),
            words: text("q").split_whitespace().map(str::to_lowercase).collect(),
            resume_only,
            flicker: 0,
            repeat_last: false,
            missing_is_404: false,
        })
    }

    fn bend(&mut self, bend: Option<Extension<Bend>>) {
        match bend {
            Some(Extension(Bend::Short(records))) => self.limit = self.limit.min(records.saturating_sub(self.offset)),
            Some(Extension(Bend::Repeat)) => self.offset = 0,
            Some(Extension(Bend::RepeatLast)) => self.repeat_last = true,
            Some(Extension(Bend::IgnoreKeys)) => self.filter = Filter::default(),
            Some(Extension(Bend::NotFound)) => self.missing_is_404 = true,
            Some(Extension(Bend::Flicker(percent))) => self.flicker = percent,
            None => {}
        }
    }

    fn holds(&self, seed: u64, row: &Row) -> bool {
        if row.deleted {
            return false;
        }
        if !self.filter.holds(row, || record::email(seed, row), || record::media(seed, row)) {
            return false;
        }
        if self.words.is_empty() {
            return true;
        }
        let title = record::title(seed, row).unwrap_or_default().to_lowercase();
        self.words.iter().all(|word| title.contains(word))
    }
}

/// A row, and what is done to its record.
struct Treated {
    spoil: Option<Spoil>,
    distortions: Vec<Distortion>,
    row: Row,
}

impl Treated {
    fn new(row: Row, spoiled: &HashMap<String, Spoil>, distorted: &[Distorted]) -> Self {
        let of_row =
            distorted.iter().filter(|it| it.kind == row.kind && it.key.as_deref().is_none_or(|key| key == &*row.key));
        let mut distortions: Vec<Distortion> = of_row.map(|it| it.how.clone()).collect();
        let spoil = spoiled.get(&*row.key).copied();
        if spoil == Some(Spoil::Undated) {
            let member = "modificationDate".to_owned();
            distortions.push(Distortion::Write { member, value: serde_json::Value::Null });
        }
        Self { spoil, distortions, row }
    }
}

/// A frame, made badly where that is asked for.
fn made(mut entries: Vec<frames::Entry>, treated: &Treated, at: DateTime<Utc>) -> anyhow::Result<Vec<u8>> {
    let Treated { spoil, ref distortions, ref row } = *treated;
    if let (false, Some((_, json))) = (distortions.is_empty(), entries.first_mut()) {
        let mut whole: serde_json::Value = serde_json::from_slice(json)?;
        let wrapped = whole.get(row.kind.wrapper()).is_some();
        let detail = if wrapped { &mut whole[row.kind.wrapper()] } else { &mut whole };
        if let Some(members) = detail.as_object_mut() {
            distortions.iter().for_each(|distortion| distortion.apply(members));
        }
        *json = whole.to_string().into_bytes();
    }
    match spoil {
        Some(Spoil::BrokenJson) => {
            if let Some((_, json)) = entries.first_mut() {
                json.truncate(json.len() / 2);
            }
        }
        Some(Spoil::UnclosedJson) => {
            if let Some((_, json)) = entries.first_mut() {
                json.pop();
            }
        }
        Some(Spoil::NoEntry) => {
            entries.remove(0);
        }
        Some(
            Spoil::BrokenArchive
            | Spoil::Hidden
            | Spoil::Unservable
            | Spoil::Unaskable
            | Spoil::Unfindable
            | Spoil::Unlistable
            | Spoil::Undated,
        )
        | None => {}
    }
    let mut frame = frames::frame(&entries, at)?;
    if spoil == Some(Spoil::BrokenArchive) {
        // The size stays right, so that the next frame is found.
        frame[4..].fill(0x5a);
    }
    Ok(frame)
}

/// The rows of a page, as the export shows them at this moment.
fn page(inner: &Inner, kind: Kind, wish: &Wish) -> Vec<Row> {
    let seed = inner.config.seed;
    let (dated, named) = (wish.filter.asks_for_dates(), wish.filter.named().is_some());
    let hidden: HashSet<String> = crate::lock(&inner.faults.spoiled)
        .iter()
        .filter(|(_, spoil)| match spoil {
            Spoil::Hidden => true,
            Spoil::Undated => dated,
            Spoil::Unfindable => named,
            _ => false,
        })
        .map(|(key, _)| key.clone())
        .collect();
    if inner.habits.hides(kind) {
        return Vec::new();
    }
    let at = inner.habits.shown(inner.clock.now());
    let mut tenant = crate::lock(&inner.tenant);
    let table = tenant.table_mut(kind);
    let shown = |row: &Row| wish.holds(seed, row) && !hidden.contains(&*row.key);
    if let Some(named) = wish.filter.named() {
        let mut places: Vec<usize> = named.iter().filter_map(|key| table.place(key)).collect();
        places.sort_unstable();
        let rows = places.into_iter().map(|place| table.seen(place, at)).filter(|row| shown(row));
        return rows.skip(wish.offset).take(wish.limit).map(Cow::into_owned).collect();
    }
    let asking = Asking {
        order: inner.habits.order(),
        offset: wish.offset,
        limit: wish.limit,
        question: &wish.question,
        at,
        stable: hidden.is_empty(),
    };
    table.page(asking, shown)
}

impl Simulator {
    /// The bytes of a subject's frame, without its size, as a list shows it now: well or badly made. Nothing when it is
    /// not there.
    #[must_use]
    pub fn frame(&self, kind: &str, key: &str) -> Option<Vec<u8>> {
        let inner = &self.inner;
        let row = {
            let tenant = crate::lock(&inner.tenant);
            let table = tenant.table(Kind::named(kind));
            table.rows.get(table.place(key)?).filter(|row| !row.deleted)?.clone()
        };
        let treated = Treated::new(row, &crate::lock(&inner.faults.spoiled), &crate::lock(&inner.faults.distorted));
        let entries = record::entries(inner.config.seed, &treated.row, treated.row.kind == Kind::Candidate);
        made(entries, &treated, inner.clock.now()).ok().map(|frame| frame[4..].to_vec())
    }
}

/// Frames made one after another off the async threads, a few ahead of what the
/// connection has taken. A reader that goes away stops it.
fn body(seed: u64, rows: Vec<Treated>, resume_only: bool, at: DateTime<Utc>) -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel::<anyhow::Result<Bytes>>(AHEAD);
    tokio::task::spawn_blocking(move || {
        for treated in rows {
            let frame = made(record::entries(seed, &treated.row, resume_only), &treated, at).map(Bytes::from);
            if sender.blocking_send(frame).is_err() {
                break;
            }
        }
    });
    Body::from_stream(stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|frame| (frame, receiver))
    }))
}
