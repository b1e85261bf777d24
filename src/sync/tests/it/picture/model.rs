//! A plain model of the server: what every user has to know, by nothing but the requests that were acknowledged.
//!
//! It keeps everything, copies everything, and looks at everything each time.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::client::{Picture, Room as Known, Seen, Summary};
use super::steps::{NAMES, Rule};

/// How many heroes there are.
const HEROES_MAX: usize = 5;

/// `m.room.history_visibility`, from the most closed to the most open.
pub(super) const VISIBILITIES: [&str; 4] = ["joined", "invited", "shared", "world_readable"];

/// Who may come in: everybody, who knocks or is invited, who is invited.
pub(super) const JOIN_RULES: [&str; 3] = ["public", "knock", "invite"];

/// What those who are invited or knock are told of a room, with the member event of who sent theirs.
const STRIPPED: [&str; 4] = [
    "m.room.name",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.member",
];

/// What was asked for and done.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) sender: usize,
    pub(super) kind: String,
    pub(super) state_key: Option<String>,
    pub(super) content: Value,
    /// (type, index of the target).
    pub(super) relation: Option<(String, usize)>,
    pub(super) is_redacted: bool,
    /// The memberships and the visibility before it.
    before: (Vec<String>, String),
}

#[derive(Clone, Debug, Default)]
pub(super) struct RoomModel {
    pub(super) id: String,
    pub(super) events: Vec<Event>,
    state: BTreeMap<(String, String), usize>,
    /// By user: "" for none.
    pub(super) members: Vec<String>,
    visibility: String,
    receipts: BTreeMap<(usize, String, String), usize>,
    /// By user: (event, thread or "", highlights).
    unread: Vec<Vec<(usize, String, bool)>>,
    /// Users whose read marker went with a reply that was redacted: what it had marked cannot be found out again.
    unsure: BTreeSet<usize>,
    forgotten: BTreeSet<usize>,
}

/// The whole server.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) rooms: Vec<RoomModel>,
    data: BTreeMap<(usize, Option<usize>, String), Value>,
    rules: BTreeMap<usize, BTreeSet<Rule>>,
    pub(super) ignored: BTreeMap<usize, BTreeSet<usize>>,
}

pub(super) fn user_id(user: usize) -> String {
    format!("@{}:house", NAMES[user])
}

