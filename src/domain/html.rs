//! Plain text out of the HTML that recruiters' editors make, for search only: nothing here makes HTML safe to show.

/// The HTML 4 names of U+00A0 to U+00FF, in order.
const LATIN1: [&str; 96] = [
    "nbsp", "iexcl", "cent", "pound", "curren", "yen", "brvbar", "sect", "uml", "copy", "ordf", "laquo", "not", "shy",
    "reg", "macr", "deg", "plusmn", "sup2", "sup3", "acute", "micro", "para", "middot", "cedil", "sup1", "ordm",
    "raquo", "frac14", "frac12", "frac34", "iquest", "Agrave", "Aacute", "Acirc", "Atilde", "Auml", "Aring", "AElig",
    "Ccedil", "Egrave", "Eacute", "Ecirc", "Euml", "Igrave", "Iacute", "Icirc", "Iuml", "ETH", "Ntilde", "Ograve",
    "Oacute", "Ocirc", "Otilde", "Ouml", "times", "Oslash", "Ugrave", "Uacute", "Ucirc", "Uuml", "Yacute", "THORN",
    "szlig", "agrave", "aacute", "acirc", "atilde", "auml", "aring", "aelig", "ccedil", "egrave", "eacute", "ecirc",
    "euml", "igrave", "iacute", "icirc", "iuml", "eth", "ntilde", "ograve", "oacute", "ocirc", "otilde", "ouml",
    "divide", "oslash", "ugrave", "uacute", "ucirc", "uuml", "yacute", "thorn", "yuml",
];

/// The other names that job descriptions use.
const OTHERS: [(&str, char); 19] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("rsquo", '’'),
    ("lsquo", '‘'),
    ("rdquo", '”'),
    ("ldquo", '“'),
    ("hellip", '…'),
    ("ndash", '–'),
    ("mdash", '—'),
    ("bull", '•'),
    ("euro", '€'),
    ("oelig", 'œ'),
    ("OElig", 'Œ'),
    ("Yuml", 'Ÿ'),
    ("trade", '™'),
    ("ensp", ' '),
];

/// The longest entity that is looked up, without `&` and `;`.
const ENTITY_MAX: usize = 8;

/// Appends the text of `html` to `out`: every tag becomes a space, every known entity its character; the content of
/// `script` and `style` is left out.
pub(crate) fn push_plain(html: &str, out: &mut String) {
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = if rest.starts_with('<') { skip_tag(rest, out) } else { push_entity(rest, out) };
    }
    out.push_str(rest);
}

/// Reads past the tag at the start of `rest`. A `<` that opens none is text.
fn skip_tag<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let opens = rest.as_bytes().get(1).is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'/' | b'!' | b'?'));
    if !opens {
        out.push('<');
        return &rest[1..];
    }
    out.push(' ');
    for hidden in ["script", "style"] {
        if starts_with_ignoring_case(&rest[1..], hidden) {
            return find_closing(rest, hidden).map_or("", |at| skip_past(&rest[at..]));
        }
    }
    if rest.starts_with("<!--") {
        return rest.find("-->").map_or("", |at| &rest[at + 3..]);
    }
    skip_past(rest)
}

fn skip_past(rest: &str) -> &str {
    rest.find('>').map_or("", |at| &rest[at + 1..])
}

fn starts_with_ignoring_case(text: &str, start: &str) -> bool {
    text.as_bytes().get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
}

/// Where `</name` stands.
fn find_closing(text: &str, name: &str) -> Option<usize> {
    text.match_indices("</").map(|(at, _)| at).find(|at| starts_with_ignoring_case(&text[at + 2..], name))
}

/// Appends the character of the entity at the start of `rest`, or its `&` when it is none.
fn push_entity<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let end = rest.bytes().take(ENTITY_MAX + 2).position(|b| b == b';');
    match end.and_then(|end| entity(&rest[1..end]).map(|char| (char, end))) {
        Some((char, end)) => {
            out.push(char);
            &rest[end + 1..]
        }
        None => {
            out.push('&');
            &rest[1..]
        }
    }
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return code.ok().and_then(char::from_u32).filter(|char| *char != '\0');
    }
    let latin1 = LATIN1.iter().position(|known| *known == name).and_then(|at| char::from_u32(0xA0 + at as u32));
    latin1.or_else(|| OTHERS.iter().find(|(known, _)| *known == name).map(|(_, char)| *char))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(html: &str) -> String {
        let mut out = String::new();
        push_plain(html, &mut out);
        out
    }

    #[test]
    fn tags_go_and_entities_are_read() {
        assert_eq!(plain("<p>d&eacute;velopp&eacute;</p><p>l&rsquo;&Oslash;</p>"), " développé  l’Ø ");
        assert_eq!(plain("a&nbsp;b&#233;&#xE9;&yuml;"), "a\u{a0}bééÿ");
        assert_eq!(plain("<br/>x<style>p{}</STYLE>y<!-- <b> -->z"), " x y z");
    }

    #[test]
    fn what_is_no_html_stays() {
        for text in ["5 < 6 & 7 > 3", "R&D", "&unknown;", "&#0;", "&#x110000;", "&;", "&", "<", "a<1"] {
            assert_eq!(plain(text), text);
        }
        assert_eq!(plain("a<b"), "a ");
        assert_eq!(plain("a<script>x"), "a ");
        assert_eq!(plain("&éééé;"), "&éééé;");
    }
}
