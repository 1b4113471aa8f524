//! A party between the service and the simulator: it passes everything on, and answers by itself what it is told to.

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode},
    response::Response,
};
use tokio::net::TcpListener;

use super::{Plan, World};

/// What is answered in place of the simulator's answer; its body is handed in when it is asked for.
pub enum Instead {
    /// This, and the simulator is not asked.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The simulator's answer with these bytes before its body.
    Before(Vec<u8>),
}

struct Told {
    path: &'static str,
    /// What the request's body or query holds.
    about: &'static str,
    instead: Instead,
    times: u64,
}

#[derive(Default)]
struct Inner {
    simulator: Mutex<String>,
    told: Mutex<Vec<Told>>,
    answered: AtomicU64,
}

pub struct Between {
    inner: Arc<Inner>,
    address: SocketAddr,
}

impl Between {
    /// A world whose service reaches the simulator through it; the service does not run yet.
    pub async fn world(plan: Plan) -> (World, Between) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner::default());
        let router = Router::new().fallback(pass).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let plan = plan.with("TENANTS__ACME__BASE_URL", format!("http://{address}")).stopped();
        let world = World::start(plan).await;
        *inner.simulator.lock().unwrap() = world.simulator.base_url();
        (world, Between { inner, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is answered to paths that begin so, so many times.
    pub fn tell(&self, path: &'static str, times: u64, instead: Instead) {
        self.tell_about(path, "", times, instead);
    }

    /// The same for requests alone whose body or query holds this.
    pub fn tell_about(&self, path: &'static str, about: &'static str, times: u64, instead: Instead) {
        self.inner.told.lock().unwrap().push(Told { path, about, instead, times });
    }

    /// The same with a body alone, and a status of success.
    pub fn say(&self, path: &'static str, times: u64, body: &[u8]) {
        self.tell(path, times, Instead::Answer(200, Vec::new(), body.to_vec()));
    }

    pub fn forget(&self) {
        self.inner.told.lock().unwrap().clear();
    }

    /// Answers that were not the simulator's, or not wholly.
    pub fn answered(&self) -> u64 {
        self.inner.answered.load(Ordering::SeqCst)
    }
}

async fn pass(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut before = Vec::new();
    let asks = format!("{} {}", parts.uri.query().unwrap_or_default(), String::from_utf8_lossy(&body));
    if let Some(instead) = take(&inner, parts.uri.path(), &asks) {
        match instead {
            Instead::Answer(status, headers, body) => return answer(status, headers, body),
            Instead::Before(bytes) => before = bytes,
        }
    }
    let target = parts.uri.path_and_query().unwrap().to_string();
    let base = inner.simulator.lock().unwrap().clone();
    forward(&format!("{base}{target}"), parts.method, &parts.headers, body, before).await
}

/// The first that was told for the path.
fn take(inner: &Inner, path: &str, asks: &str) -> Option<Instead> {
    let mut told = inner.told.lock().unwrap();
    let mut left = told.iter_mut().filter(|told| told.times > 0);
    let told = left.find(|told| path.starts_with(told.path) && asks.contains(told.about))?;
    told.times -= 1;
    inner.answered.fetch_add(1, Ordering::SeqCst);
    Some(match &told.instead {
        Instead::Answer(status, headers, body) => Instead::Answer(*status, headers.clone(), body.clone()),
        Instead::Before(bytes) => Instead::Before(bytes.clone()),
    })
}

fn answer(status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Response {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        answer.headers_mut().insert(name, value.parse().unwrap());
    }
    answer
}

async fn forward(url: &str, method: Method, headers: &HeaderMap, body: Bytes, before: Vec<u8>) -> Response {
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let mut request = http.request(method, url).body(body);
    for name in ["authorization", "content-type"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value);
        }
    }
    // The simulator may be away.
    let Ok(answered) = request.send().await else { return answer(502, Vec::new(), Vec::new()) };
    let mut answer = Response::builder().status(answered.status());
    for name in ["content-type", "retry-after"] {
        if let Some(value) = answered.headers().get(name) {
            answer = answer.header(name, value);
        }
    }
    let Ok(body) = answered.bytes().await else { return answer.status(502).body(Body::empty()).unwrap() };
    answer.body(Body::from([before, body.to_vec()].concat())).unwrap()
}

/// Bytes that gunzip to `first` and then so many zeros, in about a hundredth of the space.
pub fn bomb(first: &[u8], zeros: u64) -> Vec<u8> {
    let mut bits = Bits::default();
    // The last block, with the fixed codes.
    bits.write(0b1, 1);
    bits.write(0b01, 2);
    for byte in first.iter().chain(&[0]) {
        assert!(*byte < 144, "another code");
        bits.code(u32::from(*byte) + 0x30, 8);
    }
    for _ in 0..zeros.div_ceil(258) {
        // 258 bytes, from one byte before.
        bits.code(0b1100_0101, 8);
        bits.code(0, 5);
    }
    bits.code(0, 7);
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    gzip.write_all(&bits.bytes).unwrap();
    gzip.extend_from_slice(&[0; 8]);
    gzip
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    /// The lowest bit first.
    fn write(&mut self, value: u32, bits: u32) {
        for bit in 0..bits {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.last_mut().unwrap();
            *last |= ((value >> bit & 1) as u8) << (self.used % 8);
            self.used += 1;
        }
    }

    /// The highest bit first, as Huffman codes are.
    fn code(&mut self, code: u32, bits: u32) {
        self.write(code.reverse_bits() >> (32 - bits), bits);
    }
}
