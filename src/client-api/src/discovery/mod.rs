//! What a client asks first: which server, which versions, what it can do, whom to ask for help.

mod third_party;

use axum::extract::{FromRef, State};
use axum::routing::get;
use axum::{Json, Router};
use hearth_http::{ApiError, Gate, Ruma, route};
use hearth_rooms::Rooms;
use ruma::api::client::discovery::get_capabilities;
use serde_json::{Value, json};

/// The versions of the specification whose endpoints are here. v1.11 is the first that sends clients to the
/// authenticated media endpoints.
const VERSIONS: &[&str] = &[
    "r0.6.1", "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10",
    "v1.11",
];

/// Where clients and servers are sent by `/.well-known/matrix`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// The `base_url` of the client-server API. Without one clients have to know it: 404.
    pub client: Option<String>,
    /// `host:port` of the server-server API.
    pub server: Option<String>,
    /// A page that helps users.
    pub support_page: Option<String>,
    /// Whom they can ask.
    pub contacts: Vec<Contact>,
}

/// Somebody who runs this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// What for.
    pub role: String,
    /// A Matrix user id.
    pub matrix_id: Option<String>,
    /// An e-mail address.
    pub email_address: Option<String>,
}

/// All endpoints of this module.
pub fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
    Discovery: FromRef<S>,
{
    let router = Router::new()
        .route("/_matrix/client/versions", get(versions))
        .route("/.well-known/matrix/client", get(well_known_client))
        .route("/.well-known/matrix/server", get(well_known_server))
        .route("/.well-known/matrix/support", get(well_known_support))
        .merge(third_party::router());
    route::<get_capabilities::v3::Request, _, _, _>(router, capabilities)
}

/// GET /_matrix/client/versions
async fn versions() -> Json<Value> {
    Json(json!({ "versions": VERSIONS, "unstable_features": { (crate::social::FEATURE): true } }))
}

/// GET /_matrix/client/v3/capabilities
async fn capabilities(
    State(rooms): State<Rooms>,
    request: Ruma<get_capabilities::v3::Request>,
) -> Json<Value> {
    let mut capabilities = crate::accounts::capabilities();
    if request.caller.is_some_and(|caller| caller.is_admin) {
        let moderation = json!({ "lock": true, "suspend": true });
        capabilities.insert("m.account_moderation".to_owned(), moderation);
    }
    capabilities.insert(
        "m.room_versions".to_owned(),
        crate::rooms::room_versions(&rooms),
    );
    Json(json!({ "capabilities": capabilities }))
}

/// GET /.well-known/matrix/client
async fn well_known_client(State(discovery): State<Discovery>) -> Result<Json<Value>, ApiError> {
    let base_url = discovery
        .client
        .ok_or_else(|| ApiError::not_found("No client address is set"))?;
    Ok(Json(json!({ "m.homeserver": { "base_url": base_url } })))
}

/// GET /.well-known/matrix/support
async fn well_known_support(State(discovery): State<Discovery>) -> Result<Json<Value>, ApiError> {
    if discovery.support_page.is_none() && discovery.contacts.is_empty() {
        return Err(ApiError::not_found("No contact is set"));
    }
    let mut support = json!({});
    if let Some(page) = &discovery.support_page {
        support["support_page"] = page.as_str().into();
    }
    if !discovery.contacts.is_empty() {
        let contacts: Vec<Value> = discovery.contacts.iter().map(contact).collect();
        support["contacts"] = contacts.into();
    }
    Ok(Json(support))
}

fn contact(contact: &Contact) -> Value {
    let mut shown = json!({ "role": contact.role });
    if let Some(id) = &contact.matrix_id {
        shown["matrix_id"] = id.as_str().into();
    }
    if let Some(address) = &contact.email_address {
        shown["email_address"] = address.as_str().into();
    }
    shown
}

/// GET /.well-known/matrix/server
async fn well_known_server(State(discovery): State<Discovery>) -> Result<Json<Value>, ApiError> {
    let server = discovery
        .server
        .ok_or_else(|| ApiError::not_found("No server address is set"))?;
    Ok(Json(json!({ "m.server": server })))
}
