//! What a client makes of many incremental answers is what a fresh one gets at once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use ruma::{OwnedEventId, OwnedRoomId};
use serde_json::{Value, json};

use crate::house::{House, Options, ask};

const NAMES: [&str; 4] = ["ann", "bob", "cat", "dan"];

#[derive(Clone, Debug)]
enum Step {
    Join(usize, usize),
    Leave(usize, usize),
    Say(usize, usize),
    State(usize, usize, u8),
    Redact(usize),
    Read(usize, usize),
    Sync {
        limit: u8,
        filtered: bool,
        after: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let pair = || (1..NAMES.len(), 0..3_usize);
    prop_oneof![
        2 => pair().prop_map(|(who, room)| Step::Join(who, room)),
        1 => pair().prop_map(|(who, room)| Step::Leave(who, room)),
        4 => pair().prop_map(|(who, room)| Step::Say(who, room)),
        3 => (0..NAMES.len(), 0..3_usize, 0..3_u8).prop_map(|(who, room, n)| Step::State(who, room, n)),
        1 => (0..3_usize).prop_map(Step::Redact),
        2 => pair().prop_map(|(who, room)| Step::Read(who, room)),
        3 => (0..6_u8, any::<bool>(), any::<bool>())
            .prop_map(|(limit, filtered, after)| Step::Sync { limit, filtered, after }),
    ]
}

/// What a client knows of the rooms it is in.
#[derive(Clone, Debug, Default, PartialEq)]
struct Picture {
    rooms: BTreeMap<String, RoomPicture>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct RoomPicture {
    /// (type, state key) → event id
    state: BTreeMap<(String, String), String>,
    counts: Value,
    receipts: BTreeMap<String, String>,
}

impl Picture {
    fn apply(&mut self, answer: &Value) {
        for (id, _) in answer["rooms"]["leave"].as_object().into_iter().flatten() {
            self.rooms.remove(id);
        }
        for (id, section) in answer["rooms"]["join"].as_object().into_iter().flatten() {
            let room = self.rooms.entry(id.clone()).or_default();
            let after = section.get("state_after");
            room.set_state(after.unwrap_or(&section["state"]));
            if after.is_none() {
                room.set_state(&section["timeline"]);
            }
            room.counts = section["unread_notifications"].clone();
            room.read(&section["ephemeral"]);
        }
    }
}

impl RoomPicture {
    fn set_state(&mut self, events: &Value) {
        for event in events["events"].as_array().unwrap() {
            if let Some(state_key) = event["state_key"].as_str() {
                let key = (
                    event["type"].as_str().unwrap().to_owned(),
                    state_key.to_owned(),
                );
                self.state
                    .insert(key, event["event_id"].as_str().unwrap().to_owned());
            }
        }
    }

    fn read(&mut self, ephemeral: &Value) {
        for event in ephemeral["events"].as_array().unwrap() {
            for (event_id, kinds) in event["content"].as_object().unwrap() {
                let users = kinds["m.read"].as_object();
                for (user, _) in users.into_iter().flatten() {
                    self.receipts.insert(user.clone(), event_id.clone());
                }
            }
        }
    }
}

struct History {
    house: House,
    rooms: Vec<OwnedRoomId>,
    said: Vec<Vec<(usize, OwnedEventId)>>,
    members: Vec<BTreeSet<usize>>,
    /// The plain model of unread counts: (user, room) → messages.
    unread: BTreeMap<(usize, usize), BTreeSet<OwnedEventId>>,
    counter: u32,
}

impl History {
    async fn new() -> Self {
        let house = House::new();
        let mut rooms = Vec::new();
        for _ in 0..3 {
            rooms.push(house.public_room(NAMES[0]).await);
        }
        Self {
            house,
            rooms,
            said: vec![Vec::new(); 3],
            members: vec![BTreeSet::from([0]); 3],
            unread: BTreeMap::new(),
            counter: 0,
        }
    }

    async fn act(&mut self, step: &Step) {
        self.counter += 1;
        let text = self.counter.to_string();
        match *step {
            Step::Join(who, room) => {
                self.house.join(NAMES[who], &self.rooms[room]).await;
                if self.members[room].insert(who) {
                    self.unread.remove(&(who, room));
                }
            }
            Step::Leave(who, room) if self.members[room].remove(&who) => {
                self.house.leave(NAMES[who], &self.rooms[room]).await;
            }
            Step::Say(who, room) if self.members[room].contains(&who) => {
                let event = self.house.say(NAMES[who], &self.rooms[room], &text).await;
                for member in &self.members[room] {
                    self.unread
                        .entry((*member, room))
                        .or_default()
                        .insert(event.clone());
                }
                self.unread.remove(&(who, room));
                self.said[room].push((who, event));
            }
            Step::State(0, room, n) => {
                let kind = ["m.room.topic", "m.room.name", "org.example"][usize::from(n)];
                let content = json!({"topic": text, "name": text});
                self.house
                    .put(NAMES[0], &self.rooms[room], kind, content)
                    .await;
            }
            Step::Redact(room) => {
                if let Some((_, event)) = self.said[room].pop() {
                    self.house.redact(NAMES[0], &self.rooms[room], &event).await;
                    for unread in self.unread.values_mut() {
                        unread.remove(&event);
                    }
                    // Whoever sends something has read what was before.
                    self.unread.remove(&(0, room));
                }
            }
            Step::Read(who, room) if self.members[room].contains(&who) => {
                if let Some((_, event)) = self.said[room].last() {
                    self.house.read(NAMES[who], &self.rooms[room], event).await;
                    self.unread.remove(&(who, room));
                }
            }
            _ => {}
        }
    }
}

impl History {
    fn check_counts(&self, name: &str, picture: &Picture) {
        let who = NAMES.iter().position(|known| *known == name).unwrap();
        for (room, id) in self.rooms.iter().enumerate() {
            let Some(seen) = picture.rooms.get(id.as_str()) else {
                continue;
            };
            let unread = self.unread.get(&(who, room)).map_or(0, BTreeSet::len);
            assert_eq!(
                seen.counts["notification_count"], unread,
                "{name} in room {room}"
            );
        }
    }
}

fn options(limit: u8, filtered: bool, after: bool) -> Options {
    let mut timeline = json!({"limit": limit});
    if filtered {
        timeline["not_types"] = json!(["m.room.topic", "m.room.member"]);
    }
    Options {
        filter: Some(json!({"room": {"timeline": timeline}})),
        state_after: after,
        ..Options::default()
    }
}

async fn run(steps: Vec<Step>) {
    let mut history = History::new().await;
    let mut pictures: BTreeMap<&str, (Picture, Option<Value>)> = BTreeMap::new();
    let last = Step::Sync {
        limit: 3,
        filtered: false,
        after: false,
    };
    for step in steps.into_iter().chain([last]) {
        let Step::Sync {
            limit,
            filtered,
            after,
        } = step
        else {
            history.act(&step).await;
            continue;
        };
        for name in NAMES {
            let (picture, since) = pictures.entry(name).or_default();
            let options = options(limit, filtered, after);
            let answer = history.house.sync_with(name, since.as_ref(), options).await;
            picture.apply(&answer);
            *since = Some(answer);
        }
    }
    let fresh_reader = history.house.fresh_sync();
    for (name, (picture, _)) in pictures {
        let mut fresh = Picture::default();
        fresh.apply(&ask(&fresh_reader, name, None, Options::default()).await);
        assert_eq!(picture, fresh, "{name}");
        history.check_counts(name, &picture);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn incremental_answers_add_up_to_an_initial_one(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
