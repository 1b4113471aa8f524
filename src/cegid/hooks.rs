//! Registering and unregistering webhooks: one event per call.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Call, CallError, Client, Stage};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Registration<'a> {
    event: &'a str,
    callback_url: &'a str,
    ping_url: &'a str,
}

/// `{"hookId": …}` as documented, or `{"data": {"hookId": …}}` as production answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    hook_id: Option<Value>,
    data: Option<Box<Answer>>,
}

impl Answer {
    fn hook_id(self) -> Option<String> {
        match self.hook_id {
            Some(Value::String(id)) if !id.is_empty() => Some(id),
            Some(Value::Number(id)) => Some(id.to_string()),
            _ => self.data.and_then(|data| data.hook_id()),
        }
    }
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
        // Any 2xx has registered it: asking again for want of an id would register it twice.
        Ok(serde_json::from_slice::<Answer>(&body).ok().and_then(Answer::hook_id).unwrap_or_default())
    }

    /// Unregisters a webhook by the id that registering it gave.
    ///
    /// # Errors
    /// 404 when Cegid knows no such hook; otherwise as for every call.
    pub async fn delete_hook(&self, hook_id: &str) -> Result<(), CallError> {
        let mut url = self.url(&self.tenant.paths.webhooks);
        // The id is opaque: as one step of the path, whatever is in it. Addresses of http have steps.
        if let Ok(mut steps) = url.path_segments_mut() {
            steps.pop_if_empty().push(hook_id);
        }
        let answer = self.send(Stage::Webhooks, Call::Short, |http| http.delete(url.clone())).await?;
        self.body(Stage::Webhooks, answer).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_answers_hold_the_id() {
        let id = |text: &str| serde_json::from_str::<Answer>(text).unwrap().hook_id();
        assert_eq!(id(r#"{"hookId":"zwx"}"#).as_deref(), Some("zwx"));
        assert_eq!(id(r#"{"code":200,"status":"success","data":{"hookId":17}}"#).as_deref(), Some("17"));
        assert_eq!(id(r#"{"data":{}}"#), None);
        assert_eq!(id(r#"{"hookId":""}"#), None);
    }
}
