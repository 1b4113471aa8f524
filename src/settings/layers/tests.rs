use std::{collections::BTreeMap, io::Write};

use proptest::{prelude::*, sample::Index};

use super::*;

/// A key of the reference: where it stands, and its default.
type Leaf = (String, Value);

fn reference() -> Map<String, Value> {
    tree(Config::builder().add_source(File::from_str(DEFAULT, FileFormat::Toml))).unwrap()
}

fn leaves(section: &Map<String, Value>, path: &str, found: &mut Vec<Leaf>) {
    for (name, value) in section {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Object(inner) => leaves(inner, &key, found),
            value => found.push((key, value.clone())),
        }
    }
}

/// Every key that can be set, those of a tenant `acme` among them.
fn all_leaves() -> Vec<Leaf> {
    let mut found = Vec::new();
    let reference = reference();
    leaves(&reference, "", &mut found);
    let Value::Object(defaults) = &reference["tenant_defaults"] else { panic!("tenant_defaults is a section") };
    leaves(defaults, "tenants.acme", &mut found);
    found
}

/// A value of the same type.
fn like_it(default: &Value, seed: u32, text: &str) -> Value {
    match default {
        Value::Bool(_) => Value::from(seed.is_multiple_of(2)),
        Value::Number(_) => Value::from(i64::from(seed)),
        Value::Array(of) if of.first().is_some_and(Value::is_number) => Value::from(vec![i64::from(seed), 7]),
        Value::Array(_) => Value::from(vec![format!("a{seed}"), text.replace(',', "").trim().to_owned() + "b"]),
        _ => Value::from(text),
    }
}

/// As an environment variable holds it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(","),
        value => value.to_string(),
    }
}

/// As a file holds it: a line for each key, under its section.
fn toml(values: &BTreeMap<String, Value>) -> String {
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    for (key, value) in values {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        // JSON's escapes are TOML's too, for what the tests write.
        sections.entry(section).or_default().push_str(&format!("{name} = {value}\n"));
    }
    let section = |(name, lines): (&str, String)| if name.is_empty() { lines } else { format!("[{name}]\n{lines}") };
    sections.into_iter().map(section).collect()
}

fn variable(key: &str) -> String {
    format!("CEGID_INDEXER__{}", key.replace('.', "__").to_uppercase())
}

fn file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

/// The key's value in a tree.
fn at<'a>(tree: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let (first, rest) = key.split_once('.').unwrap_or((key, ""));
    let found = tree.get(first)?;
    if rest.is_empty() { Some(found) } else { at(found.as_object()?, rest) }
}

proptest! {
    #[test]
    fn the_later_layer_wins_key_by_key_and_nothing_else_changes(
        in_file in proptest::collection::vec((any::<Index>(), any::<u32>(), "[a-zA-Z0-9 .:/_-]{0,12}"), 0..12),
        in_environment in proptest::collection::vec((any::<Index>(), any::<u32>(), "[a-zA-Z0-9 .:/_-]{0,12}"), 0..12),
    ) {
        let all = all_leaves();
        let layer = |chosen: &[(Index, u32, String)]| -> BTreeMap<String, Value> {
            let value = |(nth, seed, text): &(Index, u32, String)| {
                let (key, default) = &all[nth.index(all.len())];
                (key.clone(), like_it(default, *seed, text))
            };
            chosen.iter().map(value).collect()
        };
        let (in_file, in_environment) = (layer(&in_file), layer(&in_environment));
        let written = file(&toml(&in_file));
        let variables = in_environment.iter().map(|(key, value)| (variable(key), plain(value))).collect();
        let own = own(Some(written.path()), variables, &mut Vec::new()).unwrap();
        let mut problems = Vec::new();
        let merged = merge(&reference(), own, &mut problems);
        prop_assert_eq!(&problems, &[]);

        let set = |key: &str| in_environment.get(key).or_else(|| in_file.get(key));
        let named = in_file.keys().chain(in_environment.keys()).any(|key| key.starts_with("tenants.acme."));
        for (key, default) in &all {
            let wanted = match key.split_once('.') {
                Some(("tenant_defaults", _)) => continue,
                Some(("tenants", rest)) => {
                    let (_, name) = rest.split_once('.').unwrap();
                    let default = set(&format!("tenant_defaults.{name}")).unwrap_or(default);
                    named.then(|| set(key).unwrap_or(default))
                }
                _ => Some(set(key).unwrap_or(default)),
            };
            prop_assert_eq!(at(&merged, key), wanted, "{}", key);
        }
    }

    #[test]
    fn an_unknown_key_is_named_wherever_it_stands(
        nth in any::<Index>(),
        name in "[a-z]{3,10}_of_nothing",
        in_file in any::<bool>(),
    ) {
        let all = all_leaves();
        let (beside, _) = &all[nth.index(all.len())];
        let key = beside.rsplit_once('.').map_or(name.clone(), |(section, _)| format!("{section}.{name}"));
        let values = BTreeMap::from([(key.clone(), Value::from("x"))]);
        let written = file(&if in_file { toml(&values) } else { String::new() });
        let variables = if in_file { HashMap::new() } else { HashMap::from([(variable(&key), "x".to_owned())]) };
        let (_, problems) = read(Some(written.path()), variables, &mut Vec::new()).unwrap();
        let unknown: Vec<_> = problems.iter().filter(|problem| problem.says == "unknown key").collect();
        prop_assert_eq!(unknown.len(), 1, "{:?}", &problems);
        prop_assert_eq!(&unknown[0].key, &key);
    }

    #[test]
    fn no_problem_and_no_debug_shows_a_secret_whatever_else_is_wrong(
        secret in "[!-~]{6,20}",
        form in 0..9_usize,
        at_byte in any::<Index>(),
        byte in "[ -~\n]",
        in_environment in any::<bool>(),
    ) {
        // Something that no sentence of an error holds.
        let secret = format!("CANARY{secret}CANARY");
        let quoted = Value::from(secret.as_str()).to_string();
        let held = match form {
            0 | 1 => format!("client_secret = {quoted}"),
            2 => format!("client_secret = [{quoted}]"),
            3 => format!("client_secret = {{ a = {quoted} }}"),
            4 => format!("client_secret = {secret}"),
            5 => format!("client_secret = \"{secret}"),
            6 => format!("client_secret = '{secret}'x"),
            7 => format!("client_secret = 'x'\nclient_secret = {quoted}"),
            _ => format!("client_secret = \"\"\"\n{secret}\n\\q\"\"\""),
        };
        let mut text = format!(
            "[database]\nurl = {quoted}\n[tenants.acme]\nbase_url = \"https://acme.example.com\"\nclient_id = \"a\"\n\
             previous_client_secret = {quoted}\n{held}\n[export]\npage_size = 50\n"
        );
        if form > 0 {
            let place = at_byte.index(text.len());
            text.replace_range(place..=place, &byte);
        }
        let written = file(&text);
        let variables = if in_environment {
            vec![
                (variable("tenants.acme.client_secret"), secret.clone()),
                (variable("tenants.acme.client_secret.inside"), secret.clone()),
                (variable("database"), secret.clone()),
                (variable("receive.body_limit"), "many".into()),
            ]
        } else {
            Vec::new()
        };
        let told = match Settings::load(Some(written.path()), variables) {
            Ok(settings) => format!("{settings:?} {settings:#?}"),
            Err(problems) => problems.iter().map(|problem| format!("{problem} {problem:?}\n")).collect(),
        };
        // A part of it is too much too.
        prop_assert!(!told.contains(&secret[..12]) && !told.contains(&secret[secret.len() - 12..]), "{}", told);
    }
}
