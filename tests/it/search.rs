//! Searching the index over the operators' router, on a database of its own.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use cegid_indexer::{
    arrivals::Arrivals,
    cegid::ReferentialItem,
    clock::Clock,
    database::Database,
    domain::{Kind, TenantId, fold::fold, read_record},
    inbox::Inbox,
    index::{documents, referentials, search},
    lifecycle::Stop,
    metrics::Metrics,
    ops::{self, Health},
    settings::Settings,
};
use chrono::DateTime;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

use crate::harness::database::Named;

/// The operators' router of a service with these tenants.
fn router(database: &Database, tenants: &[&str]) -> Router {
    let mut pairs = vec![
        ("CEGID_INDEXER__DATABASE__URL".to_owned(), "postgres://localhost/unused".to_owned()),
        ("CEGID_INDEXER__PUBLIC_URL".to_owned(), "https://indexer.example.com".to_owned()),
    ];
    for tenant in tenants {
        for (key, value) in [("base_url", "https://x.example.com"), ("client_id", tenant), ("client_secret", "s")] {
            pairs.push((format!("CEGID_INDEXER__TENANTS__{tenant}__{key}"), value.to_owned()));
        }
    }
    let settings = watch::Sender::new(Arc::new(Settings::load(None, pairs).unwrap())).subscribe();
    let clock = Clock::turned(DateTime::UNIX_EPOCH);
    let (arrivals, receive) = (Arc::new(Arrivals::new(clock.clone())), settings.borrow().receive.clone());
    let (_inbox, writer) = Inbox::new(database.clone(), arrivals, Metrics::default().into(), &receive);
    let health = Health::new(database.clone(), Stop::default(), settings.clone(), writer.readiness(), clock.clone());
    ops::router(health, settings, Metrics::default().into(), database.clone(), clock)
}

struct Index {
    database: Database,
    router: Router,
    name: Named,
}

/// A document as it stands in the table, for what does not depend on how records are read.
#[derive(Clone)]
struct Row<'a> {
    kind: &'a str,
    key: &'a str,
    title: &'a str,
    text: &'a str,
    language: i32,
    modified: Option<&'a str>,
    searchable: bool,
    coded: &'a str,
}

const VACANCY: Row<'_> = Row {
    kind: "vacancy",
    key: "",
    title: "",
    text: "",
    language: 1036,
    modified: None,
    searchable: true,
    coded: "[]",
};

impl Index {
    async fn new() -> Index {
        let name = Named::create().await;
        let settings = Settings::load(None, [("CEGID_INDEXER__DATABASE__URL".to_owned(), name.url())]).unwrap();
        let database = Database::new(&settings.database, settings.worker.lease).unwrap();
        let router = router(&database, &["acme", "other"]);
        Index { database, router, name }
    }

