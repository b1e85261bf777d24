//! A client: it makes its picture of all that it is told, and closes gaps by paging.

use std::collections::{BTreeMap, BTreeSet};

use hearth_sync::Sync;
use hearth_sync::ask::{Direction, MessagesAsk, Page};
use ruma::RoomId;
use serde_json::{Value, json};

use super::steps::Asking;
use super::wish::Wish;
use crate::house::{Options, ask, reader};

/// More pages than any room of the test has.
const PAGES_MAX: usize = 1_000;
/// How many earlier moments a client can fall back to.
const MOMENTS_MAX: usize = 4;

/// What a client knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Picture {
    pub(super) joined: BTreeMap<String, Room>,
    /// Rooms that were left after having been joined.
    pub(super) left: BTreeMap<String, Vec<Seen>>,
    /// Room → who invites.
    pub(super) invited: BTreeMap<String, String>,
    pub(super) knocked: BTreeSet<String>,
    pub(super) data: BTreeMap<String, Value>,
}

/// What it knows of a room that its user is in.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Room {
    pub(super) timeline: Vec<Seen>,
    /// (type, state key) → event id.
    pub(super) state: BTreeMap<(String, String), String>,
    /// Thread ("" for the main timeline, or for all) → (notifications, highlights).
    pub(super) counts: BTreeMap<String, (u64, u64)>,
    /// (user, type, thread) → event id.
    pub(super) receipts: BTreeMap<(String, String, String), String>,
    pub(super) data: BTreeMap<String, Value>,
    pub(super) summary: Summary,
}

/// Who is there, and by whom the room is named.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Summary {
    pub(super) heroes: Option<Vec<String>>,
    pub(super) joined: u64,
    pub(super) invited: u64,
}

/// An event of a timeline; no body if it has none or was redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) id: String,
    pub(super) body: Option<String>,
}

/// How a client pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paging {
    pub(super) direction: Direction,
    pub(super) limit: usize,
}

/// A user's client.
pub(super) struct Client {
    pub(super) name: &'static str,
    pub(super) wish: Wish,
    pub(super) picture: Picture,
    /// The newest answer.
    since: Option<Value>,
    /// Earlier pictures and the answers that made them, oldest first.
    moments: Vec<(Picture, Option<Value>)>,
    /// All that it was told since somebody looked, as it came.
    pub(super) heard: Vec<String>,
    /// Rooms that the user once asked to have forgotten.
    pub(super) forgotten: BTreeSet<String>,
    /// What relates to an event, as it was told with it.
    pub(super) bundles: BTreeMap<String, Value>,
}

impl Client {
    pub(super) fn new(name: &'static str, wish: Wish) -> Self {
        Self {
            name,
            wish,
            picture: Picture::default(),
            since: None,
            moments: Vec::new(),
            heard: Vec::new(),
            forgotten: BTreeSet::new(),
            bundles: BTreeMap::new(),
        }
    }

    /// Forgets everything and begins with an initial sync.
    pub(super) fn begin_anew(&mut self) {
        let forgotten = std::mem::take(&mut self.forgotten);
        *self = Self::new(self.name, self.wish.clone());
        self.forgotten = forgotten;
    }

    /// A room that the user asked to have forgotten.
    pub(super) fn forget(&mut self, room: &str) {
        self.forgotten.insert(room.to_owned());
        self.picture.left.remove(room);
        for (picture, _) in &mut self.moments {
            picture.left.remove(room);
        }
    }

    /// Takes all answers after some earlier one as lost.
    fn fall_back(&mut self, lost: usize) {
        for _ in 0..lost {
            if let Some((picture, since)) = self.moments.pop() {
                (self.picture, self.since) = (picture, since);
            }
        }
    }

    pub(super) async fn sync(&mut self, server: &Sync, asking: Asking) {
        self.fall_back(asking.lost);
        let mut room = self.wish.room.clone();
        room["include_leave"] = json!(true);
        room["timeline"]["limit"] = json!(asking.limit);
        room["timeline"]["unread_thread_notifications"] = json!(self.wish.threads);
        let options = Options {
            filter: Some(json!({ "room": room })),
            full_state: asking.full_state,
            state_after: asking.state_after,
            ..Options::default()
        };
        let answer = ask(server, self.name, self.since.as_ref(), options).await;
        self.heard.push(answer.to_string());
        let before = (self.picture.clone(), self.since.clone());
        let paging = Paging {
            direction: match asking.forward {
                true => Direction::Forward,
                false => Direction::Backward,
            },
            limit: usize::from(asking.limit).max(1),
        };
        self.apply(server, &answer, paging).await;
        self.since = Some(answer);
        self.moments.push(before);
        if self.moments.len() > MOMENTS_MAX {
            self.moments.remove(0);
        }
    }

