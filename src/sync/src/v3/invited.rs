//! Rooms that the user is invited to or knocks on: stripped state only.

use hearth_data::members::{self, UserRoomRow};
use hearth_event::{Pdu, client};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Round;
use crate::Result;
use crate::json::JsonWriter;
use crate::room::RoomReader;

/// An invite; `None` if it comes from somebody whom the user ignores, or if she wants none.
pub(super) async fn invite(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    row: &UserRoomRow,
) -> Result<Option<String>> {
    let member = reader.stored(row.event).await?.map(|(_, _, pdu)| pdu);
    let is_ignored = member
        .as_ref()
        .is_some_and(|pdu| round.facts.ignored.contains(pdu.sender().as_str()));
    if is_ignored || round.facts.blocks_invites {
        return Ok(None);
    }
    stripped(round, reader, "invite_state", member)
        .await
        .map(Some)
}

/// A knock.
pub(super) async fn knock(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    row: &UserRoomRow,
) -> Result<Option<String>> {
    let member = reader.stored(row.event).await?.map(|(_, _, pdu)| pdu);
    stripped(round, reader, "knock_state", member)
        .await
        .map(Some)
}

async fn stripped(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    field: &str,
    member: Option<Pdu>,
) -> Result<String> {
    let stored = members::stripped_state(round.snapshot, round.user(), reader.no).await?;
    let text = stored.as_ref().map_or("[]", |json| json.text());
    let mut events: Vec<Box<RawValue>> = serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::error!(%error, room.id = %reader.name.id, "stored stripped state is no array");
        Vec::new()
    });
    if let Some(member) = member
        && !events.iter().any(|event| is_member(event, round.user()))
    {
        events.push(client::stripped(&member));
    }
    let mut json = JsonWriter::new();
    json.begin_object();
    json.events_field(field, &events);
    json.end_object();
    Ok(json.finish())
}

fn is_member(event: &RawValue, user: &str) -> bool {
    #[derive(Deserialize)]
    struct Stripped {
        #[serde(rename = "type")]
        kind: String,
        state_key: String,
    }
    serde_json::from_str::<Stripped>(event.get())
        .is_ok_and(|event| event.kind == "m.room.member" && event.state_key == user)
}
