//! Plain text out of the HTML that recruiters' editors make, for search only: nothing here makes HTML safe to show.
//!
//! Elements within a line join what stands on both sides (`<strong>S</strong>oudeur` is one word), all others separate
//! it, and the content of scripts and styles is left out. Editors escape what is escaped already, and entities stand in
//! texts that are no HTML: [`unescaped`] reads them of every text that is searched.

use std::{borrow::Cow, convert::Infallible};

use html5gum::{
    Span, Tokenizer,
    emitters::callback::{CallbackEmitter, CallbackEvent},
};

/// Elements within a line.
const INLINE: [&[u8]; 33] = [
    b"a", b"abbr", b"acronym", b"b", b"bdi", b"bdo", b"big", b"cite", b"code", b"data", b"del", b"dfn", b"em", b"font",
    b"i", b"ins", b"kbd", b"label", b"mark", b"nobr", b"q", b"s", b"samp", b"small", b"span", b"strike", b"strong",
    b"sub", b"sup", b"time", b"tt", b"u", b"wbr",
];
/// Elements whose content nobody reads.
const HIDDEN: [&[u8]; 2] = [b"script", b"style"];
/// The longest name of an entity is a little shorter.
const ENTITY_LIMIT: usize = 32;

/// Appends the text of `html` to `out`.
pub(crate) fn push_plain(html: &str, out: &mut String) {
    if !html.contains(['<', '&']) {
        out.push_str(html);
        return;
    }
    read(html, out);
}

/// The text with the characters that it names by entities, such as `Charg&eacute;`; tags stay as they are.
pub(super) fn unescaped(text: &str) -> Cow<'_, str> {
    if !holds_entity(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    read(&text.replace('<', "&lt;"), &mut out);
    Cow::Owned(out)
}

fn holds_entity(text: &str) -> bool {
    text.match_indices('&').any(|(at, _)| {
        let rest = &text.as_bytes()[at + 1..];
        let end = rest.iter().take(ENTITY_LIMIT).position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'#'));
        end.is_some_and(|end| end > 1 && rest[end] == b';')
    })
}

fn read(html: &str, out: &mut String) {
    let mut is_hidden = false;
    let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, _: Span<()>| -> Option<Infallible> {
        match event {
            CallbackEvent::OpenStartTag { name } => {
                is_hidden |= HIDDEN.contains(&name);
                separate(name, out);
            }
            CallbackEvent::EndTag { name } => {
                is_hidden &= !HIDDEN.contains(&name);
                separate(name, out);
            }
            // Pieces of a string are whole characters.
            CallbackEvent::String { value } if !is_hidden => out.push_str(&String::from_utf8_lossy(value)),
            _ => {}
        }
        None
    });
    emitter.naively_switch_states(true);
    // Nothing is emitted, and a string is read without an error.
    for _never in Tokenizer::new_with_emitter(html, emitter) {}
}

fn separate(name: &[u8], out: &mut String) {
    if !INLINE.contains(&name) {
        out.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As a document takes the words of a description.
    fn plain(html: &str) -> String {
        let mut out = String::new();
        push_plain(html, &mut out);
        unescaped(&out).into_owned()
    }

    #[test]
    fn blocks_separate_and_what_stands_within_a_line_joins() {
        for (html, text) in [
            ("<p>d&eacute;velopp&eacute;</p><p>l&rsquo;&Oslash;</p>", " développé  l’Ø "),
            ("<strong>S</strong>oudeur", "Soudeur"),
            ("<SPAN style='a>b'>Condu</SPAN><em>cteur</em>", "Conducteur"),
            ("un<br>deux<br/>trois<td>quatre", "un deux trois quatre"),
            ("<ul><li>un</li><li>deux</li></ul>", "  un  deux  "),
            ("<style>p{}</STYLE>y<!-- <b> -->z", "  yz"),
            ("a<script>if (b < c) x</script>d", "a  d"),
            ("<a href=\"https://example.com/?a=1&b=2\">lien</a>s", "liens"),
        ] {
            assert_eq!(plain(html), text, "{html}");
        }
    }

    #[test]
    fn entities_are_read_also_where_they_were_escaped_twice() {
        for (html, text) in [
            ("a&nbsp;b&#233;&#xE9;&yuml;", "a\u{a0}bééÿ"),
            ("conduc&shy;teur", "conduc\u{ad}teur"),
            ("Charg&amp;eacute; d&amp;#39;affaires", "Chargé d'affaires"),
            ("R&amp;D", "R&D"),
            ("5 &lt; 6", "5 < 6"),
        ] {
            assert_eq!(plain(html), text, "{html}");
        }
        assert_eq!(unescaped("Charg&eacute; d&#39;affaires"), "Chargé d'affaires");
        assert_eq!(unescaped("C&plus;&plus; <script> R&amp;D"), "C++ <script> R&D");
        for text in ["R&D", "a & b; c", "Vins & Spiritueux;", "&", "&;", "&#;", "<b>", "&éé;", ""] {
            assert_eq!(unescaped(text), text);
            assert!(matches!(unescaped(text), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn what_is_no_html_stays() {
        for text in ["5 < 6 & 7 > 3", "R&D", "&unknown;", "&;", "&", "<", "a<1", "&éééé;"] {
            assert_eq!(plain(text), text);
        }
        assert_eq!(plain("a<script>x"), "a ");
    }

    proptest! {
        #[test]
        fn nothing_panics_and_letters_without_marks_stay(html in "[<>&;#/ a-zé\u{ad}\"'!-]{0,60}", words in "[a-zéà ]{0,40}") {
            plain(&html);
            prop_assert_eq!(plain(&words), words);
        }
    }
}
