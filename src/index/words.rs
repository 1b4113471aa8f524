//! The words of a search, read before PostgreSQL's own reading of them.

use crate::domain::fold::fold;

const OR: &str = "or";
/// The word, where it joins nothing.
const QUOTED_OR: &str = "\"or\"";

/// What a search asks for, folded as the documents are. A term is a word or a `"phrase"`, in the form that
/// `websearch_to_tsquery` reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    wanted: Vec<Vec<String>>,
    unwanted: Vec<String>,
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
                wanted.push(OR.into());
            } else {
                // An "or" that stood inside a word joins nothing.
                wanted.extend(folded.split(' ').map(|word| if word == OR { QUOTED_OR.into() } else { word.into() }));
            }
        }
        // What stood on its one side was unwanted, or nothing.
        while wanted.last().is_some_and(|last| last == OR) {
            wanted.pop();
        }
        let words = Words { wanted: alternatives(wanted), unwanted };
        (!words.wanted.is_empty() || !words.unwanted.is_empty()).then_some(words)
    }

    /// What must occur: all terms of one of these. Empty when everything that is not unwanted is asked for.
    pub fn wanted(&self) -> &[Vec<String>] {
        &self.wanted
    }

    /// Terms of which none must occur.
    pub fn unwanted(&self) -> &[String] {
        &self.unwanted
    }
}

/// Takes terms apart at each "or" that stands between two of them; any other is a word.
fn alternatives(terms: Vec<String>) -> Vec<Vec<String>> {
    let mut alternatives: Vec<Vec<String>> = Vec::new();
    let mut joins = false;
    for term in terms {
        let word = term == OR;
        match alternatives.last_mut() {
            Some(_) if word && !joins => joins = true,
            Some(last) if !joins => last.push(term),
            _ => {
                alternatives.push(vec![if word { QUOTED_OR.into() } else { term }]);
                joins = false;
            }
        }
    }
    alternatives
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (String, String) {
        let joined = |words: Words| {
            let wanted: Vec<String> = words.wanted.iter().map(|terms| terms.join(" ")).collect();
            (wanted.join(" or "), words.unwanted.join(" or "))
        };
        Words::read(text).map(joined).unwrap_or_default()
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
            ("or a", "\"or\" a", ""),
            ("a or or b", "a or \"or\" b", ""),
            ("a or b c", "a or b c", ""),
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
                prop_assert!(words.wanted().iter().flatten().chain(words.unwanted()).all(|term| plain(term)), "{words:?}");
                prop_assert!(words.wanted().iter().all(|terms| !terms.is_empty()), "{words:?}");
            }
        }
    }
}
