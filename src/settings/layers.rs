//! Laying the layers over each other, and finding every problem in one go.

use std::{
    collections::HashMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use config::{Config, Environment, File, FileFormat};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{DEFAULT, Settings};

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted name of the key, or of the file.
    pub key: String,
    /// What is wrong with it, and what would be right.
    pub says: String,
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, says: impl Into<String>) -> Problem {
        Problem { key: key.into(), says: says.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.says)?;
        if !self.key.contains(['/', ' ']) && self.key.contains('.') {
            write!(f, " (in the environment: CEGID_INDEXER__{})", self.key.replace('.', "__").to_uppercase())?;
        }
        Ok(())
    }
}

/// The layered settings, and what is wrong with them; no settings when a required value is missing. What was read, or
/// should have been, is added to `files`.
pub(super) fn read(
    file: Option<&Path>,
    environment: HashMap<String, String>,
    files: &mut Vec<PathBuf>,
) -> Result<(Option<Settings>, Vec<Problem>), Vec<Problem>> {
    let reference = tree(Config::builder().add_source(File::from_str(DEFAULT, FileFormat::Toml)))
        .map_err(|error| vec![Problem::new("config/default.toml", error)])?;
    let own = own(file, environment, files)?;
    let mut problems = Vec::new();
    let mut merged = merge(&reference, own, &mut problems);
    read_secret_files(&mut merged, "", files, &mut problems);
    Ok((deserialize(merged, &reference, &mut problems), problems))
}

/// What a file and the environment set.
fn own(
    file: Option<&Path>,
    environment: HashMap<String, String>,
    files: &mut Vec<PathBuf>,
) -> Result<Map<String, Value>, Vec<Problem>> {
    let mut own = Config::builder();
    if let Some(file) = file {
        files.push(file.to_owned());
        own = own.add_source(File::from(file).format(FileFormat::Toml).required(true));
    }
    let own = own.add_source(
        Environment::with_prefix("CEGID_INDEXER").prefix_separator("__").separator("__").source(Some(environment)),
    );
    tree(own).map_err(|error| {
        let name = file.map_or_else(|| "environment".to_owned(), |file| file.display().to_string());
        vec![Problem::new(name, error)]
    })
}

fn tree(builder: config::ConfigBuilder<config::builder::DefaultState>) -> Result<Map<String, Value>, String> {
    let read = builder.build().and_then(Config::try_deserialize::<Map<String, Value>>);
    read.map_err(|error| unquoted(&error.to_string()))
}

/// A parser's error without the line that it quotes, which may hold a secret.
fn unquoted(error: &str) -> String {
    let is_quoted = |line: &str| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|');
    error.lines().filter(|line| !is_quoted(line)).map(str::trim).collect::<Vec<_>>().join(": ")
}

/// The reference with one's own values in it; tenants are laid over `tenant_defaults`.
fn merge(reference: &Map<String, Value>, own: Map<String, Value>, problems: &mut Vec<Problem>) -> Map<String, Value> {
    let mut own = own;
    let tenants = own.remove("tenants");
    let mut merged = reference.clone();
    overlay(&mut merged, own, "", problems);
    let defaults = merged.remove("tenant_defaults").unwrap_or_default();
    let mut named = Map::new();
    match tenants {
        None => {}
        Some(Value::Object(tenants)) => {
            for (name, values) in tenants {
                let path = format!("tenants.{name}");
                let (Value::Object(mut tenant), Value::Object(values)) = (defaults.clone(), values) else {
                    problems.push(Problem::new(path, "must be a section"));
                    continue;
                };
                overlay(&mut tenant, values, &path, problems);
                named.insert(name, Value::Object(tenant));
            }
        }
        Some(_) => problems.push(Problem::new("tenants", "must be a section")),
    }
    merged.insert("tenants".into(), Value::Object(named));
    merged
}

/// Lays `own` over `base`, whose keys and types are the only ones there are.
fn overlay(base: &mut Map<String, Value>, own: Map<String, Value>, path: &str, problems: &mut Vec<Problem>) {
    for (name, value) in own {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let Some(default) = base.get_mut(&name) else {
            problems.push(Problem::new(key, "unknown key"));
            continue;
        };
        match (default, value) {
            (Value::Object(section), Value::Object(values)) => overlay(section, values, &key, problems),
            (Value::Object(_), _) => problems.push(Problem::new(key, "must be a section")),
            (default, value) => match like(default, value) {
                Ok(value) => *default = value,
                Err(expected) => problems.push(Problem::new(key, format!("must be {expected}"))),
            },
        }
    }
}

