//! Uploads.

use axum::extract::{FromRef, State};
use axum::{Json, Router};
use hearth_http::{ApiError, Gate, Ruma, RumaBody, route};
use hearth_media::{FileHead, Media, MediaUri};
use hearth_types::Caller;
use http::{HeaderMap, header};
use ruma::api::client::media::{create_content, create_content_async, create_mxc_uri};
use serde_json::{Value, json};

use super::error::api_error;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Media: FromRef<S>,
{
    let router = Router::new();
    let router = route::<create_content::v3::Request, _, _, _>(router, upload);
    let router = route::<create_content_async::v3::Request, _, _, _>(router, upload_reserved);
    route::<create_mxc_uri::v1::Request, _, _, _>(router, reserve)
}

/// POST /_matrix/media/v3/upload
async fn upload(
    State(media): State<Media>,
    headers: HeaderMap,
    request: RumaBody<create_content::v3::Request>,
) -> Result<Json<Value>, ApiError> {
    let caller = uploader(request.ruma.caller()?)?;
    let ask = &request.ruma.body;
    let head = head(ask.content_type.clone(), ask.filename.clone(), &headers);
    let uri = media.upload(&caller.user, head, request.body).await;
    let uri = uri.map_err(api_error)?;
    Ok(Json(json!({ "content_uri": uri.to_string() })))
}

/// PUT /_matrix/media/v3/upload/{serverName}/{mediaId}
async fn upload_reserved(
    State(media): State<Media>,
    headers: HeaderMap,
    request: RumaBody<create_content_async::v3::Request>,
) -> Result<Json<Value>, ApiError> {
    let caller = uploader(request.ruma.caller()?)?;
    let ask = &request.ruma.body;
    let uri = MediaUri::new(&ask.server_name, &ask.media_id);
    let uri = uri.ok_or_else(|| ApiError::not_found("No such file"))?;
    let head = head(ask.content_type.clone(), ask.filename.clone(), &headers);
    let done = media.upload_reserved(&caller.user, &uri, head, request.body);
    done.await.map_err(api_error)?;
    Ok(Json(json!({})))
}

/// POST /_matrix/media/v1/create
async fn reserve(
    State(media): State<Media>,
    request: Ruma<create_mxc_uri::v1::Request>,
) -> Result<Json<Value>, ApiError> {
    let caller = uploader(request.caller()?)?;
    let reserved = media.reserve(&caller.user).await.map_err(api_error)?;
    Ok(Json(json!({
        "content_uri": reserved.uri.to_string(),
        "unused_expires_at": reserved.expires,
    })))
}

/// Suspended users upload nothing.
fn uploader(caller: &Caller) -> Result<&Caller, ApiError> {
    match caller.is_suspended {
        true => Err(ApiError::user_suspended()),
        false => Ok(caller),
    }
}

fn head(content_type: Option<String>, file_name: Option<String>, headers: &HeaderMap) -> FileHead {
    let bytes = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    FileHead {
        content_type,
        file_name,
        bytes,
    }
}
