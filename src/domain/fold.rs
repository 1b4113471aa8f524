//! Text as it is searched: one form for documents and for the words of queries, made here so that the database needs no
//! extension.
//!
//! What comes out is words of letters and digits with one space between them, in lower case and without accents.
//! PostgreSQL's parser would otherwise read `H/F` as a file path, `2016-48` as a negative number, and lose `C++` and
//! `C#` whole.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// What accented words of PostgreSQL's French stop list fold to. The list cannot know them without their accents, so
/// they are dropped here, and only where the accent was written: `a` and `ete` themselves stay.
const FOLDED_STOPS: [&str; 22] = [
    "a", "ou", "la", "ca", "des", "meme", "memes", "ete", "etee", "etees", "etes", "etant", "etante", "etants",
    "etantes", "etais", "etait", "etions", "etiez", "etaient", "fut", "eut",
];
const LONGEST_STOP: usize = 7;

/// `text` for search.
pub fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    fold_into(text, &mut out);
    out
}

/// Appends `text` for search to `out`, a space before it if needed.
pub fn fold_into(text: &str, out: &mut String) {
    fold_up_to(text, out, usize::MAX);
}

/// Appends `text` for search until `out` holds `enough` bytes or somewhat more: folding can make eleven of one.
pub(super) fn fold_up_to(text: &str, out: &mut String, enough: usize) {
    Folding { out, enough }.fold(text);
}

struct Folding<'a> {
    out: &'a mut String,
    /// Bytes of `out` after which nothing more is read.
    enough: usize,
}

impl Folding<'_> {
    fn fold(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() && self.out.len() < self.enough {
            if bytes[at].is_ascii_alphanumeric() || !bytes[at].is_ascii() {
                let length = word_length(&text[at..]);
                if length > 0 {
                    at += self.word(&text[at..at + length], &text[at + length..]);
                    continue;
                }
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                continue;
            }
            if bytes[at] == b'.' && is_net(&text[at + 1..]) {
                self.push_word("dotnet");
                at += 4;
                continue;
            }
            at += 1;
        }
    }

    /// Takes the word, and what belongs to it at the start of `rest`; returns how long that was.
    fn word(&mut self, word: &str, rest: &str) -> usize {
        let mark = match word.as_bytes() {
            [b'c' | b'C'] if rest.starts_with("++") => Some(("cplusplus", 3)),
            [b'c' | b'C'] if rest.starts_with('#') => Some(("csharp", 2)),
            [b'f' | b'F'] if rest.starts_with('#') => Some(("fsharp", 2)),
            _ => None,
        };
        if let Some((name, length)) = mark {
            self.push_word(name);
            return length;
        }
        let before = self.out.len();
        self.space();
        let start = self.out.len();
        if word.is_ascii() {
            self.out.push_str(word);
            self.out[start..].make_ascii_lowercase();
            settle_ending(word, self.out, start);
            return word.len();
        }
        for char in word.chars() {
            if self.out.len() >= self.enough {
                break;
            }
            push_folded(char, self.out);
        }
        let folded = &self.out[start..];
        if folded.is_empty() || (folded.len() <= LONGEST_STOP && FOLDED_STOPS.contains(&folded)) {
            self.out.truncate(before);
        } else {
            settle_ending(word, self.out, start);
        }
        word.len()
    }

    fn push_word(&mut self, word: &str) {
        self.space();
        self.out.push_str(word);
    }

    /// One space after whatever stands before.
    fn space(&mut self) {
        if self.out.as_bytes().last().is_some_and(|last| *last != b' ') {
            self.out.push(' ');
        }
    }
}

/// Takes the `e` of feminine forms away whose ending PostgreSQL's French stemmer knows by its accent alone, so that
/// `infirmière` is found by `infirmier` and `diplômée` by `diplômé`. Without an accent, `ee` is left: `employee`.
fn settle_ending(word: &str, out: &mut String, start: usize) {
    const SHORTEST: usize = 5;
    let accented = || {
        let before = word.trim_end_matches(['s', 'S']).trim_end_matches(['e', 'E']);
        before.ends_with(['é', 'É', '\u{301}'])
    };
    let ends = |out: &str, ending: &str| {
        let stem = out.get(start..).unwrap_or_default();
        let stem = stem.strip_suffix('s').unwrap_or(stem);
        stem.len() >= SHORTEST && stem.ends_with(ending)
    };
    let cut = |out: &mut String| {
        let end = out.strip_suffix('s').unwrap_or(out).len();
        out.remove(end - 1);
    };
    if ends(out, "ee") && accented() {
        cut(out);
    }
    // The ending before may have left this one.
    if ends(out, "iere") {
        cut(out);
    }
}

/// The length of the word that `text` starts with: letters, digits, and the marks on them.
fn word_length(text: &str) -> usize {
    let ascii = text.bytes().take_while(u8::is_ascii_alphanumeric).count();
    match text.as_bytes().get(ascii) {
        Some(byte) if !byte.is_ascii() => text[ascii..]
            .char_indices()
            .find(|(_, c)| !is_word(*c) && !is_invisible(*c))
            .map_or(text.len(), |(at, _)| ascii + at),
        _ => ascii,
    }
}

fn is_word(char: char) -> bool {
    if char.is_ascii() { char.is_ascii_alphanumeric() } else { char.is_alphanumeric() || is_combining_mark(char) }
}

