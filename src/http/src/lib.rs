//! What every HTTP endpoint of Hearth has in common: the listener, the extractor, the caller, errors and limits.
//!
//! Main types: [`Ruma`], the extractor of a request of the Matrix API with its caller; [`RumaResponse`] and
//! [`RawJson`], the answers; [`ApiError`], what goes wrong, as the client sees it; [`Gate`], the crate's own state;
//! [`route`], which registers a handler under all paths of an endpoint; [`Frame`], what surrounds all routes;
//! [`Server`], which listens.
//!
//! Knows no domain crate and no store: who holds a token is asked through [`hearth_ports::Authenticate`].
//!
//! # A handler
//!
//! ```
//! use std::sync::Arc;
//!
//! use axum::Router;
//! use axum::extract::{FromRef, State};
//! use hearth_http::{ApiError, Gate, Ruma, RumaResponse, route};
//! use ruma::api::client::account::whoami;
//!
//! # struct Accounts;
//! # #[derive(Debug)]
//! # enum AccountsError { NoSuchUser }
//! # impl Accounts {
//! #     fn is_guest(&self, _: &ruma::UserId) -> Result<bool, AccountsError> { Ok(false) }
//! # }
//! // 1. The state of an API crate: one handle for each domain crate, plus the gate. A handler takes the handles
//! //    it uses (`State<Arc<Accounts>>`), never the whole.
//! #[derive(Clone)]
//! struct Handles {
//!     gate: Gate,
//!     accounts: Arc<Accounts>,
//! }
//!
//! impl FromRef<Handles> for Gate {
//!     fn from_ref(handles: &Handles) -> Self {
//!         handles.gate.clone()
//!     }
//! }
//!
//! impl FromRef<Handles> for Arc<Accounts> {
//!     fn from_ref(handles: &Handles) -> Self {
//!         handles.accounts.clone()
//!     }
//! }
//!
//! // 2. Errors of a domain crate become HTTP in one place. The error of a crate is foreign to the API crate, and so
//! //    is `ApiError`: write a function and use `map_err`.
//! fn accounts_error(error: AccountsError) -> ApiError {
//!     match error {
//!         AccountsError::NoSuchUser => ApiError::not_found("no such user"),
//!     }
//! }
//!
//! /// GET /_matrix/client/v3/account/whoami
//! async fn whoami(
//!     State(accounts): State<Arc<Accounts>>,
//!     request: Ruma<whoami::v3::Request>,
//! ) -> Result<RumaResponse<whoami::v3::Response>, ApiError> {
//!     let caller = request.caller()?;
//!     let is_guest = accounts.is_guest(&caller.user).map_err(accounts_error)?;
//!     let mut answer = whoami::v3::Response::new(caller.user.clone(), is_guest);
//!     answer.device_id = caller.device.clone();
//!     Ok(RumaResponse(answer))
//! }
//!
//! // 3. Registered under every path, stable and unstable, that the endpoint has ever had.
//! fn router() -> Router<Handles> {
//!     route::<whoami::v3::Request, _, _, _>(Router::new(), whoami)
//! }
//! ```
//!
//! - `request.body` is the ruma request (path, query and JSON together), `request.json` the JSON body as it came, for
//!   what has to be kept byte by byte (event contents, account data, UIA).
//! - Whether a token is needed comes from the endpoint's metadata. `request.caller` is `None` only where it is not.
//! - A body that reaches a handler is valid JSON, an object, and nested at most [`JSON_DEPTH_MAX`] deep.
//! - Answers that are spliced from stored bytes are a [`RawJson`].
//! - An `ApiError` takes further fields: `ApiError::new(..).with("room_version", "12")`.

mod address;
mod error;
mod extract;
mod frame;
mod gate;
mod guest;
mod json;
mod metrics;
mod rate_limit;
mod respond;
mod route;
mod server;
mod tls;

pub use address::{ClientAddress, Peer};
pub use error::ApiError;
pub use extract::{
    JSON_BODY_BYTES_MAX_DEFAULT, Ruma, RumaBody, RumaEvenLocked, Scheme, TokenUse, read_json,
};
pub use frame::Frame;
pub use gate::Gate;
pub use json::JSON_DEPTH_MAX;
pub use metrics::Metrics;
pub use respond::{RawJson, RumaResponse};
pub use route::{fallbacks, route, route_at};
pub use server::{ServeError, Server};
pub use tls::TlsError;

/// What a handler returns.
pub type Result<T, E = ApiError> = std::result::Result<T, E>;
