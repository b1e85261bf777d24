//! The history of a user's push rules: a change of the rules does not change the counts of the past, so the rules
//! that were valid at an event's position have to be found. The newest ones are also account data `m.push_rules`.

use hearth_store::{Batch, Position, Snapshot};

use crate::Result;
use crate::row::Json;
use crate::tables::PUSH_RULES_AT;

/// The type of the account data that holds the rules in force.
pub const TYPE: &str = "m.push_rules";

/// How many versions are kept per user; older events are counted by the oldest one kept.
pub const VERSIONS_MAX: usize = 32;

/// The versions of a user's rules with the position from which on each was in force, oldest first. Contents of
/// `m.push_rules`: `{"global": …}`.
pub async fn history(snapshot: &dyn Snapshot, user: &str) -> Result<Vec<(Position, Json)>> {
    let range = PUSH_RULES_AT.prefix(&user.to_owned());
    let rows = PUSH_RULES_AT.range(snapshot, range, VERSIONS_MAX).await?;
    Ok(rows
        .into_iter()
        .map(|((_, position, ()), json)| (position, json))
        .collect())
}

/// The rules in force at a position: the newest version not after it, or the oldest one if all are newer.
pub async fn at(snapshot: &dyn Snapshot, user: &str, position: Position) -> Result<Option<Json>> {
    let user = user.to_owned();
    let before = PUSH_RULES_AT.between(&user, &(user.clone(), position.next()));
    let newest = PUSH_RULES_AT.range_reverse(snapshot, before, 1).await?;
    if let Some((_, json)) = newest.into_iter().next() {
        return Ok(Some(json));
    }
    let oldest = PUSH_RULES_AT
        .range(snapshot, PUSH_RULES_AT.prefix(&user), 1)
        .await?;
    Ok(oldest.into_iter().next().map(|(_, json)| json))
}

/// Writes a new version; `history` is what was loaded, of which the oldest go when there are too many.
pub fn put(batch: &mut Batch, user: &str, history: &[(Position, Json)], rules: &Json) {
    let user = user.to_owned();
    let surplus = (history.len() + 1).saturating_sub(VERSIONS_MAX);
    for (position, _) in &history[..surplus] {
        PUSH_RULES_AT.delete(batch, &(user.clone(), *position, ()));
    }
    PUSH_RULES_AT.put_at_position(batch, &user, &(), rules);
}

/// Removes all versions of a user's rules.
pub fn clear(batch: &mut Batch, user: &str) {
    PUSH_RULES_AT.delete_range(batch, PUSH_RULES_AT.prefix(&user.to_owned()));
}
