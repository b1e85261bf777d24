//! What clients want to know of other servers and their users.

use std::fmt::Write as _;

use hearth_event::canonical::quote;
use ruma::{ServerName, UserId};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::remote::encoded;
use crate::{Ask, Client, Error, Result};

/// Largest profile, in bytes: that of a profile of 64 KiB, with room for escapes.
const PROFILE_BYTES_MAX: u64 = 256 << 10;
/// Largest page of a directory.
const DIRECTORY_BYTES_MAX: u64 = 4 << 20;

impl Client {
    /// A user's profile as her server tells it; nothing if it does not know her.
    pub async fn profile(&self, user: &UserId) -> Result<Option<Map<String, Value>>> {
        let mut uri = "/_matrix/federation/v1/query/profile".to_owned();
        // Writing to a string does not fail.
        let _ = write!(uri, "?user_id={}", encoded(user.as_str()));
        let ask = Ask {
            bytes_max: PROFILE_BYTES_MAX,
            ..Ask::get(uri)
        };
        match self.json(user.server_name(), ask).await {
            Ok(profile) => Ok(Some(profile)),
            Err(Error::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A page of a server's directory, as its answer has it. `filter` is a JSON object of a client.
    pub async fn public_rooms(
        &self,
        server: &ServerName,
        (limit, since): (Option<u64>, Option<&str>),
        filter: Option<&RawValue>,
    ) -> Result<Map<String, Value>> {
        let uri = "/_matrix/federation/v1/publicRooms".to_owned();
        let mut fields = Vec::new();
        fields.extend(limit.map(|limit| format!("\"limit\":{limit}")));
        fields.extend(since.map(|since| format!("\"since\":{}", quote(since))));
        fields.extend(filter.map(|filter| format!("\"filter\":{}", filter.get())));
        let ask = Ask {
            bytes_max: DIRECTORY_BYTES_MAX,
            ..Ask::post(uri, format!("{{{}}}", fields.join(",")))
        };
        self.json(server, ask).await
    }
}
