//! Does what the steps say: asks the server, tells the model what was acknowledged, and compares.

use std::collections::{BTreeMap, BTreeSet};

use hearth_event::push;
use hearth_rooms::TargetChange;
use hearth_rooms::ephemeral::{MarkersUpdate, ReceiptKind, ReceiptThread};
use hearth_sync::Sync;
use ruma::{EventId, OwnedEventId, OwnedRoomId};
use serde_json::{Value, json};

use super::client::{Client, text};
use super::model::{Event, JOIN_RULES, Model, RoomModel, VISIBILITIES, asked, user_id};
use super::steps::{Message, NAMES, ROOMS, Reading, Relating, Rule, Step};
use super::wish::Wish;
use crate::house::{House, user};

/// A server, the model of it, and its users' clients.
pub(super) struct History {
    pub(super) house: House,
    pub(super) server: Sync,
    pub(super) rooms: Vec<OwnedRoomId>,
    pub(super) model: Model,
    pub(super) clients: Vec<Client>,
    counter: u32,
    /// Word → the event in whose content alone it stands: (room, index).
    pub(super) words: BTreeMap<String, (usize, usize)>,
}

impl History {
    pub(super) async fn new(wishes: usize) -> Self {
        let house = House::new();
        let mut history = Self {
            server: house.sync.clone(),
            house,
            rooms: Vec::new(),
            model: Model::default(),
            clients: Vec::new(),
            counter: 0,
            words: BTreeMap::new(),
        };
        for who in 0..NAMES.len() {
            history.set_rules(who, &BTreeSet::new()).await;
        }
        for room in 0..ROOMS {
            let id = history.house.public_room(NAMES[0]).await;
            history.model.rooms.push(RoomModel::new(id.as_str()));
            history.rooms.push(id);
            for event in history.new_events(room).await {
                let content = event["content"].clone();
                let (kind, key) = (text(&event["type"]), event["state_key"].as_str());
                let mut known = asked(0, &kind, key, content);
                known.id = text(&event["event_id"]);
                history.model.add(room, known);
            }
            // Shared, joined, invited.
            history.set_visibility(room, [2, 0, 1][room]).await;
        }
        let ids: Vec<String> = history.rooms.iter().map(ToString::to_string).collect();
        for (who, name) in NAMES.into_iter().enumerate() {
            let wish = Wish::of(who + wishes, &ids);
            history.clients.push(Client::new(name, wish));
        }
        history
    }

    pub(super) async fn act(&mut self, step: &Step) {
        self.counter += 1;
        match step {
            Step::Sync(who, asking) => {
                self.clients[*who].sync(&self.server, *asking).await;
                self.check_words(*who);
            }
            Step::Restart => self.server = self.house.fresh_sync(),
            Step::Check => self.check().await,
            Step::Say(who, room, said) => self.say(*who, *room, said).await,
            Step::Relate(who, room, n, how) => self.relate((*who, *room), *n, *how).await,
            Step::State(room, key) => self.set_state(*room, *key).await,
            Step::Visibility(room, to) => self.set_visibility(*room, usize::from(*to)).await,
            Step::JoinRule(room, to) => {
                let content = json!({"join_rule": JOIN_RULES[usize::from(*to)]});
                self.put(*room, "m.room.join_rules", content).await;
            }
            Step::Redact(room, n) => self.redact(*room, *n).await,
            Step::Read(who, room, n, kind) => self.read((*who, *room), *n, *kind).await,
            Step::FullyRead(who, room, n) => self.read_fully(*who, *room, *n).await,
            Step::Data(who, room, kind) => {
                let kind = format!("org.example.{kind}");
                let content = json!({"n": self.counter});
                self.set_data(*who, *room, &kind, content).await;
            }
            Step::PushRule(who, rule) => {
                let rules = self.model.toggle_rule(*who, *rule);
                self.set_rules(*who, &rules).await;
            }
            Step::Ignore(who, whom) => self.ignore(*who, *whom).await,
            _ => self.change_membership(step).await,
        }
    }

