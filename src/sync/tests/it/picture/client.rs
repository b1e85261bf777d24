//! A client: it makes its picture of all that it is told, and closes gaps by paging.

use std::collections::{BTreeMap, BTreeSet};

use hearth_sync::Sync;
use hearth_sync::ask::{Direction, MessagesAsk, Page};
use ruma::RoomId;
use serde_json::{Value, json};

use super::steps::Asking;
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

/// What a client always wants.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// A `RoomEventFilter` for timelines.
    pub(super) timeline: Value,
    pub(super) lazy: bool,
    pub(super) threads: bool,
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
        let mut timeline = self.wish.timeline.clone();
        timeline["limit"] = json!(asking.limit);
        timeline["unread_thread_notifications"] = json!(self.wish.threads);
        let filter = json!({"room": {
            "include_leave": true,
            "timeline": timeline,
            "state": {"lazy_load_members": self.wish.lazy}
        }});
        let options = Options {
            filter: Some(filter),
            full_state: asking.full_state,
            state_after: asking.state_after,
            ..Options::default()
        };
        let answer = ask(server, self.name, self.since.as_ref(), options).await;
        self.heard.push(answer.to_string());
        let before = (self.picture.clone(), self.since.clone());
        self.apply(server, &answer, usize::from(asking.limit).max(1))
            .await;
        self.since = Some(answer);
        self.moments.push(before);
        if self.moments.len() > MOMENTS_MAX {
            self.moments.remove(0);
        }
    }

    async fn apply(&mut self, server: &Sync, answer: &Value, page: usize) {
        take_data(&mut self.picture.data, &answer["account_data"]);
        let rooms = &answer["rooms"];
        for (id, section) in entries(&rooms["invite"]) {
            let events = list(&section["invite_state"]["events"]);
            let me = format!("@{}:house", self.name);
            let mut own = events.filter(|event| event["state_key"] == me.as_str());
            let inviter = text(&own.next().expect("the invite itself")["sender"]);
            self.picture.invited.insert(id.clone(), inviter);
            // Removed and invited again between two answers.
            if let Some(room) = self.picture.joined.remove(id) {
                self.picture.left.insert(id.clone(), room.timeline);
            }
        }
        for (id, section) in entries(&rooms["leave"]) {
            self.picture.invited.remove(id);
            let known = self.picture.joined.remove(id);
            self.leave(server, id, section, (known, page)).await;
        }
        for (id, section) in entries(&rooms["join"]) {
            self.picture.invited.remove(id);
            self.picture.left.remove(id);
            self.join(server, id, section, page).await;
        }
    }

    async fn join(&mut self, server: &Sync, id: &str, section: &Value, page: usize) {
        let known = self.picture.joined.remove(id);
        let is_known = known.is_some();
        let mut room = known.unwrap_or_default();
        let new = self.unseen(server, id, &section["timeline"], (is_known, page));
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
        self.check_senders(&room, section);
        self.picture.joined.insert(id.to_owned(), room);
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
        (known, page): (Option<Room>, usize),
    ) {
        let is_known = known.is_some();
        let was_left = self.picture.left.contains_key(id);
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
        let new = self.unseen(server, id, &section["timeline"], (is_known, page));
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
        (is_known, page): (bool, usize),
    ) -> Vec<Value> {
        let mut missing = Vec::new();
        if !is_known || timeline["limited"] == true {
            let known = self.since.as_ref().filter(|_| is_known);
            let until = known.map(|answer| answer["next_batch"].clone());
            let from = &timeline["prev_batch"];
            missing = self.pages(server, id, (from, until.as_ref()), page).await;
            missing.reverse();
        }
        missing.extend(list(&timeline["events"]).cloned());
        missing
    }

    async fn pages(
        &mut self,
        server: &Sync,
        id: &str,
        (from, until): (&Value, Option<&Value>),
        limit: usize,
    ) -> Vec<Value> {
        let mut found = Vec::new();
        let mut from = from.clone();
        for _ in 0..PAGES_MAX {
            let token = |token: &Value| token.as_str().expect("a token").parse().expect("ours");
            let ask = MessagesAsk {
                reader: reader(self.name),
                room_id: RoomId::parse(id).expect("a room"),
                page: Page {
                    from: Some(token(&from)),
                    to: until.map(token),
                    direction: Direction::Backward,
                    limit: Some(limit as u64),
                },
                filter: Some(self.wish.timeline.to_string()),
            };
            let answer = match server.messages(ask).await {
                Err(_) if self.forgotten.contains(id) => return found,
                answer => answer.expect("a page"),
            };
            let answer: Value = serde_json::from_slice(&answer).expect("JSON");
            self.heard.push(answer.to_string());
            found.extend(list(&answer["chunk"]).cloned());
            match answer.get("end") {
                Some(end) => from = end.clone(),
                None => return found,
            }
        }
        panic!("paging does not end");
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
