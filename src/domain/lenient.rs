//! Reading JSON that may hold anything anywhere.
//!
//! A record must never be lost because one of its two hundred members has another type than expected, so every view
//! of a record is made of the types below: a value of the wrong type reads as "no value", and is counted. Duplicate
//! members are allowed (the last one holds), unknown ones are skipped. Only broken JSON is an error.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::mend::mend;

thread_local! {
    // serde's derive-like traits cannot carry a context, and a count in every leaf would double their size.
    static WRONG: Cell<u32> = const { Cell::new(0) };
}

/// Runs `read` and returns, with its result, how many values of a wrong type it met.
pub(crate) fn counting<T>(read: impl FnOnce() -> T) -> (T, u32) {
    let before = WRONG.replace(0);
    let result = read();
    (result, WRONG.replace(before))
}

/// Notes one value of a wrong type, and reads it as no value.
pub(crate) fn wrong<T: Default>() -> T {
    WRONG.set(WRONG.get().saturating_add(1));
    T::default()
}

/// A value that knows which JSON types it can be made of; all others are wrong.
pub(crate) trait Leaf<'de>: Default {
    fn from_text(_: Cow<'de, str>) -> Self {
        wrong()
    }
    fn from_bool(_: bool) -> Self {
        wrong()
    }
    fn from_integer(_: i64) -> Self {
        wrong()
    }
    /// Any number that is not an `i64`, as text.
    fn from_number(_: String) -> Self {
        wrong()
    }
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(wrong())
    }
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(wrong())
    }
}

/// Reads whatever comes as a `T`.
pub(crate) fn lenient<'de, D: Deserializer<'de>, T: Leaf<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(LeafVisitor(PhantomData))
}

struct LeafVisitor<T>(PhantomData<T>);

impl<'de, T: Leaf<'de>> Visitor<'de> for LeafVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<T, E> {
        Ok(T::from_text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(T::from_text(Cow::Owned(text.to_owned())))
    }
    fn visit_string<E>(self, text: String) -> Result<T, E> {
        Ok(T::from_text(Cow::Owned(text)))
    }
    fn visit_bool<E>(self, value: bool) -> Result<T, E> {
        Ok(T::from_bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<T, E> {
        Ok(T::from_integer(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<T, E> {
        Ok(match i64::try_from(value) {
            Ok(value) => T::from_integer(value),
            Err(_) => T::from_number(value.to_string()),
        })
    }
    fn visit_f64<E>(self, value: f64) -> Result<T, E> {
        Ok(T::from_number(value.to_string()))
    }
    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<T, A::Error> {
        T::from_seq(seq)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::from_map(map)
    }
}

/// Text; a number is taken as its text.
#[derive(Default)]
pub(crate) struct Text<'a>(pub(crate) Option<Cow<'a, str>>);

impl<'a> Text<'a> {
    /// The text without NUL, which PostgreSQL cannot store; `None` when absent or empty.
    pub(crate) fn filled(&self) -> Option<Cow<'_, str>> {
        self.0.as_deref().filter(|text| !text.is_empty()).map(without_nul)
    }
    /// `filled`, owned.
    pub(crate) fn owned(&self) -> Option<String> {
        self.filled().map(Cow::into_owned)
    }
}

impl<'a> Leaf<'a> for Text<'a> {
    fn from_text(text: Cow<'a, str>) -> Self {
        Text(Some(text))
    }
    fn from_integer(value: i64) -> Self {
        Text(Some(Cow::Owned(value.to_string())))
    }
    fn from_number(value: String) -> Self {
        Text(Some(Cow::Owned(value)))
    }
}

/// `text` without NUL characters.
pub(crate) fn without_nul(text: &str) -> Cow<'_, str> {
    if text.as_bytes().contains(&0) { Cow::Owned(text.replace('\0', "")) } else { Cow::Borrowed(text) }
}

/// A truth value; `"true"`, `"True"` and `1` count too.
#[derive(Default)]
pub(crate) struct Flag(pub(crate) Option<bool>);

impl Leaf<'_> for Flag {
    fn from_text(text: Cow<'_, str>) -> Self {
        match text.trim() {
            t if t.eq_ignore_ascii_case("true") || t == "1" => Flag(Some(true)),
            t if t.eq_ignore_ascii_case("false") || t == "0" => Flag(Some(false)),
            _ => wrong(),
        }
    }
    fn from_bool(value: bool) -> Self {
        Flag(Some(value))
    }
    fn from_integer(value: i64) -> Self {
        Flag(Some(value != 0))
    }
}

/// A whole number, or the text of one.
#[derive(Default)]
pub(crate) struct Whole(pub(crate) Option<i32>);

impl Leaf<'_> for Whole {
    fn from_text(text: Cow<'_, str>) -> Self {
        text.trim().parse().map_or_else(|_| wrong(), |value| Whole(Some(value)))
    }
    fn from_integer(value: i64) -> Self {
        i32::try_from(value).map_or_else(|_| wrong(), |value| Whole(Some(value)))
    }
}

/// Items kept of one array: more than a record has. An item takes up to a hundred times the two bytes that it is
/// written with, so that a large record of nothing but `[0,0,…]` would fill the memory.
const ITEMS: usize = 1_000;

/// An array, up to `ITEMS`. A longer one is cut, and counted as a wrong value.
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        List(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Leaf<'de> for List<T> {
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut items = Vec::new();
        while items.len() < ITEMS {
            match seq.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(List(items)),
            }
        }
        if seq.next_element::<IgnoredAny>()?.is_some() {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            let () = wrong();
        }
        Ok(List(items))
    }
}

