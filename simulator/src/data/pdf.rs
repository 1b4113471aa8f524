//! Small real PDF files, for CVs: one or two pages, one font, the text inside.

use std::fmt::Write as _;

const LINES_PER_PAGE: usize = 46;

/// A valid PDF 1.4 that shows `lines` in Helvetica, with the text uncompressed
/// in WinAnsi encoding so that any extractor finds it. A line that starts with
/// `# ` is a heading.
pub(crate) fn pdf(title: &str, lines: &[String]) -> Vec<u8> {
    let pages: Vec<&[String]> = lines.chunks(LINES_PER_PAGE).collect();
    // Objects 1 to 5 are fixed; every page is then a page object and its content.
    let kids: String = (0..pages.len()).fold(String::new(), |mut kids, page| {
        let _infallible = write!(kids, "{} 0 R ", 6 + 2 * page);
        kids
    });
    let mut objects: Vec<Vec<u8>> = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        format!("<< /Type /Pages /Kids [{}] /Count {} >>", kids.trim_end(), pages.len()).into_bytes(),
        font("Helvetica"),
        font("Helvetica-Bold"),
        [b"<< /Title (".to_vec(), win_ansi(title), b") /Producer (cegid-simulator) >>".to_vec()].concat(),
    ];
    for (number, page) in pages.iter().enumerate() {
        objects.push(
            format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {} 0 R \
                 /Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>",
                7 + 2 * number
            )
            .into_bytes(),
        );
        let content = content(page);
        let mut object = format!("<< /Length {} >>\nstream\n", content.len()).into_bytes();
        object.extend_from_slice(&content);
        object.extend_from_slice(b"\nendstream");
        objects.push(object);
    }
    assemble(&objects)
}

fn font(name: &str) -> Vec<u8> {
    format!("<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>").into_bytes()
}

fn content(lines: &[String]) -> Vec<u8> {
    let mut content = b"BT\n16 TL\n56 790 Td\n".to_vec();
    for line in lines {
        let (font, text) = match line.strip_prefix("# ") {
            Some(heading) => ("/F2 13 Tf\n", heading),
            None => ("/F1 10.5 Tf\n", line.as_str()),
        };
        content.extend_from_slice(font.as_bytes());
        content.push(b'(');
        content.extend_from_slice(&win_ansi(text));
        content.extend_from_slice(b") Tj T*\n");
    }
    content.extend_from_slice(b"ET");
    content
}

/// WinAnsi is Latin-1 for the accents used here; the few typographic characters
/// beyond it have places of their own, and the rest becomes a question mark.
fn win_ansi(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '(' | ')' | '\\' => bytes.extend_from_slice(&[b'\\', character as u8]),
            '’' => bytes.push(0x92),
            '–' => bytes.push(0x96),
            'œ' => bytes.push(0x9c),
            '€' => bytes.push(0x80),
            _ => bytes.push(u8::try_from(u32::from(character)).unwrap_or(b'?')),
        }
    }
    bytes
}

fn assemble(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut offsets = Vec::with_capacity(objects.len());
    for (number, object) in objects.iter().enumerate() {
        offsets.push(file.len());
        file.extend_from_slice(format!("{} 0 obj\n", number + 1).as_bytes());
        file.extend_from_slice(object);
        file.extend_from_slice(b"\nendobj\n");
    }
    let start = file.len();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for offset in offsets {
        let _infallible = writeln!(table, "{offset:010} 00000 n ");
    }
    let _infallible = write!(
        table,
        "trailer\n<< /Size {} /Root 1 0 R /Info 5 0 R >>\nstartxref\n{start}\n%%EOF\n",
        objects.len() + 1
    );
    file.extend_from_slice(table.as_bytes());
    file
}

#[cfg(test)]
mod tests {
    use super::pdf;

    #[test]
    fn the_cross_references_point_at_the_objects() {
        let lines: Vec<String> = (0..60).map(|n| format!("Ligne n° {n} (été)")).collect();
        let file = pdf("Un CV", &lines);
        assert!(file.starts_with(b"%PDF-1.4") && file.ends_with(b"%%EOF\n"));
        let text = String::from_utf8_lossy(&file).into_owned();
        assert!(text.contains("/Count 2"));
        let at = |needle: &[u8]| file.windows(needle.len()).position(|window| window == needle);
        let table = at(b"xref\n0 10\n").expect("a table of nine objects");
        for number in 1..=9_usize {
            let line = &file[table + 10 + 20 * number..][..10];
            let offset: usize = std::str::from_utf8(line).expect("digits").parse().expect("an offset");
            assert!(file[offset..].starts_with(format!("{number} 0 obj").as_bytes()));
        }
    }
}
