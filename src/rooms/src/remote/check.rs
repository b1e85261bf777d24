//! Events of other servers: read, and their signatures checked. The one way in for all of them (S08).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hearth_event::{Pdu, RoomVersion, Unchecked, VerifyError, VerifyKey, signature_keys};
use hearth_ports::remote::Untrusted;
use hearth_ports::{KeySet, WantedKey};
use hearth_types::UnixMs;
use ruma::{OwnedEventId, RoomId};

use crate::{Inner, Rooms};

/// Most events that are held unchecked; as values they take more than as text.
pub(super) const PART: usize = 256;
/// Fewest events that are worth being checked elsewhere.
const SHARE_MIN: usize = 8;

/// From where keys may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// Memory and store.
    AtHand,
    /// Also the network.
    Network,
}

/// An event that was not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is of another room.
    OtherRoom,
    /// Format or signature.
    Bad(VerifyError),
}

impl Rooms {
    /// Checks events of one room; those that pass, in their order.
    pub(crate) async fn verified(
        &self,
        place: (RoomVersion, &RoomId),
        events: &[Untrusted],
    ) -> Vec<Pdu> {
        let texts: Vec<&[u8]> = events.iter().map(|event| event.get().as_bytes()).collect();
        self.verified_texts(place, &texts).await
    }

    /// The same of their texts.
    pub(super) async fn verified_texts(
        &self,
        place: (RoomVersion, &RoomId),
        texts: &[&[u8]],
    ) -> Vec<Pdu> {
        let checked = self.check(place, texts, KeySource::Network);
        let mut seen = HashSet::new();
        checked
            .await
            .into_iter()
            .filter_map(|result| match result {
                Ok(pdu) => Some(pdu),
                Err(error) => {
                    tracing::debug!("dropped an event of another server: {error:?}");
                    None
                }
            })
            .filter(|pdu| seen.insert(pdu.event_id().to_owned()))
            .collect()
    }

    /// Checks events of one room, each on its own.
    pub(crate) async fn check(
        &self,
        (version, room_id): (RoomVersion, &RoomId),
        texts: &[&[u8]],
        source: KeySource,
    ) -> Vec<Result<Pdu, Refused>> {
        self.gather_keys(version, texts, source).await;
        let mut checked = Vec::with_capacity(texts.len());
        for part in texts.chunks(PART) {
            let events: Vec<_> = part
                .iter()
                .map(|text| Unchecked::read(version, text))
                .collect();
            let claimed = events.iter().flatten();
            let wanted = claimed.flat_map(|event| wanted_keys(event.claimed()));
            let keys = self.0.keys(wanted.collect(), source).await;
            checked.extend(check_all(events, &Arc::new(keys)).await);
        }
        for event in &mut checked {
            if event.as_ref().is_ok_and(|pdu| pdu.room_id() != room_id) {
                *event = Err(Refused::OtherRoom);
            }
        }
        checked
    }

    /// Has the keys for more than a part of events at hand: slow servers are waited for together, and not once for each
    /// part.
    pub(super) async fn gather_keys(
        &self,
        version: RoomVersion,
        texts: &[&[u8]],
        source: KeySource,
    ) {
        if texts.len() <= PART {
            return;
        }
        // Of each key the latest time at which it is to be valid: a large room has few keys and many events.
        let mut latest = HashMap::new();
        for text in texts {
            let event = Pdu::parse(version, text);
            for WantedKey { server, key_id, at } in event.iter().flat_map(wanted_keys) {
                let known = latest.entry((server, key_id)).or_insert(at);
                *known = at.max(*known);
            }
            tokio::task::consume_budget().await;
        }
        let wanted = latest.into_iter();
        let wanted = wanted.map(|((server, key_id), at)| WantedKey { server, key_id, at });
        self.0.keys(wanted.collect(), source).await;
    }
}

type Read = Result<Unchecked, VerifyError>;

