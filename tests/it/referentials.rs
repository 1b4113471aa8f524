//! The lists behind coded values: read whole, refreshed on time, and refused without harm.

use std::{collections::BTreeMap, time::Duration};

use cegid_indexer::index::referentials::{self, State};
use cegid_simulator::{Endpoint, Fault, FaultKind, ReferentialItem, ReferentialManners};
use serde_json::{Value, json};

use crate::harness::{Plan, World, tenant};

const DAY: Duration = Duration::from_secs(86_400);
/// Between two looks at what is due.
const LOOK: Duration = Duration::from_secs(300);
const FRENCH: u32 = 1036;
const GERMAN: u32 = 1031;

fn naming(lists: &'static str) -> Plan {
    Plan::sized(8, 2).with("TENANTS__ACME__REFERENTIALS", lists)
}

fn item(id: &str, labels: &[(u32, &str)]) -> ReferentialItem {
    ReferentialItem { id: id.into(), labels: labels.iter().map(|(lcid, label)| (*lcid, (*label).into())).collect() }
}

fn numbered(count: usize) -> Vec<ReferentialItem> {
    (0..count).map(|n| item(&format!("code {n}"), &[(FRENCH, &format!("Valeur {n}"))])).collect()
}

async fn states(world: &World) -> BTreeMap<String, State> {
    let states = referentials::states(&world.database, &tenant()).await.unwrap();
    states.into_iter().map(|state| (state.category.clone(), state)).collect()
}

/// Labels by language of every item of a list.
async fn labels(world: &World, category: &str) -> BTreeMap<String, Value> {
    let rows: Vec<(String, String)> = sqlx::query_as("select id, labels from referential where category = $1")
        .bind(category)
        .fetch_all(world.database.pool())
        .await
        .unwrap();
    rows.into_iter().map(|(id, labels)| (id, serde_json::from_str(&labels).unwrap())).collect()
}

fn calls(world: &World, ending: &str) -> usize {
    world.simulator.count_requests(|request| request.path.contains("/referentials/") && request.path.ends_with(ending))
}