    async fn change_membership(&mut self, step: &Step) {
        let house = &self.house;
        let creator = user(NAMES[0]);
        let (who, room, change) = match *step {
            Step::Join(who, room) => {
                let done = house.try_join(NAMES[who], &self.rooms[room]).await;
                return self
                    .member_set(done.is_ok(), (who, who), room, "join")
                    .await;
            }
            Step::Leave(who, room) => {
                let own = user(NAMES[who]);
                let left = house.rooms.leave(&own, &self.rooms[room], None);
                let done = left.await.is_ok();
                return self.member_set(done, (who, who), room, "leave").await;
            }
            Step::Knock(who, room) => {
                let (own, id) = (user(NAMES[who]), &self.rooms[room]);
                let knocked = house.rooms.knock(&own, (&**id).into(), None);
                let done = knocked.await.is_ok();
                return self.member_set(done, (who, who), room, "knock").await;
            }
            Step::Rename(who, room) => {
                let content = json!({"membership": "join", "displayname": self.word()});
                let key = user_id(who);
                let put = house.try_put(
                    NAMES[who],
                    &self.rooms[room],
                    ("m.room.member", &key),
                    &content,
                );
                let done = put.await.is_ok();
                let event = asked(who, "m.room.member", Some(&key), content);
                return self.acknowledged(done, room, event).await;
            }
            Step::Forget(who, room) => {
                let own = user(NAMES[who]);
                let forgotten = house.rooms.forget(&own, &self.rooms[room]);
                if forgotten.await.is_ok() {
                    self.model.forget(who, room);
                    self.clients[who].forget(self.rooms[room].as_str());
                }
                return;
            }
            Step::Invite(who, room) => (who, room, TargetChange::Invite),
            Step::Kick(who, room) => (who, room, TargetChange::Kick),
            Step::Ban(who, room) => (who, room, TargetChange::Ban),
            Step::Unban(who, room) => (who, room, TargetChange::Unban),
            _ => unreachable!("no change of membership: {step:?}"),
        };
        let membership = match change {
            TargetChange::Invite => "invite",
            TargetChange::Ban => "ban",
            TargetChange::Kick | TargetChange::Unban => "leave",
        };
        let target = user(NAMES[who]);
        let changed =
            house
                .rooms
                .change_other(&creator, &self.rooms[room], (change, &target), None);
        let done = changed.await.is_ok();
        self.member_set(done, (0, who), room, membership).await;
    }

    async fn member_set(
        &mut self,
        done: bool,
        (sender, target): (usize, usize),
        room: usize,
        membership: &str,
    ) {
        let content = json!({"membership": membership});
        let event = asked(sender, "m.room.member", Some(&user_id(target)), content);
        self.acknowledged(done, room, event).await;
    }

    /// Adds what a request did to the model: at most one event, of which only the id is taken from the server.
    async fn acknowledged(&mut self, done: bool, room: usize, mut event: Event) {
        let new = self.new_events(room).await;
        assert!(new.len() <= usize::from(done), "{event:?} made {new:?}");
        if let Some(found) = new.first() {
            assert_eq!(found["type"], event.kind.as_str());
            assert_eq!(found["sender"], user_id(event.sender).as_str());
            assert_eq!(
                found.get("state_key").and_then(Value::as_str),
                event.state_key.as_deref()
            );
            event.id = text(&found["event_id"]);
            if event.content.to_string().contains(&self.word()) {
                let index = self.model.rooms[room].events.len();
                self.words.insert(self.word(), (room, index));
            }
            self.model.add(room, event);
        }
    }

    /// A word that stands nowhere else.
    fn word(&self) -> String {
        format!("w{}w", self.counter)
    }

    async fn new_events(&self, room: usize) -> Vec<Value> {
        let known = self.model.rooms[room].events.len();
        self.house.history(&self.rooms[room], known).await
    }

