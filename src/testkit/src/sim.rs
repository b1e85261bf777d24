//! Random acts of users on several servers, with a network and servers that fail; and what must hold when all is well
//! again.

use std::time::Duration;

use hearth_data::append::Standing;
use hearth_rooms::{
    Error, NewEvent, NewRoom, NewState, Preset, RedactOf, RedactRequest, TargetChange,
};
use ruma::{OwnedEventId, OwnedRoomId, RoomOrAliasId};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use crate::{Faults, Net, Node, SimClock};

/// Users of each server.
const USERS: [&str; 2] = ["ann", "bob"];
/// How long servers get to come to terms, in steps.
const SETTLE_STEPS: u32 = 60;
/// One step.
const STEP: Duration = Duration::from_secs(120);

/// How much of a simulation is trouble.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// Of a thousand acts, so many cut or heal the network.
    pub network: u64,
    /// Of a thousand acts, so many crash a server.
    pub crash: u64,
}

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
    weights: Weights,
}

fn raw(value: &serde_json::Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

impl Sim {
    /// Servers with users, each with a public room that one user of every other server joins.
    pub async fn new(seed: u64, (servers, rooms): (usize, usize), weights: Weights) -> Self {
        let net = Net::new(seed);
        let clock = SimClock::default();
        let mut nodes = Vec::new();
        for number in 0..servers {
            let letter = char::from(b'a' + u8::try_from(number).unwrap());
            let node = Node::start(&net, clock, &format!("{letter}.test:8448")).await;
            for user in USERS {
                node.register(user).await;
            }
            nodes.push(node);
        }
        let mut sim = Self {
            net,
            nodes,
            rooms: Vec::new(),
            acknowledged: Vec::new(),
            weights,
        };
        for number in 0..rooms {
            sim.make_room(number % servers).await;
        }
        sim
    }

    async fn make_room(&mut self, at: usize) {
        let new = NewRoom {
            preset: Some(Preset::PublicChat),
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
        self.acknowledged.push((at, room.clone(), sent.clone()));
        Ok(sent)
    }

    /// One random act.
    pub async fn act(&mut self, number: usize) {
        let dice = self.net.pick(1_000);
        let Weights { network, crash } = self.weights;
        if dice < network {
            self.disturb();
        } else if dice < network + crash {
            let at = self.pick_node();
            self.nodes[at].crash().await;
        } else {
            self.do_something(number).await;
        }
        let pause = self.net.pick(400);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    fn pick_node(&self) -> usize {
        usize::try_from(self.net.pick(self.nodes.len() as u64)).unwrap()
    }

    fn disturb(&self) {
        match self.net.pick(4) {
            0 => self.net.heal(),
            1 => self.net.set_faults(Faults {
                lost: 100,
                unanswered: 100,
                doubled: 200,
                delay_ms_max: 500,
            }),
            _ => {
                let (one, other) = (self.pick_node(), self.pick_node());
                if one != other {
                    let name = |at: usize| self.nodes[at].name.as_str();
                    self.net.cut(name(one), name(other));
                }
            }
        }
    }

    async fn do_something(&mut self, number: usize) {
        let at = self.pick_node();
        let user = USERS[usize::try_from(self.net.pick(2)).unwrap()];
        let room = usize::try_from(self.net.pick(self.rooms.len() as u64)).unwrap();
        let room = self.rooms[room].clone();
        // Many of these are not allowed, which is as it should be.
        let _refused = match self.net.pick(12) {
            0..=4 => self
                .say(at, user, &room, &format!("message {number}"))
                .await
                .err(),
            5 => {
                let topic = ("m.room.topic", json!({"topic": format!("topic {number}")}));
                self.set(at, user, &room, topic).await.err()
            }
            6 => self.set_levels(at, user, &room).await.err(),
            7 => self.join(at, user, &room, self.pick_node()).await.err(),
            8 => {
                let node = &self.nodes[at];
                node.rooms.leave(&node.user(user), &room, None).await.err()
            }
            9 => self.redact_something(at, user, number).await.err(),
            _ => self.change_somebody(at, user, &room).await.err(),
        };
    }

    async fn set(
        &mut self,
        at: usize,
        user: &str,
        room: &OwnedRoomId,
        (kind, content): (&str, serde_json::Value),
    ) -> Result<(), Error> {
        let node = &self.nodes[at];
        let state = NewState {
            kind: kind.to_owned(),
            state_key: String::new(),
            content: raw(&content),
        };
        let sent = node
            .rooms
            .put_state(&node.sender(user), room, state)
            .await?;
        self.acknowledged.push((at, room.clone(), sent));
        Ok(())
    }

    async fn set_levels(&mut self, at: usize, user: &str, room: &OwnedRoomId) -> Result<(), Error> {
        let mut users = serde_json::Map::new();
        for node in &self.nodes {
            for name in USERS {
                let level = [0, 50, 100][usize::try_from(self.net.pick(3)).unwrap()];
                users.insert(node.user(name).to_string(), level.into());
            }
        }
        // Whoever sets them keeps her own.
        users.insert(self.nodes[at].user(user).to_string(), 100.into());
        let levels =
            json!({"users": users, "invite": 0, "ban": 50, "kick": 50, "state_default": 50});
        self.set(at, user, room, ("m.room.power_levels", levels))
            .await
    }

    async fn change_somebody(
        &mut self,
        at: usize,
        user: &str,
        room: &OwnedRoomId,
    ) -> Result<(), Error> {
        let node = &self.nodes[at];
        let whom =
            self.nodes[self.pick_node()].user(USERS[usize::try_from(self.net.pick(2)).unwrap()]);
        let change = match self.net.pick(4) {
            0 => TargetChange::Kick,
            1 => TargetChange::Ban,
            2 => TargetChange::Unban,
            _ => TargetChange::Invite,
        };
        node.rooms
            .change_other(&node.user(user), room, (change, &whom), None)
            .await
    }

    async fn redact_something(
        &mut self,
        at: usize,
        user: &str,
        number: usize,
    ) -> Result<(), Error> {
        let count = self.acknowledged.len() as u64;
        let Some((_, room, target)) = self
            .acknowledged
            .get(usize::try_from(self.net.pick(count)).unwrap())
            .cloned()
        else {
            return Ok(());
        };
        let node = &self.nodes[at];
        let txn_id = format!("redact {number}");
        let request = RedactRequest {
            reason: None,
            txn_id: &txn_id,
            of: RedactOf::default(),
        };
        let sent = node
            .rooms
            .redact(&node.sender(user), &room, &target, request)
            .await?;
        self.acknowledged.push((at, room, sent));
        Ok(())
    }

    /// Heals everything, has each server say something in each room, and waits until all agree. Answers what is not as
    /// it should be.
    pub async fn settle(&mut self) -> Vec<String> {
        self.net.heal();
        for at in 0..self.nodes.len() {
            for room in self.rooms.clone() {
                for user in USERS {
                    // Whoever is not in the room says nothing.
                    let _refused = self.say(at, user, &room, "all is well").await.err();
                }
            }
        }
        let mut wrong = Vec::new();
        for _ in 0..SETTLE_STEPS {
            tokio::time::sleep(STEP).await;
            wrong = self.disagreements().await;
            if wrong.is_empty() {
                break;
            }
        }
        for node in &self.nodes {
            wrong.extend(node.problems().await);
        }
        wrong
    }

    async fn disagreements(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for room in &self.rooms {
            let mut first = None;
            for node in &self.nodes {
                let Some(state) = node.state(room).await else {
                    continue;
                };
                match &first {
                    None => first = Some((&node.name, state)),
                    Some((name, known)) if *known != state => {
                        let differing: Vec<_> = known
                            .iter()
                            .filter(|(key, id)| state.get(*key) != Some(id))
                            .map(|(key, id)| (key, id, state.get(key)))
                            .collect();
                        wrong.push(format!("{room}: {name} and {}: {differing:?}", node.name));
                    }
                    Some(_) => {}
                }
            }
        }
        for (at, room, event_id) in &self.acknowledged {
            let standing = self.nodes[*at].standing(event_id).await;
            if standing != Some(Standing::Accepted) {
                let name = &self.nodes[*at].name;
                wrong.push(format!(
                    "{room}: {name} acknowledged {event_id}: {standing:?}"
                ));
            }
        }
        wrong
    }
}
