//! JSON that is nearly JSON: what would cost a whole record costs the member that it stands in.

use std::borrow::Cow;

/// Text with these mended, borrowed when there are none:
///
/// | found | becomes |
/// |---|---|
/// | half a surrogate pair, as where text was cut amid an emoji | `\\ufffd` |
/// | a line end or another control character within a string | its escape |
/// | `NaN`, `Infinity`, and a number that no double holds | `null` |
pub(crate) fn mend(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let mut mended: Option<String> = None;
    let (mut at, mut copied, mut is_text) = (0, 0, false);
    while at < bytes.len() {
        let (length, instead) = match bytes[at] {
            b'"' => {
                is_text = !is_text;
                (1, None)
            }
            b'\\' if is_text => escape(bytes, at),
            control @ 0..0x20 if is_text => (1, Some(format!("\\u{control:04x}"))),
            b'-' | b'0'..=b'9' | b'I' | b'N' if !is_text => number(json, at),
            _ => (1, None),
        };
        if let Some(instead) = instead {
            let out = mended.get_or_insert_with(|| String::with_capacity(json.len()));
            out.push_str(&json[copied..at]);
            out.push_str(&instead);
            copied = at + length;
        }
        at += length;
    }
    match mended {
        None => Cow::Borrowed(json),
        Some(mut out) => {
            out.push_str(&json[copied..]);
            Cow::Owned(out)
        }
    }
}

/// An escape in a string: its length, and what it becomes.
fn escape(bytes: &[u8], at: usize) -> (usize, Option<String>) {
    match code_unit(bytes, at) {
        Some(0xD800..=0xDBFF) if matches!(code_unit(bytes, at + 6), Some(0xDC00..=0xDFFF)) => (12, None),
        Some(0xD800..=0xDFFF) => (6, Some("\\ufffd".to_owned())),
        // What is escaped may be a character of several bytes: the others are no ends of strings.
        _ => (2.min(bytes.len() - at), None),
    }
}

/// The code unit of a `\\uXXXX` escape at `at`.
fn code_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A number outside strings: its length, and what it becomes.
fn number(json: &str, at: usize) -> (usize, Option<String>) {
    let rest = &json[at..];
    for word in ["NaN", "Infinity", "-Infinity"] {
        if rest.starts_with(word) {
            return (word.len(), Some("null".to_owned()));
        }
    }
    let of_number = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    let length = rest.bytes().take_while(|byte| of_number(*byte)).count().max(1);
    let is_infinite = rest[..length].parse::<f64>().is_ok_and(f64::is_infinite);
    (length, is_infinite.then(|| "null".to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_json_by_a_character_becomes_json() {
        for (text, json) in [
            (r#"{"a":"x \ud83d y"}"#, r#"{"a":"x \ufffd y"}"#),
            (r#""\ud83dx\ude00\\ud800""#, r#""\ufffdx\ufffd\\ud800""#),
            ("{\"a\":\"one\ntwo\tthree\"}", r#"{"a":"one\u000atwo\u0009three"}"#),
            (r#"{"a":NaN,"b":-Infinity,"c":[Infinity]}"#, r#"{"a":null,"b":null,"c":[null]}"#),
            (r#"{"a":1e999,"b":-1E+400}"#, r#"{"a":null,"b":null}"#),
        ] {
            assert_eq!(mend(text), json);
            assert!(serde_json::from_str::<serde_json::Value>(&mend(text)).is_ok(), "{text}");
        }
        for json in [
            r#"{"a":"NaN \"Infinity\" 1e999","b":[1e300,-0.5,7],"c":"\ud83d\ude00 \\"}"#,
            "{\n\t\"a\": 1\r\n}",
            "",
            "\\",
            "\"\\",
        ] {
            assert!(matches!(mend(json), Cow::Borrowed(_)), "{json}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[\"\\\\uUdDNaInfinty0-9eE+.{}:,\n\u{1f600}-]{0,40}") {
            mend(&text);
        }
    }
}
