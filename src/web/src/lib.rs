//! The web client: its files, in the binary or from a folder, and the headers under which browsers run them.
//!
//! Main types: [`Source`], where the files come from; [`router`], which serves them at `/`. The files themselves are in
//! `client/`: ES modules and style sheets that browsers run as they are.
//!
//! `/` is the page, asked for again each time; all else is under `/assets/<version>/`, where the version is a hash of all
//! files together, and may be kept for ever. So a module and what it imports are always of one version.
//!
//! Knows no endpoint of Matrix: the client speaks to the public ones, as any other client does.

mod files;
mod page;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use crate::files::Files;

/// Where the files of the web client come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Those in the binary.
    BuiltIn,
    /// Those of a folder, read for each request: for whoever works on them or has a client of her own.
    Folder(PathBuf),
}

/// The page at `/` and what it is made of.
pub fn router(source: Source) -> Router {
    let files = match source {
        Source::BuiltIn => Files::built_in(),
        Source::Folder(folder) => Files::folder(folder),
    };
    Router::new()
        .route("/", get(page::index))
        .route("/assets/{version}/{*path}", get(page::asset))
        .with_state(Arc::new(files))
}
