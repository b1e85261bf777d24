//! The requests of `spec/social.yaml`, in the form that the extractor reads.

use http::{Method, Request};
use ruma::OwnedUserId;
use ruma::api::auth_scheme::AccessToken;
use ruma::api::client::presence::set_presence;
use ruma::api::error::{DeserializationError, Error};
use ruma::api::path_builder::SinglePath;
use ruma::api::{IncomingRequest, Metadata};
use ruma::exports::serde_html_form;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// An endpoint's request.
pub(crate) trait Endpoint: Sized {
    /// The method.
    const METHOD: Method;
    /// The path, with its parameters in braces.
    const PATH: &'static str;

    /// Reads the request out of its parts.
    fn read(parts: Parts<'_>) -> Result<Self, DeserializationError>;
}

/// The parts of a request that say what is asked.
pub(crate) struct Parts<'a> {
    path: &'a [&'a str],
    query: &'a str,
    body: &'a [u8],
}

impl Parts<'_> {
    fn user(&self) -> Result<OwnedUserId, DeserializationError> {
        Ok(OwnedUserId::try_from(self.segment(0))?)
    }

    fn segment(&self, index: usize) -> &str {
        self.path.get(index).copied().unwrap_or_default()
    }

    fn query<T: DeserializeOwned>(&self) -> Result<T, DeserializationError> {
        Ok(serde_html_form::from_str(self.query)?)
    }

    fn body<T: DeserializeOwned>(&self) -> Result<T, DeserializationError> {
        Ok(serde_json::from_slice(self.body)?)
    }
}

/// A request of an endpoint as the extractor takes it: with an access token, under one path.
#[derive(Debug)]
pub(crate) struct Ask<T>(pub(super) T);

impl<T: Endpoint> Metadata for Ask<T> {
    const METHOD: Method = T::METHOD;
    const RATE_LIMITED: bool = true;
    type Authentication = AccessToken;
    type PathBuilder = SinglePath;
    const PATH_BUILDER: SinglePath = SinglePath::new(T::PATH);
}

impl<T: Endpoint> IncomingRequest for Ask<T> {
    type EndpointError = Error;
    // The handlers answer with JSON of their own; this one is never made.
    type OutgoingResponse = set_presence::v3::Response;

    fn try_from_http_request_inner(
        request: Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let parts = Parts {
            path: path_args,
            query: request.uri().query().unwrap_or_default(),
            body: request.body(),
        };
        T::read(parts).map(Self)
    }
}

/// GET …/friends
#[derive(Debug, Deserialize)]
pub(crate) struct Friends {
    pub(super) state: Option<String>,
    pub(super) from: Option<String>,
    pub(super) limit: Option<String>,
}

impl Endpoint for Friends {
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/_matrix/client/unstable/chat.hearth.social/friends";

    fn read(parts: Parts<'_>) -> Result<Self, DeserializationError> {
        parts.query()
    }
}

/// GET …/friends/{userId}
#[derive(Debug)]
pub(crate) struct Friend {
    pub(super) user: OwnedUserId,
}

impl Endpoint for Friend {
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/_matrix/client/unstable/chat.hearth.social/friends/{user_id}";

    fn read(parts: Parts<'_>) -> Result<Self, DeserializationError> {
        let user = parts.user()?;
        Ok(Self { user })
    }
}

/// POST …/friends/{userId}/request and its like
#[derive(Debug)]
pub(crate) struct Act {
    pub(super) user: OwnedUserId,
    pub(super) action: String,
    pub(super) message: Option<String>,
}

impl Endpoint for Act {
    const METHOD: Method = Method::POST;
    const PATH: &'static str =
        "/_matrix/client/unstable/chat.hearth.social/friends/{user_id}/{action}";

    fn read(parts: Parts<'_>) -> Result<Self, DeserializationError> {
        #[derive(Deserialize)]
        struct Body {
            message: Option<String>,
        }
        let Body { message } = parts.body()?;
        Ok(Self {
            user: parts.user()?,
            action: parts.segment(1).to_owned(),
            message,
        })
    }
}

/// GET …/circle
#[derive(Debug, Deserialize)]
pub(crate) struct Circle {
    pub(super) search: Option<String>,
    pub(super) limit: Option<String>,
}

impl Endpoint for Circle {
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/_matrix/client/unstable/chat.hearth.social/circle";

    fn read(parts: Parts<'_>) -> Result<Self, DeserializationError> {
        parts.query()
    }
}

/// GET …/groups
#[derive(Debug, Deserialize)]
pub(crate) struct Groups {
    pub(super) list: String,
    pub(super) search: Option<String>,
    pub(super) from: Option<String>,
    pub(super) limit: Option<String>,
}

impl Endpoint for Groups {
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/_matrix/client/unstable/chat.hearth.social/groups";

    fn read(parts: Parts<'_>) -> Result<Self, DeserializationError> {
        parts.query()
    }
}

/// POST …/groups
#[derive(Debug, Deserialize)]
pub(crate) struct CreateGroup {
    pub(super) name: String,
    pub(super) topic: Option<String>,
    #[serde(default)]
    pub(super) open: bool,
    #[serde(default)]
    pub(super) invite: Vec<OwnedUserId>,
}

impl Endpoint for CreateGroup {
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/_matrix/client/unstable/chat.hearth.social/groups";

    fn read(parts: Parts<'_>) -> Result<Self, DeserializationError> {
        parts.body()
    }
}

/// POST …/private_groups
#[derive(Debug, Deserialize)]
pub(crate) struct OpenPrivateGroup {
    pub(super) members: Vec<OwnedUserId>,
    pub(super) name: Option<String>,
}

impl Endpoint for OpenPrivateGroup {
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/_matrix/client/unstable/chat.hearth.social/private_groups";

    fn read(parts: Parts<'_>) -> Result<Self, DeserializationError> {
        parts.body()
    }
}
