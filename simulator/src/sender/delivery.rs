//! Bursts: taking what waits, signing it, sending it, and noting the answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use reqwest::{Client, Method, header};
use url::Url;

use super::signature::{Signed, content_md5};
use super::{Outcome, RawCallback, Sent, Waiting};
use crate::config::Config;
use crate::data::random::Random;
use crate::simulator::Inner;

/// The client that callbacks are sent with: no proxy, no redirects.
pub(crate) fn client(config: &Config) -> anyhow::Result<Client> {
    use anyhow::Context as _;
    let kept = if config.callback_keep_alive { usize::MAX } else { 0 };
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(config.callback_timeout)
        .pool_max_idle_per_host(kept)
        .user_agent("cegid-simulator")
        .build()
        .context("building the client that sends callbacks")
}

/// Sends everything that is due, and gives what became of it.
pub(crate) async fn burst(inner: &Arc<Inner>) -> Vec<Sent> {
    let _one_at_a_time = inner.outgoing.burst.lock().await;
    let (due, _under_way) = take_due(inner);
    let mut random = Random::of(inner.config.seed, "burst", inner.outgoing.number());
    let faults = crate::lock(&inner.outgoing.faults).clone();
    let mut going = Vec::new();
    let mut done = Vec::new();
    for waiting in due {
        if waiting.not_before.is_none() && random.percent(faults.delay_percent) {
            let later = Instant::now() + Duration::from_millis(faults.delay_millis);
            let waiting = Waiting { not_before: Some(later), ..waiting };
            crate::lock(&inner.outgoing.waiting).push(waiting);
            continue;
        }
        let urls = match &waiting.url {
            Some(url) => vec![url.clone()],
            None => inner.hooks.callback_urls(&waiting.event),
        };
        if urls.is_empty() {
            done.push(unsent(inner, &waiting, Outcome::Unheard));
        }
        for url in urls {
            if inner.hooks.muted() || random.percent(faults.drop_percent) {
                done.push(unsent(inner, &waiting, Outcome::Dropped));
                continue;
            }
            if random.percent(faults.duplicate_percent) {
                going.push((waiting.clone(), url.clone()));
            }
            going.push((waiting.clone(), url));
        }
    }
    if faults.shuffle {
        random.shuffle(&mut going);
    }
    note(inner, &done);
    let sent = futures_util::stream::iter(going)
        .map(|(waiting, url)| async move {
            let sent = deliver(inner, &waiting, &url).await;
            note(inner, std::slice::from_ref(&sent));
            if !sent.accepted() && waiting.attempt <= inner.config.callback_retries {
                repeat(inner, waiting, url);
            }
            sent
        })
        .buffer_unordered(inner.config.callback_concurrency.max(1));
    done.extend(sent.collect::<Vec<_>>().await);
    done
}

/// Writes into the log what became of callbacks.
pub(crate) fn note(inner: &Inner, done: &[Sent]) {
    let mut sent = crate::lock(&inner.outgoing.sent);
    done.iter().for_each(|one| sent.push(one.clone()));
    drop(sent);
    if !done.is_empty() {
        inner.stir();
    }
}

/// Callbacks that a burst has taken; they count as queued until it is over, even
/// when it is cut off.
struct UnderWay<'a>(&'a Inner, usize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.outgoing.under_way.fetch_sub(self.1, Ordering::SeqCst);
        self.0.stir();
    }
}

fn take_due(inner: &Inner) -> (Vec<Waiting>, UnderWay<'_>) {
    let now = Instant::now();
    let mut waiting = crate::lock(&inner.outgoing.waiting);
    let (later, due): (Vec<_>, Vec<_>) =
        std::mem::take(&mut *waiting).into_iter().partition(|one| one.not_before.is_some_and(|until| until > now));
    *waiting = later;
    inner.outgoing.under_way.fetch_add(due.len(), Ordering::SeqCst);
    let under_way = UnderWay(inner, due.len());
    (due, under_way)
}

fn repeat(inner: &Inner, waiting: Waiting, url: String) {
    let again = Waiting { attempt: waiting.attempt + 1, url: Some(url), ..waiting };
    crate::lock(&inner.outgoing.waiting).push(again);
}

