//! Records that are made to harm: nested without end, and archives whose names lead elsewhere.

use std::io::{Cursor, Write};

use cegid_indexer::domain::Kind;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::{
    harness::{
        Plan, World,
        between::{Between, Instead},
    },
    worst::{VACANCIES, count, live_vacancies},
};

const DEEP: usize = 100_000;

/// A frame as an export has them: its length, and an archive.
fn frame(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    let archive = writer.finish().unwrap().into_inner();
    [&u32::try_from(archive.len()).unwrap().to_le_bytes(), &archive[..]].concat()
}

/// An array, or an object, within as many others.
fn nested(open: &str, close: &str) -> String {
    format!("{}0{}", open.repeat(DEEP), close.repeat(DEEP))
}

#[tokio::test]
async fn records_nested_without_end_cost_themselves_alone() {
    let (mut world, between) = Between::world(Plan::sized(8, 2)).await;
    world.start_service().await;
    world.settle().await;
    let (arrays, objects) = (nested("[", "]"), nested(r#"{"a":"#, "}"));
    let open = "[".repeat(DEEP);
    let mut frames = Vec::new();
    for deep in [&arrays, &objects, &open] {
        for json in [
            deep.clone(),
            format!(r#"{{"offerDetail":{deep}}}"#),
            format!(r#"{{"offerDetail":{{"reference":{deep}}}}}"#),
            format!(r#"{{"offerDetail":{{"reference":"deep","jobDescription":{deep}}}}}"#),
            format!(r#"{{"offerDetail":{{"reference":"deep","criteria":{{"skills":{deep}}}}}}}"#),
            format!(r#"{{"offerDetail":{{"reference":"deep","status":{{"id":{deep}}}}}}}"#),
        ] {
            frames.extend(frame(&[("offerdetail", &json)]));
        }
    }
    let held = live_vacancies(&world);
    let before = world.last_request();
    between.tell(VACANCIES, 1, Instead::Before(frames));
    for key in &held {
        world.simulator.edit_vacancy(key).unwrap();
    }
    world.settle().await;
    assert_eq!(between.answered(), 1);
    assert_eq!(world.export_calls(VACANCIES, before), 1, "records behind the frames were asked for again");
    let indexed = world.indexed(Kind::Vacancy).await;
    assert!(!indexed.contains_key("deep"), "{indexed:?}");
    world.end().await;
}

#[tokio::test]
async fn a_record_with_a_deep_member_that_nobody_reads_is_kept_and_shown_as_it_is() {
    let (mut world, between) = Between::world(Plan::sized(3, 1)).await;
    world.start_service().await;
    world.settle().await;
    let key = live_vacancies(&world).remove(0);
    let deep = nested("[", "]");
    let json =
        format!(r#"{{"offerDetail":{{"reference":"{key}","jobDescription":{{"title":"Deep"}},"other":{deep}}}}}"#);
    between.tell(VACANCIES, 1, Instead::Answer(200, Vec::new(), frame(&[("offerdetail", &json)])));
    let titled = async |world: &World| world.indexed(Kind::Vacancy).await.get(&key).map(|(title, _)| title.clone());
    world.simulator.announce("vacancy_update", &key);
    world.simulator.flush().await;
    world.until("it is indexed", async |world: &World| titled(world).await.as_deref() == Some("Deep")).await;
    let (status, body) = world.get(&world.operators, &format!("/api/v1/tenants/acme/vacancies/{key}")).await;
    assert_eq!(status, 200);
    assert!(body.contains(&deep), "{} bytes", body.len());
    let whole: &serde_json::value::RawValue = serde_json::from_str(&body).unwrap();
    assert_eq!(whole.get().len(), body.len());
    // The next read shows it as it is.
    world.simulator.edit_vacancy(&key).unwrap();
    world.end().await;
}

#[tokio::test]
async fn an_entry_whose_name_leads_elsewhere_is_not_the_record() {
    let (mut world, between) = Between::world(Plan::sized(3, 1)).await;
    world.start_service().await;
    world.settle().await;
    let key = live_vacancies(&world).remove(0);
    let held = world.indexed(Kind::Vacancy).await;
    let json = format!(r#"{{"offerDetail":{{"reference":"{key}","jobDescription":{{"title":"Elsewhere"}}}}}}"#);
    for name in ["../../offerdetail", "/offerdetail", "..\\offerdetail", "C:/offerdetail.json", "offerdetail/"] {
        let (answered, before) = (between.answered(), world.last_request());
        between.tell(VACANCIES, 1, Instead::Answer(200, Vec::new(), frame(&[(name, &json)])));
        world.simulator.announce("vacancy_update", &key);
        world.simulator.flush().await;
        world.until("it was answered", async |_: &World| between.answered() == answered + 1).await;
        world.settle().await;
        // It is read again after the failed read, and shows what it did.
        assert_eq!(world.indexed(Kind::Vacancy).await, held, "{name}");
        let written = "select count(*) from document where title = 'Elsewhere' or raw like '%Elsewhere%'";
        assert_eq!(count(&world, written).await, 0);
        assert!(world.export_calls(VACANCIES, before) > 0, "{name}: it was not read again");
    }
    world.end().await;
}
