//! The only way to write an event: its row, its indexes, membership, relation and state in one batch.

use std::collections::BTreeSet;

use bytes::Bytes;
use hearth_event::Pdu;
use hearth_store::{Batch, Position, PositionedValue, Value, ValueError};
use ruma::OwnedEventId;
use ruma::events::room::member::MembershipState;
use serde::{Deserialize, Serialize};

use crate::changes::Change;
use crate::e2ee::device_lists::{self, NewcomerRow};
use crate::members::{MemberRow, THIS_COMMIT, UserRoomRow, put_user_room};
use crate::relations::{RelationRow, ThreadRow, put_thread};
use crate::rooms::{Extremity, RoomHead};
use crate::row::{join_position, split_position};
use crate::tables::{
    EVENT_IDS, MEMBERS, OUTLIERS, RELATIONS, ROOM_HEADS, ROOM_POSITIONS, ROOM_STATES,
    STRIPPED_STATE, TIMELINE, WHEREABOUTS,
};
use crate::timeline::{EventRef, Whereabouts};
use crate::{EventNo, Place, RoomNo, StateId};

/// How an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// Known only as somebody's auth event or the like: not in the room's history.
    Outlier,
    /// Part of the room.
    Accepted,
    /// Allowed where it was sent, not by the current state; not shown to clients.
    SoftFailed,
    /// Against the auth rules.
    Rejected,
}

/// The client's request that made an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnRef {
    /// The sender's device.
    pub device: String,
    /// Its transaction id, for `unsigned.transaction_id`.
    pub txn_id: String,
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// Its identity in the room.
    pub event: EventNo,
    /// Its id.
    pub event_id: OwnedEventId,
    /// How it stands.
    pub standing: Standing,
    /// The state before it.
    pub state_before: StateId,
    /// The state after it; the same unless it is an accepted state event.
    pub state_after: StateId,
    /// The redaction that took its content away.
    pub redacted_by: Option<EventNo>,
    /// The request that made it, if it was one of ours.
    pub txn: Option<TxnRef>,
    /// The event in federation format: as received or built, or as redacted.
    #[serde(skip)]
    pub json: Bytes,
    /// The commit at which it was written.
    #[serde(skip)]
    pub position: Position,
}

const EVENT_ROW_VERSION: u8 = 1;

impl Value for EventRow {
    fn encode(&self) -> Vec<u8> {
        join_position(self.encode_head(), self.position)
    }

    fn decode(bytes: &Bytes) -> Result<Self, ValueError> {
        let (body, position) = split_position(bytes)?;
        if body.first() != Some(&EVENT_ROW_VERSION) {
            return Err(ValueError("not an event row of version 1".to_owned()));
        }
        let (row, json) = postcard::take_from_bytes::<Self>(&body[1..])
            .map_err(|error| ValueError(error.to_string()))?;
        let json = body.slice_ref(json);
        Ok(Self {
            json,
            position,
            ..row
        })
    }
}

impl PositionedValue for EventRow {
    fn encode_head(&self) -> Vec<u8> {
        let mut head = crate::row::encode_row(EVENT_ROW_VERSION, self);
        head.extend_from_slice(&self.json);
        head
    }
}

/// A change of the current state's members that an accepted event makes.
#[derive(Clone, Debug)]
pub struct MemberChange {
    /// Whose membership.
    pub user: String,
    /// What it was in the current state.
    pub before: Option<MembershipState>,
    /// What it is now.
    pub after: MembershipState,
    /// The user made it so herself, or nobody did.
    pub is_own: bool,
    /// For a user of this server: her view of the room as loaded (or as staged in this batch), and stripped state
    /// for an invite or a knock.
    pub local: Option<LocalMember>,
}

/// The part of a [`MemberChange`] that only local users have.
#[derive(Clone, Debug)]
pub struct LocalMember {
    /// Her row before.
    pub before: Option<UserRoomRow>,
    /// A JSON array of stripped state, for an invite or a knock.
    pub stripped_state: Option<crate::row::Json>,
}

/// A relation to an event that is here.
#[derive(Clone, Debug)]
pub struct RelatesTo {
    /// The target.
    pub target: EventNo,
    /// The relation; its `event` is filled in.
    pub rel_type: String,
    /// The `key` of an annotation.
    pub key: Option<String>,
    /// For `m.thread`: the thread as loaded (or as staged in this batch), `Some(None)` if this is its first event.
    pub thread: Option<Option<ThreadRow>>,
}

