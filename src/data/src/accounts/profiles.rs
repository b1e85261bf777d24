//! Profiles of local users: one row each, a JSON object of all fields.

use bytes::Bytes;
use hearth_store::{Snapshot, Value, ValueError};
use serde_json::Map;

use crate::Result;
use crate::tables::PROFILES;

const VERSION: u8 = 1;

/// A profile: the fields in the order of their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProfileRow(pub Map<String, serde_json::Value>);

impl ProfileRow {
    /// The display name, if there is one.
    pub fn displayname(&self) -> Option<&str> {
        self.0.get("displayname")?.as_str()
    }

    /// The avatar's `mxc:` address, if there is one.
    pub fn avatar_url(&self) -> Option<&str> {
        self.0
            .get("avatar_url")?
            .as_str()
            .filter(|url| !url.is_empty())
    }

    /// The profile as JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_else(|_| "{}".to_owned())
    }
}

impl Value for ProfileRow {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(self.json().as_bytes());
        out
    }

    fn decode(bytes: &Bytes) -> Result<Self, ValueError> {
        match bytes.split_first() {
            Some((&VERSION, json)) => serde_json::from_slice(json)
                .map(Self)
                .map_err(|error| ValueError(error.to_string())),
            _ => Err(ValueError("not a profile row of version 1".to_owned())),
        }
    }
}

/// Profiles in the order of their users' ids, after a given one (`""`: from the beginning), at most `limit`.
pub async fn after(
    snapshot: &dyn Snapshot,
    after: &str,
    limit: usize,
) -> Result<Vec<(String, ProfileRow)>> {
    let mut range = PROFILES.prefix(&());
    if !after.is_empty() {
        range.from = PROFILES.prefix(&after.to_owned()).to;
    }
    PROFILES.range(snapshot, range, limit).await
}

/// A local user's profile. Every user has one, an empty one if nothing is set.
pub async fn profile(snapshot: &dyn Snapshot, user: &str) -> Result<Option<ProfileRow>> {
    PROFILES.get(snapshot, &user.to_owned()).await
}