impl RoomModel {
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            members: vec![String::new(); NAMES.len()],
            visibility: "shared".to_owned(),
            unread: vec![Vec::new(); NAMES.len()],
            ..Self::default()
        }
    }

    pub(super) fn is_joined(&self, user: usize) -> bool {
        self.members[user] == "join"
    }

    /// User → member event, of all who have one.
    pub(super) fn members_known(&self) -> BTreeMap<String, String> {
        let members = self
            .state
            .iter()
            .filter(|((kind, _), _)| kind == "m.room.member");
        let ids = members.map(|((_, key), index)| (key.clone(), self.events[*index].id.clone()));
        ids.collect()
    }

    /// The user whose membership an event sets.
    fn target(event: &Event) -> Option<usize> {
        let key = event.state_key.as_ref()?;
        let is_member = event.kind == "m.room.member";
        (0..NAMES.len()).find(|user| is_member && user_id(*user) == *key)
    }

    /// The root of the thread that an event is in: by its own relation or that of what it relates to, in three steps.
    pub(super) fn thread_of(&self, event: &Event) -> String {
        let mut relation = event.relation.as_ref();
        for _ in 0..3 {
            match relation {
                Some((kind, target)) if kind == "m.thread" => {
                    return self.events[*target].id.clone();
                }
                Some((_, target)) => relation = self.events[*target].relation.as_ref(),
                None => break,
            }
        }
        String::new()
    }

    /// Whether a user may see an event ("Room History Visibility").
    fn sees(&self, user: usize, index: usize) -> bool {
        let event = &self.events[index];
        let (members, visibility) = &event.before;
        let mut memberships = vec![members[user].as_str()];
        if Self::target(event) == Some(user) {
            let set = event.content["membership"].as_str().expect("a membership");
            if set == "leave" || set == "ban" {
                return true;
            }
            memberships.push(set);
        }
        let mut visibilities = vec![visibility.as_str()];
        if event.kind == "m.room.history_visibility" {
            visibilities.extend(event.content["history_visibility"].as_str());
        }
        let joined_later =
            self.is_joined(user) || self.last_joined_before_leaving(user) > Some(index);
        visibilities.iter().any(|visibility| {
            memberships
                .iter()
                .any(|membership| match (*visibility, *membership) {
                    ("world_readable", _) | (_, "join") => true,
                    ("shared", _) => joined_later,
                    ("invited", membership) => membership == "invite",
                    _ => false,
                })
        })
    }

    /// Whether the content of an event may ever have been told to a user: as an event that she sees, or as a part of the
    /// state while she was in the room or anybody might look into it, or was invited or knocked, for what is told then.
    pub(super) fn may_know(&self, user: usize, index: usize) -> bool {
        let event = &self.events[index];
        if self.sees(user, index) && !event.is_redacted {
            return true;
        }
        let key = |event: &Event| (event.kind.clone(), event.state_key.clone());
        let mut later = index + 1..self.events.len();
        let replaced = later.find(|later| key(&self.events[*later]) == key(event));
        let stands = index + 1..=replaced.unwrap_or(self.events.len());
        event.state_key.is_some()
            && stands.into_iter().any(|next| {
                let (members, visibility) = match self.events.get(next) {
                    Some(next) => (&next.before.0, &next.before.1),
                    None => (&self.members, &self.visibility),
                };
                visibility == "world_readable"
                    || match members[user].as_str() {
                        "join" => true,
                        "invite" | "knock" => STRIPPED.contains(&event.kind.as_str()),
                        _ => false,
                    }
            })
    }

    /// The event by which a user last ceased to be joined.
    fn last_joined_before_leaving(&self, user: usize) -> Option<usize> {
        (0..self.events.len()).rev().find(|index| {
            let event = &self.events[*index];
            Self::target(event) == Some(user)
                && event.before.0[user] == "join"
                && event.content["membership"] != "join"
        })
    }

    fn last_own(&self, user: usize) -> Option<usize> {
        (0..self.events.len())
            .rev()
            .find(|index| Self::target(&self.events[*index]) == Some(user))
    }

    fn note(&mut self, user: usize, index: usize, outcome: Option<bool>) {
        let event = self.events[index].clone();
        let thread = self.thread_of(&event);
        if Self::target(&event) == Some(user)
            && event.content["membership"] == "join"
            && event.before.0[user] != "join"
        {
            self.unread[user].clear();
            self.unsure.remove(&user);
        }
        if event.sender == user {
            if event.state_key.is_none() {
                self.unread[user].retain(|(_, of, _)| *of != thread);
            }
        } else if self.is_joined(user)
            && let Some(highlights) = outcome
        {
            self.unread[user].push((index, thread, highlights));
        }
    }
}

impl Model {
    /// Takes in an event that was acknowledged, with its id as it turned out to be.
    pub(super) fn add(&mut self, room: usize, mut event: Event) {
        let model = &mut self.rooms[room];
        event.before = (model.members.clone(), model.visibility.clone());
        let index = model.events.len();
        if let Some(state_key) = event.state_key.clone() {
            model.state.insert((event.kind.clone(), state_key), index);
        }
        if event.kind == "m.room.history_visibility" {
            let set = event.content["history_visibility"].as_str();
            model.visibility = set.expect("a visibility").to_owned();
        }
        if let Some(user) = RoomModel::target(&event) {
            let membership = event.content["membership"].as_str();
            model.members[user] = membership.expect("a membership").to_owned();
            model.forgotten.remove(&user);
        }
        model.events.push(event);
        for user in 0..NAMES.len() {
            let outcome = self.outcome(user, room, index);
            self.rooms[room].note(user, index, outcome);
        }
    }

