//! From the JSON of an export to a [`Document`].
//!
//! Reading is tolerant: every member is optional, a value of the wrong type reads as none and is counted, `null` and
//! `{"id":null,"label":null}` are the same. Only what is not JSON, or has no key, is no record.

use std::borrow::Cow;

use super::{
    Document, Kind, Subject, candidate,
    document::Weight,
    lenient::{Text, counting},
    mend::mend,
    vacancy,
};

/// One record of an export.
#[derive(Debug)]
pub struct Record {
    /// Whose it is.
    pub subject: Subject,
    /// What is indexed of it.
    pub document: Document,
    /// Members whose value had another type than is known and were left out, and lists that were cut.
    pub mistyped: u32,
}

/// Why the JSON is no record. The text says nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not JSON.
    #[error("reading a record: it is not JSON")]
    NotJson,
    /// No reference or id, or one that cannot be a key.
    #[error("reading a record: it has no usable key")]
    NoKey,
}

/// Bytes of a key that can be stored, as for callbacks.
const KEY: usize = 512;

/// Reads one record, with or without its wrapper. `live` holds the status ids of searchable vacancies.
///
/// # Errors
/// [`RecordError`].
pub fn read_record(kind: Kind, json: &[u8], live: &[String]) -> Result<Record, RecordError> {
    let text = String::from_utf8_lossy(json);
    let read = |text: &str| {
        let (document, mistyped) = counting(|| match kind {
            Kind::Vacancy => vacancy::read(text, live),
            Kind::Candidate => candidate::read(text),
        });
        document.map(|mut document| {
            document.seal();
            Record { subject: Subject::new(kind, document.key().to_owned()), document, mistyped }
        })
    };
    let mended = match (read(&text), &text) {
        (Ok(record), Cow::Borrowed(_)) => return Ok(record),
        (Err(RecordError::NotJson), _) => match mend(&text) {
            Cow::Owned(mended) => read(&mended),
            Cow::Borrowed(_) => Err(RecordError::NotJson),
        },
        (read, _) => read,
    };
    // A key with a character that was replaced is somebody else's.
    mended
        .and_then(|record| if record.subject.key().contains('\u{fffd}') { Err(RecordError::NoKey) } else { Ok(record) })
}

/// A document that is found by this key; ids are verbatim, so one that cannot be stored verbatim is none.
pub(super) fn keyed(kind: Kind, key: &Text<'_>) -> Result<Document, RecordError> {
    match key.0.as_deref() {
        Some(key) if usable_key(key) => {
            let mut document = Document::new(Subject::new(kind, key.to_owned()));
            document.words(Weight::A, key);
            Ok(document)
        }
        _ => Err(RecordError::NoKey),
    }
}

