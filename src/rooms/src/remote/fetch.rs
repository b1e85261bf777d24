//! Fetching what an event refers to: auth events, missing predecessors, and where too much is missing, the state at the
//! gap. Everything is checked before it is kept, and every walk has a budget.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures_util::future::join_all;
use hearth_data::timeline::{self, Whereabouts};
use hearth_data::{EventNo, StateId, partial, rooms};
use hearth_event::{Pdu, create_event_id};
use hearth_ports::remote::{MissingEvents, RemoteError, StateIds};
use ruma::{EventId, OwnedEventId, OwnedServerName, ServerName};

use super::check::{Along, KeySource, PART, in_order};
use super::intake::Site;
use crate::read::Look;
use crate::stage::admit::{Intake, Live, NewState, Taken};
use crate::{Error, Result, Rooms};

/// Most events that are fetched for one event: more are a gap.
const CHAIN_MAX: usize = 200;
/// How often is asked for more of them.
const ROUNDS_MAX: usize = 5;
/// How many missing events are asked for at once.
const MISSING_LIMIT: usize = 50;
/// Servers answer with fewer than are asked for, but none caps the answer below the default of the specification: with
/// less it has told all that it will.
const MISSING_CAP_MIN: usize = 10;
/// Most missing predecessors of one event that are fetched by themselves.
const PREVS_MAX: usize = 10;
/// Most auth events that are fetched one by one for one event.
const AUTH_WALK_MAX: usize = 500;
/// Up to so many events of a state are fetched one by one; for more the whole state is.
const ONE_BY_ONE_MAX: usize = 50;
/// How many of these at the same time.
const AT_ONCE: usize = 8;
/// Most events of a state and its auth chain.
const STATE_EVENTS_MAX: usize = 200_000;
/// Events of a state that one commit sets.
const STATE_CHUNK: usize = 300;
/// How many events the worker is given at once.
const HAND_OVER: usize = 64;
/// Most servers that are asked for one event.
const SERVERS_MAX: usize = 4;

/// Whether an event may be taken with history missing right before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gap {
    Allowed,
    /// What is missing may still come, or be told by others.
    NotYet,
}

impl Rooms {
    /// Fetches what an event refers to. Answers the state before it if history before it stays missing, and may.
    pub(crate) async fn fetch_references(
        &self,
        site: &Site,
        origin: &ServerName,
        (pdu, gap): (&Pdu, Gap),
    ) -> Result<Option<StateId>> {
        let mut last = Err(Error::NoServerInRoom);
        for server in self.who_may_know(site, origin, pdu).await? {
            let fetched = self.fetch_from(site, &server, (pdu, gap)).await;
            match fetched {
                Err(Error::Remote(ref error)) => {
                    let event_id = pdu.event_id();
                    tracing::debug!(%server, event.id = %event_id, ?gap, %error, "nothing fetched from a server");
                }
                // Another server may know more.
                Ok(None) if !self.unplaced(site, pdu.prev_events()).await?.is_empty() => {}
                _ => return fetched,
            }
            // That it is kept from us says more than that another server cannot be reached.
            if !last.as_ref().is_err_and(Error::is_kept_from_us) {
                last = fetched;
            }
        }
        last
    }

    async fn who_may_know(
        &self,
        site: &Site,
        origin: &ServerName,
        pdu: &Pdu,
    ) -> Result<Vec<OwnedServerName>> {
        let mut servers = vec![origin.to_owned(), pdu.sender().server_name().to_owned()];
        servers.extend(self.servers_of(site.room, SERVERS_MAX).await?);
        servers.retain(|server| server != self.server_name());
        let mut seen = HashSet::new();
        servers.retain(|server| seen.insert(server.clone()));
        servers.truncate(SERVERS_MAX);
        Ok(servers)
    }

    /// Some servers in a room; while not all members are known, also those that were said to be in it.
    pub(crate) async fn servers_of(
        &self,
        room: hearth_data::RoomNo,
        limit: usize,
    ) -> Result<Vec<OwnedServerName>> {
        let snapshot = self.snapshot().await?;
        let limit = limit.saturating_add(1);
        let (mut servers, _) =
            hearth_data::federation::servers_after(&*snapshot, room, "", limit).await?;
        if let Some(row) = partial::partial(&*snapshot, room).await? {
            let said = row.servers.into_iter().take(limit);
            servers.extend(said);
            let mut seen = HashSet::new();
            servers.retain(|server| seen.insert(server.clone()));
        }
        let parsed = servers
            .iter()
            .filter_map(|server| ServerName::parse(server.as_str()).ok());
        Ok(parsed
            .filter(|server| server != self.server_name())
            .collect())
    }

