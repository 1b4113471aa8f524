//! Registering and unregistering webhooks: one event per call.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Call, CallError, Class, Client, Stage};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Registration<'a> {
    event: &'a str,
    callback_url: &'a str,
    ping_url: &'a str,
}

/// `{"hookId": …}` as documented, or `{"code": 200, "status": "success", "data": {"hookId": …}}` as production answers.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Answer {
    hook_id: Option<Value>,
    code: Option<Value>,
    status: Option<Value>,
    data: Option<Value>,
}

impl Answer {
    /// An answer with 2xx. One without a body is taken at its word; a page, or an error with 200, says nothing about hooks.
    fn read(body: &Bytes) -> Result<Answer, CallError> {
        let unexpected = |says| Err(CallError::new(Stage::Webhooks, Class::Unexpected, says));
        if body.trim_ascii_start().starts_with(b"<") {
            return unexpected("a page was answered instead of an answer about hooks");
        }
        let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
        let failed = answer.code.as_ref().and_then(Value::as_u64).is_some_and(|code| code >= 400)
            || answer.status.as_ref().and_then(Value::as_str).is_some_and(|status| status == "error");
        if failed { unexpected("an error was answered with a status of success") } else { Ok(answer) }
    }

    fn hook_id(self) -> Option<String> {
        match self.hook_id {
            Some(Value::String(id)) => Some(id).filter(|id| is_usable(id)),
            Some(Value::Number(id)) => Some(id.to_string()),
            _ => serde_json::from_value::<Answer>(self.data?).ok()?.hook_id(),
        }
    }
}

/// Whether the id can be kept, and be the last segment of a path.
fn is_usable(id: &str) -> bool {
    !matches!(id, "" | "." | "..") && !id.chars().any(char::is_control)
}

impl Client {
    /// Registers a webhook for one event; gives its hook id, empty when Cegid accepts it without naming one.
    ///
    /// # Errors
    /// The class says whether the event was refused ([`super::Class::Query`]) or Cegid is away.
    pub async fn register_hook(&self, event: &str, callback_url: &str, ping_url: &str) -> Result<String, CallError> {
        let url = self.url(&self.tenant.paths.webhooks);
        let registration = Registration { event, callback_url, ping_url };
        let answer = self.send(Stage::Webhooks, Call::Short, |http| http.post(url.clone()).json(&registration)).await?;
        let body = self.body(Stage::Webhooks, answer).await?;
        // Asking again for want of an id would register it twice.
        Ok(Answer::read(&body)?.hook_id().unwrap_or_default())
    }

    /// Deletes a webhook; false when Cegid has none of this id any more.
    ///
    /// # Errors
    /// The class says whether the call was refused or Cegid is away.
    pub async fn delete_hook(&self, hook_id: &str) -> Result<bool, CallError> {
        let mut url = self.url(&self.tenant.paths.webhooks);
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(hook_id);
        }
        match self.send(Stage::Webhooks, Call::Short, |http| http.delete(url.clone())).await {
            Ok(answer) => {
                let body = self.body(Stage::Webhooks, answer).await?;
                Answer::read(&body).map(|_| true)
            }
            Err(error) if error.stage == Stage::Webhooks && matches!(error.status, Some(404 | 410)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Result<Answer, CallError> {
        Answer::read(&Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn both_answers_hold_the_id() {
        let id = |text| read(text).unwrap().hook_id();
        assert_eq!(id(r#"{"hookId":"zwx"}"#).as_deref(), Some("zwx"));
        assert_eq!(id(r#"{"code":200,"status":"success","data":{"hookId":17}}"#).as_deref(), Some("17"));
        assert_eq!(id(r#"{"data":{}}"#), None);
        assert_eq!(id(r#"{"code":200,"status":"success","data":null}"#), None);
        assert_eq!(id(r#"{"hookId":""}"#), None);
        assert_eq!(id(r#"{"hookId":".."}"#), None);
        assert_eq!(id(""), None);
    }

    #[test]
    fn a_page_or_an_error_with_200_has_registered_nothing() {
        for text in ["\r\n<!DOCTYPE html>", r#"{"code":500,"message":"x"}"#, r#"{"status":"error"}"#] {
            assert_eq!(read(text).err().map(|error| error.class), Some(Class::Unexpected), "{text}");
        }
    }
}
