//! stub
use super::*;
/// x
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Document {
    pub title: String,
    pub language: Option<i32>,
    pub status: Option<Coded>,
    pub live: bool,
    pub anonymised: bool,
    pub created: Option<String>,
    pub modified: Option<String>,
    pub raw: String,
}
#[allow(missing_docs)]
pub struct St;
#[allow(missing_docs)]
impl St {
    pub fn regconfig(&self) -> &'static str {
        "simple"
    }
}
#[allow(missing_docs)]
impl Document {
    pub fn key(&self) -> &str {
        ""
    }
    pub fn kind(&self) -> Kind {
        Kind::Vacancy
    }
    pub fn member(&self, _: &str) -> Option<String> {
        None
    }
    pub fn coded_json(&self) -> String {
        String::new()
    }
    pub fn stemming(&self) -> St {
        St
    }
    pub fn folded(&self) -> &[String; 3] {
        unimplemented!()
    }
}
#[allow(missing_docs)]
pub struct Record {
    pub subject: Subject,
    pub document: Document,
}
#[allow(missing_docs)]
pub fn read_record(_: Kind, _: &[u8], _: &[String]) -> Result<Record, String> {
    Err(String::new())
}