    async fn fetch_from(
        &self,
        site: &Site,
        server: &ServerName,
        (pdu, gap): (&Pdu, Gap),
    ) -> Result<Option<StateId>> {
        self.fetch_auth(site, server, pdu).await?;
        if self.unplaced(site, pdu.prev_events()).await?.is_empty() {
            return Ok(None);
        }
        let chain = self.missing_chain(site, server, pdu).await?;
        for event in in_order(chain, Along::Prev) {
            self.fetch_auth(site, server, &event).await?;
            match self.gap_before(site, server, (&event, gap)).await {
                Ok(after_gap) => self.take_fetched(site, event, after_gap).await?,
                // The state before what we may not see is not for us: the gap is then before the first that we may.
                Err(Error::Remote(RemoteError::Refused { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        match gap {
            Gap::Allowed => self.gap_before(site, server, (pdu, gap)).await,
            Gap::NotYet => Ok(None),
        }
    }

    async fn take_fetched(&self, site: &Site, pdu: Pdu, after_gap: Option<StateId>) -> Result<()> {
        let live = Live {
            pdu: self.ask_policy(site, pdu).await?,
            after_gap,
            inbox: None,
            relay_from: None,
            is_judged: true,
        };
        self.take_in(site.room, Intake::Live(live)).await?;
        Ok(())
    }

    /// The state before an event some of whose predecessors are not here. These are fetched, and the gap is before them:
    /// whoever sent the event has them for sure, and the event itself may not be told of yet.
    async fn gap_before(
        &self,
        site: &Site,
        server: &ServerName,
        (pdu, gap): (&Pdu, Gap),
    ) -> Result<Option<StateId>> {
        let missing = self.unplaced(site, pdu.prev_events()).await?;
        if missing.is_empty() {
            return Ok(None);
        }
        let some = missing.get(..PREVS_MAX).unwrap_or(&missing);
        let befores = self.fetch_events(site, server, some).await?;
        if !befores.is_empty() {
            for before in befores {
                self.fetch_auth(site, server, &before).await?;
                let state = match self.unplaced(site, before.prev_events()).await?.is_empty() {
                    true => None,
                    false => Some(self.fetch_state(site, server, before.event_id()).await?),
                };
                self.take_fetched(site, before, state).await?;
            }
            if self.unplaced(site, pdu.prev_events()).await?.is_empty() {
                return Ok(None);
            }
            if gap == Gap::NotYet {
                let why = "the event before rests upon events that are not given";
                return Err(RemoteError::Malformed(why.to_owned()).into());
            }
        }
        self.fetch_state(site, server, pdu.event_id())
            .await
            .map(Some)
    }

    /// Missing events before an event, as far back as it takes or the budget goes.
    async fn missing_chain(&self, site: &Site, server: &ServerName, pdu: &Pdu) -> Result<Vec<Pdu>> {
        let snapshot = self.snapshot().await?;
        let head = rooms::head(&*snapshot, site.room).await?;
        drop(snapshot);
        let extremities = head.map(|head| head.extremities).unwrap_or_default();
        let earliest: Vec<OwnedEventId> = extremities
            .into_iter()
            .map(|extremity| extremity.event_id)
            .collect();
        let mut chain: Vec<Pdu> = Vec::new();
        let mut known: HashSet<OwnedEventId> = HashSet::from([pdu.event_id().to_owned()]);
        let mut latest = vec![pdu.event_id().to_owned()];
        for _ in 0..ROUNDS_MAX {
            let ask = MissingEvents {
                earliest: earliest.clone(),
                latest,
                limit: MISSING_LIMIT,
                min_depth: 0,
            };
            let answer = self.remote().missing_events(server, &site.room_id, &ask);
            let events = match answer.await {
                Ok(events) => events,
                Err(RemoteError::Refused { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            let checked = self.verified((site.version, &site.room_id), &events).await;
            let (before, count) = (chain.len(), events.len());
            for event in checked.into_iter().take(MISSING_LIMIT) {
                let id = event.event_id().to_owned();
                let is_here = self
                    .unplaced(site, std::slice::from_ref(&id))
                    .await?
                    .is_empty();
                if !is_here && known.insert(id) {
                    chain.push(event);
                }
            }
            let is_all = count < MISSING_CAP_MIN;
            if is_all || chain.len() == before || chain.len() >= CHAIN_MAX {
                break;
            }
            latest = self.open_ends(site, pdu, &chain, &known).await?;
            if latest.is_empty() {
                break;
            }
        }
        Ok(chain)
    }

    /// The events with predecessors that are neither here nor among those fetched.
    async fn open_ends(
        &self,
        site: &Site,
        pdu: &Pdu,
        chain: &[Pdu],
        known: &HashSet<OwnedEventId>,
    ) -> Result<Vec<OwnedEventId>> {
        let mut open = Vec::new();
        for event in chain.iter().chain([pdu]) {
            let unplaced = self.unplaced(site, event.prev_events()).await?;
            if unplaced.iter().any(|id| !known.contains(id)) {
                open.push(event.event_id().to_owned());
            }
        }
        Ok(open)
    }

    /// Has the auth events of an event, and theirs, kept as outliers if they are not here.
    pub(crate) async fn fetch_auth(
        &self,
        site: &Site,
        server: &ServerName,
        pdu: &Pdu,
    ) -> Result<()> {
        let missing = self.unknown(site, &auth_ids(pdu)).await?;
        if missing.is_empty() {
            return Ok(());
        }
        // Mostly it is one member's join; that needs no whole auth chain.
        if missing.len() <= ONE_BY_ONE_MAX {
            let few = self.fetch_events(site, server, &missing).await?;
            self.keep_outliers(site, few).await?;
            if self.unknown(site, &missing).await?.is_empty() {
                return Ok(());
            }
        }
        let chain = self
            .remote()
            .event_auth(server, &site.room_id, pdu.event_id());
        match chain.await {
            Ok(events) => {
                let events = self.verified((site.version, &site.room_id), &events).await;
                self.keep_outliers(site, events).await?;
            }
            Err(RemoteError::Refused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let missing = self.unknown(site, &auth_ids(pdu)).await?;
        if missing.is_empty() {
            return Ok(());
        }
        self.walk_auth(site, server, missing).await
    }

    /// Fetches auth events one by one, down to those that are here.
    async fn walk_auth(
        &self,
        site: &Site,
        server: &ServerName,
        mut open: Vec<OwnedEventId>,
    ) -> Result<()> {
        let mut seen: HashSet<OwnedEventId> = open.iter().cloned().collect();
        let mut fetched = Vec::new();
        while !open.is_empty() && fetched.len() < AUTH_WALK_MAX {
            let some = open.split_off(open.len().saturating_sub(AT_ONCE));
            let events = self.fetch_events(site, server, &some).await?;
            for event in &events {
                for id in self.unknown(site, &auth_ids(event)).await? {
                    if seen.insert(id.clone()) {
                        open.push(id);
                    }
                }
            }
            fetched.extend(events);
        }
        self.keep_outliers(site, fetched).await
    }

    /// Events by id, checked; those that the server does not give, or others than asked for, are left out.
    pub(super) async fn fetch_events(
        &self,
        site: &Site,
        server: &ServerName,
        ids: &[OwnedEventId],
    ) -> Result<Vec<Pdu>> {
        let mut events = Vec::new();
        for some in ids.chunks(AT_ONCE) {
            let answers = some.iter().map(|id| self.remote().event(server, id));
            let mut received = Vec::new();
            for answer in join_all(answers).await {
                match answer {
                    Ok(event) => received.push(event),
                    Err(RemoteError::Refused { .. } | RemoteError::Malformed(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let checked = self.verified((site.version, &site.room_id), &received);
            let wanted = |event: &Pdu| some.iter().any(|id| id == event.event_id());
            events.extend(checked.await.into_iter().filter(wanted));
        }
        Ok(events)
    }

    /// Fetches the state before an event and makes it a state here.
    pub(crate) async fn fetch_state(
        &self,
        site: &Site,
        server: &ServerName,
        event_id: &EventId,
    ) -> Result<StateId> {
        let state = self.fetch_state_ids(site, server, event_id).await?;
        self.state_of(site, state).await
    }

    /// Fetches the events of the state before an event that are not here, and answers its ids.
    pub(crate) async fn fetch_state_ids(
        &self,
        site: &Site,
        server: &ServerName,
        event_id: &EventId,
    ) -> Result<Vec<OwnedEventId>> {
        let ids = self.remote().state_ids(server, &site.room_id, event_id);
        let StateIds { state, auth_chain } = ids.await?;
        if state.len() + auth_chain.len() > STATE_EVENTS_MAX {
            return Err(RemoteError::Malformed("a state of too many events".to_owned()).into());
        }
        let mut unknown = self.unknown(site, &auth_chain).await?;
        drop(auth_chain);
        unknown.extend(self.unknown(site, &state).await?);
        if unknown.len() <= ONE_BY_ONE_MAX {
            let few = self.fetch_events(site, server, &unknown).await?;
            self.keep_outliers(site, few).await?;
            unknown = self.unknown(site, &unknown).await?;
        }
        if unknown.is_empty() {
            return Ok(state);
        }
        // It is for more than a few, or for what the server does not tell of by itself: a state without that would be
        // another one.
        let answer = self.remote().state(server, &site.room_id, event_id).await?;
        let mut events = answer.auth_chain;
        events.extend(answer.state);
        let wanted = unknown.into_iter().collect();
        self.keep_in_parts(site, &events, &wanted).await?;
        Ok(state)
    }

    /// Checks events and keeps those that are wanted as outliers, a part at a time: of a large room only a part is in memory as
    /// more than text.
    async fn keep_in_parts(
        &self,
        site: &Site,
        events: &[Bytes],
        wanted: &HashSet<OwnedEventId>,
    ) -> Result<()> {
        let place = (site.version, &*site.room_id);
        let texts: Vec<&[u8]> = events.iter().map(|event| &event[..]).collect();
        self.gather_keys(site.version, &texts, KeySource::Network)
            .await;
        let mut early = Vec::new();
        for part in texts.chunks(PART) {
            let mut checked = self.verified_texts(place, part).await;
            checked.retain(|event| wanted.contains(event.event_id()));
            early.extend(self.try_outliers(site, checked).await?);
        }
        self.keep_outliers(site, early).await
    }

    /// Keeps checked events as outliers, auth events first. What lacks its own auth events is left out.
    pub(crate) async fn keep_outliers(&self, site: &Site, events: Vec<Pdu>) -> Result<()> {
        for event in self.try_outliers(site, events).await? {
            tracing::debug!(event.id = %event.event_id(), "auth events are missing");
        }
        Ok(())
    }

    /// Keeps checked events as outliers, auth events first. Answers those that lack their own auth events.
    async fn try_outliers(&self, site: &Site, events: Vec<Pdu>) -> Result<Vec<Pdu>> {
        let mut lacking = Vec::new();
        for some in in_order(events, Along::Auth).chunks(HAND_OVER) {
            let kept = some
                .iter()
                .map(|pdu| self.take_in(site.room, Intake::Outlier(pdu.clone())));
            for (pdu, taken) in some.iter().zip(join_all(kept).await) {
                if let Taken::Missing(_) = taken? {
                    lacking.push(pdu.clone());
                }
            }
        }
        Ok(lacking)
    }

    /// A state of known events, made from the current one. Events that are not here are left out.
    pub(crate) async fn state_of(&self, site: &Site, ids: Vec<OwnedEventId>) -> Result<StateId> {
        let snapshot = self.snapshot().await?;
        let look = self.look(snapshot, site.room).await?;
        let look = look.ok_or(Error::NoSuchRoom)?;
        let base = look.head.state;
        let difference = self.difference_to(&look, (ids, None), base).await?;
        drop(look);
        self.make_state(site, base, &difference).await
    }

    /// What has to be done to make a state of these events from another. Events that are not here are left out. The last
    /// of them, if it is given, takes the place of the one that has its key.
    pub(crate) async fn difference_to(
        &self,
        look: &Look,
        (ids, last): (Vec<OwnedEventId>, Option<&Pdu>),
        base: StateId,
    ) -> Result<Difference> {
        let is_replaced = |pdu: &Pdu| {
            last.is_some_and(|last| {
                last.event_id() != pdu.event_id() && last.state_key_pair() == pdu.state_key_pair()
            })
        };
        let entries = look.states().entries(base).await?;
        let mut entries: HashSet<EventNo> = entries.into_iter().map(|entry| entry.event).collect();
        let mut set = Vec::new();
        let mut keys = HashMap::new();
        for id in ids {
            let Some(found) = timeline::find(&*look.snapshot, &id).await? else {
                continue;
            };
            if entries.remove(&found.event) || found.room != look.room {
                continue;
            }
            if let Some((_, row)) = timeline::event(&*look.snapshot, look.room, found.event).await?
                && let pdu = look.pdu(&row)?
                && let Some((kind, key)) = pdu.state_key_pair()
            {
                if is_replaced(&pdu) {
                    continue;
                }
                keys.insert((kind.to_owned(), key.to_owned()), found.event);
            }
            set.push(id);
        }
        let mut gone: Vec<EventNo> = entries.into_iter().collect();
        gone.sort_unstable();
        let mut unset = Vec::new();
        for row in timeline::events(&*look.snapshot, look.room, &gone).await? {
            if let Some((kind, key)) = look.pdu(&row)?.state_key_pair() {
                let key = (kind.to_owned(), key.to_owned());
                if !keys.contains_key(&key) {
                    unset.push(key);
                }
            }
        }
        Ok(Difference { set, keys, unset })
    }

    pub(crate) async fn make_state(
        &self,
        site: &Site,
        base: StateId,
        Difference { set, unset, .. }: &Difference,
    ) -> Result<StateId> {
        let mut steps: Vec<NewState> = set
            .chunks(STATE_CHUNK)
            .map(|set| NewState {
                base,
                set: set.to_vec(),
                unset: Vec::new(),
            })
            .collect();
        steps.extend(unset.chunks(STATE_CHUNK).map(|unset| NewState {
            base,
            set: Vec::new(),
            unset: unset.to_vec(),
        }));
        let mut state = base;
        for step in steps {
            let step = NewState {
                base: state,
                ..step
            };
            match self.take_in(site.room, Intake::State(step)).await? {
                Taken::State(made) => state = made,
                other => {
                    tracing::warn!(?other, "a state could not be put together");
                    return Err(Error::NoSuchState);
                }
            }
        }
        Ok(state)
    }

    /// Those of the events that are not in the store.
    pub(crate) async fn unknown(
        &self,
        site: &Site,
        ids: &[OwnedEventId],
    ) -> Result<Vec<OwnedEventId>> {
        let snapshot = self.snapshot().await?;
        let mut unknown = Vec::new();
        for id in ids {
            let found = timeline::find(&*snapshot, id).await?;
            if found.is_none_or(|found| found.room != site.room) {
                unknown.push(id.clone());
            }
        }
        Ok(unknown)
    }

    /// Those of the events that have no place in the room's history.
    pub(crate) async fn unplaced(
        &self,
        site: &Site,
        ids: &[OwnedEventId],
    ) -> Result<Vec<OwnedEventId>> {
        let snapshot = self.snapshot().await?;
        let mut unplaced = Vec::new();
        for id in ids {
            let found = timeline::find(&*snapshot, id).await?;
            let place = match found.filter(|found| found.room == site.room) {
                Some(found) => timeline::whereabouts(&*snapshot, site.room, found.event).await?,
                None => None,
            };
            if !matches!(place, Some(Whereabouts::Placed(_))) {
                unplaced.push(id.clone());
            }
        }
        Ok(unplaced)
    }
}

/// What a state of known events has otherwise than another.
#[derive(Debug)]
pub(crate) struct Difference {
    /// The events to be set.
    pub(crate) set: Vec<OwnedEventId>,
    /// Which of them each key is set to.
    pub(crate) keys: HashMap<(String, String), EventNo>,
    /// The keys to be taken out.
    pub(crate) unset: Vec<(String, String)>,
}

/// What the auth rules look at besides the state: the auth events, and the create event of version 12.
fn auth_ids(pdu: &Pdu) -> Vec<OwnedEventId> {
    let rules = &pdu.version().rules().authorization;
    let mut ids = pdu.auth_events().to_vec();
    if rules.room_create_event_id_as_room_id && pdu.kind() != "m.room.create" {
        ids.extend(create_event_id(pdu));
    }
    ids
}