    async fn apply(&mut self, server: &Sync, answer: &Value, paging: Paging) {
        take_data(&mut self.picture.data, &answer["account_data"]);
        let rooms = &answer["rooms"];
        for (id, section) in entries(rooms).flat_map(|(_, sections)| entries(sections)) {
            self.check_wanted(id, section);
        }
        for (id, section) in entries(&rooms["invite"]) {
            let events = list(&section["invite_state"]["events"]);
            let me = format!("@{}:house", self.name);
            let mut own = events.filter(|event| event["state_key"] == me.as_str());
            let inviter = text(&own.next().expect("the invite itself")["sender"]);
            self.removed_from(id);
            self.picture.invited.insert(id.clone(), inviter);
        }
        for (id, section) in entries(&rooms["knock"]) {
            let events = list(&section["knock_state"]["events"]);
            let me = format!("@{}:house", self.name);
            let own = events.filter(|event| event["state_key"] == me.as_str());
            assert_eq!(own.count(), 1, "the knock itself: {section}");
            self.removed_from(id);
            self.picture.knocked.insert(id.clone());
        }
        for (id, section) in entries(&rooms["leave"]) {
            self.picture.invited.remove(id);
            self.picture.knocked.remove(id);
            let known = self.picture.joined.remove(id);
            self.leave(server, id, section, (known, paging)).await;
        }
        for (id, section) in entries(&rooms["join"]) {
            self.picture.invited.remove(id);
            self.picture.knocked.remove(id);
            self.picture.left.remove(id);
            self.join(server, id, section, paging).await;
        }
    }

    /// Removed and invited again between two answers, or the like.
    fn removed_from(&mut self, id: &str) {
        self.picture.invited.remove(id);
        self.picture.knocked.remove(id);
        if let Some(room) = self.picture.joined.remove(id) {
            self.picture.left.insert(id.to_owned(), room.timeline);
        }
    }

    async fn join(&mut self, server: &Sync, id: &str, section: &Value, paging: Paging) {
        let known = self.picture.joined.remove(id);
        let is_known = known.is_some();
        let mut room = known.unwrap_or_default();
        let new = self.unseen(server, id, &section["timeline"], (is_known, paging));
        for event in new.await {
            self.see(&mut room.timeline, &event, may_repeat(section, is_known));
        }
        let state_after = section.get("state_after");
        room.take_state(
            &section[if state_after.is_some() {
                "state_after"
            } else {
                "state"
            }],
        );
        if state_after.is_none() {
            room.take_state(&section["timeline"]);
        }
        room.counts = counts(section);
        room.take_receipts(&section["ephemeral"]);
        take_data(&mut room.data, &section["account_data"]);
        if let Some(summary) = section.get("summary") {
            let number = |key: &str| summary[key].as_u64().expect("a count");
            let heroes = summary.get("m.heroes");
            room.summary = Summary {
                heroes: heroes.map(|heroes| list(heroes).map(text).collect()),
                joined: number("m.joined_member_count"),
                invited: number("m.invited_member_count"),
            };
        }
        if self.wish.wants("state", id, "m.room.member") {
            self.check_senders(&room, section);
        }
        self.picture.joined.insert(id.to_owned(), room);
    }

    /// Nothing is told that the client does not want.
    fn check_wanted(&self, id: &str, section: &Value) {
        let wish = &self.wish;
        assert!(wish.wants_room(id), "{} is told of {id}", self.name);
        for event in list(&section["timeline"]["events"]) {
            let (kind, sender) = (text(&event["type"]), text(&event["sender"]));
            let is_wanted = wish.wants_event(id, &kind, &sender);
            assert!(is_wanted, "{} in {id}: {event}", self.name);
        }
        for name in ["state", "state_after", "ephemeral", "account_data"] {
            let part = name.trim_end_matches("_after");
            for event in list(&section[name]["events"]) {
                let is_wanted = wish.wants(part, id, &text(&event["type"]));
                assert!(is_wanted, "{} in {id}, {name}: {event}", self.name);
            }
        }
    }

    /// With lazy loading, the senders of what was told are known.
    fn check_senders(&self, room: &Room, section: &Value) {
        for event in list(&section["timeline"]["events"]) {
            let key = ("m.room.member".to_owned(), text(&event["sender"]));
            let name = self.name;
            assert!(
                room.state.contains_key(&key),
                "{name} does not know the sender of {event}"
            );
        }
    }

    async fn leave(
        &mut self,
        server: &Sync,
        id: &str,
        section: &Value,
        (known, paging): (Option<Room>, Paging),
    ) {
        let is_known = known.is_some();
        let was_left = self.picture.left.contains_key(id);
        // Not told of the state, she cannot tell.
        if !is_known && !was_left && !self.wish.knows_left(id) {
            return;
        }
        // A rejected invite: its end is all there is to be seen.
        if !is_known && !was_left && list(&section["state"]["events"]).next().is_none() {
            let is_whole = section
                .get("state_after")
                .is_some_and(|state| list(&state["events"]).next().is_some());
            if !is_whole {
                assert!(
                    list(&section["timeline"]["events"]).count() <= 1,
                    "{section}"
                );
                return;
            }
        }
        let mut timeline = known.unwrap_or_default().timeline;
        let new = self.unseen(server, id, &section["timeline"], (is_known, paging));
        for event in new.await {
            self.see(&mut timeline, &event, may_repeat(section, is_known));
        }
        self.picture.left.insert(id.to_owned(), timeline);
    }

