//! Events as one reader is shown them.

use std::sync::Arc;

use hearth_data::accounts::users;
use hearth_data::rooms;
use hearth_event::client::{self, Unsigned};
use hearth_event::visibility::{Membership, Visibility};
use hearth_event::{Pdu, client as client_format, redact};
use hearth_types::UnixMs;
use serde_json::value::RawValue;

use crate::Result;
use crate::ask::Reader;
use crate::bundle;
use crate::filter::{EventFormat, Fields};
use crate::profile::ReaderFacts;
use crate::room::{Event, RoomReader};
use crate::viewer::Viewer;

/// Which fields an event has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Without `room_id`, for sync.
    InRoom,
    /// With it.
    Alone,
}

/// Who reads, when, and in which form.
pub(crate) struct Rendering<'a> {
    pub(crate) reader: &'a Reader,
    pub(crate) facts: &'a ReaderFacts,
    pub(crate) now: UnixMs,
    pub(crate) shape: Shape,
    pub(crate) format: EventFormat,
    /// `None` for all.
    pub(crate) fields: Option<&'a Fields>,
}

impl Rendering<'_> {
    /// An event of the timeline, with all that belongs into `unsigned`.
    pub(crate) async fn event(
        &self,
        room: &RoomReader<'_>,
        viewer: &Viewer,
        event: &Event,
    ) -> Result<Box<RawValue>> {
        let relations = bundle::of(self, room, viewer, event).await?;
        self.with_relations(room, viewer, event, relations).await
    }

    /// An event with these aggregations.
    pub(crate) async fn with_relations(
        &self,
        room: &RoomReader<'_>,
        viewer: &Viewer,
        event: &Event,
        relations: Option<Box<RawValue>>,
    ) -> Result<Box<RawValue>> {
        let own = event.pdu.is("m.room.member", self.reader.user.as_str());
        let membership = match Membership::of(&event.pdu).filter(|_| own) {
            Some(membership) => membership,
            None => {
                let user = self.reader.user.as_str();
                room.member(event.row.state_before, user).await?.membership
            }
        };
        let mut unsigned = self.unsigned(event);
        unsigned.membership = Some(membership.as_str().to_owned());
        unsigned.relations = relations;
        // In the room she knew all of its state, and of herself she is always told.
        if !own && membership != Membership::Join && !sees_replaced(room, viewer, event).await? {
            unsigned.prev_content = None;
            unsigned.prev_sender = None;
        }
        if membership != Membership::Join
            && is_erased(room, &event.pdu, self.reader.user.as_str()).await?
        {
            let pruned = redact(&event.pdu);
            unsigned.relations = None;
            unsigned.prev_content = None;
            unsigned.prev_sender = None;
            return Ok(self.finish(&pruned, &unsigned));
        }
        Ok(self.finish(&event.pdu, &unsigned))
    }

    /// An event of the state: what it replaced and what relates to it is left out.
    pub(crate) fn state(&self, pdu: &Pdu) -> Box<RawValue> {
        let unsigned = Unsigned {
            age: Some(self.age(pdu)),
            ..Unsigned::default()
        };
        self.finish(pdu, &unsigned)
    }

    fn unsigned(&self, event: &Event) -> Unsigned {
        let replaced = event.replaced.as_ref();
        let is_sender = event.pdu.sender() == self.reader.user;
        let txn = event.row.txn.as_ref().filter(|txn| {
            let device = self.reader.device.as_ref();
            is_sender && device.is_some_and(|device| device.as_str() == txn.device)
        });
        Unsigned {
            age: Some(self.age(&event.pdu)),
            transaction_id: txn.map(|txn| txn.txn_id.clone()),
            prev_content: replaced.map(|replaced| replaced.content.clone()),
            replaces_state: replaced.map(|replaced| replaced.event_id.clone()),
            prev_sender: replaced.map(|replaced| replaced.sender.clone()),
            redacted_because: event.redaction.as_ref().map(|redaction| {
                let unsigned = Unsigned {
                    age: Some(self.age(redaction)),
                    ..Unsigned::default()
                };
                self.client(redaction, &unsigned)
            }),
            membership: None,
            relations: None,
        }
    }

    fn finish(&self, pdu: &Pdu, unsigned: &Unsigned) -> Box<RawValue> {
        let event = match self.format {
            EventFormat::Client => self.client(pdu, unsigned),
            EventFormat::Federation => client_format::federation(pdu),
        };
        match self.fields {
            Some(fields) => fields.pick(&event),
            None => event,
        }
    }

    fn client(&self, pdu: &Pdu, unsigned: &Unsigned) -> Box<RawValue> {
        match self.shape {
            Shape::InRoom => client::sync_event(pdu, unsigned),
            Shape::Alone => client::event(pdu, unsigned),
        }
    }

    fn age(&self, pdu: &Pdu) -> i64 {
        let (now, sent) = (self.now.0, pdu.origin_server_ts().0);
        now.cast_signed().saturating_sub(sent.cast_signed())
    }
}

/// Whether somebody who was not in the room may see what an event took the place of: if anybody might look into the room,
/// or as an event of its own. `prev_content` is for those who have "permission to see the previous content".
async fn sees_replaced(room: &RoomReader<'_>, viewer: &Viewer, event: &Event) -> Result<bool> {
    let Some(replaced) = &event.replaced else {
        return Ok(true);
    };
    let facts = room.facts(event.row.state_before).await?;
    if facts.visibility == Visibility::WorldReadable {
        return Ok(true);
    }
    match room.event(replaced.event).await? {
        Some(replaced) => viewer.sees(room, &replaced).await,
        None => Ok(false),
    }
}

/// Whether the sender has asked, with the end of her account, that those who came later be shown nothing of what she
/// wrote. Later is after she left the room, which she did then at the latest.
async fn is_erased(room: &RoomReader<'_>, event: &Pdu, reader: &str) -> Result<bool> {
    let sender = event.sender().as_str();
    let account = users::user(room.snapshot, sender).await?;
    if !account.is_some_and(|account| account.erased) {
        return Ok(false);
    }
    let Some(head) = rooms::head(room.snapshot, room.no).await? else {
        return Ok(true);
    };
    let Some(left) = room.member(head.state, sender).await?.event else {
        return Ok(true);
    };
    let Some((_, left, _)) = room.stored(left).await? else {
        return Ok(true);
    };
    let reader = room.member(left.state_before, reader).await?;
    Ok(reader.membership != Membership::Join)
}

/// Events that a reader may see and wants, of those given.
pub(crate) async fn visible(
    room: &RoomReader<'_>,
    viewer: &Viewer,
    facts: &ReaderFacts,
    event: &Arc<Event>,
) -> Result<bool> {
    Ok(!facts.is_ignored(&event.pdu) && viewer.sees(room, event).await?)
}
