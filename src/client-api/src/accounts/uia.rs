//! User-interactive authentication on the wire.

use hearth_accounts::{Accounts, Challenge, Failure, Flows, Policy, Stage, UiaAnswer, UiaCall};
use hearth_http::{ApiError, Gate, Ruma};
use http::StatusCode;
use ruma::api::IncomingRequest;
use serde_json::{Value, json};

use super::error::accounts_error;
use super::object;
use crate::unparsed::Unparsed;

/// A request that has passed authentication.
pub(crate) struct Authenticated<T> {
    pub(crate) request: T,
    pub(super) registration_token: Option<String>,
}

/// The request, once its user has passed a flow; until then the 401 that says what is missing.
pub(crate) async fn authenticated<T: IncomingRequest>(
    (gate, accounts): (&Gate, &Accounts),
    request: &Ruma<Unparsed<T>>,
    flows: Flows,
) -> Result<Authenticated<T>, ApiError> {
    // Somebody with a stolen token must not guess the password faster than at the front door.
    if let Some(caller) = &request.caller
        && object(&request.json)?
            .get("auth")
            .is_some_and(|auth| auth.get("password").is_some())
    {
        gate.count_login(&caller.user)?;
    }
    let call = UiaCall {
        method: request.body.method.as_str(),
        path: request.body.uri.path(),
        caller: request.caller.as_ref(),
        json: &request.json,
        flows,
    };
    match accounts.uia(call).await.map_err(accounts_error)? {
        UiaAnswer::Challenged(challenge) => Err(challenged(&challenge, &accounts.settings().terms)),
        UiaAnswer::Passed(passed) => {
            let body = Value::Object(passed.body).to_string();
            Ok(Authenticated {
                request: request.body.parse(body.as_bytes())?,
                registration_token: passed.registration_token,
            })
        }
    }
}

/// As [`authenticated`] by password, of which an application service has none: it needs not do it (application service
/// API, "Device management" and "Cross-signing").
pub(crate) async fn authenticated_unless_service<T: IncomingRequest>(
    (gate, accounts): (&Gate, &Accounts),
    request: &Ruma<Unparsed<T>>,
) -> Result<Authenticated<T>, ApiError> {
    if request.caller()?.service.is_none() {
        return authenticated((gate, accounts), request, Flows::PASSWORD).await;
    }
    let mut body = object(&request.json)?;
    body.remove("auth");
    Ok(Authenticated {
        request: request
            .body
            .parse(Value::Object(body).to_string().as_bytes())?,
        registration_token: None,
    })
}

fn challenged(challenge: &Challenge, terms: &[Policy]) -> ApiError {
    let flows = challenge.flows.0.iter();
    let flows: Vec<Value> = flows
        .map(|stages| {
            let names: Vec<&str> = stages.iter().map(|stage| stage.name()).collect();
            json!({ "stages": names })
        })
        .collect();
    let completed: Vec<&str> = challenge
        .completed
        .iter()
        .map(|stage| stage.name())
        .collect();
    let mut fields = serde_json::Map::new();
    fields.insert("session".to_owned(), json!(challenge.session));
    fields.insert("flows".to_owned(), json!(flows));
    let mut params = serde_json::Map::new();
    if challenge.flows.contain(Stage::Terms) {
        params.insert(Stage::Terms.name().to_owned(), policies(terms));
    }
    fields.insert("params".to_owned(), Value::Object(params));
    fields.insert("completed".to_owned(), json!(completed));
    if let Some(failure) = challenge.failure {
        let (errcode, message) = failed(failure);
        fields.insert("errcode".to_owned(), json!(errcode));
        fields.insert("error".to_owned(), json!(message));
    }
    ApiError::from_fields(StatusCode::UNAUTHORIZED, fields)
}

/// What is to be agreed to, by document and language.
fn policies(terms: &[Policy]) -> Value {
    let mut policies = json!({});
    for policy in terms {
        let document = &mut policies[&policy.id];
        document["version"] = policy.version.as_str().into();
        document[&policy.language] = json!({ "name": policy.name, "url": policy.url });
    }
    json!({ "policies": policies })
}

pub(super) fn failed(failure: Failure) -> (&'static str, &'static str) {
    match failure {
        Failure::Credentials => ("M_FORBIDDEN", "Wrong password"),
        Failure::RegistrationToken => ("M_UNAUTHORIZED", "Invalid registration token"),
        Failure::UnknownSession => ("M_UNKNOWN", "Unknown session: please begin again"),
        Failure::UnknownStage => ("M_UNRECOGNIZED", "This stage is in none of the flows"),
    }
}
