//! Reading single events and the state of a room, as far as the reader may see them.

use std::ops::Deref;
use std::sync::Arc;

use hearth_data::append::{EventRow, Standing};
use hearth_data::members::{self, UserRoomRow};
use hearth_data::rooms::{self, RoomHead};
use hearth_data::state::{StateView, States};
use hearth_data::timeline::{self, EventRef};
use hearth_data::{EventNo, Place, RoomNo, StateId};
use hearth_event::client::{self, Unsigned};
use hearth_event::{Pdu, PowerLevels, RoomVersion};
use hearth_store::Snapshot;
use hearth_types::UnixMs;
use ruma::events::room::member::MembershipState;
use ruma::{EventId, OwnedUserId, RoomId, UserId};
use serde_json::value::RawValue;

use crate::members::At;
use crate::visible::View;
use crate::{Error, Result, Rooms, Sender};

/// How many events before and after a moment are looked at to find one that was accepted.
const AROUND_MAX: usize = 16;

/// How a state event is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateFormat {
    /// Its content.
    #[default]
    Content,
    /// The whole event in the client format.
    Event,
}

/// A room at one moment.
pub(crate) struct Look {
    pub(crate) snapshot: Arc<dyn Snapshot>,
    pub(crate) states: Arc<States>,
    pub(crate) room: RoomNo,
    pub(crate) head: RoomHead,
    pub(crate) version: RoomVersion,
}

/// A user who reads a room, at one moment.
pub(crate) struct Reader {
    look: Look,
    pub(crate) user: OwnedUserId,
    /// Her view of the room; `None` if she never had to do with it.
    pub(crate) membership: Option<UserRoomRow>,
}

impl Deref for Reader {
    type Target = Look;

    fn deref(&self) -> &Look {
        &self.look
    }
}

/// A room in which somebody of this server is: of others it only knows how they once were.
pub(crate) async fn followed(snapshot: &dyn Snapshot, room_id: &RoomId) -> Result<Option<RoomNo>> {
    let Some(room) = rooms::number(snapshot, room_id).await? else {
        return Ok(None);
    };
    let head = rooms::head(snapshot, room).await?;
    Ok(head.filter(|head| head.joined_local > 0).map(|_| room))
}

impl Rooms {
    /// A room as a snapshot shows it, to nobody in particular.
    pub(crate) async fn look(
        &self,
        snapshot: Arc<dyn Snapshot>,
        room: RoomNo,
    ) -> Result<Option<Look>> {
        let Some(head) = rooms::head(&*snapshot, room).await? else {
            return Ok(None);
        };
        let version = RoomVersion::new(&head.version)
            .ok_or_else(|| Error::UnsupportedVersion(head.version.to_string()))?;
        Ok(Some(Look {
            snapshot,
            states: self.0.states.clone(),
            room,
            head,
            version,
        }))
    }

    /// A room as it is now, seen by a user. Unknown rooms look as rooms that one was never in.
    pub(crate) async fn reader(&self, user: &UserId, room_id: &RoomId) -> Result<Reader> {
        let snapshot = self.snapshot().await?;
        let room = rooms::number(&*snapshot, room_id)
            .await?
            .ok_or(Error::NotInRoom)?;
        let look = self.look(snapshot, room).await?.ok_or(Error::NotInRoom)?;
        let row = members::user_room(&*look.snapshot, user.as_str(), room).await?;
        Ok(Reader {
            look,
            user: user.to_owned(),
            membership: row,
        })
    }