    async fn put(&self, row: Row<'_>) {
        let config = if row.language == 1036 { "french" } else { "english" };
        sqlx::query(
            "insert into document (tenant, kind, key, read_number, searchable, title, language, status, modified, coded,
                                   raw, content, indexed_at, search)
             values ('acme', $1, $2, 1, $3, $4, $5, 'st', $6, $7, '{\"secret\":\"Lefèvre\"}', '', now(),
                     setweight(to_tsvector($8::regconfig, $9), 'A') || setweight(to_tsvector($8::regconfig, $10), 'C')
                     || coded_words($7))",
        )
        .bind(row.kind)
        .bind(row.key)
        .bind(row.searchable)
        .bind(row.title)
        .bind(row.language)
        .bind(row.modified)
        .bind(row.coded)
        .bind(config)
        .bind(fold(row.title))
        .bind(fold(row.text))
        .execute(self.database.pool())
        .await
        .unwrap();
    }

    async fn run(&self, statement: &'static str) {
        sqlx::query(statement).execute(self.database.pool()).await.unwrap();
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = Request::get(format!("/api/v1{path}")).body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store", "{path}");
        let kind = if response.status().is_success() { "application/json" } else { "application/problem+json" };
        assert_eq!(response.headers()[header::CONTENT_TYPE], kind, "{path}");
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Keys of the vacancies found, in their order.
    async fn keys(&self, query: &str) -> Vec<String> {
        let (status, page) = self.get(&format!("/tenants/acme/vacancies?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{query}: {page}");
        page["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn words_are_found_in_both_languages_and_ranked_by_where_they_stand() {
    let index = Index::new().await;
    let text = "Vous accompagnerez les développeurs sur le site de Besançon.";
    index.put(Row { key: "desc", title: "Chef d’équipe", text, ..VACANCY }).await;
    index.put(Row { key: "title", title: "Développeur H/F", text: "Nuit.", ..VACANCY }).await;
    index.put(Row { key: "nurse", title: "Infirmier", text: "Équipe diplômée d’État", ..VACANCY }).await;
    let english = Row { key: "en", title: "C++ developer", text: "You manage engineering projects", ..VACANCY };
    index.put(Row { language: 1033, ..english }).await;

    assert_eq!(index.keys("q=d%C3%A9veloppeurs").await, ["title", "desc"]);
    assert_eq!(index.keys("q=DEVELOPPEUR").await, ["title", "desc"]);
    for q in ["infirmi%C3%A8re", "infirmiers", "INFIRMIERES", "dipl%C3%B4m%C3%A9", "dipl%C3%B4m%C3%A9es"] {
        assert_eq!(index.keys(&format!("q={q}")).await, ["nurse"], "{q}");
    }
    assert_eq!(index.keys("q=managing+project").await, ["en"]);
    assert_eq!(index.keys("q=c%2B%2B").await, ["en"]);
    assert_eq!(index.keys("q=besancon").await, ["desc"]);
    assert_eq!(index.keys("q=besancon+OR+c%2B%2B&language=1033").await, ["en"]);
    assert_eq!(index.keys("q=%22site+de+Besan%C3%A7on%22").await, ["desc"]);
    assert_eq!(index.keys("q=%22Besan%C3%A7on+site%22").await, [""; 0]);
    // An exclusion holds in whichever language the document was stemmed.
    assert_eq!(index.keys("q=d%C3%A9veloppeur+-nuits").await, ["desc"]);
    assert_eq!(index.keys("q=-d%C3%A9veloppeur+-infirmier").await, ["en"]);
    assert_eq!(index.keys("q=-projects+-equipes+-%22diplom%C3%A9s+d'%C3%A9tat%22").await, ["title"]);
    for odd in ["'", "%00", "a%00b", "!%26%7C", "%22", "a:*", "%F0%9F%98%80x", "-", "or+or"] {
        let (status, _) = index.get(&format!("/tenants/acme/vacancies?q={odd}")).await;
        assert!(status == StatusCode::OK || status == StatusCode::BAD_REQUEST, "{odd}: {status}");
    }
}

#[tokio::test]
async fn pages_cover_everything_once_newest_first_and_what_is_hidden_only_when_asked_for() {
    let index = Index::new().await;
    for (key, modified, searchable) in [
        ("old", Some("2024-01-01T00:00:00.000"), true),
        ("new", Some("2026-01-01T00:00:00.000"), true),
        ("mid", Some("2025-01-01T00:00:00.000"), true),
        ("none", None, true),
        ("hidden", Some("2027-01-01T00:00:00.000"), false),
    ] {
        index.put(Row { key, title: "Soudeur", modified, searchable, ..VACANCY }).await;
    }
    for query in ["", "q=soudeur"] {
        assert_eq!(index.keys(query).await, ["new", "mid", "old", "none"], "{query}");
        assert_eq!(index.keys(&format!("{query}&limit=2")).await, ["new", "mid"]);
        assert_eq!(index.keys(&format!("{query}&limit=2&offset=2")).await, ["old", "none"]);
        assert_eq!(index.keys(&format!("{query}&hidden=true&limit=1")).await, ["hidden"]);
        let (_, beyond) = index.get(&format!("/tenants/acme/vacancies?{query}&offset=10000")).await;
        assert_eq!(beyond, json!({"total": 4, "offset": 10_000, "limit": 20, "items": []}));
    }
    let (_, page) = index.get("/tenants/other/vacancies?q=soudeur&hidden=true").await;
    assert_eq!(page["total"], 0, "another tenant's documents are not shown");
    assert_eq!(index.get("/tenants/acme/candidates?q=soudeur").await.1["total"], 0);
}

#[tokio::test]
async fn labels_come_out_of_the_referentials_and_nothing_personal_is_shown() {
    let index = Index::new().await;
    index
        .run(
            r#"insert into referential (tenant, category, id, label, labels, raw, read_at) values
               ('acme', 'contracts', 'cdi', 'CDI', '{"1036":"CDI","1033":"Permanent"}', '{}', now()),
               ('acme', 'statuses', 'st', 'Diffusée', '{}', '{}', now()),
               ('other', 'contracts', 'cdd', 'CDD', '{}', '{}', now())"#,
        )
        .await;
    let coded = r#"[{"field":"contract","id":"cdi"},{"field":"next","id":"cdd"},{"field":"status","id":"st"}]"#;
    let key = "2026/1,A ";
    index.put(Row { key, title: "Aide-soignante", coded, ..VACANCY }).await;
    index.put(Row { key: "_TS-1", kind: "candidate", title: "Infirmière", coded, ..VACANCY }).await;

    let (_, page) = index.get("/tenants/acme/candidates?q=infirmiere").await;
    let item = &page["items"][0];
    assert_eq!(item["status"], json!({"id": "st", "label": "Diffusée"}));
    let labels = json!({"1033": "Permanent", "1036": "CDI"});
    assert_eq!(item["coded"][0], json!({"field": "contract", "id": "cdi", "label": "CDI", "labels": labels}));
    assert_eq!(item["coded"][1], json!({"field": "next", "id": "cdd", "label": null}), "another tenant's label");
    let members: Vec<&String> = item.as_object().unwrap().keys().collect();
    let known = ["coded", "created", "indexed_at", "key", "language", "modified", "rank", "searchable", "status"];
    assert_eq!(members, [&known[..], &["title"]].concat());

    let (status, candidate) = index.get("/tenants/acme/candidates/_TS-1").await;
    assert_eq!((status, candidate.get("raw")), (StatusCode::OK, None));
    assert!(!candidate.to_string().contains("Lefèvre"));
    for spelling in ["2026%2F1%2CA%20", "2026/1,A%20"] {
        let (status, vacancy) = index.get(&format!("/tenants/acme/vacancies/{spelling}")).await;
        assert_eq!((status, &vacancy["key"]), (StatusCode::OK, &json!(key)));
        assert_eq!(vacancy["raw"], json!({"secret": "Lefèvre"}));
    }
}

#[tokio::test]
async fn a_label_finds_the_documents_that_hold_its_code_in_whichever_language_it_was_read() {
    let index = Index::new().await;
    let tenant: TenantId = "acme".parse().unwrap();
    let read = async |category: &str, items: &[(&str, &str, &str)]| {
        let item = |(id, label, german): &(&str, &str, &str)| ReferentialItem {
            id: (*id).into(),
            label: Some((*label).into()),
            labels: [(1036, (*label).to_owned()), (1031, (*german).to_owned())].into(),
            raw: "{}".into(),
        };
        let items: Vec<_> = items.iter().map(item).collect();
        referentials::replace(&index.database, &tenant, category, &items, Clock::machine().now()).await.unwrap();
    };
    read("countries", &[("DE", "Allemagne", "Deutschland"), ("it's \\ \"x", "Suisse", "Schweiz")]).await;
    read("times", &[("full", "Temps plein", "Vollzeit in der Woche"), ("41", "Horaires décalés", "Schicht")]).await;
    read("places", &[("41", "Loir-et-Cher", "Loir")]).await;
    read("statuses", &[("st", "Diffusée", "Veröffentlicht")]).await;
    let german = r#"[{"field":"country","id":"DE"},{"field":"time","id":"full"},{"field":"status","id":"st"}]"#;
    let swiss = r#"[{"field":"country","id":"it's \\ \"x"},{"field":"place","id":"41"},{"field":"free","label":"DE"}]"#;
    index.put(Row { key: "nurse-de", title: "Infirmier", coded: german, ..VACANCY }).await;
    index.put(Row { key: "nurse-ch", title: "Infirmière de nuit", coded: swiss, ..VACANCY }).await;
    let text = "Une équipe en Allemagne, à temps plein.";
    index.put(Row { key: "text", title: "Chef d’équipe", text, ..VACANCY }).await;

    for (query, found) in [
        ("q=deutschland", &["nurse-de"][..]),
        // What the record itself says counts more.
        ("q=allemagne", &["text", "nurse-de"]),
        ("q=schweiz", &["nurse-ch"]),
        ("q=infirmi%C3%A8re+DEUTSCHLAND", &["nurse-de"]),
        ("q=deutschland+vollzeit", &["nurse-de"]),
        ("q=%22temps+plein%22", &["text", "nurse-de"]),
        ("q=%22plein+temps%22", &[]),
        ("q=deutschland+or+schweiz&limit=1&offset=2", &[]),
        ("q=infirmier+-deutschland", &["nurse-ch"]),
        ("q=-deutschland+-suisse", &["text"]),
        // The words of an id are none, nor is what two lists label differently, nor the status.
        ("q=DE", &[]),
        ("q=41", &[]),
        ("q=schicht", &[]),
        ("q=ver%C3%B6ffentlicht", &[]),
        ("q=deutschland&language=1033", &[]),
    ] {
        assert_eq!(index.keys(query).await, found, "{query}");
    }
    let (_, other) = index.get("/tenants/other/vacancies?q=deutschland").await;
    assert_eq!(other["total"], 0);

    // A list that is read anew needs no document to be written.
    read("countries", &[("DE", "Allemagne", "Bundesrepublik")]).await;
    assert_eq!(index.keys("q=bundesrepublik").await, ["nurse-de"]);
    assert_eq!(index.keys("q=deutschland+or+schweiz").await, [""; 0]);
    let (_, page) = index.get("/tenants/acme/vacancies?q=bundesrepublik&labels=1031").await;
    assert_eq!(page["items"][0]["coded"][0]["label"], "Bundesrepublik");
    let (_, one) = index.get("/tenants/acme/vacancies/nurse-de?labels=1036").await;
    assert_eq!(one["coded"][0]["label"], "Allemagne");
    assert_eq!(index.get("/tenants/acme/vacancies/nurse-de?labels=x").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_record_that_was_written_is_found_and_its_newer_words_replace_the_older() {
    let index = Index::new().await;
    let tenant: TenantId = "acme".parse().unwrap();
    let now = Clock::machine().now();
    for (read, title, word) in [(1, "Soudeuse C++", "soudeuses+c%2B%2B"), (2, "Mécaniciens", "mecanicien")] {
        let record = json!({"offerDetail": {
            "reference": "2026-7", "languageId": 1036, "status": {"id": "live", "label": "Diffusée"},
            "jobDescription": {"title": title, "contractType": {"id": "cdi", "label": "CDI"}}}});
        let record = read_record(Kind::Vacancy, record.to_string().as_bytes(), &["live".to_owned()]).unwrap();
        let mut tx = index.database.begin().await.unwrap();
        let write = documents::Write { document: &record.document, searchable: true };
        documents::write(&mut tx, &tenant, Kind::Vacancy, read, now, &[write]).await.unwrap();
        tx.commit().await.unwrap();
        let (_, page) = index.get(&format!("/tenants/acme/vacancies?q={word}&language=1036")).await;
        let item = &page["items"][0];
        assert_eq!((&item["key"], &item["title"]), (&json!("2026-7"), &json!(title)));
        assert_eq!(item["status"], json!({"id": "live", "label": "Diffusée"}));
        assert_eq!(item["coded"], json!([{"field": "jobDescription.contractType", "id": "cdi", "label": "CDI"}]));
    }
    assert_eq!(index.keys("q=soudeuse").await, [""; 0]);
    let label = r#"insert into referential (tenant, category, id, labels, raw, read_at, words)
                   values ('acme', 'contracts', 'cdi', '{}', '{}', now(), 'unbefristet')"#;
    index.run(label).await;
    assert_eq!(index.keys("q=unbefristet").await, ["2026-7"]);
    assert_eq!(index.keys("q=diffusee").await, [""; 0], "a status is no word to be found by");
}

#[tokio::test]
async fn refusals_are_problem_documents_that_say_what_is_wrong() {
    let index = Index::new().await;
    for (path, status, parameter) in [
        ("/tenants/nobody/vacancies", 404, Value::Null),
        ("/tenants/ACME/candidates?limit=0", 404, Value::Null),
        ("/tenants/acme/vacancies/2026-404", 404, Value::Null),
        ("/tenants/acme/vacancies/a%00b", 404, Value::Null),
        ("/tenants/acme/elsewhere", 404, Value::Null),
        ("/tenants/acme/vacancies?limit=101", 400, json!("limit")),
        ("/tenants/acme/candidates?hidden=true", 400, json!("hidden")),
    ] {
        let (got, problem) = index.get(path).await;
        assert_eq!((got.as_u16(), &problem["status"], &problem["parameter"]), (status, &json!(status), &parameter));
        assert!(problem["detail"].is_string(), "{path}");
    }
    let request = Request::post("/api/v1/tenants").body(Body::empty()).unwrap();
    let response = index.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    let tenants = index.get("/tenants").await.1;
    let names: Vec<&str> = tenants["items"].as_array().unwrap().iter().filter_map(|item| item["id"].as_str()).collect();
    assert_eq!(names, ["acme", "other"]);
}

#[tokio::test]
async fn a_search_that_takes_too_long_is_given_up() {
    let index = Index::new().await;
    index.put(Row { key: "a", title: "Soudeur", ..VACANCY }).await;
    // Whoever holds the table is waited for until the statement's limit; the lock's own limit is put out of the way.
    let settings = [
        ("CEGID_INDEXER__DATABASE__URL".to_owned(), index.name.url()),
        ("CEGID_INDEXER__DATABASE__LOCK_TIMEOUT".to_owned(), "1m".to_owned()),
    ];
    let settings = Settings::load(None, settings).unwrap();
    let patient = Database::new(&settings.database, settings.worker.lease).unwrap();
    let slow = Index { router: router(&patient, &["acme"]), database: patient, name: index.name };
    let mut held = index.database.begin().await.unwrap();
    sqlx::query("lock table document in access exclusive mode").execute(&mut *held).await.unwrap();
    let (status, problem) = slow.get("/tenants/acme/vacancies?q=soudeur").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let limit = format!("took longer than {} s", search::PATIENCE.as_secs());
    assert!(problem["detail"].as_str().unwrap().contains(&limit), "{problem}");
    held.rollback().await.unwrap();
    assert_eq!(slow.keys("q=soudeur").await, ["a"], "the connection is good again");
}