    /// The events of a timeline section and what is missing before them: up to what is known, or all.
    async fn unseen(
        &mut self,
        server: &Sync,
        id: &str,
        timeline: &Value,
        (is_known, paging): (bool, Paging),
    ) -> Vec<Value> {
        let mut missing = Vec::new();
        if !is_known || timeline["limited"] == true {
            let known = self.since.as_ref().filter(|_| is_known);
            let known = known.map(|answer| answer["next_batch"].clone());
            let gap = (known, Some(timeline["prev_batch"].clone()));
            missing = self.pages(server, id, gap, paging).await;
        }
        missing.extend(list(&timeline["events"]).cloned());
        missing
    }

    /// What lies between two tokens, or a token and the end of the history, oldest first.
    pub(super) async fn pages(
        &mut self,
        server: &Sync,
        id: &str,
        (older, newer): (Option<Value>, Option<Value>),
        paging: Paging,
    ) -> Vec<Value> {
        let is_forward = paging.direction == Direction::Forward;
        let (mut from, until) = match is_forward {
            true => (older, newer),
            false => (newer, older),
        };
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            let token = |token: &Value| token.as_str().expect("a token").parse().expect("ours");
            let ask = MessagesAsk {
                reader: reader(self.name),
                room_id: RoomId::parse(id).expect("a room"),
                page: Page {
                    from: from.as_ref().map(token),
                    to: until.as_ref().map(token),
                    direction: paging.direction,
                    limit: Some(paging.limit as u64),
                },
                filter: Some(self.wish.room["timeline"].to_string()).filter(|json| json != "null"),
            };
            let answer = match server.messages(ask).await {
                Err(_) if self.forgotten.contains(id) => {
                    from = None;
                    break;
                }
                answer => answer.expect("a page"),
            };
            let answer: Value = serde_json::from_slice(&answer).expect("JSON");
            self.heard.push(answer.to_string());
            found.extend(list(&answer["chunk"]).cloned());
            from = answer.get("end").cloned();
            if from.is_none() {
                break;
            }
        }
        assert!(from.is_none(), "paging does not end");
        if !is_forward {
            found.reverse();
        }
        found
    }

    fn see(&mut self, timeline: &mut Vec<Seen>, event: &Value, may_repeat: bool) {
        let id = text(&event["event_id"]);
        let is_new = timeline.iter().all(|seen| seen.id != id);
        if may_repeat && !is_new {
            return;
        }
        assert!(is_new, "{} was told {id} twice", self.name);
        if event["type"] == "m.room.redaction" {
            let target = event["redacts"].as_str().expect("a target");
            for seen in timeline.iter_mut().filter(|seen| seen.id == target) {
                seen.body = None;
            }
        }
        let relations = &event["unsigned"]["m.relations"];
        self.bundles.insert(id.clone(), relations.clone());
        timeline.push(Seen {
            id,
            body: event["content"]["body"].as_str().map(str::to_owned),
        });
    }
}

impl Room {
    fn take_state(&mut self, events: &Value) {
        for event in list(&events["events"]).filter(|event| event.get("state_key").is_some()) {
            let key = (text(&event["type"]), text(&event["state_key"]));
            self.state.insert(key, text(&event["event_id"]));
        }
    }

    fn take_receipts(&mut self, ephemeral: &Value) {
        for event in list(&ephemeral["events"]) {
            for (event_id, kinds) in entries(&event["content"]) {
                for (kind, users) in entries(kinds) {
                    for (user, receipt) in entries(users) {
                        let thread = receipt["thread_id"].as_str().unwrap_or_default();
                        let key = (user.clone(), kind.clone(), thread.to_owned());
                        self.receipts.insert(key, event_id.clone());
                    }
                }
            }
        }
    }
}

/// Whether a timeline may hold what the client knows: it begins anew with a room to which its user came back meanwhile.
fn may_repeat(section: &Value, is_known: bool) -> bool {
    is_known && section["timeline"]["limited"] == true
}

fn counts(section: &Value) -> BTreeMap<String, (u64, u64)> {
    let count = |counts: &Value| {
        let number = |key: &str| counts[key].as_u64().expect("a count");
        (number("notification_count"), number("highlight_count"))
    };
    let threads = entries(&section["unread_thread_notifications"]);
    let mut found: BTreeMap<_, _> = threads
        .map(|(root, counts)| (root.clone(), count(counts)))
        .collect();
    found.insert(String::new(), count(&section["unread_notifications"]));
    found
}

fn take_data(data: &mut BTreeMap<String, Value>, section: &Value) {
    for event in list(&section["events"]) {
        data.insert(text(&event["type"]), event["content"].clone());
    }
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// The users that an `m.ignored_user_list` names.
pub(super) fn ignored(list: Option<&Value>) -> BTreeSet<String> {
    let users = list.map(|list| &list["ignored_users"]);
    users
        .into_iter()
        .flat_map(entries)
        .map(|(user, _)| user.clone())
        .collect()
}
