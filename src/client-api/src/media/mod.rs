//! The endpoints of `media`: uploads, downloads, thumbnails, previews of links.
//!
//! Downloads need a token. The endpoints of old, which need none, are there only where the settings say so.

mod answer;
mod error;
mod fetch;
mod store;

use axum::Router;
use axum::extract::FromRef;
use hearth_http::Gate;
use hearth_media::Media;

/// All endpoints of this module.
pub fn router<S>(media: &Media) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Media: FromRef<S>,
{
    let mut router = Router::new().merge(store::router()).merge(fetch::router());
    if media.is_unauthenticated() {
        router = router.merge(fetch::legacy_router());
    }
    if media.makes_previews() {
        router = router.merge(fetch::preview_router());
        if media.is_unauthenticated() {
            router = router.merge(fetch::legacy_preview_router());
        }
    }
    router
}