/// Puts up to `most` callbacks whose last attempt failed back into the queue.
pub(crate) fn resend_failed(inner: &Inner, most: usize) -> usize {
    let sent = crate::lock(&inner.outgoing.sent);
    let mut last = std::collections::BTreeMap::new();
    for one in sent.iter().filter(|one| !one.url.is_empty() && !one.event.is_empty()) {
        last.insert((one.callback, one.url.clone()), one);
    }
    let mut count = 0;
    let mut waiting = crate::lock(&inner.outgoing.waiting);
    for one in last.into_values().filter(|one| !one.accepted()).take(most) {
        waiting.push(Waiting {
            callback: one.callback,
            attempt: one.attempt + 1,
            event: one.event.as_str().into(),
            key: one.key.as_str().into(),
            body: one.body.as_str().into(),
            url: Some(one.url.clone()),
            not_before: None,
        });
        count += 1;
    }
    count
}

fn unsent(inner: &Inner, waiting: &Waiting, outcome: Outcome) -> Sent {
    Sent {
        callback: waiting.callback,
        attempt: waiting.attempt,
        event: waiting.event.to_string(),
        key: waiting.key.to_string(),
        url: String::new(),
        body: waiting.body.to_string(),
        at: inner.clock.now(),
        millis: 0,
        outcome,
    }
}

async fn deliver(inner: &Inner, waiting: &Waiting, url: &str) -> Sent {
    let raw = RawCallback {
        url: url.to_owned(),
        body: waiting.body.as_bytes().to_vec(),
        content_type: Some(inner.config.callback_content_type.clone()),
        content_md5: inner.config.content_md5,
        ..RawCallback::default()
    };
    let sent = send(inner, &raw).await;
    Sent {
        callback: waiting.callback,
        attempt: waiting.attempt,
        event: waiting.event.to_string(),
        key: waiting.key.to_string(),
        ..sent
    }
}

/// A request that a fault swallows.
pub(crate) fn unsaid(inner: &Inner, raw: &RawCallback) -> Sent {
    raw_sent(raw, inner.clock.now(), Duration::ZERO, Outcome::Dropped)
}

fn raw_sent(raw: &RawCallback, at: DateTime<Utc>, took: Duration, outcome: Outcome) -> Sent {
    Sent {
        callback: 0,
        attempt: 1,
        event: String::new(),
        key: String::new(),
        url: raw.url.clone(),
        body: String::from_utf8_lossy(&raw.body).into_owned(),
        at,
        millis: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        outcome,
    }
}

/// Signs and sends one request. The signature goes into the query as it is, its
/// `+`, `/` and `=` not encoded, as the platform does.
pub(crate) async fn send(inner: &Inner, raw: &RawCallback) -> Sent {
    let at = inner.clock.now();
    let begun = Instant::now();
    let outcome = match request(inner, raw, at.timestamp()).await {
        Ok(request) => match inner.client.execute(request).await {
            Ok(answer) => Outcome::Answered(answer.status().as_u16()),
            Err(error) => Outcome::Failed(format!("{:#}", anyhow::Error::from(error.without_url()))),
        },
        Err(error) => Outcome::Failed(format!("{error:#}")),
    };
    raw_sent(raw, at, begun.elapsed(), outcome)
}

async fn request(inner: &Inner, raw: &RawCallback, now: i64) -> anyhow::Result<reqwest::Request> {
    let client_id = raw.client_id.as_deref().unwrap_or(&inner.config.client_id);
    let own = crate::lock(&inner.signing_secret).clone();
    let secret = raw.secret.as_deref().unwrap_or(&own);
    let expires = raw.expires.unwrap_or(now + inner.config.expires_after);
    let method = if raw.method.is_empty() { "POST" } else { &raw.method };
    let mark = if raw.url.contains('?') { '&' } else { '?' };
    let unsigned = Url::parse(&format!("{}{mark}client_id={client_id}", raw.url))?;
    let md5 = if raw.content_md5 { content_md5(&raw.body) } else { String::new() };
    let resource = format!("{}?{}", unsigned.path(), unsigned.query().unwrap_or_default());
    let signed = Signed {
        method,
        content_md5: &md5,
        content_type: raw.content_type.as_deref().unwrap_or_default(),
        expires,
        resource: &resource,
    };
    let signature = raw.signature.clone().unwrap_or_else(|| signed.signature(secret));
    let url = Url::parse(&format!("{unsigned}&signature={signature}"))?;
    let mut request = inner
        .client
        .request(Method::from_bytes(method.as_bytes())?, url)
        .header("X-TS-REC-Expires", expires)
        .body(raw.body.clone());
    if let Some(content_type) = &raw.content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    if raw.content_md5 {
        request = request.header("Content-MD5", md5);
    }
    Ok(request.build()?)
}
