//! The key of a record whose JSON cannot be read as a whole: cut off, or wrong somewhere behind it.

use super::{Kind, record::usable_key};

/// The key in the beginning of a record's JSON, if it stands there readably: the member `reference` or `id` of the
/// record, with or without its wrapper.
pub fn key_in_prefix(kind: Kind, json: &[u8]) -> Option<String> {
    let (wrapper, name) = match kind {
        Kind::Vacancy => ("offerDetail", "reference"),
        Kind::Candidate => ("candidateDetail", "id"),
    };
    let json = json.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(json);
    // Which members the position is inside of: nothing but the wrapper may stand around the record's own members.
    let mut depth = 0_usize;
    let mut wrapped = false;
    let mut member: Option<String> = None;
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                let end = string_end(json, at)?;
                let text: String = serde_json::from_slice(json.get(at..end)?).ok()?;
                at = end;
                let own = depth == 1 || (depth == 2 && wrapped);
                match member.take() {
                    Some(of) if own && of == name => return Some(text).filter(|key| usable_key(key)),
                    // The value of another member.
                    Some(_) => {}
                    None if next_byte(json, at) == Some(b':') => member = Some(text),
                    None => {}
                }
                continue;
            }
            b'{' => {
                depth += 1;
                if depth == 2 {
                    wrapped = member.as_deref() == Some(wrapper);
                }
                member = None;
            }
            b'[' => {
                depth += 1;
                // The members of objects in a list are nobody's own.
                wrapped &= depth != 2;
                member = None;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                wrapped &= depth >= 2;
                member = None;
            }
            b',' => member = None,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Behind the closing quote of the string that begins here.
fn string_end(json: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 1;
    loop {
        match json.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

fn next_byte(json: &[u8], from: usize) -> Option<u8> {
    json.get(from..)?.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_a_record_that_is_cut_or_wrong_behind_it() {
        for (kind, json, key) in [
            (Kind::Vacancy, r#"{"offerDetail":{"reference":"2016-48 ","langua"#, Some("2016-48 ")),
            (Kind::Vacancy, r#"{"reference" : "a\u00e9\"", nonsense"#, Some("aé\"")),
            (
                Kind::Vacancy,
                r#"{"status":{"id":"x","reference":"no"},"list":[{"reference":"no"}],"reference":"r"}} x"#,
                Some("r"),
            ),
            (Kind::Candidate, r#"{"candidateDetail":{"status":{"id":"no"},"id":"_TS-1","#, Some("_TS-1")),
            (
                Kind::Candidate,
                r#"{"other":{"id":"no"},"applications":[{"id":"no"}],"candidateDetail":{"id":"c"}"#,
                Some("c"),
            ),
            (Kind::Candidate, r#"{"candidateDetail":{"id":"cut"#, None),
            (Kind::Candidate, r#"{"candidateDetail":{"id":7}}"#, None),
            (Kind::Candidate, r#"{"candidateDetail":{"id":""}}"#, None),
            (Kind::Vacancy, r#"{"title":"reference","x":"reference"}"#, None),
            (Kind::Vacancy, "ZZZZ", None),
            (Kind::Vacancy, r#"}}}{"reference":"r"}"#, None),
        ] {
            assert_eq!(key_in_prefix(kind, json.as_bytes()).as_deref(), key, "{json}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_looked_through_without_a_panic(bytes: Vec<u8>, cut in 0..60_usize) {
            key_in_prefix(Kind::Vacancy, &bytes);
            let json = br#"{"offerDetail":{"a":"\\","reference":"r\u0041"},"b":[1,{"c":null}]}"#;
            key_in_prefix(Kind::Vacancy, &json[..cut]);
        }
    }
}