/// An event that was decided upon, with all that had to be known to write it.
#[derive(Clone, Debug)]
pub struct Admitted<'a> {
    /// The event.
    pub pdu: &'a Pdu,
    /// The verdict. Outliers go through [`append_outlier`].
    pub standing: Standing,
    /// The state before it.
    pub state_before: StateId,
    /// The state after it.
    pub state_after: StateId,
    /// The room's current state with it.
    pub current_state: StateId,
    /// The extremities that it replaces.
    pub replaces: &'a [EventNo],
    /// The request that made it.
    pub txn: Option<TxnRef>,
    /// Its change of membership, if it changes the current state's.
    pub member: Option<MemberChange>,
    /// Its relation to an event that is here.
    pub relates_to: Option<RelatesTo>,
}

/// The batch of one room that is being built: all its events, then one head and one log row.
#[derive(Debug)]
pub struct RoomBatch {
    /// The room.
    pub room: RoomNo,
    /// The head as it will be.
    pub head: RoomHead,
    loaded: Option<RoomHead>,
    changes: Vec<Change>,
    /// Local users who joined, and others whose devices servers are to be told of.
    newcomers: Vec<NewcomerRow>,
    index: u32,
    batch: Batch,
}

impl RoomBatch {
    /// A batch on a room's head as loaded, or on a new room (`loaded` is `None`, then `head` is [`RoomHead::new`]).
    pub fn new(room: RoomNo, loaded: Option<RoomHead>, head: RoomHead) -> Self {
        Self {
            room,
            head,
            loaded,
            changes: Vec::new(),
            newcomers: Vec::new(),
            index: 0,
            batch: Batch::new(),
        }
    }

