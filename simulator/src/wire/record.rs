//! A subject as the export shows it: the entries of its archive.

use serde_json::{Value, json};

use super::frames::Entry;
use crate::clock::{candidate_date, vacancy_date};
use crate::data::codes::FRENCH;
use crate::data::given::Given;
use crate::data::{candidate, vacancy, versioned};
use crate::tenant::{Kind, Row, Source, coded_status, resume_id};

/// The title that the record shows now; nothing for a title that is null.
pub(crate) fn title(seed: u64, row: &Row) -> Option<String> {
    if row.anonymised && (row.version > 1 || matches!(row.source, Source::Seeded(_))) {
        return None;
    }
    let base = match (&row.source, row.kind) {
        (Source::Seeded(index), Kind::Vacancy) => Some(vacancy::title(seed, *index)),
        (Source::Seeded(index), Kind::Candidate) => candidate::basics(seed, *index).title,
        (Source::Given(given), kind) => given.text(title_path(kind)).map(str::to_owned),
    };
    versioned(base.as_deref(), row.version)
}

fn title_path(kind: Kind) -> &'static str {
    match kind {
        Kind::Vacancy => "/jobDescription/title",
        Kind::Candidate => "/title",
    }
}

/// The candidate's e-mail address, which filters can ask for.
pub(crate) fn email(seed: u64, row: &Row) -> Option<String> {
    match &row.source {
        _ if row.anonymised => None,
        Source::Seeded(index) => Some(candidate::basics(seed, *index).email),
        Source::Given(given) => given.text("/email").map(str::to_owned),
    }
}

/// Where a vacancy is published, in codes of `publicationmedia`.
pub(crate) fn media(seed: u64, row: &Row) -> Vec<&'static str> {
    match &row.source {
        Source::Seeded(index) => vacancy::media(seed, *index),
        Source::Given(given) => crate::data::codes::MEDIA
            .iter()
            .zip(["publishedOnInternet", "publishedOnIntranet"])
            .filter(|(_, member)| given.detail()[member] == true)
            .map(|(medium, _)| medium.id)
            .collect(),
    }
}

/// The archive's entries: `offerdetail`, wrapped, for a vacancy; for a candidate
/// `applicantdetail`, not wrapped, and an entry for each attachment, named by
/// its id.
pub(crate) fn entries(seed: u64, row: &Row, resume_only: bool) -> Vec<Entry> {
    let title = title(seed, row);
    match (&row.source, row.kind) {
        (Source::Seeded(index), Kind::Vacancy) => {
            let detail = vacancy::detail(seed, *index, row, title.as_deref());
            vec![json_entry("offerdetail", &json!({ "offerDetail": detail }))]
        }
        (Source::Seeded(index), Kind::Candidate) => {
            let detail = candidate::detail(seed, *index, row, title.as_deref(), resume_only);
            let mut entries = vec![json_entry("applicantdetail", &detail)];
            if !row.anonymised {
                let basics = candidate::basics(seed, *index);
                entries.extend(
                    candidate::files(seed, *index, row, &basics)
                        .into_iter()
                        .filter(|file| file.is_resume || !resume_only)
                        .map(|file| (file.id, file.bytes)),
                );
            }
            entries
        }
        (Source::Given(given), _) => given_entries(seed, row, given, title, resume_only),
    }
}

fn json_entry(name: &str, json: &Value) -> Entry {
    (name.to_owned(), json.to_string().into_bytes())
}

/// A given record goes out as it came until it is changed; then its title, its
/// dates and its state follow the changes.
fn given_entries(seed: u64, row: &Row, given: &Given, title: Option<String>, resume_only: bool) -> Vec<Entry> {
    let mut whole = given.whole.clone();
    if row.version > 1 {
        change(seed, row, &mut whole, title);
    }
    if row.kind == Kind::Vacancy {
        return vec![json_entry("offerdetail", &whole)];
    }
    if resume_only && let Some(attachments) = whole["attachments"].as_array_mut() {
        attachments.retain(|attachment| attachment["isResume"] == true);
    }
    let files: Vec<Entry> = whole["attachments"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|attachment| attachment["id"].as_str())
        .filter_map(|id| {
            let given = given.files.get(id).cloned();
            let bytes = given.or_else(|| (row.resume > 0).then(|| crate::data::plain_resume(id, row.version)))?;
            Some((id.to_owned(), bytes))
        })
        .collect();
    let mut entries = vec![json_entry("applicantdetail", &whole)];
    entries.extend(files);
    entries
}

fn change(seed: u64, row: &Row, whole: &mut Value, title: Option<String>) {
    let detail = &mut whole[row.kind.wrapper()];
    match row.kind {
        Kind::Vacancy => {
            // Whatever else was given in its place is left alone.
            if let Some(job) = detail["jobDescription"].as_object_mut() {
                job.insert("title".to_owned(), title.into());
            }
            detail["modificationDate"] = vacancy_date(row.updated).into();
            let lcid = detail["languageId"].as_u64().and_then(|id| u32::try_from(id).ok());
            if detail.pointer("/status/id").and_then(Value::as_str) != Some(&row.status) {
                detail["status"] = coded_status(&row.status, lcid.unwrap_or(FRENCH));
            }
        }
        Kind::Candidate => {
            detail["title"] = title.into();
            detail["modificationDate"] = candidate_date(row.updated).into();
            if row.anonymised {
                detail["isAnonymized"] = true.into();
                for name in ["firstName", "lastName", "middleName", "email", "phoneNumber"] {
                    detail[name] = Value::Null;
                }
                whole["attachments"] = json!([]);
                return;
            }
            if row.resume > 0
                && let Some(attachments) = whole["attachments"].as_array_mut()
            {
                attachments.retain(|attachment| attachment["isResume"] != true);
                attachments.push(json!({
                    "id": resume_id(seed, row),
                    "isResume": true,
                    "mimeType": "application/pdf",
                    "filename": "CV.pdf",
                }));
            }
            if let Some(applications) = whole["applications"].as_array_mut() {
                applications.extend(row.applications.iter().map(|key| json!({ "vacancyReference": &**key })));
            }
        }
    }
}
