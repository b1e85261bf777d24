//! Requests that ruma's types cannot take as they come: a body that may hold nothing but `auth`, optional fields that
//! ruma requires, or a parser that panics on a missing field (`/login`).

use std::marker::PhantomData;

use hearth_http::ApiError;
use http::{Method, Request, Uri};
use ruma::api::error::DeserializationError;
use ruma::api::{IncomingRequest, Metadata};

/// A request to the endpoint of `T` whose body has not been looked at. In `Ruma<Unparsed<T>>`, `json` is the body.
#[derive(Debug)]
pub(crate) struct Unparsed<T> {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    path: Vec<String>,
    endpoint: PhantomData<fn() -> T>,
}

impl<T: Metadata> Metadata for Unparsed<T> {
    const METHOD: Method = T::METHOD;
    const RATE_LIMITED: bool = T::RATE_LIMITED;
    type Authentication = T::Authentication;
    type PathBuilder = T::PathBuilder;
    const PATH_BUILDER: T::PathBuilder = T::PATH_BUILDER;
}

impl<T: IncomingRequest> IncomingRequest for Unparsed<T> {
    type EndpointError = T::EndpointError;
    type OutgoingResponse = T::OutgoingResponse;

    fn try_from_http_request_inner(
        request: Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let (parts, _) = request.into_parts();
        Ok(Self {
            method: parts.method,
            uri: parts.uri,
            path: path_args.iter().map(|arg| (*arg).to_owned()).collect(),
            endpoint: PhantomData,
        })
    }
}

impl<T: IncomingRequest> Unparsed<T> {
    /// The request with this body.
    pub(crate) fn parse(&self, body: &[u8]) -> Result<T, ApiError> {
        let request = Request::builder()
            .method(self.method.clone())
            .uri(self.uri.clone())
            .body(body)
            .map_err(|error| ApiError::invalid_param(error.to_string()))?;
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        Ok(T::try_from_http_request_inner(request, &path)?)
    }

    /// A part of the path, decoded.
    pub(crate) fn path<P>(&self, index: usize) -> Result<P, ApiError>
    where
        P: for<'a> TryFrom<&'a str>,
    {
        let part = self.path.get(index).map_or("", String::as_str);
        P::try_from(part).map_err(|_| ApiError::invalid_param("Malformed path"))
    }
}
