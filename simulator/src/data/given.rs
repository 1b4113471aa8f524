//! Records of one's own, read from a directory of JSON files.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

use crate::tenant::Kind;

/// A record that was given, with the bytes of its attachments where they lie
/// beside it.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) kind: Kind,
    pub(crate) key: String,
    /// What the export's JSON entry holds, its wrapper included.
    pub(crate) whole: Value,
    /// By attachment id.
    pub(crate) files: HashMap<String, Vec<u8>>,
}

impl Given {
    /// The inside of `offerDetail` or `candidateDetail`.
    pub(crate) fn detail(&self) -> &Value {
        &self.whole[self.kind.wrapper()]
    }

    pub(crate) fn text<'a>(&'a self, path: &str) -> Option<&'a str> {
        self.detail().pointer(path).and_then(Value::as_str)
    }

    /// The id of the attachment marked as the CV.
    pub(crate) fn resume_id(&self) -> Option<&str> {
        self.attachments()
            .find(|attachment| attachment["isResume"] == true)
            .and_then(|attachment| attachment["id"].as_str())
    }

    pub(crate) fn attachments(&self) -> impl Iterator<Item = &Value> {
        self.whole["attachments"].as_array().into_iter().flatten()
    }
}

/// Reads every `*.json` of a directory, in the order of their names.
///
/// A file holds `{"offerDetail": …}`, `{"candidateDetail": …, …}` or the inside
/// of either. An attachment is the file whose name is its id, or its `filename`,
/// in the same directory; one that is not there is listed but not served.
///
/// # Errors
///
/// When the directory or a file cannot be read, or a file holds something else;
/// the file is named.
pub(crate) fn read_directory(directory: &Path) -> anyhow::Result<Vec<Arc<Given>>> {
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .with_context(|| format!("listing {}", directory.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .with_context(|| format!("listing {}", directory.display()))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            let json = serde_json::from_slice(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text))
                .with_context(|| format!("parsing {}", path.display()))?;
            let mut given = recognise(json).with_context(|| format!("in {}", path.display()))?;
            given.files = files(directory, &given)?;
            Ok(Arc::new(given))
        })
        .collect()
}

fn recognise(json: Value) -> anyhow::Result<Given> {
    let Value::Object(members) = json else { bail!("a record is a JSON object") };
    let (kind, whole) = if members.contains_key("offerDetail") {
        (Kind::Vacancy, Value::Object(members))
    } else if members.contains_key("candidateDetail") {
        (Kind::Candidate, with_defaults(members))
    } else if members.contains_key("reference") && members.contains_key("jobDescription") {
        (Kind::Vacancy, json!({ "offerDetail": members }))
    } else if members.contains_key("id") && (members.contains_key("lastName") || members.contains_key("isAnonymized")) {
        let mut whole = Map::new();
        whole.insert("candidateDetail".to_owned(), Value::Object(members));
        (Kind::Candidate, with_defaults(whole))
    } else {
        bail!("neither a vacancy (reference, jobDescription) nor a candidate (id, lastName)");
    };
    let member = if kind == Kind::Vacancy { "reference" } else { "id" };
    let key = whole[kind.wrapper()][member].as_str().with_context(|| format!("the record has no {member}"))?.to_owned();
    Ok(Given { kind, key, whole, files: HashMap::new() })
}

fn with_defaults(mut members: Map<String, Value>) -> Value {
    for (name, value) in [
        ("isEmployee", json!(false)),
        ("isInProgress", json!(false)),
        ("applications", json!([])),
        ("attachments", json!([])),
    ] {
        members.entry(name).or_insert(value);
    }
    Value::Object(members)
}

fn files(directory: &Path, given: &Given) -> anyhow::Result<HashMap<String, Vec<u8>>> {
    let mut files = HashMap::new();
    for attachment in given.attachments() {
        let Some(id) = attachment["id"].as_str() else { continue };
        for name in [Some(id), attachment["filename"].as_str()].into_iter().flatten() {
            // Only a plain name: a record must not reach out of its directory.
            let plain = Path::new(name).file_name().is_some_and(|file| file == name);
            let path = directory.join(name);
            if plain && path.is_file() {
                let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                files.insert(id.to_owned(), bytes);
                break;
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Kind, recognise};

    #[test]
    fn the_four_writings_are_recognised() {
        let offer = json!({ "reference": "R 1", "jobDescription": { "title": "T" } });
        let person = json!({ "id": "c1", "lastName": "Martin" });
        for (json, kind, key) in [
            (json!({ "offerDetail": offer }), Kind::Vacancy, "R 1"),
            (offer, Kind::Vacancy, "R 1"),
            (json!({ "candidateDetail": person, "isEmployee": true }), Kind::Candidate, "c1"),
            (person, Kind::Candidate, "c1"),
        ] {
            let given = recognise(json).expect("a record");
            assert_eq!((given.kind, given.key.as_str()), (kind, key));
        }
        assert!(recognise(json!({ "colour": "red" })).is_err());
        assert!(recognise(json!([])).is_err());
    }
}
