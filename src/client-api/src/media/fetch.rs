//! Downloads, thumbnails, previews, and how large a file may be.

use axum::extract::{FromRef, State};
use axum::response::Response;
use axum::{Json, Router};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_media::{Animation, Download, Fit, Media, MediaUri, ThumbnailSize};
use http::HeaderMap;
use ruma::ServerName;
use ruma::api::client::{authenticated_media as v1, media as v3};
use ruma::media::Method;
use serde_json::{Value, json};

use super::answer::{Access, answer};
use super::error::api_error;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Media: FromRef<S>,
{
    let router = Router::new();
    let router = route::<v1::get_content::v1::Request, _, _, _>(router, download);
    let router = route::<v1::get_content_as_filename::v1::Request, _, _, _>(router, download_as);
    let router = route::<v1::get_content_thumbnail::v1::Request, _, _, _>(router, thumbnail);
    route::<v1::get_media_config::v1::Request, _, _, _>(router, config)
}

pub(super) fn preview_router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Media: FromRef<S>,
{
    route::<v1::get_media_preview::v1::Request, _, _, _>(Router::new(), preview)
}

#[expect(deprecated, reason = "served to old clients where the settings say so")]
pub(super) fn legacy_router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Media: FromRef<S>,
{
    let router = Router::new();
    let router = route::<v3::get_content::v3::Request, _, _, _>(router, legacy_download);
    let router = route::<v3::get_content_as_filename::v3::Request, _, _, _>(router, legacy_as);
    let router = route::<v3::get_content_thumbnail::v3::Request, _, _, _>(router, legacy_thumbnail);
    route::<v3::get_media_config::v3::Request, _, _, _>(router, legacy_config)
}

#[expect(deprecated, reason = "served to old clients where the settings say so")]
pub(super) fn legacy_preview_router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Media: FromRef<S>,
{
    route::<v3::get_media_preview::v3::Request, _, _, _>(Router::new(), legacy_preview)
}

/// GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
async fn download(
    State(media): State<Media>,
    headers: HeaderMap,
    request: Ruma<v1::get_content::v1::Request>,
) -> Result<Response, ApiError> {
    let ask = &request.body;
    let uri = uri(&ask.server_name, &ask.media_id)?;
    let found = media.download(&uri, ask.timeout_ms).await;
    answer(found.map_err(api_error)?, &headers, Access::Token).await
}

/// GET /_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}
async fn download_as(
    State(media): State<Media>,
    headers: HeaderMap,
    request: Ruma<v1::get_content_as_filename::v1::Request>,
) -> Result<Response, ApiError> {
    let ask = &request.body;
    let uri = uri(&ask.server_name, &ask.media_id)?;
    let found = media.download(&uri, ask.timeout_ms).await;
    let found = named(found.map_err(api_error)?, &ask.filename);
    answer(found, &headers, Access::Token).await
}

/// GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
async fn thumbnail(
    State(media): State<Media>,
    headers: HeaderMap,
    request: Ruma<v1::get_content_thumbnail::v1::Request>,
) -> Result<Response, ApiError> {
    let ask = &request.body;
    let uri = uri(&ask.server_name, &ask.media_id)?;
    let size = size((ask.width, ask.height), ask.method.as_ref(), ask.animated);
    let found = media.thumbnail(&uri, size, ask.timeout_ms).await;
    answer(found.map_err(api_error)?, &headers, Access::Token).await
}

/// GET /_matrix/client/v1/media/config
async fn config(
    State(media): State<Media>,
    _: Ruma<v1::get_media_config::v1::Request>,
) -> Json<Value> {
    Json(json!({ "m.upload.size": media.upload_bytes_max() }))
}

/// GET /_matrix/client/v1/media/preview_url
async fn preview(
    State(media): State<Media>,
    request: Ruma<v1::get_media_preview::v1::Request>,
) -> Result<RawJson, ApiError> {
    let json = media.preview(&request.body.url).await.map_err(api_error)?;
    Ok(RawJson(json.into()))
}