    /// One event, in the client format.
    pub async fn event(
        &self,
        reader: &Sender,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Box<RawValue>> {
        let device = reader.device.as_deref();
        let reader = self.reader(&reader.user, room_id).await.map_err(hidden)?;
        let found = timeline::find(&*reader.snapshot, event_id).await?;
        let Some(EventRef { event, .. }) = found.filter(|found| found.room == reader.room) else {
            return Err(Error::NoSuchEvent);
        };
        let found = timeline::event(&*reader.snapshot, reader.room, event).await?;
        let Some((Some(place), row)) = found else {
            return Err(Error::NoSuchEvent);
        };
        let pdu = reader.pdu(&row)?;
        if !reader.sees(place, &row, &pdu).await? {
            return Err(Error::NoSuchEvent);
        }
        let mut unsigned = reader.unsigned(&pdu, &row, self.0.clock.now()).await?;
        if pdu.sender() == reader.user
            && let Some(txn) = &row.txn
            && device.is_some_and(|device| device == txn.device.as_str())
        {
            unsigned.transaction_id = Some(txn.txn_id.clone());
        }
        Ok(client::event(&pdu, &unsigned))
    }

    /// The whole state of a room, in the client format.
    pub async fn state(&self, user: &UserId, room_id: &RoomId) -> Result<Vec<Box<RawValue>>> {
        let reader = self.reader(user, room_id).await?;
        let state = reader.state_at(None).await?;
        let now = self.0.clock.now();
        let events = reader.state_events(state, None).await?;
        Ok(events
            .iter()
            .map(|(pdu, _)| client_event(pdu, now))
            .collect())
    }

    /// One state event of a room.
    pub async fn state_event(
        &self,
        user: &UserId,
        room_id: &RoomId,
        (kind, key): (&str, &str),
        format: StateFormat,
    ) -> Result<Box<RawValue>> {
        let reader = self.reader(user, room_id).await?;
        let state = reader.state_at(None).await?;
        let found = reader.state_event(state, kind, key).await?;
        let (pdu, _) = found.ok_or(Error::NoSuchState)?;
        Ok(match format {
            StateFormat::Content => pdu.content().to_owned(),
            StateFormat::Event => client_event(&pdu, self.0.clock.now()),
        })
    }
}

impl Reader {
    pub(crate) fn is_joined(&self) -> bool {
        let membership = self.membership.as_ref().map(|row| &row.membership);
        membership == Some(&MembershipState::Join)
    }

    /// The state that the reader may see, at a moment or at the end of what is shown to her.
    pub(crate) async fn state_at(&self, at: Option<At>) -> Result<StateId> {
        let view = self.end_of_view().await?;
        match (view, at) {
            (View::Now(state), None) => Ok(state),
            (View::UntilLeft(last), None) => Ok(last.state),
            (View::Now(state), Some(At::Position(at))) if at >= self.head.position => Ok(state),
            (View::UntilLeft(last), Some(At::Position(at))) if at >= last.position => {
                Ok(last.state)
            }
            (View::UntilLeft(last), Some(At::Place(at))) if at > last.end => Ok(last.state),
            (_, Some(At::Position(at))) => {
                let place = timeline::place_at(&*self.snapshot, self.room, at).await?;
                self.must_see_around(place).await?;
                Ok(rooms::state_at(&*self.snapshot, self.room, at).await?)
            }
            (_, Some(At::Place(at))) => {
                self.must_see_around(at).await?;
                let before =
                    timeline::backward(&*self.snapshot, self.room, Place::MIN, at, 1).await?;
                match before.first() {
                    Some(placed) => Ok(placed.row.state_after),
                    // Before its beginning a room looks as it began: with its creator in it.
                    None => Ok(rooms::first_state(&*self.snapshot, self.room).await?),
                }
            }
        }
    }

    /// Refuses a moment of the past unless the event before it or after it is one that the reader may see: sync tells
    /// the state at the first event that it shows, and no other.
    async fn must_see_around(&self, place: Place) -> Result<()> {
        let (snapshot, room) = (&*self.snapshot, self.room);
        let before = timeline::backward(snapshot, room, Place::MIN, place, AROUND_MAX).await?;
        let after = timeline::forward(snapshot, room, place, Place::MAX, AROUND_MAX).await?;
        for side in [before, after] {
            // Events that were refused stand in the history, too.
            let mut accepted = side.into_iter();
            let nearest = accepted.find(|placed| placed.row.standing == Standing::Accepted);
            let Some(placed) = nearest else { continue };
            let pdu = self.pdu(&placed.row)?;
            if self.sees(placed.place, &placed.row, &pdu).await? {
                return Ok(());
            }
        }
        Err(Error::NotInRoom)
    }
}

impl Look {
    pub(crate) fn pdu(&self, row: &EventRow) -> Result<Pdu> {
        Ok(timeline::pdu(self.version, &self.head.room_id, row)?)
    }

