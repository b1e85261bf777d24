//! The answer to a join of another server's user.

use hearth_data::{EventNo, RoomNo, StateId, federation, timeline};
use hearth_event::Pdu;
use hearth_event::canonical::quote;
use hearth_ports::remote::Members;
use ruma::events::room::member::MembershipState;
use serde_json::value::RawValue;

use crate::read::Look;
use crate::{Error, Result, Rooms, content};

/// How many members are named to those who are not told all, so that the room has a name.
const HEROES: usize = 5;
/// How many members are looked at for them.
const MEMBERS_LOOKED_AT: usize = 50;

impl Rooms {
    /// The body of a `send_join` answer: the state before the join, its auth chain, and the join itself.
    pub async fn join_answer(
        &self,
        room: RoomNo,
        before: StateId,
        event: &RawValue,
        members: Members,
    ) -> Result<String> {
        let snapshot = self.snapshot().await?;
        let look = self.look(snapshot, room).await?.ok_or(Error::NoSuchRoom)?;
        let all = look.numbers(before).await?;
        let state = match members {
            Members::All => all.clone(),
            Members::Omit => look.without_members(before).await?,
        };
        // What is in the state needs not be in the chain as well; an omitted member that something rests upon does.
        let without: &[EventNo] = match members {
            Members::All => &[],
            Members::Omit => &state,
        };
        let (mut rests_on, joining) = look.named_by(event).await?;
        rests_on.extend(&state);
        let mut chain = self.auth_chain(&look, &rests_on, without).await?;
        // So does a member that the join itself names.
        let named = rests_on.iter().filter(|event| !state.contains(event));
        chain.extend(named);
        chain.sort_unstable();
        chain.dedup();
        let origin = quote(self.server_name().as_str());
        let mut answer = format!("{{\"origin\":{origin},\"event\":{},\"state\":", event.get());
        look.write_events(&mut answer, &state).await?;
        answer.push_str(",\"auth_chain\":");
        look.write_events(&mut answer, &chain).await?;
        match members {
            Members::All => answer.push_str(",\"members_omitted\":false}"),
            Members::Omit => {
                let servers = federation::servers(&*look.snapshot, room).await?;
                answer.push_str(",\"members_omitted\":true,\"servers_in_room\":[");
                // Who is just coming in is not in it yet.
                for server in servers
                    .iter()
                    .filter(|server| Some(*server) != joining.as_ref())
                {
                    super::state::separate(&mut answer);
                    answer.push_str(&quote(server));
                }
                answer.push_str("]}");
            }
        }
        Ok(answer)
    }
}

impl Look {
    /// The events that a join names in its auth events, and the server of whoever joins, if nobody else of it is in the
    /// room.
    async fn named_by(&self, join: &RawValue) -> Result<(Vec<EventNo>, Option<String>)> {
        let join = Pdu::parse(self.version, join.get().as_bytes())
            .map_err(|error| Error::BadEvent(error.to_string()))?;
        let mut named = Vec::new();
        for id in join.auth_events() {
            let found = timeline::find(&*self.snapshot, id).await?;
            named.extend(
                found
                    .filter(|found| found.room == self.room)
                    .map(|found| found.event),
            );
        }
        let server = join.sender().server_name().to_string();
        let joined = federation::joined_of(&*self.snapshot, self.room, &server).await?;
        Ok((named, (joined <= 1).then_some(server)))
    }

    /// A state without its members, but for some joined ones if the room has no name.
    async fn without_members(&self, state: StateId) -> Result<Vec<EventNo>> {
        let entries = self
            .states()
            .entries_without_type(state, "m.room.member")
            .await?;
        let mut numbers: Vec<EventNo> = entries.into_iter().map(|entry| entry.event).collect();
        let has_name = self.state_event(state, "m.room.name", "").await?.is_some()
            || self
                .state_event(state, "m.room.canonical_alias", "")
                .await?
                .is_some();
        if !has_name {
            let members = self
                .states()
                .entries_of_type(state, "m.room.member")
                .await?;
            let some: Vec<EventNo> = members
                .into_iter()
                .map(|entry| entry.event)
                .take(MEMBERS_LOOKED_AT)
                .collect();
            let rows = timeline::events(&*self.snapshot, self.room, &some).await?;
            let mut heroes = 0;
            for row in rows {
                let membership = content::membership(&self.pdu(&row)?);
                let is_hero = matches!(
                    membership,
                    Some(MembershipState::Join | MembershipState::Invite)
                );
                if is_hero && heroes < HEROES {
                    heroes += 1;
                    numbers.push(row.event);
                }
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}
