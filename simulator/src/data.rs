//! What the tenant's records say: generated from a seed, one at a time, or given.

pub(crate) mod candidate;
pub(crate) mod codes;
pub(crate) mod fields;
pub(crate) mod given;
pub(crate) mod keys;
mod pdf;
pub(crate) mod random;
mod trades;
pub(crate) mod vacancy;
mod words;

/// The title a record shows: its own, then its version once it was changed, so
/// that "the index equals the truth" can be read off the title alone.
pub(crate) fn versioned(title: Option<&str>, version: u64) -> Option<String> {
    match (title, version) {
        (title, 1) => title.map(str::to_owned),
        (None, version) => Some(format!("(v{version})")),
        (Some(title), version) => Some(format!("{title} (v{version})")),
    }
}

/// A CV for a given candidate, whose words are not ours to make up.
pub(crate) fn plain_resume(id: &str, version: u64) -> Vec<u8> {
    pdf::pdf("CV", &["# Curriculum vitae".to_owned(), format!("{id} (v{version})")])
}

#[cfg(test)]
mod tests {
    use super::versioned;

    #[test]
    fn a_title_shows_its_version_only_once_changed() {
        assert_eq!(versioned(Some("Soudeur"), 1).as_deref(), Some("Soudeur"));
        assert_eq!(versioned(Some("Soudeur"), 18).as_deref(), Some("Soudeur (v18)"));
        assert_eq!(versioned(None, 1), None);
        assert_eq!(versioned(None, 2).as_deref(), Some("(v2)"));
    }
}
