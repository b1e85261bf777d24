//! Answers.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, header};
use ruma::api::{OutgoingResponse, OutgoingResponseExt};

use crate::ApiError;

/// A response type of ruma as an answer.
#[derive(Clone, Debug)]
pub struct RumaResponse<R>(pub R);

impl<R: OutgoingResponse> IntoResponse for RumaResponse<R> {
    fn into_response(self) -> Response {
        match self.0.try_into_http_response::<BytesMut>() {
            Ok(response) => response
                .map(|body| Body::from(body.freeze()))
                .into_response(),
            Err(error) => ApiError::internal(&error).into_response(),
        }
    }
}

/// A 200 with a JSON body that is already text: spliced from stored bytes instead of parsed and printed again.
#[derive(Clone, Debug)]
pub struct RawJson(pub Bytes);

impl IntoResponse for RawJson {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.0));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        response
    }
}