    pub(crate) fn states(&self) -> StateView<'_> {
        self.states.view(self.room, &*self.snapshot)
    }

    /// The event that a state has at a key.
    pub(crate) async fn state_event(
        &self,
        state: StateId,
        kind: &str,
        key: &str,
    ) -> Result<Option<(Pdu, EventRow)>> {
        let Some(event) = self.states().lookup(state, kind, key).await? else {
            return Ok(None);
        };
        let found = timeline::event(&*self.snapshot, self.room, event).await?;
        match found {
            Some((_, row)) => Ok(Some((self.pdu(&row)?, row))),
            None => Ok(None),
        }
    }

    /// The power levels in force.
    pub(crate) async fn power(&self) -> Result<Option<PowerLevels>> {
        let state = self.head.state;
        let create = self.state_event(state, "m.room.create", "").await?;
        let levels = self.state_event(state, "m.room.power_levels", "").await?;
        Ok(create.map(|(create, _)| PowerLevels::of(&create, levels.as_ref().map(|(pdu, _)| pdu))))
    }

    /// All events of a state, or those of one type.
    pub(crate) async fn state_events(
        &self,
        state: StateId,
        kind: Option<&str>,
    ) -> Result<Vec<(Pdu, EventRow)>> {
        let entries = match kind {
            Some(kind) => self.states().entries_of_type(state, kind).await?,
            None => self.states().entries(state).await?,
        };
        let mut numbers: Vec<EventNo> = entries.into_iter().map(|entry| entry.event).collect();
        numbers.sort_unstable();
        let rows = timeline::events(&*self.snapshot, self.room, &numbers).await?;
        rows.into_iter()
            .map(|row| Ok((self.pdu(&row)?, row)))
            .collect()
    }

    /// What the server adds to an event.
    async fn unsigned(&self, pdu: &Pdu, row: &EventRow, now: UnixMs) -> Result<Unsigned> {
        let mut unsigned = Unsigned {
            age: Some(age(pdu, now)),
            ..Unsigned::default()
        };
        if let Some((kind, key)) = pdu.state_key_pair()
            && let Some((before, _)) = self.state_event(row.state_before, kind, key).await?
        {
            unsigned.prev_content = Some(before.content().to_owned());
            unsigned.replaces_state = Some(before.event_id().to_owned());
        }
        if let Some(by) = row.redacted_by
            && let Some((_, by)) = timeline::event(&*self.snapshot, self.room, by).await?
        {
            let redaction = self.pdu(&by)?;
            unsigned.redacted_because = Some(client::event(&redaction, &Unsigned::default()));
        }
        Ok(unsigned)
    }
}

/// A room that one may not look into has no events.
fn hidden(error: Error) -> Error {
    match error {
        Error::NotInRoom => Error::NoSuchEvent,
        error => error,
    }
}

fn age(pdu: &Pdu, now: UnixMs) -> i64 {
    let millis = now.since(pdu.origin_server_ts()).as_millis();
    i64::try_from(millis).unwrap_or(i64::MAX)
}

/// An event in the client format with its age.
pub(crate) fn client_event(pdu: &Pdu, now: UnixMs) -> Box<RawValue> {
    let unsigned = Unsigned {
        age: Some(age(pdu, now)),
        ..Unsigned::default()
    };
    client::event(pdu, &unsigned)
}

/// A JSON array of JSON texts.
pub(crate) fn list(items: impl Iterator<Item = Box<RawValue>>) -> String {
    let mut out = String::from("[");
    for item in items {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(item.get());
    }
    out.push(']');
    out
}