    /// Takes in a redaction of an event, after the redaction event itself.
    pub(super) fn redact(&mut self, room: usize, target: usize) {
        let model = &mut self.rooms[room];
        let thread = model.thread_of(&model.events[target]);
        let event = &mut model.events[target];
        event.is_redacted = true;
        event.relation = None;
        if !thread.is_empty() {
            let sender = event.sender;
            model.unsure.insert(sender);
        }
        for unread in &mut model.unread {
            unread.retain(|(index, ..)| *index != target);
        }
    }

    /// What the user's push rules say: whether to highlight, or nothing.
    fn outcome(&self, user: usize, room: usize, index: usize) -> Option<bool> {
        let none = BTreeSet::new();
        let rules = self.rules.get(&user).unwrap_or(&none);
        let event = &self.rooms[room].events[index];
        let content = &event.content;
        let body = content["body"].as_str().unwrap_or_default();
        let mentioned = &content["m.mentions"]["user_ids"];
        let is_mentioned = mentioned
            .as_array()
            .is_some_and(|users| users.contains(&json!(user_id(user))));
        let is_edit = event
            .relation
            .as_ref()
            .is_some_and(|(kind, _)| kind == "m.replace");
        if rules.contains(&Rule::Master)
            || content["msgtype"] == "m.notice"
            || event.kind == "m.room.member"
        {
            None
        } else if is_mentioned {
            Some(true)
        } else if event.kind == "m.reaction" || is_edit {
            None
        } else if rules.contains(&Rule::Keyword) && body.contains("magic") {
            Some(true)
        } else if rules.contains(&Rule::Mute(room))
            || rules.contains(&Rule::MuteSender(event.sender))
        {
            None
        } else if event.kind == "m.room.message" {
            Some(false)
        } else {
            None
        }
    }

    pub(super) fn read(
        &mut self,
        user: usize,
        room: usize,
        (index, kind, thread): (usize, &str, &str),
    ) {
        let model = &mut self.rooms[room];
        let key = (user, kind.to_owned(), thread.to_owned());
        let newest = model.receipts.entry(key).or_insert(index);
        *newest = index.max(*newest);
        model.unread[user].retain(|(unread, of, _)| {
            let is_same = match thread {
                "" => true,
                "main" => of.is_empty(),
                root => of == root,
            };
            *unread > index || !is_same
        });
    }

    /// The marker goes forward only.
    pub(super) fn read_fully(&mut self, user: usize, room: usize, index: usize) {
        let events = &self.rooms[room].events;
        let key = (user, Some(room), "m.fully_read".to_owned());
        let marked = self
            .data
            .get(&key)
            .and_then(|content| content["event_id"].as_str());
        let marked = marked.and_then(|id| events.iter().position(|event| event.id == id));
        if marked.is_none_or(|marked| marked < index) {
            let content = json!({"event_id": events[index].id});
            self.data.insert(key, content);
        }
    }

    pub(super) fn set_data(
        &mut self,
        user: usize,
        room: Option<usize>,
        kind: &str,
        content: Value,
    ) {
        self.data.insert((user, room, kind.to_owned()), content);
    }

    /// Turns a rule on or off. Answers those in force.
    pub(super) fn toggle_rule(&mut self, user: usize, rule: Rule) -> BTreeSet<Rule> {
        let rules = self.rules.entry(user).or_default();
        if !rules.remove(&rule) {
            rules.insert(rule);
        }
        rules.clone()
    }

    pub(super) fn forget(&mut self, user: usize, room: usize) {
        self.rooms[room].forgotten.insert(user);
    }

    fn ignores(&self, user: usize, other: usize) -> bool {
        self.ignored
            .get(&user)
            .is_some_and(|ignored| ignored.contains(&other))
    }

