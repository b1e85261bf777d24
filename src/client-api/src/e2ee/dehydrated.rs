//! Dehydrated devices (MSC3814), for which ruma's types are behind a feature of their own.

use std::marker::PhantomData;

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_e2ee::E2ee;
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use http::Method;
use ruma::api::auth_scheme::AccessToken;
use ruma::api::client::keys::upload_signatures::v3::{Request as Similar, Response};
use ruma::api::error::DeserializationError;
use ruma::api::path_builder::SinglePath;
use ruma::api::{IncomingRequest, Metadata};
use serde_json::json;

use super::{answer, api_error};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    E2ee: FromRef<S>,
{
    let router = route::<Endpoint<Put>, _, _, _>(Router::new(), put);
    let router = route::<Endpoint<Get>, _, _, _>(router, get);
    let router = route::<Endpoint<Delete>, _, _, _>(router, delete);
    route::<Endpoint<Events>, _, _, _>(router, events)
}

/// Method and path of an endpoint.
trait Place {
    const METHOD: Method;
    const PATH: SinglePath;
}

const DEVICE: SinglePath =
    SinglePath::new("/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device");
const EVENTS: SinglePath = SinglePath::new(
    "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{device_id}/events",
);

#[derive(Debug)]
struct Put;
#[derive(Debug)]
struct Get;
#[derive(Debug)]
struct Delete;
#[derive(Debug)]
struct Events;

impl Place for Put {
    const METHOD: Method = Method::PUT;
    const PATH: SinglePath = DEVICE;
}
impl Place for Get {
    const METHOD: Method = Method::GET;
    const PATH: SinglePath = DEVICE;
}
impl Place for Delete {
    const METHOD: Method = Method::DELETE;
    const PATH: SinglePath = DEVICE;
}
impl Place for Events {
    const METHOD: Method = Method::POST;
    const PATH: SinglePath = EVENTS;
}

/// A request whose body has not been looked at.
#[derive(Debug)]
struct Endpoint<P> {
    path: Vec<String>,
    place: PhantomData<fn() -> P>,
}

impl<P: Place> Metadata for Endpoint<P> {
    const METHOD: Method = P::METHOD;
    const RATE_LIMITED: bool = false;
    type Authentication = AccessToken;
    type PathBuilder = SinglePath;
    const PATH_BUILDER: SinglePath = P::PATH;
}

impl<P: Place> IncomingRequest for Endpoint<P> {
    type EndpointError = <Similar as IncomingRequest>::EndpointError;
    type OutgoingResponse = Response;

    fn try_from_http_request_inner(
        _: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        Ok(Self {
            path: path_args.iter().map(|arg| (*arg).to_owned()).collect(),
            place: PhantomData,
        })
    }
}

/// PUT /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device
async fn put(State(e2ee): State<E2ee>, request: Ruma<Endpoint<Put>>) -> Result<RawJson, ApiError> {
    let id = e2ee.dehydrated_put(request.caller()?, &request.json).await;
    let id = id.map_err(api_error)?;
    Ok(answer(json!({ "device_id": id }).to_string()))
}

/// GET /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device
async fn get(State(e2ee): State<E2ee>, request: Ruma<Endpoint<Get>>) -> Result<RawJson, ApiError> {
    let found = e2ee.dehydrated(&request.caller()?.user).await;
    Ok(answer(found.map_err(api_error)?.to_json()))
}

/// DELETE /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device
async fn delete(
    State(e2ee): State<E2ee>,
    request: Ruma<Endpoint<Delete>>,
) -> Result<RawJson, ApiError> {
    let id = e2ee.dehydrated_delete(request.caller()?).await;
    let id = id.map_err(api_error)?;
    Ok(answer(json!({ "device_id": id }).to_string()))
}

/// POST /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{device_id}/events
async fn events(
    State(e2ee): State<E2ee>,
    request: Ruma<Endpoint<Events>>,
) -> Result<RawJson, ApiError> {
    let body = crate::accounts::object(&request.json)?;
    let from = body.get("next_batch").and_then(serde_json::Value::as_str);
    let device = request.body.path.first().map_or("", String::as_str);
    let user = &request.caller()?.user;
    let page = e2ee.dehydrated_events(user, device, from).await;
    Ok(answer(page.map_err(api_error)?.to_json()))
}
