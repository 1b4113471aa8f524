//! `isAnonymized`, in whatever form it is written.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess};

use super::lenient::{Leaf, lenient, wrong};

/// What a record says about the person being anonymised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Anonymisation {
    /// Nothing, or no in one of its usual forms.
    #[default]
    No,
    /// Yes, in one of its usual forms: the person must leave the index.
    Yes,
    /// Anything else: the person must not be found until it is clear.
    Unclear,
}

impl Anonymisation {
    /// An unknown form is counted as a wrong value, and reads as unclear.
    fn unclear() -> Self {
        let () = wrong();
        Anonymisation::Unclear
    }
}

impl<'de> Leaf<'de> for Anonymisation {
    fn from_text(text: Cow<'de, str>) -> Self {
        match text.trim().to_lowercase().as_str() {
            "true" | "t" | "1" | "-1" | "yes" | "y" | "on" | "oui" | "o" | "vrai" | "ja" | "sí" | "si" => {
                Anonymisation::Yes
            }
            "" | "false" | "f" | "0" | "no" | "n" | "off" | "non" | "faux" | "nein" | "null" | "none" => {
                Anonymisation::No
            }
            _ => Self::unclear(),
        }
    }
    fn from_bool(value: bool) -> Self {
        if value { Anonymisation::Yes } else { Anonymisation::No }
    }
    fn from_integer(value: i64) -> Self {
        Self::from_text(Cow::Owned(value.to_string()))
    }
    fn from_number(value: String) -> Self {
        Self::from_text(Cow::Owned(value))
    }
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::unclear())
    }
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::unclear())
    }
}

impl<'de> Deserialize<'de> for Anonymisation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::lenient::counting, *};

    #[test]
    fn every_usual_form_of_yes_and_no_is_read_and_any_other_is_unclear() {
        for (said, forms) in [
            (Anonymisation::Yes, r#"true "true" " True " 1 1.0 "1" -1 "YES" "Oui" "vrai""#),
            (Anonymisation::No, r#"null false "False" 0 0.0 "0" "no" "NON" "faux" "" "null""#),
            (
                Anonymisation::Unclear,
                r#""maybe" "2026-01-01T00:00:00Z" 2 0.5 1e300 {} {"id":"true"} [] [true] "true,""#,
            ),
        ] {
            for form in forms.replace(" True ", "True\\t").split(' ') {
                let (read, wrong) = counting(|| serde_json::from_str::<Anonymisation>(form).unwrap());
                assert_eq!((read, wrong), (said, u32::from(said == Anonymisation::Unclear)), "{form}");
            }
        }
    }
}
