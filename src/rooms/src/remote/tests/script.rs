//! Other servers, which do as they are told.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use hearth_event::{POLICY_KEY_ID, Pdu, RoomVersion, SigningKey, VerifyKey, redact};
use hearth_ports::remote::{
    AliasAnswer, At, Children, FoundAt, Invite, JoinAnswer, MakeMember, Members, MissingEvents,
    Refusal, RemoteError, RemoteResult, SendMember, SpaceAnswer, StateEvents, StateIds, Template,
    Untrusted,
};
use hearth_ports::{BoxFuture, KeySet, Keys, Remote, WantedKey};
use hearth_types::UnixMs;
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedServerName, RoomAliasId, RoomId, ServerName};
use serde_json::json;
use serde_json::value::RawValue;

use super::fixture::{far_key, json_of, raw, server};
use crate::remote::NoRemote;

/// The key of the policy server.
pub(super) fn policy_key() -> SigningKey {
    SigningKey::generate([3; 32], "policy_server").unwrap()
}

/// What other servers say.
#[derive(Default)]
pub(super) struct Script {
    // Held for a few operations, never over an await.
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    events: HashMap<OwnedEventId, Untrusted>,
    before: HashMap<OwnedEventId, Vec<Untrusted>>,
    states: HashMap<OwnedEventId, StateIds>,
    spaces: HashMap<OwnedRoomId, SpaceAnswer>,
    silent: HashSet<OwnedServerName>,
    unknown_keys: HashSet<OwnedServerName>,
    /// What is in an event that the policy server recommends.
    recommended: Option<String>,
    asked: Vec<String>,
}

impl Script {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap()
    }

    /// Others have an event, and give it to who asks.
    pub(super) fn knows(&self, event: &Pdu) {
        let id = event.event_id().to_owned();
        self.said().events.insert(id, json_of(event));
    }

    /// The answer to the question for events before one.
    pub(super) fn before(&self, event: &EventId, events: &[&Pdu]) {
        let events = events.iter().map(|event| json_of(event)).collect();
        self.said().before.insert(event.to_owned(), events);
    }

    /// The answer to the question for the state before an event.
    pub(super) fn state(&self, event: &EventId, state: &[&Pdu]) {
        let ids = StateIds {
            state: state
                .iter()
                .map(|event| event.event_id().to_owned())
                .collect(),
            auth_chain: Vec::new(),
        };
        self.said().states.insert(event.to_owned(), ids);
    }

    /// What others tell of a room and its children.
    pub(super) fn space(&self, room: &RoomId, answer: &serde_json::Value) {
        let all = |field: &str| {
            let items = answer[field].as_array().into_iter().flatten();
            items.map(raw).collect()
        };
        let inaccessible = answer["inaccessible_children"].clone();
        let answer = SpaceAnswer {
            room: raw(&answer["room"]),
            children: all("children"),
            inaccessible: serde_json::from_value(inaccessible).unwrap_or_default(),
        };
        self.said().spaces.insert(room.to_owned(), answer);
    }

    /// The policy server recommends events with this text in them.
    pub(super) fn recommends(&self, text: &str) {
        self.said().recommended = Some(text.to_owned());
    }

    /// A server never answers.
    pub(super) fn is_silent(&self, name: &str) {
        self.said().silent.insert(server(name));
    }

    /// Nobody knows a server's key, or everybody does again.
    pub(super) fn keys_known(&self, name: &str, known: bool) {
        let mut said = self.said();
        match known {
            true => said.unknown_keys.remove(&server(name)),
            false => said.unknown_keys.insert(server(name)),
        };
    }

    /// What was asked of whom.
    pub(super) fn asked(&self) -> Vec<String> {
        self.said().asked.clone()
    }

    fn answer<'a, T: Send + 'a>(
        &'a self,
        server: &'a ServerName,
        question: String,
        answer: impl FnOnce(&Said) -> Option<T> + Send + 'a,
    ) -> BoxFuture<'a, RemoteResult<T>> {
        Box::pin(async move {
            let is_silent = {
                let mut said = self.said();
                said.asked.push(format!("{server} {question}"));
                said.silent.contains(server)
            };
            if is_silent {
                std::future::pending::<()>().await;
            }
            answer(&self.said()).ok_or_else(|| RemoteError::Refused {
                reason: Refusal::NotFound,
                message: "not there".to_owned(),
            })
        })
    }

    fn keys(&self, wanted: &[WantedKey]) -> KeySet {
        let mut set = KeySet::default();
        for key in wanted {
            if self.said().unknown_keys.contains(&key.server) {
                continue;
            }
            let known = VerifyKey {
                key: far_key().public_key_bytes(),
                valid_until: UnixMs(u64::MAX),
            };
            set.insert(key.server.clone(), key.key_id.clone(), known);
        }
        set
    }
}