/// Where a word may be broken, or joined to the next: soft hyphens and characters without a width. Nobody sees them.
fn is_invisible(char: char) -> bool {
    matches!(char, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// Whether `rest`, which follows a point, makes it `.NET`.
fn is_net(rest: &str) -> bool {
    rest.as_bytes().get(..3).is_some_and(|net| net.eq_ignore_ascii_case(b"net"))
        && !rest[3..].chars().next().is_some_and(is_word)
}

/// Appends one character in lower case, without marks, and with its ligatures and its other letters taken apart.
fn push_folded(char: char, out: &mut String) {
    if char.is_ascii() {
        out.push(char.to_ascii_lowercase());
        return;
    }
    decompose_compatible(char, |part| {
        if is_combining_mark(part) {
            return;
        }
        for lower in part.to_lowercase() {
            match lower {
                'œ' => out.push_str("oe"),
                'æ' => out.push_str("ae"),
                'ß' => out.push_str("ss"),
                'þ' => out.push_str("th"),
                'ł' => out.push('l'),
                'ø' => out.push('o'),
                'đ' | 'ð' => out.push('d'),
                'ħ' => out.push('h'),
                'ı' => out.push('i'),
                'ŧ' => out.push('t'),
                'ŋ' => out.push('n'),
                _ if is_word(lower) && !is_combining_mark(lower) => out.push(lower),
                _ => {}
            }
        }
    });
}

/// How the words of a document are stemmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stemming {
    /// French.
    French,
    /// English.
    English,
    /// Any other language: words as they are.
    Simple,
    /// No language known, as for candidates: French and English both.
    Either,
}

impl Stemming {
    /// By a Windows language id, such as 1036 for French of France: its low ten bits are the language, whatever the
    /// country.
    pub fn from_lcid(lcid: Option<i32>) -> Stemming {
        match lcid.map(|lcid| lcid & 0x3FF) {
            Some(0x0C) => Stemming::French,
            Some(0x09) => Stemming::English,
            Some(_) => Stemming::Simple,
            None => Stemming::Either,
        }
    }

    /// What the database's function `folded_words` calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stemming::French => "french",
            Stemming::English => "english",
            Stemming::Simple => "simple",
            Stemming::Either => "either",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accents_ligatures_and_case() {
        for (text, folded) in [
            ("Développeur ÉVÈNEMENTIEL", "developpeur evenementiel"),
            ("cœur Œuvre æther straße Łódź Ørsted Đà", "coeur oeuvre aether strasse lodz orsted da"),
            ("e\u{301}cole E\u{301}", "ecole e"),
            ("İstanbul ﬁn １２ Nguyễn", "istanbul fin 12 nguyen"),
            ("l'école d’été aujourd'hui", "l ecole d aujourd hui"),
            ("conduc\u{ad}teur de\u{200b}\u{feff} tra\u{200c}vaux \u{200d} \u{2060}TP", "conducteur de travaux tp"),
            ("H/F 2016-48 a.b@c.fr _TS_CO", "h f 2016 48 a b c fr ts co"),
            ("  a\0b\r\n\u{301} – \u{a0} ", "a b"),
            ("Москва 東京", "москва 東京"),
        ] {
            assert_eq!(fold(text), folded, "{text}");
        }
    }

    #[test]
    fn names_of_languages_survive() {
        for (text, folded) in [
            ("C++, C# et F#", "cplusplus csharp et fsharp"),
            ("c++17/C", "cplusplus 17 c"),
            (".NET/ASP.NET Core, VB.net.", "dotnet asp dotnet core vb dotnet"),
            ("network .networks internet", "network networks internet"),
            ("abc++ ABC#", "abc abc"),
            ("dotnet cplusplus", "dotnet cplusplus"),
        ] {
            assert_eq!(fold(text), folded, "{text}");
        }
    }

    #[test]
    fn stop_words_go_only_with_their_accents() {
        assert_eq!(fold("à été même où ÉTÉ e\u{301}te\u{301} À"), "");
        assert_eq!(fold("a ete meme ou"), "a ete meme ou");
        assert_eq!(fold("à la été"), "la");
        assert_eq!(fold("aé étéx mêmement"), "ae etex memement");
    }

    #[test]
    fn feminine_endings_are_those_that_stems_without_accents_know() {
        for (text, folded) in [
            ("infirmière Infirmieres CUISINIÈRES", "infirmier infirmiers cuisiniers"),
            ("diplômée EXPÉRIMENTÉES salarie\u{301}e", "diplome experimentes salarie"),
            ("employee trainees née fées", "employee trainees nee fees"),
            ("iere hiers", "iere hiers"),
            ("aiéréé", "aier"),
        ] {
            assert_eq!(fold(text), folded, "{text}");
        }
    }

    #[test]
    fn folding_appends() {
        let mut out = String::from("x");
        fold_into("É", &mut out);
        fold_into("..", &mut out);
        fold_into("2", &mut out);
        assert_eq!(out, "x e 2");
    }

    #[test]
    fn languages() {
        for (lcid, config) in [
            (1036, "french"),
            (3084, "french"),
            (2060, "french"),
            (1033, "english"),
            (2057, "english"),
            (1031, "simple"),
        ] {
            assert_eq!(Stemming::from_lcid(Some(lcid)).as_str(), config);
        }
        assert_eq!(Stemming::from_lcid(None), Stemming::Either);
    }

    proptest! {
        #[test]
        fn folding_is_words_and_single_spaces_and_stable(text in "\\PC{0,40}|[a-zA-Z.+#é \\-\"]{0,40}") {
            let folded = fold(&text);
            prop_assert!(!folded.starts_with(' ') && !folded.contains("  ") && !folded.contains('\0'));
            prop_assert!(folded.chars().all(|c| c == ' ' || is_word(c)), "{folded:?}");
            prop_assert_eq!(fold(&folded), folded);
        }
    }
}