/// Checks events, many of them on all processors and away from where requests are answered.
async fn check_all(events: Vec<Read>, keys: &Arc<KeySet>) -> Vec<Result<Pdu, Refused>> {
    if events.len() <= SHARE_MIN {
        return check_some(&events, keys);
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let share = events.len().div_ceil(processors).max(SHARE_MIN);
    let events = Arc::new(events);
    let begun = (0..events.len()).step_by(share).map(|from| {
        let range = from..(from + share).min(events.len());
        let (events, keys, some) = (events.clone(), keys.clone(), range.clone());
        let work = move || check_some(&events[some], &keys);
        (range, tokio::task::spawn_blocking(work))
    });
    let begun: Vec<_> = begun.collect();
    let mut checked = Vec::with_capacity(events.len());
    for (range, checking) in begun {
        // Nobody takes up new work while the server stops. What was acknowledged must not be taken for bad then.
        let some = checking.await;
        checked.extend(some.unwrap_or_else(|_| check_some(&events[range], keys)));
    }
    checked
}

fn check_some(events: &[Read], keys: &KeySet) -> Vec<Result<Pdu, Refused>> {
    let check = |event: &Read| {
        let event = event.as_ref().map_err(Clone::clone)?;
        let received = event.check(&|server, key_id| keys.get(server, key_id))?;
        Ok(received.into_pdu())
    };
    let checked = events.iter().map(check);
    checked.map(|event| event.map_err(Refused::Bad)).collect()
}

/// The keys by which an event is checked.
pub(crate) fn wanted_keys(pdu: &Pdu) -> impl Iterator<Item = WantedKey> + use<> {
    let at = pdu.origin_server_ts();
    signature_keys(pdu)
        .into_iter()
        .flat_map(move |(server, ids)| {
            ids.into_iter().map(move |key_id| WantedKey {
                server: server.clone(),
                key_id,
                at,
            })
        })
}

impl Inner {
    async fn keys(&self, wanted: HashSet<WantedKey>, source: KeySource) -> KeySet {
        let own = &self.settings.server_name;
        let wanted: Vec<WantedKey> = wanted.into_iter().collect();
        let ring = &self.federation.keys;
        let mut keys = match source {
            KeySource::AtHand => ring.at_hand(&wanted).await,
            KeySource::Network => ring.fetch(&wanted).await,
        };
        let key = VerifyKey {
            key: self.settings.key.public_key_bytes(),
            valid_until: UnixMs(u64::MAX),
        };
        keys.insert(own.clone(), self.settings.key.key_id().to_owned(), key);
        keys
    }
}

/// Along which references events are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Along {
    /// `auth_events`
    Auth,
    /// `prev_events`
    Prev,
}

impl Along {
    fn of(self, pdu: &Pdu) -> &[OwnedEventId] {
        match self {
            Self::Auth => pdu.auth_events(),
            Self::Prev => pdu.prev_events(),
        }
    }
}

/// Events in an order in which each comes after those of them that it refers to; linear in their references. Of those
/// that refer to each other in a ring none is in it.
pub(crate) fn in_order(events: Vec<Pdu>, along: Along) -> Vec<Pdu> {
    let index: HashMap<OwnedEventId, usize> = events
        .iter()
        .enumerate()
        .map(|(at, pdu)| (pdu.event_id().to_owned(), at))
        .collect();
    let mut waits_for = vec![0_usize; events.len()];
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); events.len()];
    for (at, pdu) in events.iter().enumerate() {
        let needed: HashSet<usize> = along
            .of(pdu)
            .iter()
            .filter_map(|id| index.get(id).copied())
            .collect();
        waits_for[at] = needed.len();
        for below in needed {
            needed_by[below].push(at);
        }
    }
    let mut ready: Vec<usize> = (0..events.len()).filter(|at| waits_for[*at] == 0).collect();
    ready.sort_by_key(|at| std::cmp::Reverse(events[*at].depth()));
    let mut order = Vec::with_capacity(events.len());
    while let Some(at) = ready.pop() {
        order.push(events[at].clone());
        for above in std::mem::take(&mut needed_by[at]) {
            waits_for[above] -= 1;
            if waits_for[above] == 0 {
                ready.push(above);
            }
        }
    }
    order
}