/// GET /_matrix/media/v3/download/{serverName}/{mediaId}
#[expect(deprecated, reason = "served to old clients where the settings say so")]
async fn legacy_download(
    State(media): State<Media>,
    headers: HeaderMap,
    request: Ruma<v3::get_content::v3::Request>,
) -> Result<Response, ApiError> {
    let ask = &request.body;
    let uri = uri(&ask.server_name, &ask.media_id)?;
    let found = match ask.allow_remote {
        true => media.download(&uri, ask.timeout_ms).await,
        false => media.download_kept(&uri, ask.timeout_ms).await,
    };
    answer(found.map_err(api_error)?, &headers, Access::Anybody).await
}

/// GET /_matrix/media/v3/download/{serverName}/{mediaId}/{fileName}
#[expect(deprecated, reason = "served to old clients where the settings say so")]
async fn legacy_as(
    State(media): State<Media>,
    headers: HeaderMap,
    request: Ruma<v3::get_content_as_filename::v3::Request>,
) -> Result<Response, ApiError> {
    let ask = &request.body;
    let uri = uri(&ask.server_name, &ask.media_id)?;
    let found = match ask.allow_remote {
        true => media.download(&uri, ask.timeout_ms).await,
        false => media.download_kept(&uri, ask.timeout_ms).await,
    };
    let found = named(found.map_err(api_error)?, &ask.filename);
    answer(found, &headers, Access::Anybody).await
}

/// GET /_matrix/media/v3/thumbnail/{serverName}/{mediaId}
#[expect(deprecated, reason = "served to old clients where the settings say so")]
async fn legacy_thumbnail(
    State(media): State<Media>,
    headers: HeaderMap,
    request: Ruma<v3::get_content_thumbnail::v3::Request>,
) -> Result<Response, ApiError> {
    let ask = &request.body;
    let uri = uri(&ask.server_name, &ask.media_id)?;
    let size = size((ask.width, ask.height), ask.method.as_ref(), ask.animated);
    let found = match ask.allow_remote {
        true => media.thumbnail(&uri, size, ask.timeout_ms).await,
        false => media.thumbnail_kept(&uri, size, ask.timeout_ms).await,
    };
    answer(found.map_err(api_error)?, &headers, Access::Anybody).await
}

/// GET /_matrix/media/v3/config
#[expect(deprecated, reason = "served to old clients where the settings say so")]
async fn legacy_config(
    State(media): State<Media>,
    _: Ruma<v3::get_media_config::v3::Request>,
) -> Json<Value> {
    Json(json!({ "m.upload.size": media.upload_bytes_max() }))
}

/// GET /_matrix/media/v3/preview_url
#[expect(deprecated, reason = "served to old clients where the settings say so")]
async fn legacy_preview(
    State(media): State<Media>,
    request: Ruma<v3::get_media_preview::v3::Request>,
) -> Result<RawJson, ApiError> {
    let json = media.preview(&request.body.url).await.map_err(api_error)?;
    Ok(RawJson(json.into()))
}

fn uri(server: &ServerName, id: &str) -> Result<MediaUri, ApiError> {
    MediaUri::new(server, id).ok_or_else(|| ApiError::not_found("No such file"))
}

fn named(mut found: Download, name: &str) -> Download {
    found.file_name = Some(name.to_owned()).filter(|name| !name.is_empty());
    found
}

fn size(
    (width, height): (ruma::UInt, ruma::UInt),
    method: Option<&Method>,
    animated: Option<bool>,
) -> ThumbnailSize {
    let pixels = |length: ruma::UInt| u32::try_from(length).unwrap_or(u32::MAX);
    ThumbnailSize {
        width: pixels(width),
        height: pixels(height),
        fit: match method {
            Some(Method::Crop) => Fit::Crop,
            _ => Fit::Scale,
        },
        animation: match animated {
            Some(true) => Animation::Moving,
            _ => Animation::Still,
        },
    }
}