    async fn say(&mut self, who: usize, room: usize, said: &Message) {
        let body = self.word();
        let content = match said {
            Message::Plain => json!({"msgtype": "m.text", "body": body}),
            Message::Notice => json!({"msgtype": "m.notice", "body": body}),
            Message::Keyword => json!({"msgtype": "m.text", "body": format!("{body} magic")}),
            Message::Mention(whom) => json!({
                "msgtype": "m.text", "body": body,
                "m.mentions": {"user_ids": [user_id(*whom)]}
            }),
        };
        let event = asked(who, "m.room.message", None, content);
        self.send(room, event).await;
    }

    async fn send(&mut self, room: usize, event: Event) {
        let name = NAMES[event.sender];
        let sent = self
            .house
            .try_send(name, &self.rooms[room], &event.kind, &event.content);
        let done = sent.await.is_ok();
        self.acknowledged(done, room, event).await;
    }

    /// The messages of a room that stand, by index.
    fn messages(&self, room: usize) -> Vec<usize> {
        let events = self.model.rooms[room].events.iter().enumerate();
        events
            .filter(|(_, event)| event.kind == "m.room.message" && !event.is_redacted)
            .map(|(index, _)| index)
            .collect()
    }

    async fn relate(&mut self, (who, room): (usize, usize), n: usize, how: Relating) {
        let messages = self.messages(room);
        let Some(target) = messages.get(n % messages.len().max(1)).copied() else {
            return;
        };
        let body = self.word();
        let (kind, rel_type) = match how {
            Relating::Thread => ("m.room.message", "m.thread"),
            Relating::Reference => ("m.room.message", "m.reference"),
            Relating::Reaction => ("m.reaction", "m.annotation"),
            Relating::Edit => ("m.room.message", "m.replace"),
        };
        let target_id = &self.model.rooms[room].events[target].id;
        let mut content = json!({"m.relates_to": {"rel_type": rel_type, "event_id": target_id}});
        match how {
            Relating::Reaction => content["m.relates_to"]["key"] = json!(body),
            _ => {
                content["msgtype"] = json!("m.text");
                content["body"] = json!(body);
            }
        }
        if how == Relating::Edit {
            content["m.new_content"] = json!({"msgtype": "m.text", "body": body});
        }
        let mut event = asked(who, kind, None, content);
        event.relation = Some((rel_type.to_owned(), target));
        self.send(room, event).await;
    }

    async fn set_state(&mut self, room: usize, key: u8) {
        let kind = ["m.room.topic", "m.room.name", "org.example"][usize::from(key)];
        let value = match self.counter % 3 {
            0 => String::new(),
            _ => self.word(),
        };
        let content = json!({"topic": value, "name": value});
        self.put(room, kind, content).await;
    }

    async fn set_visibility(&mut self, room: usize, to: usize) {
        let content = json!({"history_visibility": VISIBILITIES[to]});
        self.put(room, "m.room.history_visibility", content).await;
    }

    async fn put(&mut self, room: usize, kind: &str, content: Value) {
        let put = self
            .house
            .try_put(NAMES[0], &self.rooms[room], (kind, ""), &content);
        let done = put.await.is_ok();
        let event = asked(0, kind, Some(""), content);
        self.acknowledged(done, room, event).await;
    }

    async fn redact(&mut self, room: usize, n: usize) {
        let events = &self.model.rooms[room].events;
        let is_relating = |event: &Event, target: usize| {
            let relation = event.relation.as_ref();
            relation.is_some_and(|(_, of)| *of == target)
        };
        // Over what was redacted nobody finds the thread of what relates to it: that is not compared.
        let is_bridge = |index: usize| {
            events[index].relation.is_some() && events.iter().any(|event| is_relating(event, index))
        };
        let mut messages = self.messages(room);
        messages.retain(|index| !is_bridge(*index));
        let Some(target) = messages.get(n % messages.len().max(1)).copied() else {
            return;
        };
        let target_id = events[target].id.clone();
        let id = EventId::parse(&target_id).expect("an event id");
        self.house.redact(NAMES[0], &self.rooms[room], &id).await;
        let event = asked(0, "m.room.redaction", None, json!({"redacts": target_id}));
        self.acknowledged(true, room, event).await;
        self.model.redact(room, target);
    }

