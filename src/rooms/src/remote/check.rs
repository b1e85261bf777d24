//! Events of other servers: read, and their signatures checked. The one way in for all of them (S08).

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use hearth_event::{Pdu, Received, RoomVersion, Unchecked, VerifyError, VerifyKey};
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
            let part = part.iter().map(|text| text.to_vec()).collect();
            let read =
                on_all_processors(part, move |text: &Vec<u8>| Unchecked::read(version, text));
            let events = read.await;
            let wanted = events.iter().flatten().flat_map(wanted_keys);
            let keys = Arc::new(self.0.keys(wanted.collect(), source).await);
            checked.extend(on_all_processors(events, move |event| check_one(event, &keys)).await);
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
            let event = Unchecked::read(version, text);
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

/// Does the same with each of some events; with many of them on all processors, and away from where requests are answered.
async fn on_all_processors<T, U>(
    all: Vec<T>,
    act: impl Fn(&T) -> U + Send + Sync + 'static,
) -> Vec<U>
where
    T: Send + Sync + 'static,
    U: Send + 'static,
{
    if all.len() <= SHARE_MIN {
        return all.iter().map(act).collect();
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let share = all.len().div_ceil(processors).max(SHARE_MIN);
    let count = all.len();
    let act_on =
        Arc::new(move |range: Range<usize>| all[range].iter().map(&act).collect::<Vec<U>>());
    let begun = (0..count).step_by(share).map(|from| {
        let range = from..(from + share).min(count);
        let (act_on, some) = (act_on.clone(), range.clone());
        (range, tokio::task::spawn_blocking(move || act_on(some)))
    });
    let begun: Vec<_> = begun.collect();
    let mut done = Vec::with_capacity(count);
    for (range, acting) in begun {
        // Nobody takes up new work while the server stops. What was acknowledged must not be taken for bad then.
        let some = acting.await;
        done.extend(some.unwrap_or_else(|_| act_on(range)));
    }
    done
}

fn check_one(event: &Read, keys: &KeySet) -> Result<Pdu, Refused> {
    let event = event
        .as_ref()
        .map_err(|error| Refused::Bad(error.clone()))?;
    let received = event.check(&|server, key_id| keys.get(server, key_id));
    received.map(Received::into_pdu).map_err(Refused::Bad)
}

/// The keys by which an event is checked.
fn wanted_keys(event: &Unchecked) -> impl Iterator<Item = WantedKey> + use<> {
    let at = event.claimed().origin_server_ts();
    event
        .signature_keys()
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
