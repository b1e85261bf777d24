//! Routes from the metadata of endpoints.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use ruma::api::Metadata;
use ruma::api::path_builder::PathBuilder;

use crate::ApiError;

/// Registers a handler under every path, stable and unstable, of the endpoint `R`.
///
/// # Panics
///
/// When two handlers claim the same method and path, or the method is none that a server answers: both at the start,
/// never later.
pub fn route<R, H, T, S>(router: Router<S>, handler: H) -> Router<S>
where
    R: Metadata,
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    R::PATH_BUILDER.all_paths().fold(router, |router, path| {
        route_at::<R, H, T, S>(router, path, handler.clone())
    })
}

/// Registers a handler with the method of the endpoint `R` under one path, for paths that ruma leaves out, such as the
/// state event without a state key.
///
/// # Panics
///
/// As [`route`].
pub fn route_at<R, H, T, S>(router: Router<S>, path: &str, handler: H) -> Router<S>
where
    R: Metadata,
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    let method =
        MethodFilter::try_from(R::METHOD).expect("endpoints use the methods that axum can route");
    router.route(path, on(method, handler))
}

/// The answers for paths and methods that no endpoint has: 404 and 405 `M_UNRECOGNIZED`. To be called once, on the
/// whole router.
pub fn fallbacks<S>(router: Router<S>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    router
        .fallback(async || ApiError::unrecognized())
        .method_not_allowed_fallback(async || ApiError::wrong_method())
}
