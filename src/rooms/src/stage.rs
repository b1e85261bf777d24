//! Deciding requests one after the other and gathering what they write for one commit.

pub(crate) mod admit;
mod build;
mod current;
mod ending;
mod intake;
mod judge;
mod link;
mod past;
pub(crate) mod resolve;

use std::collections::{HashMap, HashSet};

use hearth_data::append::{
    Admitted, EventRow, LocalMember, MemberChange, RoomBatch, Standing, TxnRef, append,
};
use hearth_data::members::{self, THIS_COMMIT, UserRoomRow};
use hearth_data::reach::{Indexed, ReachWriter};
use hearth_data::relations::{Annotation, ThreadRow};
use hearth_data::rooms::RoomHead;
use hearth_data::state::StateWriter;
use hearth_data::timeline::{self, EventRef};
use hearth_data::txns::{self, TxnKey, TxnRow};
use hearth_data::{EventNo, Place, RoomNo, StateId};
use hearth_event::{Draft, Pdu, authorize};
use hearth_store::{Batch, Durability, Snapshot};
use hearth_types::UnixMs;
use hearth_types::limits::PREV_EVENTS_MAX;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedEventId, OwnedUserId, RoomId, UserId};

use admit::{Found, Intake};

use crate::aftermath::{FIRST_JOB, joining};
use crate::membership::MemberAsk;
use crate::queue::Outcome;
use crate::relate::Relating;
use crate::remote::import::Step;
use crate::view::{Known, RoomView};
use crate::{Error, Inner, Result, Rider, content};

/// Operations that one request may need, most of them for a new trie of the state.
const OPS_RESERVE: usize = 400;
/// Bytes that one request may need: an event and its rows.
const BYTES_RESERVE: usize = 512 << 10;

/// Something that somebody wants of a room.
#[derive(Clone, Debug)]
pub(crate) enum Intent {
    /// An event as a client wrote it.
    Event(Box<EventAsk>),
    /// A change of somebody's membership.
    Member(Box<MemberAsk>),
    /// Never to be shown the room again.
    Forget(OwnedUserId),
    /// Something that came from other servers.
    Intake(Box<Intake>),
}

impl Intent {
    /// Whether it means nothing to anybody until a later commit: what a join or a gap needs before it. Should it be lost
    /// with the power, it is done again.
    pub(crate) fn is_preparation(&self) -> bool {
        match self {
            Self::Intake(intake) => match &**intake {
                Intake::Outlier(_) | Intake::State(_) => true,
                Intake::Import(step) => matches!(**step, Step::Advance { .. }),
                _ => false,
            },
            _ => false,
        }
    }
}

/// An event as a client wrote it.
#[derive(Clone, Debug)]
pub(crate) struct EventAsk {
    pub(crate) draft: Draft,
    pub(crate) txn: Option<Txn>,
    /// Its `origin_server_ts`; `None`: now.
    pub(crate) at: Option<UnixMs>,
}

/// A client's transaction.
#[derive(Clone, Debug)]
pub(crate) struct Txn {
    pub(crate) key: TxnKey,
    pub(crate) txn_id: String,
}

impl Txn {
    fn reference(&self) -> TxnRef {
        TxnRef {
            device: self.key.device.clone(),
            txn_id: self.txn_id.clone(),
        }
    }
}

