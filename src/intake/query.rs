//! A raw query string, taken apart without decoding more than is asked for.

use std::borrow::Cow;
use std::fmt::Write;

use percent_encoding::percent_decode;

/// One `name=value` of a raw query.
#[derive(Clone, Copy)]
pub(super) struct Parameter<'a> {
    name: &'a str,
    /// What follows the first `=`, raw.
    pub(super) value: &'a str,
    start: usize,
    end: usize,
}

/// The parameters in the order received. Only `&` separates.
pub(super) fn parameters(raw: &str) -> impl Iterator<Item = Parameter<'_>> {
    let mut start = 0;
    raw.split('&').map(move |part| {
        let end = start + part.len();
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let parameter = Parameter { name, value, start, end };
        start = end + 1;
        parameter
    })
}

impl<'a> Parameter<'a> {
    /// Whether the parameter's name is `name`, escaped or not: an escaped second `signature` is still a second one.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name || (self.name.contains('%') && percent_decode(self.name.as_bytes()).eq(name.bytes()))
    }

    /// The percent-decoded value; bytes that are not UTF-8 become U+FFFD, which no configured value holds.
    pub(super) fn decoded(&self) -> Cow<'a, str> {
        if !self.value.contains('%') {
            return Cow::Borrowed(self.value);
        }
        let bytes: Vec<u8> = percent_decode(self.value.as_bytes()).collect();
        Cow::Owned(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }
}

/// The signed part of a query: everything but one parameter, in the order received.
pub(super) struct Resource<'a> {
    before: &'a str,
    after: &'a str,
}

impl<'a> Resource<'a> {
    /// `raw` without `parameter`, which is one of its own, and without the `&` that it leaves over.
    pub(super) fn without(raw: &'a str, parameter: &Parameter<'_>) -> Self {
        let (before, after) = (&raw[..parameter.start], &raw[parameter.end..]);
        match (before, after) {
            (_, "") => Resource { before: before.strip_suffix('&').unwrap_or(before), after },
            _ => Resource { before, after: &after[1..] },
        }
    }

    /// Feeds `?` and the rest of the query as received, or nothing when nothing is left.
    pub(super) fn feed_raw(&self, mut feed: impl FnMut(&[u8])) {
        if !self.before.is_empty() || !self.after.is_empty() {
            feed(b"?");
            feed(self.before.as_bytes());
            feed(self.after.as_bytes());
        }
    }

    /// The rest of the query decoded as a form and encoded as one again, or `None` when that changes nothing.
    ///
    /// This is what `urlencode(parse_qsl(query, keep_blank_values=True))` gives in Python, which a running client
    /// verifies against. Empty parameters are dropped, and one without `=` gets one.
    pub(super) fn reencoded(&self) -> Option<String> {
        let mut out = String::with_capacity(self.before.len() + self.after.len());
        let parts = self.before.split('&').chain(self.after.split('&')).filter(|part| !part.is_empty());
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if !out.is_empty() {
                out.push('&');
            }
            form_reencode(name, &mut out);
            out.push('=');
            form_reencode(value, &mut out);
        }
        let same = out.len() == self.before.len() + self.after.len()
            && out.starts_with(self.before)
            && out.ends_with(self.after);
        (!same).then_some(out)
    }
}

/// Decodes `raw` as a form's value and encodes the text again.
fn form_reencode(raw: &str, out: &mut String) {
    let spaced = raw.bytes().map(|byte| if byte == b'+' { b' ' } else { byte });
    let bytes: Vec<u8> = percent_decode(&spaced.collect::<Vec<u8>>()).collect();
    for byte in String::from_utf8_lossy(&bytes).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(raw: &str) -> (String, Option<String>) {
        let signature = parameters(raw).find(|p| p.is("signature")).unwrap();
        let resource = Resource::without(raw, &signature);
        let mut fed = Vec::new();
        resource.feed_raw(|part| fed.extend_from_slice(part));
        (String::from_utf8(fed).unwrap(), resource.reencoded())
    }

    #[test]
    fn what_is_left_without_the_signature() {
        for (raw, left) in [
            ("signature=x", ""),
            ("a=1&signature=x", "?a=1"),
            ("signature=x&a=1", "?a=1"),
            ("a=1&signature=x&b=2&c", "?a=1&b=2&c"),
            ("a=1&&signature=x", "?a=1&"),
            ("%73ignature=x&a=%2f", "?a=%2f"),
        ] {
            assert_eq!(rest(raw).0, left, "{raw}");
        }
    }

    #[test]
    fn the_form_python_rebuilds() {
        for (raw, left) in [
            ("a=1&signature=x&b=2", None),
            ("signature=x", None),
            ("a=x+y&signature=x", None),
            ("a=%2f%7E%20&signature=x", Some("a=%2F~+")),
            ("signature=x&a=(1)&&b", Some("a=%281%29&b=")),
            ("a=%e9&signature=x", Some("a=%EF%BF%BD")),
            ("a=%zz&signature=x", Some("a=%25zz")),
            ("x=é=&signature=", Some("x=%C3%A9%3D")),
        ] {
            assert_eq!(rest(raw).1.as_deref(), left, "{raw}");
        }
    }
}
