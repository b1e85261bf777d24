//! Uploads.

use std::time::Duration;

use axum::extract::{FromRef, State};
use axum::{Json, Router};
use futures_util::StreamExt;
use hearth_http::{ApiError, Gate, Ruma, RumaBody, route};
use hearth_media::{Error, FileHead, Media, MediaUri};
use hearth_ports::ByteStream;
use hearth_types::Caller;
use http::{HeaderMap, header};
use ruma::api::client::media::{create_content, create_content_async, create_mxc_uri};
use serde_json::{Value, json};

use super::error::api_error;

/// What is read of the body of a refused upload, in bytes, and for how long.
const REFUSED_BYTES_MAX: u64 = 256 << 20;
const REFUSED_TIME_MAX: Duration = Duration::from_secs(10);

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
    let RumaBody { ruma, mut body } = request;
    let caller = uploader(ruma.caller()?)?;
    let head = head(
        ruma.body.content_type.clone(),
        ruma.body.filename.clone(),
        &headers,
    );
    let uri = media.upload(&caller.user, head, &mut body).await;
    let uri = taken(uri, body).await?;
    Ok(Json(json!({ "content_uri": uri.to_string() })))
}

/// PUT /_matrix/media/v3/upload/{serverName}/{mediaId}
async fn upload_reserved(
    State(media): State<Media>,
    headers: HeaderMap,
    request: RumaBody<create_content_async::v3::Request>,
) -> Result<Json<Value>, ApiError> {
    let RumaBody { ruma, mut body } = request;
    let caller = uploader(ruma.caller()?)?;
    let ask = &ruma.body;
    let uri = MediaUri::new(&ask.server_name, &ask.media_id);
    let uri = uri.ok_or_else(|| ApiError::not_found("No such file"))?;
    let head = head(ask.content_type.clone(), ask.filename.clone(), &headers);
    let done = media.upload_reserved(&caller.user, &uri, head, &mut body);
    let done = done.await;
    taken(done, body).await?;
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

/// The result of an upload. What is left of the body of a refused one is read first: a client that is still sending when
/// the connection closes sees a broken connection, and never learns why.
async fn taken<T>(result: Result<T, Error>, mut body: ByteStream) -> Result<T, ApiError> {
    let error = match result {
        Ok(taken) => return Ok(taken),
        Err(error) => error,
    };
    if !matches!(error, Error::Incomplete(_)) {
        let read = tokio::time::timeout(REFUSED_TIME_MAX, async {
            let mut left = REFUSED_BYTES_MAX;
            while let Some(Ok(piece)) = body.next().await {
                left = left.saturating_sub(piece.len() as u64);
                if left == 0 {
                    break;
                }
            }
        });
        if read.await.is_err() {
            tracing::debug!("a refused upload did not end in time");
        }
    }
    Err(api_error(error))
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
