//! One room as one snapshot shows it: its events, and what its states say that reading depends on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hearth_data::append::{EventRow, Standing};
use hearth_data::state::StateView;
use hearth_data::timeline::Placed;
use hearth_data::{EventNo, Place, RoomNo, StateId, rooms, timeline};
use hearth_event::push::PushEvent;
use hearth_event::retention::{Policy, RETENTION};
use hearth_event::visibility::{Membership, Visibility};
use hearth_event::{Pdu, PowerLevels, RoomVersion};
use hearth_store::Snapshot;
use hearth_types::UnixMs;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

use crate::Result;
use crate::service::Reading;

/// How many states' facts are kept.
const FACTS_MAX: usize = 1_000;
/// How many members are kept per state; beyond, they are looked up each time.
const FACTS_MEMBERS_MAX: usize = 1_000;
/// How many rooms' names are kept.
const NAMES_MAX: usize = 20_000;

/// What never changes about a room.
#[derive(Debug)]
pub(crate) struct RoomName {
    pub(crate) id: OwnedRoomId,
    pub(crate) version: RoomVersion,
}

/// What a state says. A state's id never changes its meaning, so neither do these.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) visibility: Visibility,
    members: Mutex<HashMap<Box<str>, Member>>,
    power: OnceCell<Option<PowerLevels>>,
    joined: OnceCell<u64>,
    retention: OnceCell<Policy>,
}

/// A user's membership in a state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    pub(crate) membership: Membership,
    pub(crate) event: Option<EventNo>,
    pub(crate) display_name: Option<Arc<str>>,
}

/// Caches keyed by what never changes meaning.
pub(crate) struct RoomCaches {
    names: quick_cache::sync::Cache<RoomNo, Arc<RoomName>>,
    facts: quick_cache::sync::Cache<(RoomNo, StateId), Arc<Facts>>,
}

impl RoomCaches {
    pub(crate) fn new() -> Self {
        Self {
            names: quick_cache::sync::Cache::new(NAMES_MAX),
            facts: quick_cache::sync::Cache::new(FACTS_MAX),
        }
    }
}

/// A state event that another one took the place of.
#[derive(Debug)]
pub(crate) struct Replaced {
    pub(crate) event: EventNo,
    pub(crate) event_id: OwnedEventId,
    pub(crate) sender: OwnedUserId,
    pub(crate) content: Box<RawValue>,
}

/// An event with what clients are shown along with it.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) place: Option<Place>,
    pub(crate) row: EventRow,
    pub(crate) pdu: Pdu,
    /// The state event that this one replaced.
    pub(crate) replaced: Option<Replaced>,
    /// The redaction that took its content away.
    pub(crate) redaction: Option<Pdu>,
    /// The root of its thread, once asked for.
    pub(crate) thread: OnceCell<Option<OwnedEventId>>,
    push: OnceLock<PushEvent>,
}

impl Event {
    /// The event made ready for push rules, once for all users.
    pub(crate) fn push(&self) -> &PushEvent {
        self.push.get_or_init(|| PushEvent::new(&self.pdu))
    }

    pub(crate) fn is_redacted(&self) -> bool {
        self.row.redacted_by.is_some()
    }

    /// Whether it is part of what clients see of a room.
    pub(crate) fn is_shown(&self) -> bool {
        self.row.standing == Standing::Accepted
    }
}

/// A room and a snapshot.
pub(crate) struct RoomReader<'a> {
    pub(crate) snapshot: &'a dyn Snapshot,
    pub(crate) no: RoomNo,
    pub(crate) name: Arc<RoomName>,
    reading: &'a Reading,
    /// The state whose members were counted last: the next one that is asked for differs little from it.
    counted: Mutex<Option<(StateId, u64)>>,
    /// What was sent before has come to its end; found out when it is first asked.
    ended: OnceCell<UnixMs>,
}

impl<'a> RoomReader<'a> {
    /// The room; `None` if it is not known, or of a version that is not supported.
    pub(crate) async fn open(
        snapshot: &'a dyn Snapshot,
        no: RoomNo,
        reading: &'a Reading,
    ) -> Result<Option<Self>> {
        let caches = &reading.rooms;
        let name = match caches.names.get(&no) {
            Some(name) => name,
            None => {
                let Some(head) = rooms::head(snapshot, no).await? else {
                    return Ok(None);
                };
                let Some(version) = RoomVersion::new(&head.version) else {
                    return Ok(None);
                };
                let id = head.room_id;
                let name = Arc::new(RoomName { id, version });
                caches.names.insert(no, name.clone());
                name
            }
        };
        Ok(Some(Self {
            snapshot,
            no,
            name,
            reading,
            counted: Mutex::default(),
            ended: OnceCell::new(),
        }))
    }

