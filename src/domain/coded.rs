//! Coded values: a referential's client code with its label.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, MapAccess};

use super::lenient::{Leaf, Text, lenient, view};

/// A value out of one of the customer's referentials, as records carry it.
///
/// Cegid writes "no value" in several ways: `null`, `{"id":null,"label":null}`, an empty label. All read as a `Coded`
/// for which `is_none` holds, and so does anything that is no coded value at all; reading one never fails. A bare
/// string or number is taken as the id. Ids are verbatim, trailing spaces included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Coded {
    /// The client code, such as `_TS_CO_Contract_CDI`.
    pub id: Option<String>,
    /// What a reader sees, in the language of the record.
    pub label: Option<String>,
}

impl Coded {
    /// Neither id nor label.
    pub fn is_none(&self) -> bool {
        self.id.is_none() && self.label.is_none()
    }

    /// The value, or `None` when there is none.
    pub fn some(self) -> Option<Coded> {
        if self.is_none() { None } else { Some(self) }
    }
}

view! {
    struct Pair {
        id: Text<'a> = "id",
        label: Text<'a> = "label",
    }
}

impl<'de> Leaf<'de> for Coded {
    fn from_text(text: Cow<'de, str>) -> Self {
        Coded { id: Text(Some(text)).owned(), label: None }
    }
    fn from_integer(value: i64) -> Self {
        Coded { id: Some(value.to_string()), label: None }
    }
    fn from_number(value: String) -> Self {
        Coded { id: Some(value), label: None }
    }
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let pair = Pair::from_map(map)?;
        Ok(Coded { id: pair.id.owned(), label: pair.label.owned() })
    }
}

impl<'de> Deserialize<'de> for Coded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Coded {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn every_way_to_say_nothing() {
        for json in [
            "null",
            "{}",
            r#"{"id":null,"label":null}"#,
            r#"{"id":null,"label":""}"#,
            r#"{"id":[1],"label":{"a":1}}"#,
            r#""""#,
            "true",
            "[1,{\"id\":2}]",
        ] {
            assert!(read(json).is_none(), "{json}");
            assert_eq!(read(json).some(), None);
        }
    }

    #[test]
    fn values_in_every_form() {
        let pair = |id: &str, label: Option<&str>| Coded { id: Some(id.into()), label: label.map(Into::into) };
        assert_eq!(
            read(r#"{"label":"CDI","x":1,"id":"_TS_CO_Civility_Mrs "}"#),
            pair("_TS_CO_Civility_Mrs ", Some("CDI"))
        );
        assert_eq!(read(r#""R24""#), pair("R24", None));
        assert_eq!(read("41"), pair("41", None));
        assert_eq!(read(r#"{"id":41,"label":null}"#), pair("41", None));
        assert_eq!(read(r#"{"id":"x\u0000y"}"#), pair("xy", None));
        assert_eq!(read(r#"{"label":"only"}"#), Coded { id: None, label: Some("only".into()) });
    }
}
