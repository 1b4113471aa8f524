//! Whether words of Cegid's hold a secret that it was sent, as an answer does that repeats the request.

use std::collections::HashSet;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use percent_encoding::percent_decode;

/// Consecutive bytes of a secret that count as the secret.
const WINDOW: usize = 8;
/// Encodings upon each other that are looked through.
const DEPTH: usize = 3;
/// Shorter runs of letters and digits encode less than a window.
const RUN: usize = 10;

/// Whether `text` holds the secret or a part of it, also in another case, or encoded for an address, in base64, in
/// hexadecimal, for HTML or for JSON, and up to three of these upon each other.
pub(super) fn holds(text: &str, secret: &str) -> bool {
    let secret = secret.to_ascii_lowercase();
    let width = WINDOW.min(secret.len());
    if width == 0 {
        return false;
    }
    let windows: HashSet<&[u8]> = secret.as_bytes().windows(width).collect();
    let shows = |text: &[u8]| text.to_ascii_lowercase().windows(width).any(|part| windows.contains(part));
    let mut seen = HashSet::from([text.as_bytes().to_vec()]);
    let mut layer: Vec<Vec<u8>> = seen.iter().cloned().collect();
    for _ in 0..DEPTH {
        if layer.iter().any(|text| shows(text)) {
            return true;
        }
        layer = layer.iter().flat_map(|text| decoded(text)).filter(|text| seen.insert(text.clone())).collect();
    }
    layer.iter().any(|text| shows(text))
}

/// What the text says under each encoding.
fn decoded(text: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![percent_decode(text).collect(), numbered(text)];
    // A run may begin behind characters that are no part of what is encoded.
    let of_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    all.extend((0..4).map(|skip| runs(text, of_base64, |run| from_base64(run.get(skip..)?))));
    all.extend((0..2).map(|skip| runs(text, u8::is_ascii_hexdigit, |run| from_hexadecimal(run.get(skip..)?))));
    all.retain(|decoded| !decoded.is_empty());
    all
}

/// Characters that HTML or JSON gives by number, `&#43;`, `&#x2b;` and `\u002b`.
fn numbered(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let mut written = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(next) = rest.chars().next() {
        let (digits, radix, most) = if let Some(digits) = rest.strip_prefix("&#x").or_else(|| rest.strip_prefix("&#X"))
        {
            (digits, 16, 6)
        } else if let Some(digits) = rest.strip_prefix("&#") {
            (digits, 10, 7)
        } else if let Some(digits) = rest.strip_prefix("\\u") {
            (digits, 16, 4)
        } else {
            ("", 10, 0)
        };
        let length = digits.bytes().take(most).take_while(|digit| char::from(*digit).is_digit(radix)).count();
        let named = u32::from_str_radix(&digits[..length], radix).ok().and_then(char::from_u32);
        if let Some(named) = named {
            written.push(named);
            rest = &digits[length..];
            rest = rest.strip_prefix(';').unwrap_or(rest);
        } else {
            written.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    written.into_bytes()
}

/// What the runs of such bytes say, one after the other.
fn runs(text: &[u8], of_run: impl Fn(&u8) -> bool, read: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    text.split(|byte| !of_run(byte)).filter(|run| run.len() >= RUN).filter_map(read).flatten().collect()
}

fn from_base64(run: &[u8]) -> Option<Vec<u8>> {
    let standard: Vec<u8> = run
        .iter()
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    STANDARD_NO_PAD.decode(&standard[..standard.len() / 4 * 4]).ok()
}

fn from_hexadecimal(run: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    run.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;

    const SECRET: &str = "kQ9+z/Tr4nd-w0rd=s";

    fn hexadecimal(text: &str) -> String {
        text.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_secret_is_found_however_it_is_written() {
        let percent = utf8_percent_encode(SECRET, NON_ALPHANUMERIC).to_string();
        let twice = utf8_percent_encode(&percent, NON_ALPHANUMERIC).to_string();
        let basic = STANDARD.encode(format!("11111111-2222:{SECRET}"));
        let numbers: String = SECRET.chars().map(|c| format!("&#{};", u32::from(c))).collect();
        for written in [
            SECRET.to_owned(),
            SECRET.to_uppercase(),
            SECRET[3..13].to_owned(),
            basic.clone(),
            URL_SAFE.encode(SECRET),
            STANDARD.encode(&percent),
            utf8_percent_encode(&basic, NON_ALPHANUMERIC).to_string(),
            hexadecimal(SECRET),
            hexadecimal(SECRET).to_uppercase(),
            SECRET.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect(),
            SECRET.chars().map(|c| format!("&#x{:x};", u32::from(c))).collect(),
            numbers,
            percent,
            twice,
        ] {
            let text = format!("invalid_client: cannot read client_secret={written}, try again");
            assert!(holds(&text, SECRET), "{text}");
            assert!(holds(&format!("xy{written}"), SECRET), "glued to other letters: {written}");
        }
    }

    #[test]
    fn other_words_are_not_taken_for_it() {
        for text in [
            "invalid_client: AADSTS7000215: Invalid client secret provided. Trace ID: 0f8fad5b-d9cd-469f-a165-70867728950e",
            "unauthorized_client",
            "",
            "Query not correct: &#233; %C3%A9 \\u00e9 &# \\u %zz",
        ] {
            assert!(!holds(text, SECRET), "{text}");
            assert!(!holds(text, ""), "{text}");
        }
        assert!(holds("a short one: abc", "abc"));
    }
}