/// Whether an id can be stored verbatim.
pub(super) fn usable_key(key: &str) -> bool {
    !key.is_empty() && key.len() <= KEY && !key.contains('\0')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::{Anonymisation, Visibility},
        *,
    };

    fn read(kind: Kind, value: &Value) -> Result<Record, RecordError> {
        read_record(kind, value.to_string().as_bytes(), &["_TS_CO_OfferStatus_Diffuse".into()])
    }

    fn vacancy() -> Value {
        json!({
            "reference": "2016-48 ", "languageId": 1036,
            "status": {"id": "_TS_CO_OfferStatus_Diffuse", "label": "Diffusée"},
            "creationDate": "2016-01-28T10:06:10.377", "modificationDate": null,
            "jobDescription": {
                "title": "Développeur C++ H/F", "description1": "Missions variées",
                "description1HTML": "<p>ignored</p>", "description2": null, "description2HTML": "<p>d&eacute;j&agrave;</p>",
                "contractType": {"id": "_TS_CO_Contract_CDI", "label": "CDI"}, "jobTime": {"id": null, "label": null},
                "secondaryProfiles": []
            },
            "criteria": {"skills": [{"id": "_TS_CO_Skill_Rust", "label": "Rust"}], "diploma": null},
            "location": {"country": {"id": "_TS_CO_Country_France", "label": "France"}, "latitude": "48.8"}
        })
    }

    fn candidate() -> Value {
        json!({
            "candidateDetail": {
                "id": "_TS-00001", "firstName": "Ana", "lastName": "Exemple", "email": "ana@example.org",
                "isAnonymized": false, "title": "Cheffe de projet", "creationDate": "2012-02-13T13:56:59.353Z",
                "personalInformation": {"city": "Paris", "residentCountry": null},
                "experiences": [{"experience": {"company": "Une Société", "function": "Analyste", "profile": null}}],
                "educations": [{"school": "École", "diploma": {"id": "x", "label": "Master"}}],
                "additionalInformation": {"skills": [{"id": "s", "label": "SQL"}]}
            },
            "isEmployee": false, "applications": [{"vacancyReference": "2016-48"}], "attachments": []
        })
    }

    #[test]
    fn a_vacancy_with_and_without_its_wrapper() {
        for value in [vacancy(), json!({"offerDetail": vacancy()})] {
            let record = read(Kind::Vacancy, &value).unwrap();
            let document = &record.document;
            assert_eq!(record.subject.key(), "2016-48 ");
            assert_eq!(
                (document.title.as_str(), document.language, document.visibility),
                ("Développeur C++ H/F", Some(1036), Visibility::Live)
            );
            assert_eq!(document.folded()[0], "2016 48 developpeur cplusplus h f");
            assert_eq!(document.folded()[2], "missions varies deja");
            assert!(document.coded.iter().any(|coded| coded.field == "jobDescription.contractType"));
            assert!(!document.coded.iter().any(|coded| coded.field == "jobDescription.jobTime"));
            assert_eq!(serde_json::from_str::<Value>(document.raw()).unwrap(), vacancy());
            assert_eq!(document.modified, None);
        }
    }

    #[test]
    fn a_wrapper_in_any_form() {
        for json in [
            r#" { "offerDetail" : {"reference":"r"} } "#,
            r#"{"offerDetail":{"reference":"r"},"other":{"a":1}}"#,
            r#"{"other":{"a":1},"offerDetail":{"reference":"r"}}"#,
            r#"{"offerDetail":{"reference":"x"},"offerDetail":{"reference":"r"}}"#,
        ] {
            let record = read_record(Kind::Vacancy, json.as_bytes(), &[]).unwrap();
            assert_eq!((record.subject.key(), record.document.raw()), ("r", r#"{"reference":"r"}"#), "{json}");
        }
        for (kind, json) in [
            (Kind::Vacancy, r#"{"offerDetail":null,"reference":"r"}"#),
            (Kind::Candidate, r#"{"candidateDetail":null,"id":"r"}"#),
        ] {
            assert_eq!(read_record(kind, json.as_bytes(), &[]).unwrap().subject.key(), "r");
        }
        for json in [r#"{"offerDetail":{"reference":"r"}"#, r#"{"offerDetail":{"reference":"r"}} x"#] {
            assert_eq!(read_record(Kind::Vacancy, json.as_bytes(), &[]).unwrap_err(), RecordError::NotJson);
        }
    }

    #[test]
    fn a_vacancy_in_another_status_is_not_live_and_without_one_nothing_is_known() {
        let visibility = |value: &Value| read(Kind::Vacancy, value).unwrap().document.visibility;
        let mut value = vacancy();
        for status in
            [json!({"id": "_TS_CO_OfferStatus_Archive"}), json!("_TS_CO_OfferStatus_Archive"), json!({"id": 7})]
        {
            value["status"] = status;
            assert_eq!(visibility(&value), Visibility::NotLive, "{}", value["status"]);
        }
        let unreadable = [json!({"id": null, "label": "Diffusée"}), json!({"id": " "}), json!({"id": true}), json!([])];
        for status in unreadable.into_iter().chain([Value::Null, json!({}), json!(""), json!(true)]) {
            value["status"] = status;
            assert_eq!(visibility(&value), Visibility::Unknown, "{}", value["status"]);
        }
        value.as_object_mut().unwrap().remove("status");
        assert_eq!(visibility(&value), Visibility::Unknown);
    }

    #[test]
    fn a_candidate_with_and_without_its_wrapper() {
        for value in [candidate(), candidate()["candidateDetail"].clone()] {
            let document = read(Kind::Candidate, &value).unwrap().document;
            assert_eq!((document.key(), document.title.as_str()), ("_TS-00001", "Cheffe de projet"));
            assert_eq!(document.email(), Some("ana@example.org"));
            assert!(document.folded()[0].contains("exemple") && document.folded()[2].contains("analyste"));
            assert_eq!((document.visibility, document.anonymisation), (Visibility::Live, Anonymisation::No));
        }
        assert!(read(Kind::Candidate, &candidate()).unwrap().document.raw().contains("vacancyReference"));
    }

    #[test]
    fn the_resumes_of_a_candidate_are_listed_and_no_other_file() {
        let file = |id: Value, resume: Value| json!({"id": id, "isResume": resume, "mimeType": "Application/PDF; x=1", "filename": "../../CV.pdf"});
        let mut value = candidate();
        value["attachments"] = json!([
            file(json!("a b"), json!(true)),
            file(json!("letter"), json!(false)),
            file(json!("unmarked"), Value::Null),
            file(json!("a\u{0}b"), json!("true")),
            {"isResume": true, "id": "bare"},
            "no file"
        ]);
        let document = read(Kind::Candidate, &value).unwrap().document;
        let listed: Vec<_> =
            document.listed().iter().map(|it| (it.id.as_deref(), it.mime_type.as_str(), it.name.as_str())).collect();
        let pdf = ("application/pdf", "../../CV.pdf");
        assert_eq!(listed, [(Some("a b"), pdf.0, pdf.1), (None, pdf.0, pdf.1), (Some("bare"), "", "")]);
        assert!(document.attachments.is_none() && !format!("{:?}", document.listed()).contains("CV"));
    }

    #[test]
    fn a_candidate_is_anonymised_by_the_member_of_that_name_alone() {
        let mut value = candidate();
        let mut read_with = |said: Option<Value>| {
            let detail = value["candidateDetail"].as_object_mut().unwrap();
            detail.remove("isAnonymized");
            detail.extend(said.map(|said| ("isAnonymized".to_owned(), said)));
            read(Kind::Candidate, &value).unwrap().document.anonymisation
        };
        assert_eq!(read_with(Some(json!("Oui"))), Anonymisation::Yes);
        assert_eq!(read_with(Some(json!({"value": true}))), Anonymisation::Unclear);
        assert_eq!(read_with(None), Anonymisation::No);
    }

    #[test]
    fn a_record_without_a_usable_key_is_none() {
        for key in [Value::Null, json!(""), json!("a\u{0}b"), json!("x".repeat(513)), json!({})] {
            let mut value = vacancy();
            value["reference"] = key;
            assert_eq!(read(Kind::Vacancy, &value).unwrap_err(), RecordError::NoKey);
        }
        assert_eq!(read_record(Kind::Vacancy, b"<html>", &[]).unwrap_err(), RecordError::NotJson);
        assert_eq!(read_record(Kind::Vacancy, b"\xff", &[]).unwrap_err(), RecordError::NotJson);
    }

    /// Every member in turn is dropped, nulled or given another type; the record is kept each time.
    #[test]
    fn no_member_but_the_key_can_cost_a_record() {
        fn paths(value: &Value, at: &str, into: &mut Vec<String>) {
            if let Value::Object(members) = value {
                for (name, inner) in members {
                    let path = format!("{at}/{name}");
                    paths(inner, &path, into);
                    into.push(path);
                }
            }
        }
        for (kind, value) in [(Kind::Vacancy, vacancy()), (Kind::Candidate, candidate())] {
            let mut all = Vec::new();
            paths(&value, "", &mut all);
            assert!(all.len() > 15);
            for path in all
                .iter()
                .filter(|path| !matches!(path.as_str(), "/reference" | "/candidateDetail" | "/candidateDetail/id"))
            {
                for wrong in
                    [Value::Null, json!(7), json!("🦀"), json!([[]]), json!({"a": {}}), json!(true), json!(1e300)]
                {
                    let mut changed = value.clone();
                    *changed.pointer_mut(path).unwrap() = wrong;
                    assert!(read(kind, &changed).is_ok(), "{path}");
                }
            }
        }
    }

    /// A hundred thousand levels are read past without a stack for them where nothing is used, and refused where a
    /// member that is used holds them.
    #[test]
    fn depth_costs_nothing_but_the_record() {
        let deep = 100_000;
        let nested = |open: &str, close: &str| format!("{}1{}", open.repeat(deep), close.repeat(deep));
        let (arrays, objects) = (nested("[", "]"), nested(r#"{"a":"#, "}"));
        for kind in Kind::ALL {
            for value in [&arrays, &objects] {
                for member in ["unknown", "title", "jobDescription", "experiences", "status", "skills"] {
                    let json = format!(r#"{{"{member}":{value},"reference":"r","id":"r"}}"#);
                    let record = read_record(kind, json.as_bytes(), &[]).unwrap();
                    assert_eq!((record.subject.key(), record.document.raw()), ("r", json.as_str()), "{member}");
                }
                assert_eq!(read_record(kind, value.as_bytes(), &[]).unwrap_err(), RecordError::NoKey);
                let open = &value[..value.len() / 2];
                assert_eq!(read_record(kind, open.as_bytes(), &[]).unwrap_err(), RecordError::NotJson);
            }
        }
        // Only members of members that are used cost a stack, and there is an end to those.
        for wrapper in ["offerDetail", "candidateDetail"] {
            let json = nested(&format!(r#"{{"{wrapper}":"#), "}");
            for kind in Kind::ALL {
                assert!(read_record(kind, json.as_bytes(), &[]).is_err(), "{wrapper}");
            }
        }
    }

    /// A text whose every letter folds to eleven times its bytes is not folded further than is kept.
    #[test]
    fn words_end_where_nothing_more_is_kept() {
        let title = "\u{fdfa}".repeat(200_000);
        let json = json!({"reference": "r", "jobDescription": {"title": title}});
        let record = read(Kind::Vacancy, &json).unwrap();
        let words = &record.document.folded()[0];
        assert!((199_990..=200_000).contains(&words.len()) && words.capacity() < 500_000, "{}", words.capacity());
    }

    #[test]
    fn what_is_no_json_by_a_character_costs_the_member_it_stands_in() {
        let title = |json: &[u8]| read_record(Kind::Vacancy, json, &[]).unwrap().document.title;
        assert_eq!(title(br#"{"reference":"r","jobDescription":{"title":"x \ud83d y"}}"#), "x \u{fffd} y");
        assert_eq!(title(b"{\"reference\":\"r\",\"jobDescription\":{\"title\":\"x \xe9 y\"}}"), "x \u{fffd} y");
        assert_eq!(title(b"{\"reference\":\"r\",\"jobDescription\":{\"title\":\"x\r\ny\"}}"), "x\r\ny");
        for number in ["NaN", "-Infinity", "1e999"] {
            let json = format!(r#"{{"reference":"r","languageId":{number},"jobDescription":{{"title":"x"}}}}"#);
            assert_eq!(title(json.as_bytes()), "x");
        }
        // Whose it is must not be guessed.
        for key in [&b"r\xe9"[..], b"r\\ud83d"] {
            let json = [b"{\"reference\":\"", key, b"\"}"].concat();
            assert_eq!(read_record(Kind::Vacancy, &json, &[]).unwrap_err(), RecordError::NoKey);
        }
    }

    #[test]
    fn debug_shows_nothing_of_a_person() {
        let shown = format!("{:?}", read(Kind::Candidate, &candidate()).unwrap());
        assert!(!shown.contains("Ana") && !shown.contains("example.org") && !shown.contains("_TS-00001"), "{shown}");
    }
}
