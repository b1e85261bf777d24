//! Downloads, thumbnails, previews, and how large a file may be.

use std::time::Duration;

use axum::extract::{FromRef, State};
use axum::response::Response;
use axum::{Json, Router};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_media::{Media, MediaUri, Reach, ThumbnailSize};
use http::HeaderMap;
use ruma::ServerName;
use ruma::api::client::{authenticated_media as v1, media as v3};
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
    let ask = request.body;
    let wanted = Wanted::new(&ask.server_name, &ask.media_id, ask.timeout_ms)?;
    wanted.answer(&media, &headers).await
}

/// GET /_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}
async fn download_as(
    State(media): State<Media>,
    headers: HeaderMap,
    request: Ruma<v1::get_content_as_filename::v1::Request>,
) -> Result<Response, ApiError> {
    let ask = request.body;
    let wanted = Wanted::new(&ask.server_name, &ask.media_id, ask.timeout_ms)?;
    wanted.named(ask.filename).answer(&media, &headers).await
}

/// GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
async fn thumbnail(
    State(media): State<Media>,
    headers: HeaderMap,
    request: Ruma<v1::get_content_thumbnail::v1::Request>,
) -> Result<Response, ApiError> {
    let ask = request.body;
    let wanted = Wanted::new(&ask.server_name, &ask.media_id, ask.timeout_ms)?;
    let size = ThumbnailSize::asked((ask.width, ask.height), ask.method.as_ref(), ask.animated);
    wanted.small(size).answer(&media, &headers).await
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
    let ask = request.body;
    let wanted = Wanted::new(&ask.server_name, &ask.media_id, ask.timeout_ms)?;
    let wanted = wanted.for_anybody(ask.allow_remote);
    wanted.answer(&media, &headers).await
}

/// GET /_matrix/media/v3/download/{serverName}/{mediaId}/{fileName}
#[expect(deprecated, reason = "served to old clients where the settings say so")]
async fn legacy_as(
    State(media): State<Media>,
    headers: HeaderMap,
    request: Ruma<v3::get_content_as_filename::v3::Request>,
) -> Result<Response, ApiError> {
    let ask = request.body;
    let wanted = Wanted::new(&ask.server_name, &ask.media_id, ask.timeout_ms)?;
    let wanted = wanted.for_anybody(ask.allow_remote).named(ask.filename);
    wanted.answer(&media, &headers).await
}

/// GET /_matrix/media/v3/thumbnail/{serverName}/{mediaId}
#[expect(deprecated, reason = "served to old clients where the settings say so")]
async fn legacy_thumbnail(
    State(media): State<Media>,
    headers: HeaderMap,
    request: Ruma<v3::get_content_thumbnail::v3::Request>,
) -> Result<Response, ApiError> {
    let ask = request.body;
    let wanted = Wanted::new(&ask.server_name, &ask.media_id, ask.timeout_ms)?;
    let size = ThumbnailSize::asked((ask.width, ask.height), ask.method.as_ref(), ask.animated);
    let wanted = wanted.for_anybody(ask.allow_remote).small(size);
    wanted.answer(&media, &headers).await
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

/// What the six ways to ask for a file come to.
struct Wanted {
    uri: MediaUri,
    wait: Duration,
    reach: Reach,
    access: Access,
    file_name: Option<String>,
    size: Option<ThumbnailSize>,
}

impl Wanted {
    /// A file as it is, for users of this server.
    fn new(server: &ServerName, id: &str, wait: Duration) -> Result<Self, ApiError> {
        let uri = MediaUri::new(server, id);
        Ok(Self {
            uri: uri.ok_or_else(|| ApiError::not_found("No such file"))?,
            wait,
            reach: Reach::Anywhere,
            access: Access::Token,
            file_name: None,
            size: None,
        })
    }

    /// For whoever knows its name.
    fn for_anybody(mut self, allow_remote: bool) -> Self {
        self.access = Access::Anybody;
        if !allow_remote {
            self.reach = Reach::Here;
        }
        self
    }

    /// Under another name.
    fn named(mut self, name: String) -> Self {
        self.file_name = Some(name);
        self
    }

    /// Its thumbnail.
    fn small(mut self, size: ThumbnailSize) -> Self {
        self.size = Some(size);
        self
    }

    async fn answer(self, media: &Media, headers: &HeaderMap) -> Result<Response, ApiError> {
        let found = media.download(&self.uri, self.reach, self.wait).await;
        let mut found = found.map_err(api_error)?;
        if let Some(size) = self.size {
            found = media.thumbnail(&found, size).await.map_err(api_error)?;
        }
        if let Some(name) = self.file_name {
            found.file_name = Some(name).filter(|name| !name.is_empty());
        }
        answer(found, headers, self.access).await
    }
}
