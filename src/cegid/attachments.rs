//! Which files of a candidate's archive are kept.
//!
//! A record lists its files, and the archive holds each as an entry that is named by its id. What is listed as a resume
//! and is there, whole, small enough and of a wanted type is kept; anything else is left out and counted, and costs
//! the record nothing.

use super::unpack::{self, UnpackError};
use crate::{
    domain::{Attachment, Kind, Listed, essence, guess},
    settings::{Attachments, Tenant},
};

/// What a tenant's settings ask for.
pub(super) struct Keeping {
    /// Bytes of one file.
    pub(super) limit: u64,
    types: Vec<String>,
}

/// What becomes of the files that a record lists.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) kept: Vec<Attachment>,
    /// One for each file listed, as in the metric.
    pub(super) outcomes: Vec<&'static str>,
}

impl Keeping {
    /// None when nothing is kept.
    pub(super) fn of(kind: Kind, tenant: &Tenant) -> Option<Keeping> {
        let types = || tenant.attachment_types.iter().map(|name| essence(name)).collect();
        let resumes = kind == Kind::Candidate && tenant.attachments == Attachments::Resumes;
        resumes.then(|| Keeping { limit: tenant.attachment_limit, types: types() })
    }

    /// Chooses among the entries of an archive.
    pub(super) fn choose(&self, listed: &[Listed], mut entries: Vec<unpack::Attachment>) -> Chosen {
        let mut chosen = Chosen::default();
        for file in listed {
            let outcome = match self.one(file, &mut entries) {
                Ok(attachment) => {
                    chosen.kept.push(attachment);
                    "kept"
                }
                Err(outcome) => outcome,
            };
            chosen.outcomes.push(outcome);
        }
        chosen
    }

    fn one(&self, file: &Listed, entries: &mut Vec<unpack::Attachment>) -> Result<Attachment, &'static str> {
        let id = file.id.as_ref().ok_or("unnamed")?;
        // One that is listed twice is there once.
        let at = entries.iter().position(|entry| entry.name == *id);
        let content = at.and_then(|at| entries.swap_remove(at).content);
        let mut mime_type = file.mime_type.clone();
        if !self.types.contains(&mime_type) {
            let start = content.as_ref().and_then(|content| content.as_deref().ok()).unwrap_or_default();
            mime_type = guess(&mime_type, &file.name, start).unwrap_or_default().to_owned();
        }
        if !self.types.contains(&mime_type) {
            return Err("type");
        }
        match content {
            Some(Ok(content)) => Ok(Attachment { id: id.clone(), name: file.name.clone(), mime_type, content }),
            Some(Err(UnpackError::TooMuch)) => Err("too_large"),
            Some(Err(_)) => Err("corrupt"),
            None => Err("missing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: &str, mime_type: &str) -> Listed {
        Listed { id: (!id.is_empty()).then(|| id.to_owned()), name: "../CV".into(), mime_type: mime_type.into() }
    }

    fn entry(name: &str, content: Result<Vec<u8>, UnpackError>) -> unpack::Attachment {
        unpack::Attachment { name: name.into(), size: 1, content: Some(content) }
    }

    #[test]
    fn what_is_listed_whole_and_wanted_is_kept_and_the_rest_has_a_name() {
        let keeping = Keeping { limit: 9, types: vec!["application/pdf".into()] };
        let files = ["cv", "", "letter", "absent", "large", "broken", "cv"].map(|id| listed(id, "application/pdf"));
        let mut files = files.to_vec();
        files[2].mime_type = "text/plain".into();
        let chosen = keeping.choose(
            &files,
            vec![
                entry("large", Err(UnpackError::TooMuch)),
                entry("unlisted", Ok(b"x".to_vec())),
                entry("cv", Ok(b"%PDF".to_vec())),
                entry("letter", Ok(b"y".to_vec())),
                entry("broken", Err(UnpackError::Corrupt)),
            ],
        );
        assert_eq!(chosen.outcomes, ["kept", "unnamed", "type", "missing", "too_large", "corrupt", "missing"]);
        let kept: Vec<_> = chosen.kept.iter().map(|it| (it.id.as_str(), it.name.as_str(), &it.content[..])).collect();
        assert_eq!(kept, [("cv", "../CV", &b"%PDF"[..])]);
        let vague = listed("cv", "application/octet-stream");
        let chosen = keeping.choose(std::slice::from_ref(&vague), vec![entry("cv", Ok(b"%PDF-1.7".to_vec()))]);
        assert_eq!((chosen.outcomes, &*chosen.kept[0].mime_type), (vec!["kept"], "application/pdf"));
        assert_eq!(keeping.choose(&[vague], vec![entry("cv", Ok(b"PNG".to_vec()))]).outcomes, ["type"]);
    }
}