/// What one commit is to write.
pub(crate) struct Stage<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) snapshot: &'a dyn Snapshot,
    pub(crate) view: RoomView,
    pub(crate) batch: RoomBatch,
    pub(crate) writer: StateWriter<'a>,
    pub(crate) links: ReachWriter<'a>,
    pub(crate) is_written: bool,
    /// The event that is being decided, as the room's policy server has signed it.
    pub(crate) signed: Option<Pdu>,
    /// The earliest `origin_server_ts` of what is decided here.
    pub(crate) ts_min: UnixMs,
    /// The `origin_server_ts` of the event that is being decided, where it is given.
    pub(crate) at: Option<UnixMs>,
    events: HashMap<OwnedEventId, StagedEvent>,
    /// Outliers of this commit, and the ids of all its events by number.
    outliers: HashMap<OwnedEventId, Found>,
    staged_numbers: HashMap<EventNo, OwnedEventId>,
    /// Auth events as they were before this commit.
    read: HashMap<OwnedEventId, Found>,
    /// The event that is being decided upon: states may have it before it is written.
    deciding: Option<Found>,
    early_redactions: HashMap<OwnedEventId, EventNo>,
    pub(crate) user_rooms: HashMap<String, UserRoomRow>,
    txns: HashMap<TxnKey, OwnedEventId>,
    pub(crate) jobs: u32,
    pub(crate) threads: HashMap<EventNo, Option<ThreadRow>>,
    /// Made in this commit, and taken away in it.
    pub(crate) annotations: HashSet<Annotation>,
    pub(crate) unannotated: HashSet<Annotation>,
}

/// An event of this commit.
#[derive(Clone)]
pub(crate) struct StagedEvent {
    pub(crate) place: Place,
    pub(crate) row: EventRow,
    pub(crate) pdu: Pdu,
}

impl<'a> Stage<'a> {
    /// On a room as it is.
    pub(crate) fn new(inner: &'a Inner, snapshot: &'a dyn Snapshot, view: RoomView) -> Self {
        let loaded = Some(view.head.clone());
        Self::on(inner, snapshot, view, loaded)
    }

    /// On a room that is just made.
    pub(crate) fn new_room(inner: &'a Inner, snapshot: &'a dyn Snapshot, view: RoomView) -> Self {
        Self::on(inner, snapshot, view, None)
    }

    fn on(
        inner: &'a Inner,
        snapshot: &'a dyn Snapshot,
        view: RoomView,
        loaded: Option<RoomHead>,
    ) -> Self {
        let batch = RoomBatch::new(view.room, loaded, view.head.clone());
        let writer = StateWriter::new(&inner.states, view.room, snapshot, view.head.next_state);
        let links = ReachWriter::new(view.room, snapshot, &inner.reach);
        Self {
            inner,
            snapshot,
            view,
            batch,
            writer,
            links,
            is_written: false,
            signed: None,
            ts_min: UnixMs::default(),
            at: None,
            events: HashMap::new(),
            outliers: HashMap::new(),
            staged_numbers: HashMap::new(),
            read: HashMap::new(),
            deciding: None,
            early_redactions: HashMap::new(),
            user_rooms: HashMap::new(),
            txns: HashMap::new(),
            jobs: FIRST_JOB,
            threads: HashMap::new(),
            annotations: HashSet::new(),
            unannotated: HashSet::new(),
        }
    }

    /// Whether one more request surely fits.
    pub(crate) fn has_space(&self) -> bool {
        let limits = self.inner.store.limits();
        let (bytes, ops) = self.batch.size();
        bytes + BYTES_RESERVE <= limits.batch_bytes_max
            && ops + self.writer.rows() + OPS_RESERVE <= limits.batch_ops_max
    }

    /// Whether there is anything to commit.
    pub(crate) fn is_written(&self) -> bool {
        self.is_written
    }

    /// Takes the caller's own rows along.
    pub(crate) fn ride(&mut self, rider: &Rider) {
        self.batch.ops().append(rider.clone());
        self.is_written = true;
    }

    /// What is known of the room, when nothing was written.
    pub(crate) fn into_view(self) -> RoomView {
        self.view
    }

    /// Commits all. Gives back what is known of the room then.
    pub(crate) async fn commit(
        self,
        durability: Durability,
    ) -> Result<RoomView, hearth_store::Error> {
        let Self {
            inner,
            mut view,
            mut batch,
            writer,
            links,
            ..
        } = self;
        links.flush(batch.ops());
        let next_state = writer.flush(batch.ops());
        batch.head.next_state = next_state;
        let (batch, mut head) = batch.finish();
        let batch = batch.with_durability(durability);
        head.position = inner.store.commit(batch).await?;
        view.head = head;
        Ok(view)
    }

