//! Which keys records have. References are free text for a tenant's users, so
//! some of them are awkward.

use chrono::{DateTime, Datelike as _, Utc};

/// The reference of the vacancy at `index`, unique by that index.
///
/// One in eight has a space, a slash or an accent. One in sixty, and only when
/// `unaskable` is set, has one of `,` `|` `:`, which no filter can ask for.
pub(crate) fn reference(index: usize, created: DateTime<Utc>, unaskable: bool) -> String {
    let year = created.year();
    let number = index + 1;
    match index % 60 {
        7 => format!("{year}-Manager H/F {number}"),
        15 => format!("{year}/{number:04}"),
        23 => format!("REF {number} bis"),
        31 => format!("Chargé-d’études-{number}"),
        39 => format!("{year}-{number} (CDI+CDD)"),
        47 => format!("C++ & C# {number}"),
        55 => format!("{year}-{number}%"),
        59 if unaskable => match index / 60 % 3 {
            0 => format!("{year}-{number}, Lyon"),
            1 => format!("Pôle|{number}"),
            _ => format!("RH:{number}"),
        },
        _ => format!("{year}-{number:05}"),
    }
}

/// The id of the candidate at `index`.
pub(crate) fn candidate_id(index: usize) -> String {
    format!("_TS-{:05}", index + 1)
}

/// The path form of a reference: URL-encoded, then every `%` written as `!`.
pub(crate) fn reference_in_path(reference: &str) -> String {
    use std::fmt::Write as _;
    let mut path = String::with_capacity(reference.len());
    for byte in reference.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            path.push(char::from(byte));
        } else {
            let _infallible = write!(path, "!{byte:02X}");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{reference, reference_in_path};

    #[test]
    fn references_are_unique_and_some_are_awkward() {
        let at = chrono::DateTime::UNIX_EPOCH;
        let all: HashSet<String> = (0..1000).map(|index| reference(index, at, true)).collect();
        assert_eq!(all.len(), 1000);
        for awkward in [' ', '/', ',', '|', ':', 'é', '+', '%'] {
            assert!(all.iter().any(|key| key.contains(awkward)), "{awkward}");
        }
        assert!(!(0..1000).any(|index| reference(index, at, false).contains([',', '|', ':'])));
    }

    #[test]
    fn a_reference_in_a_path_has_exclamation_marks() {
        assert_eq!(reference_in_path("2019-Manager H/F"), "2019-Manager!20H!2FF");
    }
}