    /// What a user has to know of a room's history: all that she may see up to an event, but for messages of those whom
    /// she ignores.
    fn timeline(&self, user: usize, room: usize, upto: usize) -> Vec<(usize, Seen)> {
        let model = &self.rooms[room];
        let events = (0..=upto).filter(|index| {
            let event = &model.events[*index];
            let is_withheld = event.state_key.is_none() && self.ignores(user, event.sender);
            model.sees(user, *index) && !is_withheld
        });
        events
            .map(|index| {
                let event = &model.events[index];
                let body = event.content["body"].as_str().map(str::to_owned);
                let seen = Seen {
                    id: event.id.clone(),
                    body: body.filter(|_| !event.is_redacted),
                };
                (index, seen)
            })
            .collect()
    }

    /// What the user's client has to show, with all events in its timelines that a function wants.
    pub(super) fn picture(
        &self,
        user: usize,
        threads: bool,
        wants: &dyn Fn(&str, &Event) -> bool,
    ) -> Picture {
        let mut picture = Picture::default();
        for ((owner, room, kind), content) in &self.data {
            if *owner == user && room.is_none() {
                picture.data.insert(kind.clone(), content.clone());
            }
        }
        for (room, model) in self.rooms.iter().enumerate() {
            let seen = |upto: usize| {
                let timeline = self.timeline(user, room, upto).into_iter();
                let wanted = timeline.filter(|(index, _)| wants(&model.id, &model.events[*index]));
                wanted.map(|(_, seen)| seen).collect::<Vec<_>>()
            };
            let id = model.id.clone();
            match model.members[user].as_str() {
                "join" => {
                    let mut known = self.known(user, room, threads);
                    known.timeline = seen(model.events.len() - 1);
                    picture.joined.insert(id, known);
                }
                "invite" => {
                    let invite = model.last_own(user).expect("the invite");
                    let inviter = model.events[invite].sender;
                    if !self.ignores(user, inviter) {
                        picture.invited.insert(id, user_id(inviter));
                    }
                }
                "knock" => {
                    picture.knocked.insert(id);
                }
                "leave" | "ban"
                    if model.last_joined_before_leaving(user).is_some()
                        && !model.forgotten.contains(&user) =>
                {
                    let upto = model.last_own(user).expect("the leave");
                    picture.left.insert(id, seen(upto));
                }
                _ => {}
            }
        }
        picture
    }

    fn known(&self, user: usize, room: usize, threads: bool) -> Known {
        let model = &self.rooms[room];
        let id_of = |index: &usize| model.events[*index].id.clone();
        let mut counts = BTreeMap::from([(String::new(), (0, 0))]);
        for (index, thread, highlights) in &model.unread[user] {
            if model.events[*index].state_key.is_none()
                && self.ignores(user, model.events[*index].sender)
            {
                continue;
            }
            let key = if threads {
                thread.clone()
            } else {
                String::new()
            };
            let (notifications, highlighted) = counts.entry(key).or_default();
            *notifications += 1;
            *highlighted += u64::from(*highlights);
        }
        let receipts = model.receipts.iter();
        let shown = receipts.filter(|((reader, kind, _), _)| kind == "m.read" || *reader == user);
        let data = self.data.iter();
        let own = data.filter(|((owner, of, _), _)| *owner == user && *of == Some(room));
        Known {
            timeline: Vec::new(),
            state: model
                .state
                .iter()
                .map(|(key, index)| (key.clone(), id_of(index)))
                .collect(),
            counts,
            receipts: shown
                .map(|((reader, kind, thread), index)| {
                    (
                        (user_id(*reader), kind.clone(), thread.clone()),
                        id_of(index),
                    )
                })
                .collect(),
            data: own
                .map(|((_, _, kind), content)| (kind.clone(), content.clone()))
                .collect(),
            summary: self.summary(user, room),
        }
    }