    /// Decides one request. With an error, nothing of it is in the commit.
    pub(crate) async fn decide(&mut self, intent: &Intent) -> Result<Outcome> {
        let decided = self.try_decide(intent).await;
        if decided.is_err() {
            let next = self.batch.next_event();
            self.links.withdraw(next);
        }
        decided
    }

    async fn try_decide(&mut self, intent: &Intent) -> Result<Outcome> {
        let event_id = match intent {
            Intent::Event(ask) => Some(self.decide_event(ask).await?),
            Intent::Member(ask) => crate::membership::decide(self, ask).await?,
            Intent::Forget(user) => {
                crate::membership::forget(self, user).await?;
                None
            }
            Intent::Intake(intake) => {
                let taken = Some(self.take_in(intake).await?);
                return Ok(Outcome {
                    event_id: None,
                    taken,
                });
            }
        };
        Ok(Outcome {
            event_id,
            taken: None,
        })
    }

    async fn decide_event(&mut self, ask: &EventAsk) -> Result<OwnedEventId> {
        if let Some(txn) = &ask.txn
            && let Some(event_id) = self.seen_txn(&txn.key).await?
        {
            return Ok(event_id);
        }
        crate::send::check_kind(&ask.draft)?;
        let draft = crate::send::without_authoriser(self, &ask.draft).await?;
        if let Some(event_id) = self.same_state(&draft).await? {
            return Ok(event_id);
        }
        crate::send::check(self, &draft).await?;
        self.at = ask.at;
        let written = self.write(&draft, ask.txn.as_ref()).await;
        self.at = None;
        written
    }

    async fn seen_txn(&self, key: &TxnKey) -> Result<Option<OwnedEventId>> {
        if let Some(event_id) = self.txns.get(key) {
            return Ok(Some(event_id.clone()));
        }
        let row = txns::load(self.snapshot, key).await?;
        Ok(row.and_then(|row| row.event_id))
    }

    /// The current state event that says just this, by the same sender.
    async fn same_state(&mut self, draft: &Draft) -> Result<Option<OwnedEventId>> {
        let Some(key) = &draft.state_key else {
            return Ok(None);
        };
        self.load(&[(&draft.kind, key), ("m.room.member", draft.sender.as_str())])
            .await?;
        let same = self.view.pdu(&draft.kind, key).filter(|event| {
            event.sender() == draft.sender && content::is_same(event, &draft.content)
        });
        let is_joined = self.view.membership(&draft.sender) == Some(MembershipState::Join);
        Ok(same
            .filter(|_| is_joined)
            .map(|event| event.event_id().to_owned()))
    }

    /// Builds, authorises and stages an event.
    pub(crate) async fn write(&mut self, draft: &Draft, txn: Option<&Txn>) -> Result<OwnedEventId> {
        let (pdu, auth) = self.build(draft).await?;
        authorize(&pdu, &|kind, key| self.view.pdu(kind, key).cloned())?;
        let pdu = self.recommended(pdu).await?;
        crate::create::adopt_room_id(&mut self.batch, &pdu);
        self.stage(pdu, &auth, txn).await
    }

    /// Everything that has to be known is loaded first, then all is written: an error leaves nothing behind.
    async fn stage(
        &mut self,
        pdu: Pdu,
        auth: &[EventNo],
        txn: Option<&Txn>,
    ) -> Result<OwnedEventId> {
        let relating = self.relating(&pdu).await?;
        let member = self.member_change(&pdu).await?;
        let redaction = crate::relate::redaction(self, &pdu).await?;
        let number = self.batch.next_event();
        let before = self.batch.head.state;
        let after = match pdu.state_key_pair() {
            Some((kind, key)) => {
                let change = (kind, key, Some(number));
                self.writer.set(before, &[change]).await?
            }
            None => before,
        };
        // Last of what can fail: were it done and the event not, its number would go to another.
        if pdu.is_state() && self.links.append(number, auth).await? != Indexed::Done {
            return Err(missing_event(number));
        }
        self.stage_member(&member, number);
        let replaces = self.replaced();
        let admitted = Admitted {
            pdu: &pdu,
            standing: Standing::Accepted,
            state_before: before,
            state_after: after,
            current_state: after,
            replaces: &replaces,
            txn: txn.map(Txn::reference),
            member,
            relates_to: relating.as_ref().map(Relating::row),
        };
        let row = staged_row(number, &admitted);
        let joins = joining(admitted.member.as_ref());
        let (_, place) = append(&mut self.batch, admitted);
        self.is_written = true;
        self.stage_jobs(&pdu, joins.as_deref());
        if let Some(txn) = txn {
            self.stage_txn(txn, &pdu);
        }
        if let Some(relating) = relating {
            self.stage_relating(relating, &pdu, number, place);
        }
        if let Some((kind, key)) = pdu.state_key_pair() {
            let pdu = pdu.clone();
            let known = Known { event: number, pdu };
            self.view.learn(kind, key, Some(known));
        }
        let event_id = pdu.event_id().to_owned();
        self.note(StagedEvent { place, row, pdu });
        if let Some(redaction) = redaction {
            self.redact(redaction, number);
        }
        Ok(event_id)
    }