    /// The operations so far, for rows of the same decision: state, reachability, transaction ids, riders.
    pub fn ops(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Adds to the log row of this commit.
    pub fn record(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// The number that the next event will get.
    pub fn next_event(&self) -> EventNo {
        EventNo(self.head.next_event)
    }

    /// How many bytes and operations it has, to stay within the backend's limits.
    pub fn size(&self) -> (usize, usize) {
        (self.batch.bytes(), self.batch.ops().len())
    }

    /// Has servers that did not count as being in the room told of the devices of users of this server.
    pub fn introduce(
        &mut self,
        users: impl IntoIterator<Item = String>,
        servers: &BTreeSet<String>,
    ) {
        let room = self.room;
        let rows = users.into_iter().map(|user| NewcomerRow {
            user,
            room,
            servers: servers.clone(),
        });
        self.newcomers.extend(rows);
    }

    /// The whole batch: fails with `Conflict` if the room's head is not as it was loaded.
    pub fn finish(mut self) -> (Batch, RoomHead) {
        assert!(
            !self.head.extremities.is_empty() || self.head.next_place == 1,
            "a room with events has extremities"
        );
        ROOM_HEADS.expect(&mut self.batch, &self.room, self.loaded.as_ref());
        ROOM_HEADS.put_position(&mut self.batch, &self.room, &self.head);
        let state_before = self.loaded.as_ref().map(|head| head.state);
        if state_before != Some(self.head.state) {
            ROOM_STATES.put_at_position(&mut self.batch, &self.room, &(), &self.head.state);
            let room = self.room;
            let is_event =
                |change: &Change| matches!(change, Change::Event { room: of, .. } if *of == room);
            if !self.changes.iter().any(is_event) {
                self.changes.push(Change::State { room });
            }
        }
        let has_others = self.head.joined > self.head.joined_local;
        let mut newcomers = self.newcomers;
        newcomers.retain(|row| has_others || !row.servers.is_empty());
        device_lists::newcomers_put(&mut self.batch, newcomers);
        crate::changes::record(&mut self.batch, self.changes);
        (self.batch, self.head)
    }
}

/// Writes a live event. Returns its number and place.
pub fn append(to: &mut RoomBatch, admitted: Admitted<'_>) -> (EventNo, Place) {
    let number = new_number(to, admitted.pdu);
    let place = next_place(to);
    write_placed(to, &admitted, number, place);
    if admitted.standing == Standing::Accepted {
        accept(to, &admitted, number, place);
    }
    (number, place)
}

/// Writes an event that is known as an outlier, or was rejected at a place, as a live event. It keeps its number.
pub fn promote(
    to: &mut RoomBatch,
    admitted: Admitted<'_>,
    (number, was): (EventNo, Whereabouts),
) -> Place {
    remove_row(to, number, was);
    let place = next_place(to);
    write_placed(to, &admitted, number, place);
    if admitted.standing == Standing::Accepted {
        accept(to, &admitted, number, place);
    }
    place
}

/// Writes an event of the past at a place in a gap: it is no news, no extremity, and changes no current state.
/// `known` is its number and where it is, if it is an outlier.
pub fn append_past(
    to: &mut RoomBatch,
    admitted: &Admitted<'_>,
    place: Place,
    known: Option<(EventNo, Whereabouts)>,
) -> EventNo {
    let number = match known {
        Some((number, was)) => {
            remove_row(to, number, was);
            number
        }
        None => new_number(to, admitted.pdu),
    };
    write_placed(to, admitted, number, place);
    number
}

fn new_number(to: &mut RoomBatch, pdu: &Pdu) -> EventNo {
    let number = EventNo(to.head.next_event);
    to.head.next_event += 1;
    let id = pdu.event_id().to_string();
    let row = EventRef {
        room: to.room,
        event: number,
    };
    EVENT_IDS.expect(&mut to.batch, &id, None);
    EVENT_IDS.put(&mut to.batch, &id, &row);
    number
}

fn next_place(to: &mut RoomBatch) -> Place {
    let place = Place(to.head.next_place);
    to.head.next_place += 1;
    place
}

fn remove_row(to: &mut RoomBatch, number: EventNo, was: Whereabouts) {
    match was {
        Whereabouts::Outlier => OUTLIERS.delete(&mut to.batch, &(to.room, number)),
        Whereabouts::Placed(place) => TIMELINE.delete(&mut to.batch, &(to.room, place)),
    }
}

fn write_placed(to: &mut RoomBatch, admitted: &Admitted<'_>, number: EventNo, place: Place) {
    let row = EventRow {
        event: number,
        event_id: admitted.pdu.event_id().to_owned(),
        standing: admitted.standing,
        state_before: admitted.state_before,
        state_after: admitted.state_after,
        redacted_by: None,
        txn: admitted.txn.clone(),
        json: admitted.pdu.json().clone(),
        position: Position::ZERO,
    };
    let room = to.room;
    WHEREABOUTS.put(&mut to.batch, &(room, number), &Whereabouts::Placed(place));
    TIMELINE.put_position(&mut to.batch, &(room, place), &row);
    if let Some(relation) = &admitted.relates_to {
        relate(to, admitted.pdu, relation, number, place);
    }
}

/// What only an accepted event does: it becomes visible, an extremity, and part of the state.
fn accept(to: &mut RoomBatch, admitted: &Admitted<'_>, number: EventNo, place: Place) {
    let index = to.index;
    to.index += 1;
    ROOM_POSITIONS.put_at_position(&mut to.batch, &to.room, &index, &place);
    to.head
        .extremities
        .retain(|extremity| !admitted.replaces.contains(&extremity.event));
    to.head.extremities.push(Extremity {
        event: number,
        event_id: admitted.pdu.event_id().to_owned(),
        state_after: admitted.state_after,
    });
    to.head.depth = to.head.depth.max(admitted.pdu.depth());
    to.head.state = admitted.current_state;
    if let Some(member) = &admitted.member {
        write_member(to, member, number);
    }
    to.changes.push(Change::Event {
        room: to.room,
        event: number,
    });
}

fn relate(to: &mut RoomBatch, pdu: &Pdu, relation: &RelatesTo, number: EventNo, place: Place) {
    let row = RelationRow {
        event: number,
        rel_type: relation.rel_type.clone(),
        kind: pdu.kind().to_owned(),
        sender: pdu.sender().to_string(),
        key: relation.key.clone(),
    };
    RELATIONS.put(&mut to.batch, &(to.room, relation.target, place), &row);
    if let Some(before) = &relation.thread {
        let count = before.as_ref().map_or(0, |thread| thread.count) + 1;
        // An event of the past is not the thread's latest.
        let (latest, latest_place) = match before {
            Some(before) if before.latest_place > place => (before.latest, before.latest_place),
            _ => (number, place),
        };
        let thread = ThreadRow {
            latest,
            latest_place,
            count,
        };
        put_thread(
            &mut to.batch,
            to.room,
            relation.target,
            before.as_ref(),
            &thread,
        );
    }
}

/// Writes a membership of the current state: rows on both sides, counts in the head.
pub fn write_member(to: &mut RoomBatch, change: &MemberChange, event: EventNo) {
    count_member(&mut to.head, change);
    let row = MemberRow {
        membership: change.after.clone(),
        event,
        position: Position::ZERO,
    };
    MEMBERS.put_position(&mut to.batch, &(to.room, change.user.clone()), &row);
    let joined = change.after == MembershipState::Join;
    let was_joined = change.before == Some(MembershipState::Join);
    let moves = (was_joined, joined);
    let member = (change.user.as_str(), change.is_own);
    crate::federation::count_member(&mut to.batch, to.room, member, moves, event);
    to.changes.push(Change::Member {
        room: to.room,
        user: change.user.clone(),
        joined,
    });
    let Some(local) = &change.local else { return };
    if joined && !was_joined {
        if to.head.joined_local == 1 {
            crate::federation::home_begins(&mut to.batch, to.room, event);
        }
        to.newcomers.push(NewcomerRow {
            user: change.user.clone(),
            room: to.room,
            servers: BTreeSet::new(),
        });
    }
    let before = local.before.as_ref();
    let user_row = UserRoomRow {
        membership: change.after.clone(),
        event,
        forgotten: false,
        position: Position::ZERO,
    };
    put_user_room(&mut to.batch, &change.user, to.room, before, &user_row);
    let key = (change.user.clone(), to.room);
    match &local.stripped_state {
        Some(state) => STRIPPED_STATE.put(&mut to.batch, &key, state),
        None => STRIPPED_STATE.delete(&mut to.batch, &key),
    }
}

/// Takes a member out of the current state, which state resolution can do: `change` says left, `event` is the one that
/// is gone.
pub fn remove_member(to: &mut RoomBatch, change: &MemberChange, event: EventNo) {
    write_member(to, change, event);
    MEMBERS.delete(&mut to.batch, &(to.room, change.user.clone()));
}

fn count_member(head: &mut RoomHead, change: &MemberChange) {
    let is_local = change.local.is_some();
    if change.before == Some(MembershipState::Join) {
        head.joined = head.joined.saturating_sub(1);
        head.joined_local = head.joined_local.saturating_sub(u64::from(is_local));
    }
    if change.before == Some(MembershipState::Invite) {
        head.invited = head.invited.saturating_sub(1);
    }
    if change.after == MembershipState::Join {
        head.joined += 1;
        head.joined_local += u64::from(is_local);
    }
    if change.after == MembershipState::Invite {
        head.invited += 1;
    }
}

/// Writes an event that is known but has no place in the room's history.
pub fn append_outlier(to: &mut RoomBatch, pdu: &Pdu, standing: Standing) -> EventNo {
    let number = new_number(to, pdu);
    let row = EventRow {
        event: number,
        event_id: pdu.event_id().to_owned(),
        standing,
        state_before: StateId::EMPTY,
        state_after: StateId::EMPTY,
        redacted_by: None,
        txn: None,
        json: pdu.json().clone(),
        position: Position::ZERO,
    };
    WHEREABOUTS.put(&mut to.batch, &(to.room, number), &Whereabouts::Outlier);
    OUTLIERS.put_position(&mut to.batch, &(to.room, number), &row);
    number
}

/// Puts the redacted form in an event's place. Its effect on the state stays. `row` is as loaded, or as staged in
/// this batch with the position [`crate::members::THIS_COMMIT`].
pub fn redact(to: &mut RoomBatch, place: Place, row: &EventRow, redacted: &Pdu, by: EventNo) {
    let row = EventRow {
        json: redacted.json().clone(),
        redacted_by: Some(by),
        ..row.clone()
    };
    if row.position == THIS_COMMIT {
        TIMELINE.put_position(&mut to.batch, &(to.room, place), &row);
    } else {
        TIMELINE.put(&mut to.batch, &(to.room, place), &row);
    }
}