/// `value` in the type of `default`: the environment holds strings only.
fn like(default: &Value, value: Value) -> Result<Value, &'static str> {
    match (default, value) {
        (Value::String(_), value @ Value::String(_)) => Ok(value),
        (Value::Number(_), value @ Value::Number(_)) => Ok(value),
        (Value::Number(_), Value::String(text)) => {
            text.trim().parse::<i64>().map(Value::from).map_err(|_| "a whole number")
        }
        (Value::Bool(_), value @ Value::Bool(_)) => Ok(value),
        (Value::Bool(_), Value::String(text)) => text.trim().parse().map(Value::Bool).map_err(|_| "true or false"),
        (Value::Array(of), Value::Array(values)) => values.into_iter().map(|value| element(of, value)).collect(),
        (Value::Array(of), Value::String(text)) => text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| element(of, Value::String(part.into())))
            .collect(),
        (Value::String(_), _) => Err("a text in quotes"),
        (Value::Number(_), _) => Err("a whole number"),
        (Value::Bool(_), _) => Err("true or false"),
        (Value::Array(_), _) => Err("a list"),
        _ => Err("of another type"),
    }
}

fn element(of: &[Value], value: Value) -> Result<Value, &'static str> {
    match of.first() {
        Some(sample) => like(sample, value),
        None => Ok(value),
    }
}

/// Puts what `X_file` holds into `X`, for every such pair.
fn read_secret_files(
    section: &mut Map<String, Value>,
    path: &str,
    files: &mut Vec<PathBuf>,
    problems: &mut Vec<Problem>,
) {
    let names: Vec<String> = section.keys().cloned().collect();
    for name in names {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if let Some(Value::Object(inner)) = section.get_mut(&name) {
            read_secret_files(inner, &key, files, problems);
            continue;
        }
        let Some(target) = name.strip_suffix("_file") else { continue };
        let Some(Value::String(file)) = section.remove(&name).filter(|_| section.contains_key(target)) else {
            continue;
        };
        if file.is_empty() {
            continue;
        }
        if section.get(target).is_some_and(|value| value != "") {
            problems.push(Problem::new(key, format!("{target} is set as well: leave one of the two out")));
            continue;
        }
        files.push(PathBuf::from(&file));
        match fs::read_to_string(&file) {
            Ok(content) => {
                section.insert(target.into(), Value::String(content.trim_end_matches(['\r', '\n']).into()));
            }
            Err(error) => problems.push(Problem::new(key, format!("reading {file}: {error}"))),
        }
    }
}

/// Reads the tree into [`Settings`]. A value that cannot be read is noted and replaced, so that the next one is found
/// too; a tenant in which a required value is missing is left out of what follows.
fn deserialize(
    tree: Map<String, Value>,
    reference: &Map<String, Value>,
    problems: &mut Vec<Problem>,
) -> Option<Settings> {
    let mut tree = Value::Object(tree);
    loop {
        let error = match serde_path_to_error::deserialize::<_, Settings>(&tree) {
            Ok(settings) => return Some(settings),
            Err(error) => error,
        };
        let key = error.path().to_string();
        let says = error.into_inner().to_string();
        if problems.iter().any(|problem| problem.key == key && problem.says == says) {
            return None;
        }
        problems.push(Problem::new(&*key, says));
        if !replace(&mut tree, reference, &key) {
            return None;
        }
    }
}

/// Puts something readable at `key`; false when nothing can be.
fn replace(tree: &mut Value, reference: &Map<String, Value>, key: &str) -> bool {
    let steps: Vec<&str> = key.split('.').collect();
    let pointer = |steps: &[&str]| format!("/{}", steps.join("/"));
    let in_reference = match steps.as_slice() {
        ["tenants", _, rest @ ..] if !rest.is_empty() => [&["tenant_defaults"], rest].concat(),
        _ => steps.clone(),
    };
    let list = |step: &str| step.split('[').next().unwrap_or_default().to_owned();
    let default = Value::Object(reference.clone()).pointer(&list(&pointer(&in_reference))).cloned();
    let placeholder = match steps.last() {
        Some(&"base_url") => Some(Value::from("https://missing.invalid")),
        Some(&("client_id" | "client_secret" | "url")) => Some(Value::from("missing")),
        _ => default,
    };
    if let (Some(slot), Some(value)) = (tree.pointer_mut(&list(&pointer(&steps))), placeholder) {
        *slot = value;
        return true;
    }
    // A name that is no tenant's: take the section out, so that the rest is checked.
    match (steps.as_slice(), tree.pointer_mut("/tenants")) {
        (["tenants", name, ..], Some(Value::Object(tenants))) => tenants.remove(*name).is_some(),
        (["tenants"], Some(Value::Object(tenants))) => {
            let before = tenants.len();
            tenants.retain(|name, _| crate::domain::TenantId::deserialize(Value::from(name.as_str())).is_ok());
            tenants.len() < before
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