    fn replaced(&self) -> Vec<EventNo> {
        let extremities = self.batch.head.extremities.iter().take(PREV_EVENTS_MAX);
        extremities.map(|extremity| extremity.event).collect()
    }

    fn stage_txn(&mut self, txn: &Txn, pdu: &Pdu) {
        let row = TxnRow {
            event_id: Some(pdu.event_id().to_owned()),
        };
        txns::put(self.batch.ops(), &txn.key, &row);
        self.txns.insert(txn.key.clone(), pdu.event_id().to_owned());
    }

    /// What a member event changes, with all that has to be loaded for it.
    async fn member_change(&mut self, pdu: &Pdu) -> Result<Option<MemberChange>> {
        let Some(("m.room.member", user)) = pdu.state_key_pair() else {
            return Ok(None);
        };
        let Some(after) = content::membership(pdu) else {
            return Ok(None);
        };
        let user_id = <&UserId>::try_from(user)
            .map_err(|_| Error::BadContent("the state key is not a user id"))?;
        let before = self.view.membership(user_id);
        let local = if self.inner.is_local(user_id) {
            let is_pending = matches!(after, MembershipState::Invite | MembershipState::Knock);
            let stripped_state = match is_pending {
                true => Some(crate::membership::stripped_state(self, pdu).await?),
                false => None,
            };
            Some(LocalMember {
                before: self.user_room(user).await?,
                stripped_state,
            })
        } else {
            None
        };
        Ok(Some(MemberChange {
            user: user.to_owned(),
            before,
            after,
            is_own: pdu.sender() == user_id,
            local,
        }))
    }

    pub(crate) fn stage_member(&mut self, member: &Option<MemberChange>, number: EventNo) {
        let Some(member) = member.as_ref().filter(|member| member.local.is_some()) else {
            return;
        };
        let row = UserRoomRow {
            membership: member.after.clone(),
            event: number,
            forgotten: false,
            position: THIS_COMMIT,
        };
        self.user_rooms.insert(member.user.clone(), row);
    }

    /// A local user's view of the room, as the commit leaves it so far.
    pub(crate) async fn user_room(&self, user: &str) -> Result<Option<UserRoomRow>> {
        match self.user_rooms.get(user) {
            Some(row) => Ok(Some(row.clone())),
            None => Ok(members::user_room(self.snapshot, user, self.room()).await?),
        }
    }

    /// Writes a local user's view without an event.
    pub(crate) fn put_user_room(&mut self, user: &str, before: &UserRoomRow, row: UserRoomRow) {
        let room = self.room();
        members::put_user_room(self.batch.ops(), user, room, Some(before), &row);
        let staged = UserRoomRow {
            position: THIS_COMMIT,
            ..row
        };
        self.user_rooms.insert(user.to_owned(), staged);
        self.is_written = true;
    }

    pub(crate) fn room(&self) -> RoomNo {
        self.view.room
    }

    pub(crate) fn room_id(&self) -> &RoomId {
        &self.batch.head.room_id
    }

    pub(crate) fn state(&self) -> StateId {
        self.batch.head.state
    }

    pub(crate) fn ops(&mut self) -> &mut Batch {
        self.batch.ops()
    }

