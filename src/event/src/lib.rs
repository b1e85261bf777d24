//! Everything that the Matrix specification decides about events, as pure functions.
//!
//! Room versions 1 to 12: formats and event ids ([`Pdu`]), canonical JSON ([`canonical`]), hashes and signatures
//! ([`build()`], [`received`], [`SigningKey`]), redaction ([`redact()`]), auth event selection and auth rules ([`auth_keys`],
//! [`authorize`], [`check_auth_events`]), power levels ([`power`]), state resolution ([`resolve`]), history visibility
//! ([`visibility`]), what clients are shown ([`client`]), push rules ([`push`]) and relations ([`relations`]).
//!
//! Knows neither async nor a store, the network or the time: the caller loads, these functions decide, the caller commits.

mod acl;
mod admit;
mod auth;
mod build;
pub mod canonical;
pub mod client;
#[cfg(test)]
mod fixture;
mod glob;
mod hash;
pub mod join;
mod keys;
mod pdu;
mod policy;
pub mod power;
pub mod push;
mod redact;
pub mod relations;
mod resolution;
pub mod retention;
mod verify;
mod version;
pub mod visibility;

pub use acl::ServerAcl;
pub use admit::{Grounds, StateLookup, Verdict, admit, allowed_by_auth_events};
pub use auth::{
    AuthError, AuthEvent, EventFields, auth_keys, auth_keys_of_draft, authorize, check_auth_events,
    create_event_id,
};
pub use build::{BuildError, Draft, Parents, build, cosign};
pub use glob::Glob;
pub use keys::{KeyError, SigningKey, VerifyKey, verify_json};
pub use pdu::{FormatError, Pdu};
pub use policy::{POLICY_KEY_ID, PolicyServer, is_same_but_for_time};
pub use power::{PowerLevels, UserLevel};
pub use redact::{redact, redact_json, redaction_applies};
pub use resolution::{Fetched, Missing, StateKey, StateMap, auth_chain, auth_difference, resolve};
pub use verify::{Received, Unchecked, VerifyError, received, signing_servers};
pub use version::RoomVersion;
