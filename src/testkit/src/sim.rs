//! Several servers, their rooms and users, and what these were told.

use std::collections::{BTreeMap, BTreeSet};

use hearth_rooms::{Error, NewEvent, NewRoom, Preset};
use hearth_store::Backend as _;
use ruma::{OwnedEventId, OwnedRoomId, RoomOrAliasId};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use crate::client::Client;
use crate::{Net, Node, SimClock};

/// Users of each server.
pub(crate) const USERS: [&str; 2] = ["ann", "bob"];
/// The versions of the rooms, in turn.
const VERSIONS: [&str; 3] = ["11", "12", "10"];

/// How much of a simulation is trouble: of a thousand acts, so many.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weights {
    /// Let the network lose, repeat and delay, or be well again.
    pub faults: u64,
    /// Cut or heal the network between servers.
    pub cuts: u64,
    /// Crash a server, at once or at a later commit.
    pub crash: u64,
}

impl Weights {
    /// Nothing goes wrong.
    pub const CALM: Self = Self {
        faults: 0,
        cuts: 0,
        crash: 0,
    };
    /// Everything goes wrong.
    pub const ROUGH: Self = Self {
        faults: 30,
        cuts: 50,
        crash: 40,
    };
}

/// Messages to a device, from one sender: the number of each, and whether it was acknowledged.
pub(crate) type Letters = Vec<(u64, bool)>;

/// Several servers, their rooms, and what their users were told.
pub struct Sim {
    /// The network.
    pub net: Net,
    /// The servers.
    pub nodes: Vec<Node>,
    /// The rooms.
    pub rooms: Vec<OwnedRoomId>,
    /// Events that were acknowledged: by which server, in which room.
    pub acknowledged: Vec<(usize, OwnedRoomId, OwnedEventId)>,
    /// Those of them that were acknowledged while the server knew only a part of the room's state: they may turn out to be
    /// against it.
    pub(crate) provisional: BTreeSet<OwnedEventId>,
    /// What happened, a line each.
    pub story: Vec<String>,
    pub(crate) weights: Weights,
    /// By server and user.
    pub(crate) clients: BTreeMap<(usize, &'static str), Client>,
    /// By sender and recipient.
    pub(crate) letters: BTreeMap<(String, String), Letters>,
    /// What was found wrong while it happened.
    pub(crate) complaints: Vec<String>,
}

pub(crate) fn raw(value: &serde_json::Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

impl Sim {
    /// Servers with users, each with a public room that one user of every other server joins.
    pub async fn new(seed: u64, (servers, rooms): (usize, usize), weights: Weights) -> Self {
        let net = Net::new(seed);
        let clock = SimClock::default();
        let mut nodes = Vec::new();
        let mut clients = BTreeMap::new();
        for number in 0..servers {
            let letter = char::from(b'a' + u8::try_from(number).unwrap());
            let node = Node::start(&net, clock, &format!("{letter}.test:8448")).await;
            for user in USERS {
                node.register(user).await;
                clients.insert((number, user), Client::new(user));
            }
            nodes.push(node);
        }
        let mut sim = Self {
            net,
            nodes,
            rooms: Vec::new(),
            acknowledged: Vec::new(),
            provisional: BTreeSet::new(),
            story: Vec::new(),
            weights,
            clients,
            letters: BTreeMap::new(),
            complaints: Vec::new(),
        };
        for number in 0..rooms {
            sim.make_room(number).await;
        }
        sim
    }

    async fn make_room(&mut self, number: usize) {
        let at = number % self.nodes.len();
        let new = NewRoom {
            preset: Some(Preset::PublicChat),
            version: Some(VERSIONS[number % VERSIONS.len()].to_owned()),
            ..NewRoom::default()
        };
        let creator = self.nodes[at].user(USERS[0]);
        let room = self.nodes[at].rooms.create(&creator, new).await.unwrap();
        for other in 0..self.nodes.len() {
            if other != at {
                self.join(other, USERS[0], &room, at).await.unwrap();
            }
        }
        self.rooms.push(room);
    }

    /// Has a user join, over a server.
    pub async fn join(
        &self,
        at: usize,
        user: &str,
        room: &OwnedRoomId,
        via: usize,
    ) -> Result<OwnedRoomId, Error> {
        let node = &self.nodes[at];
        let via = [self.nodes[via].name.clone()];
        let room: &RoomOrAliasId = (**room).into();
        node.rooms
            .join_via(&node.caller(user), room, &via, (None, None))
            .await
    }

    /// Has a user send a message.
    pub async fn say(
        &mut self,
        at: usize,
        user: &str,
        room: &OwnedRoomId,
        text: &str,
    ) -> Result<OwnedEventId, Error> {
        let node = &self.nodes[at];
        let event = NewEvent {
            kind: "m.room.message".to_owned(),
            content: raw(&json!({"msgtype": "m.text", "body": text})),
            txn_id: None,
        };
        let sent = node.rooms.send(&node.sender(user), room, event).await?;
        self.acknowledge(at, room, &sent).await;
        Ok(sent)
    }

    /// Notes that a server has acknowledged an event of its user.
    pub(crate) async fn acknowledge(
        &mut self,
        at: usize,
        room: &OwnedRoomId,
        event: &OwnedEventId,
    ) {
        let node = &self.nodes[at];
        // It may have crashed right after.
        let is_alive = node.store.snapshot().await.is_ok();
        if is_alive && node.is_partial(room).await {
            self.provisional.insert(event.clone());
        }
        self.acknowledged.push((at, room.clone(), event.clone()));
    }

    /// The short name of a room, for the story.
    pub(crate) fn short(&self, room: &OwnedRoomId) -> String {
        let number = self.rooms.iter().position(|known| known == room);
        format!("room {}", number.unwrap_or(self.rooms.len()))
    }
}
