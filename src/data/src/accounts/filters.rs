//! Filters that clients have uploaded, under an id made of their content.

use hearth_store::Snapshot;

use crate::Result;
use crate::row::Json;
use crate::tables::FILTERS;

/// How many filters a user can keep.
pub const FILTERS_MAX: usize = 500;

/// A filter.
pub async fn filter(snapshot: &dyn Snapshot, user: &str, filter_id: &str) -> Result<Option<Json>> {
    let key = (user.to_owned(), filter_id.to_owned());
    FILTERS.get(snapshot, &key).await
}

/// How many filters a user has, counted up to [`FILTERS_MAX`].
pub async fn count(snapshot: &dyn Snapshot, user: &str) -> Result<usize> {
    let range = FILTERS.prefix(&user.to_owned());
    Ok(snapshot.range(range, false, FILTERS_MAX).await?.len())
}
