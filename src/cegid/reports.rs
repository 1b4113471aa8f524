//! Posting indexing reports.

use serde::Serialize;

use super::{Call, CallError, Client, Stage};
use crate::{domain::Kind, outbox, settings::ReportTypeCase};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    report_type: &'static str,
    items: Vec<ReportItem<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportItem<'a> {
    id: &'a str,
    date: &'a str,
    last_update_date: &'a str,
    status: &'a str,
    /// An array of strings, only with errors.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    messages: &'a [String],
}

impl Client {
    /// Posts what became of these subjects; any 2xx is success, unless a page or an error in JSON comes with it.
    ///
    /// # Errors
    /// The class says whether the batch was refused or Cegid is away.
    pub async fn report(&self, kind: Kind, items: &[&outbox::Item]) -> Result<(), CallError> {
        let report_type = match (kind, self.tenant.report_type_case) {
            (Kind::Vacancy, ReportTypeCase::Lower) => "vacancies",
            (Kind::Candidate, ReportTypeCase::Lower) => "candidates",
            (Kind::Vacancy, ReportTypeCase::Capital) => "Vacancies",
            (Kind::Candidate, ReportTypeCase::Capital) => "Candidates",
        };
        let items = items
            .iter()
            .map(|item| ReportItem {
                id: &item.report_id,
                date: &item.item_date,
                last_update_date: &item.item_update,
                status: &item.outcome,
                messages: &item.messages,
            })
            .collect();
        let report = Report { report_type, items };
        let url = self.url(&self.tenant.paths.reports);
        let answer = self.send(Stage::Reports, Call::Short, |http| http.post(url.clone()).json(&report)).await?;
        self.body(Stage::Reports, answer).await?;
        Ok(())
    }
}