async fn api(world: &World, path: &str) -> Value {
    let (status, body) = world.get(&world.operators, &format!("/api/v1/tenants/acme/{path}")).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Lets one look at what is due begin and end: a list that no setting names is forgotten at the start of each.
async fn looked(world: &World) {
    for _ in 0..2 {
        let unnamed =
            "insert into referential_category (tenant, category, read_at, items) values ('acme', 'unnamed', now(), 0)";
        sqlx::query(unnamed).execute(world.database.pool()).await.unwrap();
        world.turn(LOOK);
        world
            .until("it was looked at what is due", async |world: &World| !states(world).await.contains_key("unnamed"))
            .await;
    }
}

#[tokio::test]
async fn lists_are_read_with_their_labels_by_one_call_for_each_item_and_a_name_that_is_unknown_is_passed_over() {
    let world = World::start(naming("nothing,countries")).await;
    world.until("both were asked for", async |world: &World| states(world).await.len() == 2).await;
    let countries = labels(&world, "countries").await;
    assert_eq!(countries.len(), 7);
    assert_eq!(countries["_TS_CO_Country_Allemagne"], json!({"1036": "Allemagne", "1033": "Germany"}));
    assert_eq!((calls(&world, "/translations"), calls(&world, "/countries")), (7, 1));
    let lists = api(&world, "referentials").await;
    let shown = |nth: usize, member: &str| lists["items"][nth][member].clone();
    assert_eq!(
        (shown(0, "category"), shown(0, "items"), shown(0, "refused")),
        ("countries".into(), 7.into(), Value::Null)
    );
    assert_eq!((shown(1, "category"), shown(1, "refused")), ("nothing".into(), "unknown name".into()));
    assert!(shown(0, "read_at").as_str().is_some_and(|at| at.starts_with("2026-09-10T")));

    looked(&world).await;
    assert_eq!(calls(&world, "/nothing"), 1, "asked for again before its time");
    world.turn(DAY);
    world.until("both are read again", async |world: &World| calls(world, "/nothing") == 2).await;
    world.until("both are read again", async |world: &World| calls(world, "/countries") == 2).await;
    world.end().await;
}

#[tokio::test]
async fn a_long_list_is_read_whole_however_it_is_paged_and_what_is_gone_from_it_vanishes() {
    let plan = naming("long").with("TENANTS__ACME__REFERENTIAL_LANGUAGES", "");
    let world = World::start(plan.stopped()).await;
    let mut world = world;
    let usual = ReferentialManners::default();
    for (nth, manners) in [
        usual,
        ReferentialManners { hides_total: true, ..usual },
        ReferentialManners { page_limit: Some(40), ..usual },
        ReferentialManners { page_limit: Some(40), hides_total: true, ..usual },
        ReferentialManners { ignores_interval: true, ..usual },
        ReferentialManners { ignores_interval: true, hides_total: true, ..usual },
    ]
    .into_iter()
    .enumerate()
    {
        let count = 260 - 10 * nth;
        world.simulator.set_referential_manners(manners);
        world.simulator.set_referential("long", Some(numbered(count)));
        if nth == 0 {
            world.start_service().await;
        } else {
            world.turn(DAY);
        }
        world
            .until("the list is read", async |world: &World| {
                states(world).await.get("long").is_some_and(|state| state.items == count as i32)
            })
            .await;
        assert_eq!(labels(&world, "long").await.len(), count, "{manners:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn labels_are_read_language_by_language_where_translations_are_not_listed() {
    let mut world =
        World::start(naming("times").with("TENANTS__ACME__REFERENTIAL_LANGUAGES", "1036,1031,1033").stopped()).await;
    let items = ["full", "part"].map(|id| item(id, &[(FRENCH, "Temps"), (GERMAN, "Zeit"), (1040, "Tempo")]));
    world.simulator.set_referential("times", Some(items.to_vec()));
    for (nth, manners) in [
        ReferentialManners::default(),
        ReferentialManners { no_translation_list: true, ..ReferentialManners::default() },
        ReferentialManners { no_translation_list: true, translation_as_list: true, ..ReferentialManners::default() },
    ]
    .into_iter()
    .enumerate()
    {
        world.simulator.set_referential_manners(manners);
        if nth == 0 {
            world.start_service().await;
        } else {
            world.turn(DAY);
        }
        let again = "the list is read again";
        world.until(again, async |world: &World| calls(world, "/times") == nth + 1).await;
        world
            .until(again, async |world: &World| {
                let read = states(world).await.get("times").map(|state| state.read_at);
                read.is_some_and(|at| world.clock.now() - at < chrono::TimeDelta::hours(12))
            })
            .await;
        let expected = json!({"1031": "Zeit", "1036": "Temps"});
        assert_eq!(labels(&world, "times").await, ["full", "part"].map(|id| (id.into(), expected.clone())).into());
    }
    // Each item once in the first round; once more in each of the others, until that was seen to be of no use.
    assert_eq!((calls(&world, "/translations"), calls(&world, "/translations/1033")), (2 + 1 + 1, 2 * 2));
    world.end().await;
}

#[tokio::test]
async fn a_missing_right_is_named_and_what_was_read_before_stays() {
    let world = World::start(naming("countries")).await;
    world.until("the list is read", async |world: &World| states(world).await.contains_key("countries")).await;
    let forbidden = FaultKind::Status { code: 403, retry_after: None };
    world.simulator.add_fault(Fault::new(Endpoint::Referentials, forbidden));
    world.turn(DAY);
    world.until("it is refused", async |world: &World| states(world).await["countries"].refused.is_some()).await;
    let list = api(&world, "referentials").await["items"][0].clone();
    let says = list["refused"].as_str().unwrap();
    assert!(says.contains("permission Use on the resource ReferencesAdministration"), "{says}");
    assert_eq!((&list["items"], labels(&world, "countries").await.len()), (&7.into(), 7));
    let before = calls(&world, "/countries");
    looked(&world).await;
    assert_eq!(calls(&world, "/countries"), before, "asked for again before its time");
    world.simulator.clear_faults();
    world.turn(DAY);
    world.until("it is read again", async |world: &World| states(world).await["countries"].refused.is_none()).await;
    world.end().await;
}

#[tokio::test]
async fn a_list_that_the_settings_no_longer_name_is_forgotten() {
    let mut world = World::start(naming("countries,jobtimes")).await;
    world.until("both are read", async |world: &World| states(world).await.len() == 2).await;
    world.stop_service().await;
    world.set("TENANTS__ACME__REFERENTIALS", "jobtimes");
    world.start_service().await;
    world.until("one is forgotten", async |world: &World| states(world).await.len() == 1).await;
    assert!(labels(&world, "countries").await.is_empty());
    assert_eq!(labels(&world, "jobtimes").await.len(), 3);
    world.end().await;
}

#[tokio::test]
async fn vacancies_are_found_by_the_label_of_another_language_and_by_a_new_one_without_being_written_again() {
    let plan = naming("contracttypes").with("TENANTS__ACME__REFERENTIAL_LANGUAGES", "1036,1031");
    let mut world = World::start(plan.stopped()).await;
    let contract = "_TS_CO_Contract_CDI";
    let list = |german| Some(vec![item(contract, &[(FRENCH, "CDI"), (GERMAN, german)])]);
    world.simulator.set_referential("contracttypes", list("Unbefristet"));
    world.start_service().await;
    world.settle().await;
    let holding: Vec<String> = sqlx::query_scalar(
        "select key from document where kind = 'vacancy' and searchable and strpos(coded, $1) > 0 order by key",
    )
    .bind(format!("\"id\":\"{contract}\""))
    .fetch_all(world.database.pool())
    .await
    .unwrap();
    assert!(!holding.is_empty());
    let found = async |world: &World, word: &str| {
        let page = api(world, &format!("vacancies?limit=100&labels=1031&q={word}")).await;
        let items = page["items"].as_array().unwrap().clone();
        for item in &items {
            let coded = item["coded"].as_array().unwrap().iter();
            let shown: Vec<&Value> = coded.filter(|it| it["id"] == contract).map(|it| &it["label"]).collect();
            assert!(shown.iter().any(|label| label.as_str().is_some_and(|label| label.eq_ignore_ascii_case(word))));
        }
        let mut keys: Vec<String> = items.iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect();
        keys.sort_unstable();
        keys
    };
    world
        .until("the German label finds them", async |world: &World| found(world, "unbefristet").await == holding)
        .await;
    let written = async |world: &World| {
        sqlx::query_scalar::<_, chrono::DateTime<chrono::Utc>>("select max(indexed_at) from document")
            .fetch_one(world.database.pool())
            .await
            .unwrap()
    };
    let before = written(&world).await;
    world.simulator.set_referential("contracttypes", list("Dauerstelle"));
    world.turn(DAY);
    world.until("the new label finds them", async |world: &World| found(world, "dauerstelle").await == holding).await;
    assert!(found(&world, "unbefristet").await.is_empty());
    assert_eq!(written(&world).await, before);
    world.end().await;
}