    /// Makes current state events known.
    pub(crate) async fn load(&mut self, keys: &[(&str, &str)]) -> Result<()> {
        let unknown: Vec<(&str, &str)> = keys
            .iter()
            .copied()
            .filter(|(kind, key)| self.view.known(kind, key).is_none())
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let state = self.state();
        let numbers = self.writer.view().lookup_many(state, &unknown).await?;
        let present: Vec<EventNo> = numbers.iter().copied().flatten().collect();
        let rows = timeline::events(self.snapshot, self.room(), &present).await?;
        let by_number: HashMap<EventNo, EventRow> =
            rows.into_iter().map(|row| (row.event, row)).collect();
        for ((kind, key), number) in unknown.into_iter().zip(numbers) {
            let known = match number {
                Some(number) => Some(self.known_event(number, by_number.get(&number))?),
                None => None,
            };
            self.view.learn(kind, key, known);
        }
        Ok(())
    }

    fn known_event(&self, number: EventNo, row: Option<&EventRow>) -> Result<Known> {
        let staged = || {
            self.events
                .values()
                .find(|staged| staged.row.event == number)
        };
        let pdu = match (row, staged()) {
            (Some(row), _) => timeline::pdu(self.view.version, self.room_id(), row)?,
            (None, Some(staged)) => staged.pdu.clone(),
            (None, None) => return Err(missing_event(number)),
        };
        Ok(Known { event: number, pdu })
    }

    /// An accepted event of this room by its id, with place and row; also one of this commit.
    pub(crate) async fn event(
        &self,
        event_id: &ruma::EventId,
    ) -> Result<Option<(Place, EventRow, Pdu)>> {
        if let Some(staged) = self.events.get(event_id) {
            return Ok(Some((staged.place, staged.row.clone(), staged.pdu.clone())));
        }
        let Some(EventRef { room, event }) = timeline::find(self.snapshot, event_id).await? else {
            return Ok(None);
        };
        if room != self.room() {
            return Ok(None);
        }
        match timeline::event(self.snapshot, room, event).await? {
            Some((Some(place), row)) if row.standing == Standing::Accepted => {
                let pdu = timeline::pdu(self.view.version, self.room_id(), &row)?;
                Ok(Some((place, row, pdu)))
            }
            _ => Ok(None),
        }
    }

    /// Puts the redacted form of an event in the place of what was staged or known.
    pub(crate) fn replace(&mut self, place: Place, row: &EventRow, redacted: &Pdu, by: EventNo) {
        hearth_data::append::redact(&mut self.batch, place, row, redacted, by);
        let row = EventRow {
            json: redacted.json().clone(),
            redacted_by: Some(by),
            ..row.clone()
        };
        if let Some(known) = redacted.state_key_pair().and_then(|(kind, key)| {
            let known = self.view.known(kind, key)??;
            (known.event == row.event).then_some((kind.to_owned(), key.to_owned()))
        }) {
            let event = Known {
                event: row.event,
                pdu: redacted.clone(),
            };
            self.view.learn(&known.0, &known.1, Some(event));
        }
        // Also one that was there before: a second redaction in this commit must find it redacted.
        let staged = StagedEvent {
            place,
            row,
            pdu: redacted.clone(),
        };
        self.events.insert(redacted.event_id().to_owned(), staged);
    }
}

/// An event's row as it will be read by those that come later in the same commit.
pub(crate) fn staged_row(number: EventNo, admitted: &Admitted<'_>) -> EventRow {
    EventRow {
        event: number,
        event_id: admitted.pdu.event_id().to_owned(),
        standing: admitted.standing,
        state_before: admitted.state_before,
        state_after: admitted.state_after,
        redacted_by: None,
        txn: admitted.txn.clone(),
        json: admitted.pdu.json().clone(),
        position: THIS_COMMIT,
    }
}

pub(crate) fn missing_event(number: EventNo) -> Error {
    Error::from(hearth_store::Error::Corrupt {
        table: "timeline",
        key: format!("event {}", number.0),
        reason: "an event of the current state is missing".to_owned(),
    })
}
