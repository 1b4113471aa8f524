//! Pieces that many parts of a record share.

use serde_json::{Map, Value, json};

use super::codes::{CUSTOM_TABLE, Code};
use super::random::Random;
use super::words;

/// A block of custom fields. Those of vacancies have HTML members, those of
/// candidates do not; most members are null.
pub(crate) fn custom_fields(random: &mut Random, html: bool, lcid: u32, date: &str) -> Value {
    let mut block = Map::new();
    let filled = random.percent(15);
    for number in 1..=3 {
        let first = filled && number == 1;
        let long = first.then(|| "Précisions données par le service (à relire).".to_owned());
        block.insert(format!("date{number}"), first.then_some(date).into());
        block.insert(format!("shortText{number}"), first.then_some("Bâtiment B").into());
        if html {
            block.insert(format!("longText{number}HTML"), long.as_deref().map(words::html).into());
        }
        block.insert(format!("longText{number}"), long.into());
        let table = match number {
            1 if filled => random.pick(CUSTOM_TABLE).coded(lcid),
            2 if filled => null_pair(),
            _ => Value::Null,
        };
        block.insert(format!("customCodeTable{number}"), table);
    }
    Value::Object(block)
}

/// The second writing of "no value".
pub(crate) fn null_pair() -> Value {
    json!({ "id": null, "label": null })
}

/// A coded member that now and then has no value, in one of its two writings.
pub(crate) fn perhaps(random: &mut Random, list: &[Code], lcid: u32) -> Value {
    match random.below(10) {
        0 | 1 => Value::Null,
        2 => null_pair(),
        _ => random.pick(list).coded(lcid),
    }
}
