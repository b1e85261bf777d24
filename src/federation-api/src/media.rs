//! Files of this server's users, for other servers.

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::response::Response;
use hearth_http::{ApiError, route};
use hearth_media::{Download, Error, Media, ThumbnailSize};
use http::{HeaderValue, StatusCode, header};
use ruma::api::federation::authenticated_media::{get_content, get_content_thumbnail};

use crate::{Door, Signed};

/// The parts that these handlers ask.
#[derive(Clone, FromRef)]
struct Parts {
    door: Door,
    media: Media,
}

/// The endpoints of media, apart from the others: a server without files goes without them.
pub fn media_router(door: Door, media: Media) -> Router {
    let router = route::<get_content::v1::Request, _, _, _>(Router::new(), download);
    let router = route::<get_content_thumbnail::v1::Request, _, _, _>(router, thumbnail);
    router.with_state::<()>(Parts { door, media })
}

/// GET /_matrix/federation/v1/media/download/{mediaId}
async fn download(
    State(media): State<Media>,
    request: Signed<get_content::v1::Request>,
) -> Result<Response, ApiError> {
    let ask = &request.body;
    let found = media.download_own(&ask.media_id, ask.timeout_ms).await;
    answer(found.map_err(media_error)?).await
}

/// GET /_matrix/federation/v1/media/thumbnail/{mediaId}
async fn thumbnail(
    State(media): State<Media>,
    request: Signed<get_content_thumbnail::v1::Request>,
) -> Result<Response, ApiError> {
    let ask = &request.body;
    let size = ThumbnailSize::asked((ask.width, ask.height), ask.method.as_ref(), ask.animated);
    let found = media.download_own(&ask.media_id, ask.timeout_ms).await;
    let found = found.map_err(media_error)?;
    answer(media.thumbnail(&found, size).await.map_err(media_error)?).await
}

/// `multipart/mixed`: an empty object, then the file.
async fn answer(file: Download) -> Result<Response, ApiError> {
    let (content_type, body) = file.into_parts().await.map_err(media_error)?;
    let mut response = Response::new(Body::from_stream(body));
    let content_type = HeaderValue::from_str(&content_type);
    let content_type = content_type.map_err(|error| ApiError::internal(&error))?;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

fn media_error(error: Error) -> ApiError {
    match error {
        Error::NotFound => ApiError::not_found("No such file"),
        Error::NotYetUploaded => ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            "M_NOT_YET_UPLOADED",
            "The file has not been uploaded yet",
        ),
        Error::NoThumbnail => ApiError::bad_request("There can be no thumbnail of this file"),
        Error::ImageTooLarge => ApiError::too_large("The image is too large for a thumbnail"),
        Error::Busy => ApiError::unavailable(&error),
        _ => ApiError::internal(&error),
    }
}
