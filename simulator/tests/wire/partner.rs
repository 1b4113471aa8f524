//! A partner of the tenant: its calls, and a receiver for its callbacks.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use base64::Engine as _;
use cegid_simulator::{Config, Simulator};
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Digest as _;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

/// What a receiver got, shared with it.
pub type Received = Arc<Mutex<Vec<Callback>>>;

pub struct Partner {
    pub client: Client,
    base: String,
    client_id: String,
    token: String,
}

impl Partner {
    pub async fn new(simulator: &Simulator) -> Self {
        let mut partner = Self {
            client: Client::builder().no_proxy().build().expect("a client"),
            base: simulator.base_url(),
            client_id: simulator.config().client_id.clone(),
            token: String::new(),
        };
        let answer = partner.ask_token(&simulator.config().client_secret).await;
        let answer: Value = answer.json().await.expect("JSON");
        answer["access_token"].as_str().expect("a token").clone_into(&mut partner.token);
        partner
    }

    pub async fn ask_token(&self, secret: &str) -> Response {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", secret),
            ("scope", "MatchingIndexation"),
        ];
        let request = self.client.post(format!("{}/api/token", self.base)).form(&form);
        request.send().await.expect("an answer")
    }

    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Response {
        let request = self.client.get(format!("{}{path}", self.base)).query(query);
        let request = request.header("Authorization", format!("BEARER {}", self.token));
        request.send().await.expect("an answer")
    }

    pub async fn json(&self, path: &str) -> Value {
        self.get(path, &[]).await.json().await.expect("JSON")
    }

    pub async fn export(&self, kind: &str, query: &[(&str, &str)]) -> Vec<BTreeMap<String, Vec<u8>>> {
        let answer = self.get(&format!("/api/exports/v1/{kind}"), query).await;
        assert_eq!(answer.status(), StatusCode::OK);
        unpack(&answer.bytes().await.expect("a body"))
    }

    pub async fn register(&self, event: &str, url: &str) -> Value {
        let body = json!({ "event": event, "callbackUrl": url, "pingUrl": url });
        let request = self.client.post(format!("{}/api/system/v1/webhooks", self.base));
        let answer = request.bearer_auth(&self.token).json(&body).send().await;
        let answer: Value = answer.expect("an answer").json().await.expect("JSON");
        answer["data"]["hookId"].clone()
    }

    pub async fn unregister(&self, hook: &str) -> StatusCode {
        let request = self.client.delete(format!("{}/api/system/v1/webhooks/{hook}", self.base));
        request.bearer_auth(&self.token).send().await.expect("an answer").status()
    }

    pub async fn report(&self, report: &Value) -> StatusCode {
        let request = self.client.post(format!("{}/api/exports/v1/reports", self.base));
        let request = request.bearer_auth(&self.token).json(report);
        request.send().await.expect("an answer").status()
    }
}

/// One callback as it arrived.
#[derive(Debug)]
pub struct Callback {
    target: String,
    content_type: String,
    content_md5: String,
    pub expires: String,
    pub body: String,
}

impl Callback {
    /// Checks the signature with code that is not the sender's.
    pub fn verifies(&self, config: &Config) -> bool {
        let (resource, signature) = self.target.split_once("&signature=").expect("a signature");
        assert!(resource.ends_with(&format!("client_id={}", config.client_id)));
        let text = format!(
            "POST\n{}\n{}\n{}\nx-ts-rec-expires:{}\n{resource}",
            self.content_md5, self.content_type, self.expires, self.expires
        );
        let base64 = base64::engine::general_purpose::STANDARD;
        if !self.content_md5.is_empty() {
            assert_eq!(base64.encode(md5::Md5::digest(&self.body)), self.content_md5);
        }
        let mut mac = Hmac::<sha1::Sha1>::new_from_slice(config.client_secret.as_bytes()).expect("any key does");
        mac.update(text.as_bytes());
        base64.encode(mac.finalize().into_bytes()) == signature
    }
}

/// A receiver that answers everything with one status.
pub async fn receiver(status: StatusCode) -> (String, Received) {
    let received: Received = Arc::new(Mutex::new(Vec::new()));
    let app = Router::new()
        .fallback(move |State(received): State<Received>, uri: Uri, headers: HeaderMap, body: Bytes| async move {
            let header = |name: &str| {
                let value = headers.get(name).and_then(|value| value.to_str().ok());
                value.unwrap_or_default().to_owned()
            };
            received.lock().expect("a lock").push(Callback {
                target: uri.to_string(),
                content_type: header("content-type"),
                content_md5: header("content-md5"),
                expires: header("x-ts-rec-expires"),
                body: String::from_utf8_lossy(&body).into_owned(),
            });
            status
        })
        .with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/callbacks", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, received)
}

/// What arrived since the last look.
pub fn take(received: &Received) -> Vec<Callback> {
    std::mem::take(&mut received.lock().expect("a lock"))
}

/// What a page of frames holds, name by name.
pub fn unpack(mut body: &[u8]) -> Vec<BTreeMap<String, Vec<u8>>> {
    let mut page = Vec::new();
    while !body.is_empty() {
        let size = i32::from_le_bytes(body[..4].try_into().expect("four bytes"));
        let size = usize::try_from(size).expect("a size");
        let mut archive = zip::ZipArchive::new(Cursor::new(&body[4..4 + size])).expect("a zip");
        let mut entries = BTreeMap::new();
        for place in 0..archive.len() {
            let mut entry = archive.by_index(place).expect("an entry");
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("bytes");
            entries.insert(entry.name().expect("a name").into_owned(), bytes);
        }
        page.push(entries);
        body = &body[4 + size..];
    }
    page
}
