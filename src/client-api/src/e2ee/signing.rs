//! Cross-signing keys and signatures.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_accounts::Accounts;
use hearth_e2ee::{Authenticated, E2ee, Error, SigningKeys};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use ruma::api::client::keys::{upload_signatures, upload_signing_keys::v3::Request};
use serde_json::value::RawValue;

use super::{answer, api_error, done};
use crate::accounts::uia::authenticated_unless_service;
use crate::unparsed::Unparsed;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    E2ee: FromRef<S>,
{
    let router = route::<Unparsed<Request>, _, _, _>(Router::new(), upload);
    route::<upload_signatures::v3::Request, _, _, _>(router, signatures)
}

/// POST /_matrix/client/v3/keys/device_signing/upload
///
/// Needs authentication only where it replaces other keys. A client that authenticates may leave the keys out: then
/// those of its first call are meant.
async fn upload(
    State(e2ee): State<E2ee>,
    State(accounts): State<Accounts>,
    State(gate): State<Gate>,
    request: Ruma<Unparsed<Request>>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?;
    let keys = SigningKeys::parse(&request.json, &caller.user).map_err(api_error)?;
    if !keys.is_empty() {
        let uploaded = e2ee.signing_keys_upload(caller, &keys, Authenticated::No);
        match uploaded.await {
            Err(Error::NeedsAuthentication) => {}
            other => return other.map(|()| done()).map_err(api_error),
        }
    }
    let passed = authenticated_unless_service((&gate, &accounts), &request).await?;
    let keys = SigningKeys::parse(body(&passed.request).as_bytes(), &caller.user);
    let keys = keys.map_err(api_error)?;
    e2ee.signing_keys_upload(caller, &keys, Authenticated::Yes)
        .await
        .map(|()| done())
        .map_err(api_error)
}

/// The keys of a request as the client wrote them.
fn body(request: &Request) -> String {
    let keys = [
        ("master_key", &request.master_key),
        ("self_signing_key", &request.self_signing_key),
        ("user_signing_key", &request.user_signing_key),
    ];
    let fields: Vec<String> = keys
        .into_iter()
        .filter_map(|(name, key)| {
            let key: &RawValue = key.as_ref()?.json();
            Some(format!("\"{name}\":{}", key.get()))
        })
        .collect();
    format!("{{{}}}", fields.join(","))
}

/// POST /_matrix/client/v3/keys/signatures/upload
async fn signatures(
    State(e2ee): State<E2ee>,
    request: Ruma<upload_signatures::v3::Request>,
) -> Result<RawJson, ApiError> {
    let kept = e2ee.signatures_upload(request.caller()?, &request.json);
    kept.await.map(answer).map_err(api_error)
}
