//! Requests to a service (application service API, "Homeserver -> Application Service API").

use bytes::Bytes;
use hearth_ports::{OutRequest, OutResponse, full_body, no_body};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};

use crate::{AppServices, Error, Result};

/// Where paths begin.
pub(crate) const PREFIX: &str = "/_matrix/app/v1/";
/// Where services of before the versions have them.
const OLD_PREFIX: &str = "/";

/// A request.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// After the prefix, percent-encoded.
    pub(crate) path: String,
    /// There is no such request of before the versions.
    pub(crate) is_versioned_only: bool,
    /// A JSON object.
    pub(crate) body: Option<Bytes>,
}

impl AppServices {
    /// Asks a service; any answer but 200 is [`Error::Status`].
    pub(crate) async fn call(&self, id: &str, call: Call) -> Result<()> {
        let answered = self.send(id, PREFIX, &call).await?;
        let status = match answered.response.status() {
            // One that does not know the path: "Legacy routes".
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::NOT_IMPLEMENTED
                if !call.is_versioned_only =>
            {
                let old = self.send(id, OLD_PREFIX, &call).await?;
                old.response.status()
            }
            status => status,
        };
        match status.is_success() {
            true => Ok(()),
            false => Err(Error::Status(status.as_u16())),
        }
    }

    /// The answer of a service to a request under a prefix.
    pub(crate) async fn send(&self, id: &str, prefix: &str, call: &Call) -> Result<OutResponse> {
        let service = self.0.registrations.get(id);
        let (service, url) = service
            .and_then(|service| Some((service, service.url.as_ref()?)))
            .ok_or_else(|| Error::Refused(format!("application service `{id}` has no URL")))?;
        let request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{url}{prefix}{}", call.path))
            .header(AUTHORIZATION, format!("Bearer {}", service.hs_token))
            .header(CONTENT_TYPE, "application/json");
        let body = match &call.body {
            Some(body) => full_body(body.clone()),
            None => no_body(),
        };
        let request = request
            .body(body)
            .map_err(|error| Error::Refused(error.to_string()))?;
        Ok(self.0.parts.http.send(OutRequest::new(request)).await?)
    }
}
