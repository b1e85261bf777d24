//! A user's client: it makes its picture of the answers of `/sync`, and closes gaps by paging.

use std::collections::{BTreeMap, BTreeSet};

use hearth_sync::ask::{Direction, MessagesAsk, Page, Reader, StateUntil, StateWanted, SyncAsk};
use hearth_sync::{Sync, Token};
use ruma::RoomId;
use serde_json::Value;

use crate::Node;
use crate::sim::USERS;

/// How many events a page holds.
const PAGE: u64 = 50;
/// More pages than a room has.
const PAGES_MAX: usize = 100;

/// What a client knows of a room that its user is in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room {
    /// (type, state key) → event id.
    pub(crate) state: BTreeMap<(String, String), String>,
    /// The events that it has seen.
    pub(crate) timeline: BTreeSet<String>,
    /// Those of the last answer, oldest first.
    pub(crate) newest: Vec<String>,
}

/// What a client knows.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    user: String,
    since: Option<String>,
    /// Where the state that it is told ends: clients of either kind are tried.
    state_until: StateUntil,
    pub(crate) joined: BTreeMap<String, Room>,
    pub(crate) invited: BTreeSet<String>,
    /// Messages to its device, by sender, as they came.
    pub(crate) letters: BTreeMap<String, Vec<u64>>,
    /// What it was told twice, and the like.
    pub(crate) complaints: Vec<String>,
}

impl Client {
    pub(crate) fn new(user: &str) -> Self {
        let is_older = user == USERS[1];
        Self {
            user: user.to_owned(),
            since: None,
            state_until: match is_older {
                true => StateUntil::TimelineStart,
                false => StateUntil::TimelineEnd,
            },
            joined: BTreeMap::new(),
            invited: BTreeSet::new(),
            letters: BTreeMap::new(),
            complaints: Vec::new(),
        }
    }

    /// Asks for news. What fails in the middle has not been.
    pub(crate) async fn sync(&mut self, node: &Node, limit: u64) -> Result<(), String> {
        let mut next = self.clone();
        if let Some(Ok(Token::Sync(since))) = self.since.as_deref().map(str::parse) {
            let caller = node.caller(&self.user);
            let done = node.e2ee.acknowledge(&caller, since.to_device()).await;
            done.map_err(|error| error.to_string())?;
        }
        next.ask(&node.sync, node, limit).await?;
        *self = next;
        Ok(())
    }

    /// What a client is told that knows nothing.
    pub(crate) async fn fresh(node: &Node, user: &str) -> Result<Self, String> {
        let mut client = Self::new(user);
        let sync = node.fresh_sync();
        client.ask(&sync, node, PAGE).await?;
        // A timeline may have shown what is not the state.
        client.ask(&sync, node, PAGE).await?;
        Ok(client)
    }

