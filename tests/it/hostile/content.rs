//! Text that is made to be taken for something else, in records and in requests: it stays text, and out of the log.

use serde_json::{Map, Value, json};

use super::{EVENTS, LATER, assert_well, good_head, signed_target};
use crate::harness::{
    CLIENT_ID, Plan, World,
    log::{Kept, keep_log},
    raw,
};

/// In every text of this test that must not be in the log.
const CANARY: &str = "CANARYTEXT";

const HOSTILE: [&str; 14] = [
    "<script>alert('x')</script>",
    "</title><title>",
    "\"'`;--\\",
    "'; drop table subject; --",
    "{{7*7}} ${7*7} <%= 7*7 %> #{7*7} ${jndi:ldap://x}",
    "left\u{202e}right\u{2066}\u{200f}",
    "nul\0nul",
    "\r\n2026-09-10T00:26:40Z ERROR forged line\n",
    "\u{7}\u{8}\u{1b}[31m\u{1b}]0;title\u{7}",
    "%00%0a%0d..%2f",
    "\u{feff}\u{2028}\u{2029}\u{fffe}",
    "\u{1f9e8}\u{10ffff}",
    "=cmd|' /C calc'!A0",
    "&lt;img src=x onerror=alert(1)&gt;",
];

fn hostile(field: &str) -> String {
    format!("{CANARY} {field} {}", HOSTILE.join(" "))
}

fn coded(field: &str) -> Value {
    json!({"id": hostile(field), "label": hostile(field)})
}

fn texts<const N: usize>(fields: [&str; N]) -> Map<String, Value> {
    fields.iter().map(|field| ((*field).to_owned(), hostile(field).into())).collect()
}

fn codes<const N: usize>(fields: [&str; N]) -> Map<String, Value> {
    fields.iter().map(|field| ((*field).to_owned(), coded(field))).collect()
}

fn members(parts: impl IntoIterator<Item = Map<String, Value>>) -> Value {
    Value::Object(parts.into_iter().flatten().collect())
}

/// A vacancy with it in every text and code that is read.
fn vacancy() -> Value {
    let job = members([
        texts(["title", "description1", "description1HTML", "description2", "description2HTML"]),
        codes(["contractType", "professionalCategory", "salaryRange", "jobTime", "country", "primaryProfile"]),
    ]);
    let criteria = members([
        codes(["experienceLevel", "educationLevel", "diploma"]),
        texts(["freeCriteria1", "freeCriteria1HTML", "freeCriteria2", "freeCriteria2HTML"]),
    ]);
    let location = members([texts(["address"]), codes(["geographicalArea", "country", "region", "department"])]);
    json!({"offerDetail": {
        "reference": "2026-hostile", "languageId": 1036,
        "status": {"id": "_TS_CO_OfferStatus_Diffuse", "label": hostile("status")},
        "vacancyCategory": coded("category"), "organisation": coded("organisation"),
        "creationDate": "2026-08-01T10:00:00.000", "modificationDate": "2026-09-01T10:00:00.000",
        "jobDescription": job, "criteria": criteria, "location": location, (hostile("member")): hostile("value"),
    }})
}

fn candidate() -> Value {
    let experience = members([texts(["company", "function"]), codes(["experienceLevel", "typeOfContract", "profile"])]);
    let education = members([texts(["school", "schoolCity", "speciality"]), codes(["diploma", "educationLevel"])]);
    let mut detail = texts(["firstName", "middleName", "lastName", "email", "title"]);
    detail.extend([
        ("id".to_owned(), "_TS-hostile".into()),
        ("status".to_owned(), coded("status")),
        ("isAnonymized".to_owned(), false.into()),
        ("personalInformation".to_owned(), json!({"city": hostile("city"), "residentCountry": coded("country")})),
        ("positionSought".to_owned(), members([codes(["primaryProfile", "contractType", "jobTime"])])),
        ("experiences".to_owned(), json!([{"experience": experience}])),
        ("educations".to_owned(), json!([education])),
        ("additionalInformation".to_owned(), json!({"skills": [coded("skill")]})),
    ]);
    json!({"candidateDetail": detail})
}

/// Every line was written by the service, and none holds what came from outside.
fn assert_clean(text: &Kept, lines: &Kept) {
    let (text, lines) = (text.text(), lines.text());
    assert!(lines.lines().count() > 5, "nothing is logged:\n{text}");
    for line in text.lines() {
        let time = line.split(' ').next().unwrap_or_default();
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "a line that is none: {line:?}");
    }
    for line in lines.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line["level"].is_string()), "{line}");
    }
    for shown in [&text, &lines] {
        let found = shown.lines().find(|line| line.contains(CANARY) || line.contains("forged"));
        assert_eq!(found, None, "the log holds what came from outside");
        assert!(!shown.contains('\u{1b}') && !shown.contains('\0'));
    }
}