    fn summary(&self, user: usize, room: usize) -> Summary {
        let model = &self.rooms[room];
        let count = |wanted: &str| {
            model
                .members
                .iter()
                .filter(|member| *member == wanted)
                .count() as u64
        };
        let name = model.state.get(&("m.room.name".to_owned(), String::new()));
        let name = name.and_then(|index| model.events[*index].content["name"].as_str());
        let is_named = name.is_some_and(|name| !name.is_empty());
        let mut others: Vec<(usize, usize)> = (0..NAMES.len())
            .filter(|other| *other != user && model.members[*other] != "knock")
            .filter_map(|other| Some((model.last_own(other)?, other)))
            .collect();
        others.sort_unstable();
        let is_present = |(_, other): &&(usize, usize)| {
            matches!(model.members[*other].as_str(), "join" | "invite")
        };
        let present: Vec<_> = others.iter().filter(is_present).copied().collect();
        let chosen = if present.is_empty() { others } else { present };
        let heroes = chosen
            .into_iter()
            .take(HEROES_MAX)
            .map(|(_, other)| user_id(other));
        Summary {
            heroes: (!is_named).then(|| heroes.collect()),
            joined: count("join"),
            invited: count("invite"),
        }
    }

    /// Whether the user's counts of a room can be told for sure.
    pub(super) fn is_sure(&self, user: usize, room: &str) -> bool {
        let model = self.rooms.iter().find(|model| model.id == room);
        model.is_some_and(|model| !model.unsure.contains(&user))
    }

    /// What has to be told along with an event: (edit, thread as (latest, count, participated), references).
    pub(super) fn bundle(&self, user: usize, room: usize, target: usize) -> Bundle {
        let model = &self.rooms[room];
        let original = &model.events[target];
        let relating = |wanted: &'static str| {
            let events = model.events.iter().enumerate();
            events.filter(move |(index, event)| {
                let is_wanted = event
                    .relation
                    .as_ref()
                    .is_some_and(|(kind, of)| kind == wanted && *of == target);
                is_wanted && !self.ignores(user, event.sender) && model.sees(user, *index)
            })
        };
        // An edit of an edit is none.
        let is_edit = original
            .relation
            .as_ref()
            .is_some_and(|(kind, _)| kind == "m.replace");
        let edits =
            relating("m.replace").filter(|(_, event)| event.sender == original.sender && !is_edit);
        let edit = edits.map(|(_, event)| event.id.clone()).max();
        let replies: Vec<&Event> = relating("m.thread").map(|(_, event)| event).collect();
        Bundle {
            edit: edit.filter(|_| !original.is_redacted && original.state_key.is_none()),
            latest_reply: replies.last().map(|event| event.id.clone()),
            replies: replies.len() as u64,
            participated: !replies.is_empty()
                && (original.sender == user || replies.iter().any(|event| event.sender == user)),
            references: relating("m.reference")
                .map(|(_, event)| event.id.clone())
                .collect(),
        }
    }
}

/// What relates to an event, summed up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Bundle {
    pub(super) edit: Option<String>,
    pub(super) latest_reply: Option<String>,
    pub(super) replies: u64,
    pub(super) participated: bool,
    pub(super) references: Vec<String>,
}

impl Bundle {
    /// As a client is told it.
    pub(super) fn told(relations: &Value) -> Self {
        let thread = &relations["m.thread"];
        let id = |event: &Value| event["event_id"].as_str().map(str::to_owned);
        let references = relations["m.reference"]["chunk"].as_array();
        Self {
            edit: id(&relations["m.replace"]),
            latest_reply: id(&thread["latest_event"]),
            replies: thread["count"].as_u64().unwrap_or(0),
            participated: thread["current_user_participated"]
                .as_bool()
                .unwrap_or(false),
            references: references.into_iter().flatten().filter_map(id).collect(),
        }
    }
}

/// An event as it was asked for.
pub(super) fn asked(sender: usize, kind: &str, state_key: Option<&str>, content: Value) -> Event {
    Event {
        id: String::new(),
        sender,
        kind: kind.to_owned(),
        state_key: state_key.map(str::to_owned),
        content,
        relation: None,
        is_redacted: false,
        before: Default::default(),
    }
}
