//! Events of other servers: read, and their signatures checked. The one way in for all of them (S08).

use std::collections::{HashMap, HashSet};

use hearth_event::{Pdu, Received, RoomVersion, VerifyError, VerifyKey, received, signature_keys};
use hearth_ports::remote::Untrusted;
use hearth_ports::{KeySet, WantedKey};
use hearth_types::UnixMs;
use ruma::{OwnedEventId, RoomId};

use crate::{Inner, Rooms};

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
        (version, room_id): (RoomVersion, &RoomId),
        events: &[Untrusted],
    ) -> Vec<Pdu> {
        let texts: Vec<&[u8]> = events.iter().map(|event| event.get().as_bytes()).collect();
        let checked = self.check((version, room_id), &texts, KeySource::Network);
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
        let mut wanted = HashSet::new();
        for text in texts {
            if let Ok(pdu) = Pdu::parse(version, text) {
                wanted.extend(wanted_keys(&pdu));
            }
        }
        let keys = self.0.keys(wanted, source).await;
        let check = |text: &&[u8]| {
            let event = received(version, text, &|server, key_id| keys.get(server, key_id));
            match event.map_err(Refused::Bad)? {
                event if event_of(&event).room_id() == room_id => Ok(event.into_pdu()),
                _ => Err(Refused::OtherRoom),
            }
        };
        texts.iter().map(check).collect()
    }
}

fn event_of(received: &Received) -> &Pdu {
    match received {
        Received::Intact(pdu) | Received::Redacted(pdu) => pdu,
    }
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