    async fn ask(&mut self, sync: &Sync, node: &Node, limit: u64) -> Result<(), String> {
        let caller = node.caller(&self.user);
        let reader = Reader {
            user: caller.user,
            device: caller.device,
        };
        let since = self.since.as_deref().map(|token| token.parse().unwrap());
        let ask = SyncAsk {
            reader: reader.clone(),
            since,
            filter: Some(format!(r#"{{"room":{{"timeline":{{"limit":{limit}}}}}}}"#)),
            state_wanted: StateWanted::Changes,
            state_until: self.state_until,
            timeout: std::time::Duration::ZERO,
        };
        let answer = sync.v3(ask).await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        self.take_letters(&answer["to_device"]);
        let rooms = &answer["rooms"];
        for (id, _) in entries(&rooms["leave"]) {
            self.invited.remove(id);
            self.joined.remove(id);
        }
        for (id, _) in entries(&rooms["invite"]) {
            self.joined.remove(id);
            self.invited.insert(id.clone());
        }
        for (id, section) in entries(&rooms["join"]) {
            self.invited.remove(id);
            let known = self.joined.remove(id);
            let is_known = known.is_some();
            let mut room = known.unwrap_or_default();
            let timeline = &section["timeline"];
            let newest = list(&timeline["events"]).map(|event| text(&event["event_id"]));
            room.newest = newest.collect();
            let mut news = room.newest.clone();
            if is_known && timeline["limited"] == true {
                let from = text(&timeline["prev_batch"]);
                news.extend(pages(sync, &reader, id, (from, &room.timeline)).await?);
            }
            for event in news {
                let is_new = room.timeline.insert(event.clone());
                // A limited timeline begins anew with a room to which its user came back meanwhile.
                if !is_new && timeline["limited"] != true {
                    let complaint = format!("{} was told {event} twice", reader.user);
                    self.complaints.push(complaint);
                }
            }
            let states = match self.state_until {
                StateUntil::TimelineStart => vec![&section["state"], timeline],
                StateUntil::TimelineEnd => vec![&section["state_after"]],
            };
            for event in states.into_iter().flat_map(|part| list(&part["events"])) {
                if let Some(state_key) = event["state_key"].as_str() {
                    let key = (text(&event["type"]), state_key.to_owned());
                    room.state.insert(key, text(&event["event_id"]));
                }
            }
            self.joined.insert(id.clone(), room);
        }
        self.since = Some(text(&answer["next_batch"]));
        Ok(())
    }

    /// Forgets rooms that clients have to wait for. With a server that the others hold to be out of a room that has no
    /// end, and the picture is that of before.
    pub(crate) async fn forget_hidden(&mut self, node: &Node) {
        let mut shown = BTreeMap::new();
        for (id, room) in std::mem::take(&mut self.joined) {
            if !node.is_partial(&RoomId::parse(&id).unwrap()).await {
                shown.insert(id, room);
            }
        }
        self.joined = shown;
    }

    /// Where this picture is not that of a client that has just begun. Of events it has to know those after the first
    /// that it knows: what was there before it came, it did not ask for.
    pub(crate) fn differences(&self, fresh: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        if self.invited != fresh.invited {
            let (known, told) = (&self.invited, &fresh.invited);
            differences.push(format!("knows of the invites {known:?}, not {told:?}"));
        }
        if !self.joined.keys().eq(fresh.joined.keys()) {
            let (known, told) = (self.joined.keys(), fresh.joined.keys());
            differences.push(format!("is in {known:?}, not in {told:?}"));
        }
        for (id, room) in &fresh.joined {
            let Some(known) = self.joined.get(id) else {
                continue;
            };
            let is_known = |event: &&String| known.timeline.contains(*event);
            let after = room.newest.iter().skip_while(|event| !is_known(event));
            let missing: Vec<_> = after.clone().filter(|event| !is_known(event)).collect();
            // A timeline that would mislead is cut, be it to nothing: it is there for paging.
            let is_other = after.count() == 0 && !room.newest.is_empty();
            if !missing.is_empty() || is_other {
                differences.push(format!("does not know {missing:?} in {id}"));
            }
            if known.state != room.state {
                let (known, told) = (&known.state, &room.state);
                // That resolution took an event away and put none in its place cannot be said to a client.
                let is_other = |key, event| told.get(key).is_some_and(|now| now != event);
                let differing: Vec<_> = known
                    .iter()
                    .filter(|(key, event)| is_other(*key, *event))
                    .collect();
                let missing = told.keys().filter(|key| !known.contains_key(*key));
                let missing: Vec<_> = missing.collect();
                if !differing.is_empty() || !missing.is_empty() {
                    let what = format!("believes {differing:?} in {id}, lacks {missing:?}");
                    differences.push(what);
                }
            }
        }
        differences
    }

    fn take_letters(&mut self, section: &Value) {
        for event in list(&section["events"]) {
            let number = event["content"]["number"].as_u64().unwrap();
            let sender = text(&event["sender"]);
            self.letters.entry(sender).or_default().push(number);
        }
    }
}

impl Node {
    /// The numbers of the messages to a user's device that wait for it, by sender.
    pub async fn letters_of(&self, localpart: &str) -> BTreeMap<String, Vec<u64>> {
        let client = Client::fresh(self, localpart).await;
        client.unwrap().letters
    }
}

/// The events before a token, back to those that are known, or the beginning. Not back to the last answer: there the room
/// may have been left out because its state was not whole.
async fn pages(
    sync: &Sync,
    reader: &Reader,
    room: &str,
    (from, known): (String, &BTreeSet<String>),
) -> Result<Vec<String>, String> {
    let token = |token: &String| token.parse().unwrap();
    let mut from = Some(from);
    let mut found = Vec::new();
    for _ in 0..PAGES_MAX {
        let ask = MessagesAsk {
            reader: reader.clone(),
            room_id: RoomId::parse(room).unwrap(),
            page: Page {
                from: from.as_ref().map(token),
                to: None,
                direction: Direction::Backward,
                limit: Some(PAGE),
            },
            filter: None,
        };
        let answer = sync
            .messages(ask)
            .await
            .map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let page = list(&answer["chunk"]).map(|event| text(&event["event_id"]));
        let before = found.len();
        found.extend(page);
        let meets = found[before..].iter().any(|event| known.contains(event));
        from = answer.get("end").map(text);
        if meets || from.is_none() {
            return Ok(found);
        }
    }
    Err("paging does not end".to_owned())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
