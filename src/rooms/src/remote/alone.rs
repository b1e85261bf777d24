//! Leaving where no server that is in the room does it for us: an invite can be declined without anybody else hearing of
//! it, say because all others have left.

use hearth_data::{RoomNo, members, timeline};
use hearth_event::canonical::{Object, Value};
use hearth_event::{Draft, Parents, Pdu, RoomVersion, build};
use ruma::events::room::member::MembershipState;
use ruma::{RoomId, UserId};

use super::import::Step;
use crate::membership::MemberAsk;
use crate::stage::admit::Intake;
use crate::{Result, Rooms, content};

impl Rooms {
    /// Ends an invite or a knock for the user alone.
    pub(crate) async fn leave_alone(&self, room_id: &RoomId, ask: &MemberAsk) -> Result<()> {
        let room = self.number(room_id).await?;
        let step = Step::Outside {
            user: ask.target.clone(),
            membership: MembershipState::Leave,
            event: self.lonely_leave(room, ask).await?,
            stripped_state: None,
            ended: None,
        };
        self.take_in(room, Intake::Import(Box::new(step))).await?;
        Ok(())
    }

    /// The leave that clients are shown; no other server ever is. It stands on what it ends: of the room no more is known.
    async fn lonely_leave(&self, room: RoomNo, ask: &MemberAsk) -> Result<Option<Pdu>> {
        let Some(ended) = self.last_member_event(room, &ask.target).await? else {
            return Ok(None);
        };
        let membership = Value::from(MembershipState::Leave.as_str());
        let mut leave = Object::from([("membership".to_owned(), membership)]);
        if let Some(reason) = &ask.reason {
            leave.insert("reason".to_owned(), reason.as_str().into());
        }
        let draft = Draft {
            sender: ask.target.clone(),
            kind: "m.room.member".to_owned(),
            state_key: Some(ask.target.to_string()),
            content: content::raw(&leave)?,
            redacts: None,
        };
        let id = ended.event_id().to_owned();
        let mut parents = Parents {
            room_id: Some(ended.room_id().to_owned()),
            prev_events: vec![id.clone()],
            auth_events: vec![id.clone()],
            depth: ended.depth().saturating_add(1),
            origin_server_ts: self.0.clock.now(),
            ..Parents::default()
        };
        if ended.version() <= RoomVersion::V2 {
            let hash = ended.reference_hash();
            parents.reference_hashes.insert(id, hash);
        }
        let settings = &self.0.settings;
        let (key, name) = (&settings.key, &settings.server_name);
        Ok(Some(build(&draft, &parents, ended.version(), key, name)?))
    }

    /// The event that made a user's membership what it is.
    pub(super) async fn last_member_event(
        &self,
        room: RoomNo,
        user: &UserId,
    ) -> Result<Option<Pdu>> {
        let snapshot = self.snapshot().await?;
        let Some(row) = members::user_room(&*snapshot, user.as_str(), room).await? else {
            return Ok(None);
        };
        let Some(look) = self.look(snapshot, room).await? else {
            return Ok(None);
        };
        let event = timeline::event(&*look.snapshot, room, row.event).await?;
        event.map(|(_, row)| look.pdu(&row)).transpose()
    }
}