/// The answer, which must be JSON and say so.
async fn answered(world: &World, path: &str) -> Value {
    let answer = world.http.get(format!("{}/api/v1/tenants/acme/{path}", world.operators)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "application/json", "{path}");
    assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
    let body = answer.text().await.unwrap();
    // JSON has control characters as escapes only.
    assert!(!body.chars().any(|c| c < ' '), "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn hostile_text_in_every_field_is_answered_as_data_and_is_not_in_the_log() {
    let (text, lines, _guard) = keep_log();
    let directory = tempfile::tempdir().unwrap();
    for (name, record) in [("vacancy.json", vacancy()), ("candidate.json", candidate())] {
        std::fs::write(directory.path().join(name), record.to_string()).unwrap();
    }
    let mut plan = Plan::sized(3, 3);
    plan.simulator.records = Some(directory.path().to_owned());
    let world = World::start(plan).await;
    world.settle().await;
    world.simulator.edit_vacancy("2026-hostile").unwrap();
    world.simulator.edit_candidate("_TS-hostile").unwrap();
    world.settle().await;

    // What PostgreSQL cannot hold is left out, and nothing else.
    let kept = |field: &str| hostile(field).replace('\0', "");
    for (kind, key, title) in [("vacancies", "2026-hostile", "title"), ("candidates", "_TS-hostile", "title")] {
        let page = answered(&world, &format!("{kind}?q={CANARY}")).await;
        assert_eq!(page["items"][0]["key"], key, "{page}");
        for item in [page["items"][0].clone(), answered(&world, &format!("{kind}/{key}")).await] {
            let shown = item["title"].as_str().unwrap();
            assert!(shown.starts_with(kept(title).trim()), "{shown:?}\n{:?}", kept(title));
            let codes = item["coded"].as_array().unwrap();
            assert!(codes.len() > 5, "{item}");
            for code in codes {
                let (id, label) = (code["id"].as_str().unwrap(), code["label"].as_str().unwrap());
                assert!(label.starts_with(CANARY) && id.starts_with(CANARY), "{code}");
                assert!(label.contains(HOSTILE[0]) && label.contains(HOSTILE[5]), "{code}");
            }
        }
    }
    let person = answered(&world, "candidates/_TS-hostile").await.to_string();
    for field in ["firstName", "lastName", "email", "city", "company", "school"] {
        assert!(!person.contains(&format!("{CANARY} {field}")), "{field} is shown");
    }
    let referentials = answered(&world, "referentials").await;
    assert!(referentials["items"].is_array());
    // A search for such text is a search.
    for words in HOSTILE {
        let encoded: String = url::form_urlencoded::byte_serialize(words.as_bytes()).collect();
        let path = format!("/api/v1/tenants/acme/vacancies?q={encoded}");
        let answer = world.http.get(format!("{}{path}", world.operators)).send().await.unwrap();
        assert!(matches!(answer.status().as_u16(), 200 | 400), "{words:?}: {}", answer.status());
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/"), "{words:?}");
    }
    let metrics = world.get(&world.operators, "/metrics").await.1;
    assert!(!metrics.contains(CANARY));
    world.leave().await;
    assert_clean(&text, &lines);
}

#[tokio::test]
async fn nothing_that_a_request_holds_makes_a_line_of_the_log() {
    let (text, lines, _guard) = keep_log();
    // What no filter can ask for is buried soon.
    let world = World::start(Plan::sized(3, 3).with("WORKER__RETRY_HORIZON", "1m")).await;
    world.settle().await;
    let target = signed_target();
    for words in HOSTILE {
        let text = format!("{CANARY} {words}");
        for body in [
            json!({"event_type": text, "reference": text}),
            json!({"event_type": "vacancy_update", "reference": text, "uri": text}),
            json!({"event_type": text}),
            json!({(text.clone()): text, "event_date": text}),
            json!([text, {"event_type": text, "applicantId": text}]),
        ] {
            let body = body.to_string();
            let expires = [("X-TS-REC-Expires", LATER)];
            let answer = raw::send(&world.public, "POST", &target, &expires, body.as_bytes()).await;
            assert_eq!(answer.status, 200, "{body}");
        }
        // In the target as a sender must write it, and as he must not.
        let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let refused = [
            format!("POST /{encoded} HTTP/1.1\r\nhost: {CANARY}\r\nconnection: close\r\n\r\n"),
            format!("POST {EVENTS}/{encoded}?{encoded} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
            format!("{CANARY} {EVENTS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
            format!("POST {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", EVENTS.replace("acme", &encoded)),
            format!(
                "POST {EVENTS}?client_id={encoded}&signature={encoded} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            ),
            format!("{}x-ts-rec-event: {}\r\nconnection: close\r\n\r\n", good_head(), text.replace(['\r', '\n'], " ")),
            format!("{}x-ts-rec-event: a\rb{text}\r\nconnection: close\r\n\r\n", good_head()),
            format!("POST /{text} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
        ];
        for request in refused {
            let answered = raw::statuses(&world.public, request.as_bytes()).await;
            assert!(answered.iter().all(|status| (400..500).contains(status)), "{request:?}: {answered:?}");
        }
    }
    assert_well(&world.public).await;
    world
        .until("the refusals are written", async |world: &World| {
            let counted = "select coalesce(sum(count), 0)::bigint from refusal_count";
            sqlx::query_scalar::<_, i64>(counted).fetch_one(world.database.pool()).await.unwrap() > 20
        })
        .await;
    world.settle().await;
    let metrics = world.get(&world.operators, "/metrics").await.1;
    assert!(!metrics.contains(CANARY) && metrics.contains(r#"event="other""#), "{metrics}");
    // What is kept of refused requests has no line of its own either.
    let kept: Vec<String> = sqlx::query_scalar("select path || method || tenant from refusal")
        .fetch_all(world.database.pool())
        .await
        .unwrap();
    assert!(!kept.is_empty() && kept.iter().all(|row| !row.chars().any(char::is_control)), "{kept:?}");
    assert!(kept.iter().all(|row| !row.contains(CLIENT_ID)));
    world.leave().await;
    assert_clean(&text, &lines);
}