    pub(crate) fn view(&self) -> StateView<'_> {
        self.reading.states.view(self.no, self.snapshot)
    }

    /// A row's event; `None`, with a line in the log, if it cannot be read: one bad row must not stop a sync.
    pub(crate) fn pdu(&self, row: &EventRow) -> Option<Pdu> {
        match timeline::pdu(self.name.version, &self.name.id, row) {
            Ok(pdu) => Some(pdu),
            Err(error) => {
                tracing::error!(%error, event.id = %row.event_id, "left out an event that cannot be read");
                None
            }
        }
    }

    /// An event by number, as stored.
    pub(crate) async fn stored(
        &self,
        number: EventNo,
    ) -> Result<Option<(Option<Place>, EventRow, Pdu)>> {
        let found = timeline::event(self.snapshot, self.no, number).await?;
        Ok(found.and_then(|(place, row)| {
            let pdu = self.pdu(&row)?;
            Some((place, row, pdu))
        }))
    }

    /// An event by number, with what clients are shown along with it.
    pub(crate) async fn event(&self, number: EventNo) -> Result<Option<Arc<Event>>> {
        match timeline::event(self.snapshot, self.no, number).await? {
            Some((place, row)) => self.complete(place, row).await,
            None => Ok(None),
        }
    }

    /// A row of the timeline, with what clients are shown along with it.
    pub(crate) async fn placed(&self, placed: Placed) -> Result<Option<Arc<Event>>> {
        self.complete(Some(placed.place), placed.row).await
    }

    async fn complete(&self, place: Option<Place>, row: EventRow) -> Result<Option<Arc<Event>>> {
        let Some(pdu) = self.pdu(&row) else {
            return Ok(None);
        };
        let replaced = self.replaced(&row, &pdu).await?;
        let redaction = match row.redacted_by {
            Some(by) => self.stored(by).await?.map(|(_, _, pdu)| pdu),
            None => None,
        };
        Ok(Some(Arc::new(Event {
            place,
            row,
            pdu,
            replaced,
            redaction,
            thread: OnceCell::new(),
            push: OnceLock::new(),
        })))
    }

    async fn replaced(&self, row: &EventRow, pdu: &Pdu) -> Result<Option<Replaced>> {
        let Some((kind, state_key)) = pdu.state_key_pair() else {
            return Ok(None);
        };
        let before = self
            .view()
            .lookup(row.state_before, kind, state_key)
            .await?;
        let Some(before) = before else {
            return Ok(None);
        };
        Ok(self.stored(before).await?.map(|(_, row, pdu)| Replaced {
            event: before,
            event_id: row.event_id,
            sender: pdu.sender().to_owned(),
            content: pdu.content().to_owned(),
        }))
    }

    /// What a state says.
    pub(crate) async fn facts(&self, state: StateId) -> Result<Arc<Facts>> {
        let key = (self.no, state);
        if let Some(facts) = self.reading.rooms.facts.get(&key) {
            return Ok(facts);
        }
        let visibility = match self.state_event(state, "m.room.history_visibility").await? {
            Some(pdu) => Visibility::of(&pdu),
            None => Visibility::default(),
        };
        let facts = Arc::new(Facts {
            visibility,
            members: Mutex::default(),
            power: OnceCell::new(),
            joined: OnceCell::new(),
            retention: OnceCell::new(),
        });
        self.reading.rooms.facts.insert(key, facts.clone());
        Ok(facts)
    }

    /// The state event of a type with the empty key.
    pub(crate) async fn state_event(&self, state: StateId, kind: &str) -> Result<Option<Pdu>> {
        let Some(number) = self.view().lookup(state, kind, "").await? else {
            return Ok(None);
        };
        Ok(self.stored(number).await?.map(|(_, _, pdu)| pdu))
    }

    /// Whether an event is a message that has come to its end, so that nobody is shown it any more.
    pub(crate) async fn has_ended(&self, pdu: &Pdu) -> Result<bool> {
        let bounds = &self.reading.retention;
        let (now, sent) = (self.reading.clock.now(), pdu.origin_server_ts());
        // Most messages are younger than any room may want them.
        if pdu.is_state() || sent >= bounds.min.ended_before(now) {
            return Ok(false);
        }
        let ended = self.ended.get_or_try_init(|| async {
            let policy = match rooms::head(self.snapshot, self.no).await? {
                Some(head) => self.retention(head.state).await?,
                None => Policy::default(),
            };
            Ok::<_, crate::Error>(bounds.lifetime(policy).ended_before(now))
        });
        Ok(sent < *ended.await?)
    }

    /// Whether messages of any room come to an end.
    pub(crate) fn may_end(&self) -> bool {
        self.reading.retention.is_any()
    }

    /// Whether the message at a place has ended, or was taken out for that.
    pub(crate) async fn is_gone(&self, place: Place) -> Result<bool> {
        let found = timeline::forward(self.snapshot, self.no, place, place.next(), 1).await?;
        let pdu = found.first().and_then(|placed| self.pdu(&placed.row));
        match pdu {
            Some(pdu) => self.has_ended(&pdu).await,
            None => Ok(true),
        }
    }

    async fn retention(&self, state: StateId) -> Result<Policy> {
        let facts = self.facts(state).await?;
        let policy = facts.retention.get_or_try_init(|| async {
            let event = self.state_event(state, RETENTION).await?;
            Ok::<_, crate::Error>(event.as_ref().map(Policy::of).unwrap_or_default())
        });
        policy.await.copied()
    }

    /// A user's membership in a state.
    pub(crate) async fn member(&self, state: StateId, user: &str) -> Result<Member> {
        let facts = self.facts(state).await?;
        let known = |facts: &Facts| lock(&facts.members).get(user).cloned();
        if let Some(member) = known(&facts) {
            return Ok(member);
        }
        let event = self.view().lookup(state, "m.room.member", user).await?;
        let member = match event {
            Some(number) => self.member_of_event(number).await?,
            None => Member::default(),
        };
        let mut members = lock(&facts.members);
        if members.len() < FACTS_MEMBERS_MAX {
            members.insert(user.into(), member.clone());
        }
        Ok(member)
    }

    async fn member_of_event(&self, number: EventNo) -> Result<Member> {
        #[derive(Deserialize)]
        struct Content {
            displayname: Option<Arc<str>>,
        }
        let Some((_, _, pdu)) = self.stored(number).await? else {
            return Ok(Member::default());
        };
        let content = pdu.content_as::<Content>();
        Ok(Member {
            membership: Membership::of(&pdu).unwrap_or_default(),
            event: Some(number),
            display_name: content.ok().and_then(|content| content.displayname),
        })
    }

    /// The power levels of a state.
    pub(crate) async fn power(&self, state: StateId) -> Result<Option<PowerLevels>> {
        let facts = self.facts(state).await?;
        let power = facts.power.get_or_try_init(|| async {
            let Some(create) = self.state_event(state, "m.room.create").await? else {
                return Ok::<_, crate::Error>(None);
            };
            let levels = self.state_event(state, "m.room.power_levels").await?;
            Ok(Some(PowerLevels::of(&create, levels.as_ref())))
        });
        Ok(power.await?.clone())
    }

    /// How many members are joined in a state: the count of the state that was asked for before (at first the current
    /// one), and what differs. So a walk over the timeline costs what changed on the way.
    pub(crate) async fn joined_members(&self, state: StateId) -> Result<u64> {
        let facts = self.facts(state).await?;
        let count = facts.joined.get_or_try_init(|| self.count_joined(state));
        let count = *count.await?;
        *lock(&self.counted) = Some((state, count));
        Ok(count)
    }

    async fn count_joined(&self, state: StateId) -> Result<u64> {
        let counted = *lock(&self.counted);
        let (known, mut count) = match counted {
            Some(counted) => counted,
            None => match rooms::head(self.snapshot, self.no).await? {
                Some(head) => (head.state, head.joined),
                None => return Ok(0),
            },
        };
        for change in self.view().diff(known, state).await? {
            for (number, delta) in [(change.before, -1), (change.after, 1)] {
                if let Some(number) = number
                    && self.is_join(number).await?
                {
                    count = count.saturating_add_signed(delta);
                }
            }
        }
        Ok(count)
    }

    async fn is_join(&self, number: EventNo) -> Result<bool> {
        let stored = self.stored(number).await?;
        Ok(stored.is_some_and(|(_, _, pdu)| {
            pdu.kind() == "m.room.member" && Membership::of(&pdu) == Some(Membership::Join)
        }))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