macro_rules! deserialize_leniently {
    ($($name:ty),+) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                lenient(deserializer)
            }
        }
    )+};
}
deserialize_leniently!(Text<'de>, Flag, Whole);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient(deserializer)
    }
}

/// A member kept as its JSON text, for one that is rarely needed or must be seen verbatim.
#[derive(Default)]
pub(crate) struct Unread<'a>(pub(crate) Option<&'a str>);

impl<'de> Deserialize<'de> for Unread<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| Unread(Some(raw.get())))
    }
}

impl<'a> Unread<'a> {
    /// The text of a string, or the digits of a number as they were written; `None` for anything else.
    pub(crate) fn text(&self) -> Option<Cow<'a, str>> {
        let raw = self.0?;
        match raw.as_bytes().first()? {
            b'"' => {
                let inner = raw.get(1..raw.len() - 1)?;
                if !inner.contains('\\') {
                    return Some(Cow::Borrowed(inner));
                }
                let read = |json: &str| serde_json::from_str::<String>(json);
                read(raw).or_else(|_| read(&mend(raw))).ok().map(Cow::Owned)
            }
            b'-' | b'0'..=b'9' => Some(Cow::Borrowed(raw)),
            _ => None,
        }
    }
}

/// A member's name.
pub(crate) struct Name<'a>(pub(crate) Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Text<'de> = deserializer.deserialize_str(LeafVisitor(PhantomData))?;
        Ok(Name(text.0.unwrap_or_default()))
    }
}

/// Declares a view of a JSON object: the members that are used, by name, each of a lenient type.
///
/// `members` counts the members met, known or not.
macro_rules! view {
    ($($(#[$meta:meta])* struct $name:ident { $($field:ident: $type:ty = $key:literal,)* })+) => {$(
        $(#[$meta])*
        #[derive(Default)]
        pub(crate) struct $name<'a> {
            $(pub(crate) $field: $type,)*
            #[allow(dead_code)]
            pub(crate) members: usize,
            #[allow(dead_code)]
            pub(crate) borrows: std::marker::PhantomData<&'a str>,
        }

        impl<'a> $crate::domain::lenient::Leaf<'a> for $name<'a> {
            fn from_map<A: serde::de::MapAccess<'a>>(mut map: A) -> Result<Self, A::Error> {
                let mut view = Self::default();
                while let Some($crate::domain::lenient::Name(name)) = map.next_key()? {
                    view.members += 1;
                    match &*name {
                        $($key => view.$field = map.next_value()?,)*
                        _ => {
                            map.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(view)
            }
        }

        impl<'a> serde::Deserialize<'a> for $name<'a> {
            fn deserialize<D: serde::Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::domain::lenient::lenient(deserializer)
            }
        }
    )+};
}
pub(crate) use view;

#[cfg(test)]
mod tests {
    use super::*;

    view! {
        struct Sample {
            text: Text<'a> = "text",
            flag: Flag = "flag",
            whole: Whole = "whole",
            list: List<Text<'a>> = "list",
            raw: Unread<'a> = "raw",
        }
    }

    fn read(json: &str) -> (Sample<'_>, u32) {
        let (result, wrong) = counting(|| serde_json::from_str::<Sample<'_>>(json));
        (result.unwrap(), wrong)
    }

    #[test]
    fn right_types_are_read_and_nothing_is_counted() {
        let (view, wrong) =
            read(r#"{"text":"a\u0000b","flag":true,"whole":1036,"list":["x",2,null],"raw":"r","other":{"a":[1]}}"#);
        assert_eq!((view.text.owned().as_deref(), view.flag.0, view.whole.0), (Some("ab"), Some(true), Some(1036)));
        assert_eq!((view.list.0.len(), view.raw.text().as_deref()), (3, Some("r")));
        assert_eq!((view.members, wrong), (6, 0));
    }

    #[test]
    fn wrong_types_read_as_no_value_and_are_counted() {
        let (view, wrong) = read(r#"{"text":{"a":1},"flag":"maybe","whole":1e30,"list":"x"}"#);
        assert!(view.text.0.is_none() && view.flag.0.is_none() && view.whole.0.is_none() && view.list.0.is_empty());
        assert_eq!(wrong, 4);
        assert_eq!(read(r#"[1]"#).1, 1);
        assert_eq!(read(r#"{"text":null,"list":null}"#).1, 0);
    }

    #[test]
    fn loose_forms_are_understood_and_the_last_duplicate_holds() {
        let (view, wrong) =
            read(r#"{"text":1,"text":12.5,"flag":"True","whole":" 7 ","raw":007}"#.replace("007", "1e400").leak());
        assert_eq!((view.text.owned().as_deref(), view.flag.0, view.whole.0), (Some("12.5"), Some(true), Some(7)));
        assert_eq!((view.raw.text().as_deref(), wrong), (Some("1e400"), 0));
    }

    #[test]
    fn an_endless_list_is_cut_and_counted() {
        for (items, kept, cut) in [(ITEMS, ITEMS, 0), (ITEMS + 1, ITEMS, 1), (50 * ITEMS, ITEMS, 1)] {
            let json = format!(r#"{{"list":[{}0],"text":"after"}}"#, "0,".repeat(items - 1));
            let (view, wrong) = read(&json);
            assert_eq!((view.list.0.len(), wrong), (kept, cut));
            assert_eq!(view.text.owned().as_deref(), Some("after"));
        }
    }

    #[test]
    fn a_text_that_is_not_read_at_once_is_mended_too() {
        let (view, _) = read(r#"{"raw":"a\ud800"}"#);
        assert_eq!(view.raw.text().as_deref(), Some("a\u{fffd}"));
    }
}
