//! The words of a search, read before PostgreSQL's own reading of them.

use crate::domain::fold::fold;

/// What a search asks for, folded as the documents are, in the form that `websearch_to_tsquery` reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    wanted: String,
    unwanted: String,
}

impl Words {
    /// Reads words, `"phrases"`, `or` between two of them, and a minus before what must not occur.
    ///
    /// `None` when no letter or digit is left. What is unwanted is kept apart: a document is stemmed in one language
    /// and asked for in three, and "none of the three" is not what three exclusions joined by `or` say.
    pub fn read(text: &str) -> Option<Words> {
        let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let (minus, start) = match rest.strip_prefix('-') {
                Some(after) if !after.starts_with(char::is_whitespace) => (true, after),
                _ => (false, rest),
            };
            let (term, phrase, after) = match start.strip_prefix('"') {
                Some(inside) => {
                    let (term, after) = inside.split_once('"').unwrap_or((inside, ""));
                    (term, true, after)
                }
                None => {
                    let end = start.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(start.len());
                    (&start[..end], false, &start[end..])
                }
            };
            debug_assert!(after.len() < rest.len(), "{first} is taken");
            rest = after.trim_start();
            let folded = fold(term);
            if folded.is_empty() {
                continue;
            }
            if minus {
                unwanted.push(format!("\"{folded}\""));
            } else if phrase {
                wanted.push(format!("\"{folded}\""));
            } else if term.eq_ignore_ascii_case("or") {
                wanted.push(folded);
            } else {
                // An "or" that stood inside a word joins nothing.
                wanted.extend(folded.split(' ').map(|word| if word == "or" { "\"or\"".into() } else { word.into() }));
            }
        }
        // What stood on its one side was unwanted, or nothing.
        while wanted.last().is_some_and(|last| last == "or") {
            wanted.pop();
        }
        let words = Words { wanted: wanted.join(" "), unwanted: unwanted.join(" or ") };
        (!words.wanted.is_empty() || !words.unwanted.is_empty()).then_some(words)
    }

    /// What must occur; empty when everything that is not unwanted is asked for.
    pub fn wanted(&self) -> &str {
        &self.wanted
    }

    /// What must not occur; empty when there is none.
    pub fn unwanted(&self) -> &str {
        &self.unwanted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (String, String) {
        Words::read(text).map(|words| (words.wanted, words.unwanted)).unwrap_or_default()
    }

    #[test]
    fn words_are_folded_and_phrases_kept() {
        for (text, wanted, unwanted) in [
            ("Développeur C++ ", "developpeur cplusplus", ""),
            ("\"Chef de projet\" Île-de-France", "\"chef de projet\" ile de france", ""),
            ("comptable OR auditeur", "comptable or auditeur", ""),
            ("infirmier -nuit -\"week end\"", "infirmier", "\"nuit\" or \"week end\""),
            ("-intérim", "", "\"interim\""),
            ("a-b - c --d", "a b c", "\"d\""),
            ("comptable or -nuit", "comptable", "\"nuit\""),
            ("aide\"soignant de", "aide \"soignant de\"", ""),
            ("-l'aube soudeur", "soudeur", "\"l aube\""),
            ("-OR a", "a", "\"or\""),
            ("plaqué-or argent", "plaque \"or\" argent", ""),
        ] {
            assert_eq!(read(text), (wanted.to_owned(), unwanted.to_owned()), "{text}");
        }
    }

    #[test]
    fn nothing_to_search_for() {
        for text in ["", "  ", "+ & | ! : * ( )", "\"\"", "-", "-\"", "\0", "or"] {
            assert_eq!(Words::read(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC{0,40}|[a-c \"-]{0,40}") {
            if let Some(words) = Words::read(&text) {
                let plain = |text: &str| text.chars().all(|c| c.is_alphanumeric() || " \"".contains(c));
                prop_assert!(plain(words.wanted()) && plain(words.unwanted()), "{words:?}");
            }
        }
    }
}
