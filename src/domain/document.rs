//! What is kept searchable of a record.

use std::fmt;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    Anonymisation, Attachment, Coded, Kind, Listed, Subject,
    fold::{Stemming, fold_up_to},
    html::unescaped,
};

/// Bytes of folded text kept of one weight: PostgreSQL's search vectors end at 1 MiB.
const WORDS: usize = 200_000;

/// Version of the mapping from a record to a document: raised when documents that are held must be made anew.
pub const FORM: i32 = 2;

/// What a record says about being searchable. Candidates are live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Its status is one of `live_statuses`.
    Live,
    /// Its status is another one.
    NotLive,
    /// No status id could be read: what is held stays searchable or hidden.
    Unknown,
}

/// A record as it is indexed. Its `Debug` shows nothing of a person.
#[derive(Clone)]
pub struct Document {
    subject: Subject,
    /// Title of the vacancy, or the candidate's own; empty when there is none.
    pub title: String,
    /// Windows LCID of the content.
    pub language: Option<i32>,
    /// Status, with its label in the language of the record.
    pub status: Option<Coded>,
    /// What it says about being searchable.
    pub visibility: Visibility,
    /// What it says about the person being anonymised.
    pub anonymisation: Anonymisation,
    /// Creation date as Cegid wrote it.
    pub created: Option<String>,
    /// Modification date as Cegid wrote it.
    pub modified: Option<String>,
    /// Resumes that are kept; none where they were not asked for.
    pub attachments: Option<Vec<Attachment>>,
    pub(super) listed: Vec<Listed>,
    pub(super) email: Option<String>,
    pub(super) coded: Vec<CodedField>,
    pub(super) raw: String,
    content: [u8; 32],
    words: [String; 3],
}

/// A coded value and the member that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CodedField {
    /// Dotted path of the member.
    pub field: &'static str,
    /// Client code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Label in the language of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// How much a word counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Weight {
    /// Titles and names.
    A,
    /// Skills, profiles and the labels of coded values.
    B,
    /// Descriptions.
    C,
}

impl Document {
    pub(super) fn new(subject: Subject) -> Document {
        Document {
            subject,
            title: String::new(),
            language: None,
            status: None,
            visibility: Visibility::Live,
            anonymisation: Anonymisation::No,
            created: None,
            modified: None,
            attachments: None,
            listed: Vec::new(),
            email: None,
            coded: Vec::new(),
            raw: String::new(),
            content: [0; 32],
            words: Default::default(),
        }
    }

    /// Adds words to be found by.
    pub(super) fn words(&mut self, weight: Weight, text: &str) {
        let words = &mut self.words[weight as usize];
        if words.len() < WORDS {
            fold_up_to(&unescaped(text), words, WORDS);
            if words.len() > WORDS {
                let end = (0..=WORDS).rev().find(|end| words.is_char_boundary(*end)).unwrap_or(0);
                words.truncate(end);
            }
        }
    }

    /// Adds a coded value, and its label to the words; no value adds nothing.
    pub(super) fn code(&mut self, field: &'static str, value: Coded) {
        if let Some(Coded { id, label }) = value.some() {
            if let Some(label) = &label {
                self.words(Weight::B, label);
            }
            self.coded.push(CodedField { field, id, label });
        }
    }

    /// What it is of.
    pub fn kind(&self) -> Kind {
        self.subject.kind()
    }

    /// Vacancy reference or candidate id.
    pub fn key(&self) -> &str {
        self.subject.key()
    }

    /// The candidate's address, where a tenant's reports are identified by it.
    pub fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }

    /// The resumes that the record lists.
    pub fn listed(&self) -> &[Listed] {
        &self.listed
    }

    /// Its coded values as JSON, the status among them.
    pub fn coded_json(&self) -> String {
        let mut coded: Vec<&CodedField> = self.coded.iter().collect();
        // Its label is shown but no word to be found by: every live vacancy has the same.
        let status = self.status.clone().map(|Coded { id, label }| CodedField { field: "status", id, label });
        coded.extend(&status);
        // Texts and static names serialise.
        serde_json::to_string(&coded).unwrap_or_else(|_| "[]".into())
    }

    /// The detail object as received.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// SHA-256 of what is kept as raw: tells whether a read shows anything new.
    pub fn content(&self) -> [u8; 32] {
        self.content
    }

    /// Takes the hash of what is kept as raw, once all of it is there.
    pub(super) fn seal(&mut self) {
        self.content = Sha256::digest(self.raw.as_bytes()).into();
    }

    /// How its words are stemmed.
    pub fn stemming(&self) -> Stemming {
        Stemming::from_lcid(self.language)
    }

    /// Its folded words by weight: A, B, C.
    pub fn folded(&self) -> &[String; 3] {
        &self.words
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("kind", &self.kind())
            .field("visibility", &self.visibility)
            .field("bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}