impl Keys for Script {
    fn at_hand<'a>(&'a self, wanted: &'a [WantedKey]) -> BoxFuture<'a, KeySet> {
        Box::pin(async move { self.keys(wanted) })
    }
    fn fetch<'a>(&'a self, wanted: &'a [WantedKey]) -> BoxFuture<'a, KeySet> {
        Box::pin(async move {
            self.said().asked.push("keys".to_owned());
            self.keys(wanted)
        })
    }
}

impl Remote for Script {
    fn make_member<'a>(
        &'a self,
        server: &'a ServerName,
        ask: MakeMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<Template>> {
        NoRemote.make_member(server, ask)
    }
    fn send_join<'a>(
        &'a self,
        server: &'a ServerName,
        event: SendMember<'a>,
        members: Members,
    ) -> BoxFuture<'a, RemoteResult<JoinAnswer>> {
        NoRemote.send_join(server, event, members)
    }
    fn send_leave<'a>(
        &'a self,
        server: &'a ServerName,
        event: SendMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<()>> {
        NoRemote.send_leave(server, event)
    }
    fn send_knock<'a>(
        &'a self,
        server: &'a ServerName,
        event: SendMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        NoRemote.send_knock(server, event)
    }
    fn invite<'a>(
        &'a self,
        server: &'a ServerName,
        invite: Invite<'a>,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>> {
        NoRemote.invite(server, invite)
    }
    fn policy_sign<'a>(
        &'a self,
        server: &'a ServerName,
        event: &'a RawValue,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>> {
        self.answer(server, "policy_sign".to_owned(), move |said| {
            let text = said.recommended.as_ref()?;
            let pdu = Pdu::parse(RoomVersion::V11, event.get().as_bytes()).ok()?;
            let mut short = redact(&pdu).to_object();
            policy_key().sign_json(server, &mut short);
            let signatures = short["signatures"].as_object()?[server.as_str()].as_object()?;
            let signature = signatures[POLICY_KEY_ID].as_str()?;
            let answer = json!({ server.as_str(): { POLICY_KEY_ID: signature } });
            event.get().contains(text).then(|| raw(&answer))
        })
    }
    fn exchange_third_party_invite<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event: &'a RawValue,
    ) -> BoxFuture<'a, RemoteResult<()>> {
        NoRemote.exchange_third_party_invite(server, room_id, event)
    }
    fn state_ids<'a>(
        &'a self,
        server: &'a ServerName,
        _: &'a RoomId,
        event_id: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<StateIds>> {
        self.answer(server, format!("state_ids {event_id}"), |said| {
            said.states.get(event_id).cloned()
        })
    }
    fn state<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<StateEvents>> {
        NoRemote.state(server, room_id, event_id)
    }
    fn event<'a>(
        &'a self,
        server: &'a ServerName,
        event_id: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>> {
        self.answer(server, format!("event {event_id}"), |said| {
            said.events.get(event_id).cloned()
        })
    }
    fn event_auth<'a>(
        &'a self,
        server: &'a ServerName,
        _: &'a RoomId,
        event_id: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        self.answer(server, format!("event_auth {event_id}"), |_| None)
    }
    fn backfill<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        from: &'a [OwnedEventId],
        limit: usize,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        NoRemote.backfill(server, room_id, from, limit)
    }
    fn missing_events<'a>(
        &'a self,
        server: &'a ServerName,
        _: &'a RoomId,
        ask: &'a MissingEvents,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        let latest = ask.latest.first().cloned();
        self.answer(server, "missing_events".to_owned(), move |said| {
            said.before.get(&latest?).cloned()
        })
    }
    fn timestamp_to_event<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        at: At,
    ) -> BoxFuture<'a, RemoteResult<FoundAt>> {
        NoRemote.timestamp_to_event(server, room_id, at)
    }
    fn alias<'a>(
        &'a self,
        server: &'a ServerName,
        alias: &'a RoomAliasId,
    ) -> BoxFuture<'a, RemoteResult<AliasAnswer>> {
        NoRemote.alias(server, alias)
    }
    fn hierarchy<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        _: Children,
    ) -> BoxFuture<'a, RemoteResult<SpaceAnswer>> {
        self.answer(server, format!("hierarchy {room_id}"), |said| {
            said.spaces.get(room_id).cloned()
        })
    }
}