    async fn read(&mut self, (who, room): (usize, usize), n: usize, kind: Reading) {
        let model = &self.model.rooms[room];
        let index = n % model.events.len();
        let event = &model.events[index];
        let kind_name = match kind {
            Reading::Private => "m.read.private",
            _ => "m.read",
        };
        let thread = match (kind, model.thread_of(event)) {
            (Reading::Threaded, root) if root.is_empty() => "main".to_owned(),
            (Reading::Threaded, root) => root,
            _ => String::new(),
        };
        let receipt_thread = match thread.as_str() {
            "" => ReceiptThread::Unthreaded,
            "main" => ReceiptThread::Main,
            root => ReceiptThread::Thread(EventId::parse(root).expect("an event id")),
        };
        let receipt_kind = match kind {
            Reading::Private => ReceiptKind::ReadPrivate,
            _ => ReceiptKind::Read,
        };
        let update = MarkersUpdate {
            fully_read: None,
            receipts: vec![(receipt_kind, receipt_thread, self.event_id(room, index))],
        };
        if self.mark(who, room, update).await {
            self.model.read(who, room, (index, kind_name, &thread));
        }
    }

    async fn read_fully(&mut self, who: usize, room: usize, n: usize) {
        let index = n % self.model.rooms[room].events.len();
        let update = MarkersUpdate {
            fully_read: Some(self.event_id(room, index)),
            receipts: Vec::new(),
        };
        if self.mark(who, room, update).await {
            self.model.read_fully(who, room, index);
        }
    }

    async fn mark(&self, who: usize, room: usize, update: MarkersUpdate) -> bool {
        let rooms = &self.house.rooms;
        let own = user(NAMES[who]);
        let marked = rooms.mark_read(&own, &self.rooms[room], &update);
        marked.await.is_ok()
    }

    pub(super) fn event_id(&self, room: usize, index: usize) -> OwnedEventId {
        EventId::parse(&self.model.rooms[room].events[index].id).expect("an event id")
    }

    async fn set_data(&mut self, who: usize, room: Option<usize>, kind: &str, content: Value) {
        let id = room.map_or("", |room| self.rooms[room].as_str());
        self.house
            .set_data(NAMES[who], id, kind, content.clone())
            .await;
        self.model.set_data(who, room, kind, content);
    }

    async fn ignore(&mut self, who: usize, whom: usize) {
        if who == whom {
            return;
        }
        let ignored = self.model.ignored.entry(who).or_default();
        if !ignored.insert(whom) {
            ignored.remove(&whom);
            // What was missed meanwhile is not told afterwards: a client is to begin anew.
            self.clients[who].begin_anew();
        }
        let users = ignored.iter().map(|user| (user_id(*user), json!({})));
        let content = json!({"ignored_users": users.collect::<serde_json::Map<_, _>>()});
        self.set_data(who, None, "m.ignored_user_list", content)
            .await;
    }

    async fn set_rules(&mut self, who: usize, rules: &BTreeSet<Rule>) {
        let ruleset = push::default_ruleset(&user(NAMES[who]));
        let mut global = serde_json::to_value(ruleset).expect("JSON");
        for rule in rules {
            let mut add = |kind: &str, id: &str, actions: Value| {
                let rule = json!({
                    "rule_id": id, "pattern": id, "default": false, "enabled": true, "actions": actions
                });
                match &mut global[kind] {
                    Value::Array(rules) => rules.push(rule),
                    rules => *rules = json!([rule]),
                }
            };
            match rule {
                Rule::Master => global["override"][0]["enabled"] = json!(true),
                Rule::Keyword => add(
                    "content",
                    "magic",
                    json!(["notify", {"set_tweak": "highlight"}]),
                ),
                Rule::Mute(room) => add("room", self.rooms[*room].as_str(), json!([])),
                Rule::MuteSender(sender) => add("sender", &user_id(*sender), json!([])),
            }
        }
        let content = json!({ "global": global });
        self.house.set_push_rules(NAMES[who], &content).await;
        self.model.set_data(who, None, "m.push_rules", content);
    }
}
