use std::sync::Arc;

use hearth_event::canonical::Object;
use hearth_event::join::{Wish, complete};
use hearth_event::{Pdu, RoomVersion, SigningKey, VerifyKey};
use hearth_ports::remote::MemberKind;
use hearth_ports::{BoxFuture, KeySet, Keys, WantedKey};
use hearth_store::MemoryBackend;
use hearth_types::{Clock, Ids, ManualClock, UnixMs};
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::remote::{Federation, NoRemote};
use crate::{HashKey, NewEvent, NewRoom, NewState, Parts, Preset, Sender, Settings, States};

const NOW: u64 = 1_700_000_000_000;

fn far_key() -> SigningKey {
    SigningKey::generate([2; 32], "far").unwrap()
}

/// Knows the key of every other server: all have the same.
struct OneKey;

impl OneKey {
    fn of(wanted: &[WantedKey]) -> KeySet {
        let mut set = KeySet::default();
        for key in wanted {
            let known = VerifyKey {
                key: far_key().public_key_bytes(),
                valid_until: UnixMs(u64::MAX),
            };
            set.insert(key.server.clone(), key.key_id.clone(), known);
        }
        set
    }
}

impl Keys for OneKey {
    fn at_hand<'a>(&'a self, wanted: &'a [WantedKey]) -> BoxFuture<'a, KeySet> {
        Box::pin(async move { Self::of(wanted) })
    }
    fn fetch<'a>(&'a self, wanted: &'a [WantedKey]) -> BoxFuture<'a, KeySet> {
        Box::pin(async move { Self::of(wanted) })
    }
}

fn server(name: &str) -> OwnedServerName {
    name.try_into().unwrap()
}

fn user(id: &str) -> OwnedUserId {
    id.try_into().unwrap()
}

fn alice() -> OwnedUserId {
    user("@alice:house")
}

fn raw(value: &serde_json::Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

fn raw_event(event: &Pdu) -> Box<RawValue> {
    let text = String::from_utf8(event.json().to_vec()).unwrap();
    RawValue::from_string(text).unwrap()
}

struct House {
    rooms: Rooms,
    clock: Arc<ManualClock>,
}

impl House {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(UnixMs(NOW)));
        let parts = Parts {
            store: Arc::new(MemoryBackend::new()),
            states: Arc::new(States::new(HashKey::new([7; 16]), 1 << 20)),
            clock: clock.clone(),
            ids: Arc::new(Ids::seeded(1)),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        };
        let settings = Settings {
            server_name: server("house"),
            key: SigningKey::generate([1; 32], "a").unwrap(),
            default_version: RoomVersion::V11,
            view_cache_bytes_max: 1 << 20,
            retention: hearth_event::retention::Bounds::default(),
        };
        let federation = Federation {
            remote: Arc::new(NoRemote),
            keys: Arc::new(OneKey),
        };
        let rooms = Rooms::federated(parts, settings, federation);
        Self { rooms, clock }
    }

    async fn room(&self) -> OwnedRoomId {
        let room = NewRoom {
            preset: Some(Preset::PublicChat),
            ..NewRoom::default()
        };
        self.rooms.create(&alice(), room).await.unwrap()
    }

    async fn say(&self, room: &RoomId, text: &str) -> OwnedEventId {
        let sender = Sender {
            user: alice(),
            device: None,
            at: None,
        };
        let event = NewEvent {
            kind: "m.room.message".to_owned(),
            content: raw(&json!({ "msgtype": "m.text", "body": text })),
            txn_id: None,
        };
        self.rooms.send(&sender, room, event).await.unwrap()
    }

    async fn state(&self, room: &RoomId, kind: &str, content: serde_json::Value) {
        let sender = Sender {
            user: alice(),
            device: None,
            at: None,
        };
        let state = NewState {
            kind: kind.to_owned(),
            state_key: String::new(),
            content: raw(&content),
        };
        self.rooms.put_state(&sender, room, state).await.unwrap();
    }

    /// The member event that a far server makes of this server's template.
    async fn member(&self, room: &RoomId, who: &UserId, kind: MemberKind) -> Result<Pdu> {
        let far = who.server_name();
        let versions = ["11".to_owned()];
        let template = self
            .rooms
            .member_template(far, kind, (room, who), &versions)
            .await?;
        let wish = Wish {
            room_id: room,
            user: who,
            membership: kind.as_str(),
            content: Object::new(),
            now: UnixMs(NOW),
            key: &far_key(),
            server_name: far,
        };
        Ok(complete(template.room_version, &template.event, &wish).unwrap())
    }

    async fn far_join(&self, room: &RoomId, who: &UserId) -> Result<()> {
        let event = self.member(room, who, MemberKind::Join).await?;
        let json = raw_event(&event);
        let accepted = self
            .rooms
            .accept_join(who.server_name(), room, event.event_id(), &json);
        accepted.await.map(drop)
    }

    async fn far_leave(&self, room: &RoomId, who: &UserId) {
        let event = self.member(room, who, MemberKind::Leave).await.unwrap();
        let json = raw_event(&event);
        let left = self
            .rooms
            .accept_leave(who.server_name(), room, event.event_id(), &json);
        left.await.unwrap();
    }

    /// Everything that a server may ask of a room, and what it is told.
    async fn reads(&self, far: &ServerName, room: &RoomId, event: &EventId) -> Vec<String> {
        let rooms = &self.rooms;
        let missing = Missing {
            latest: vec![event.to_owned()],
            limit: 10,
            ..Missing::default()
        };
        let from = [event.to_owned()];
        let at = (NOW, Direction::Backward);
        let said = |answer: Result<String>| match answer {
            Ok(text) => text,
            Err(error) => format!("error: {error}"),
        };
        vec![
            said(rooms.state_for(far, room, event).await),
            said(rooms.state_ids_for(far, room, event).await),
            said(rooms.event_auth_for(far, room, event).await),
            said(rooms.backfill_for(far, room, &from, 10).await),
            said(rooms.missing_events_for(far, room, &missing).await),
            said(
                rooms
                    .event_at_for(far, room, at)
                    .await
                    .map(|found| found.0.to_string()),
            ),
            said(rooms.event_for(far, event).await),
        ]
    }
}

#[tokio::test]
async fn a_far_user_joins_by_a_template_and_her_server_reads_the_room() {
    let house = House::new();
    let room = house.room().await;
    let bob = user("@bob:far");
    house.far_join(&room, &bob).await.unwrap();
    let event = house.say(&room, "hello").await;
    let answers = house.reads(&server("far"), &room, &event).await;
    let refused: Vec<&String> = answers
        .iter()
        .filter(|said| said.starts_with("error"))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert!(answers[0].contains("m.room.create") && answers[0].contains("@bob:far"));
    assert!(answers[3].contains("hello"), "{}", answers[3]);
    assert_eq!(answers[5], event.as_str());
    assert!(answers[6].contains("hello"));
}

#[tokio::test]
async fn s12_servers_that_are_not_in_a_room_learn_nothing_of_it() {
    let house = House::new();
    let room = house.room().await;
    let (bob, mallory) = (user("@bob:far"), user("@mallory:evil"));
    house.far_join(&room, &bob).await.unwrap();
    let event = house.say(&room, "secret").await;
    let nowhere = RoomId::parse("!nowhere:house").unwrap();
    let nothing = EventId::parse("$nothing").unwrap();
    // Of a server that never was there, one that has left, and one that is shut out: as of a room that is not there.
    let unknown = house.reads(&server("evil"), &nowhere, &nothing).await;
    assert_eq!(house.reads(&server("evil"), &room, &event).await, unknown);
    house.far_join(&room, &mallory).await.unwrap();
    assert_ne!(house.reads(&server("evil"), &room, &event).await, unknown);
    house.far_leave(&room, &mallory).await;
    assert_eq!(house.reads(&server("evil"), &room, &event).await, unknown);
    house
        .state(
            &room,
            "m.room.server_acl",
            json!({ "allow": ["*"], "deny": ["FAR"] }),
        )
        .await;
    assert_eq!(house.reads(&server("far"), &room, &event).await, unknown);
}

#[tokio::test]
async fn s12_a_server_whose_user_was_kicked_reads_what_the_kick_rests_upon_and_no_more() {
    let house = House::new();
    let room = house.room().await;
    let (bob, mallory) = (user("@bob:far"), user("@mallory:evil"));
    house.far_join(&room, &bob).await.unwrap();
    let before = house.say(&room, "before").await;
    let alice = alice();
    let made_to_leave = async |change, who: &UserId| {
        let changed = house.rooms.change_other(&alice, &room, (change, who), None);
        changed.await.unwrap();
        let key = ("m.room.member", who.as_str());
        let format = crate::StateFormat::Event;
        let event = house.rooms.state_event(&alice, &room, key, format);
        let event: serde_json::Value = serde_json::from_str(event.await.unwrap().get()).unwrap();
        EventId::parse(event["event_id"].as_str().unwrap()).unwrap()
    };
    let kick = made_to_leave(crate::TargetChange::Kick, &bob).await;
    let ban = made_to_leave(crate::TargetChange::Ban, &mallory).await;
    house
        .state(&room, "m.room.topic", json!({ "topic": "after" }))
        .await;
    let nowhere = RoomId::parse("!nowhere:house").unwrap();
    let unknown = house.reads(&server("far"), &nowhere, &kick).await;
    let answers = house.reads(&server("far"), &room, &kick).await;
    for told in &answers[..3] {
        assert!(told.contains('[') && !told.contains("after"), "{told}");
    }
    assert!(answers[0].contains("@bob:far"), "{}", answers[0]);
    assert_eq!(answers[3..], unknown[3..]);
    // Nothing of events before it, and nothing to a server whose user was never there.
    assert_eq!(house.reads(&server("far"), &room, &before).await, unknown);
    assert_eq!(house.reads(&server("evil"), &room, &kick).await, unknown);
    assert_eq!(house.reads(&server("evil"), &room, &ban).await, unknown);
}

#[tokio::test]
async fn s12_an_event_of_another_room_is_no_event() {
    let house = House::new();
    let (room, other) = (house.room().await, house.room().await);
    let bob = user("@bob:far");
    house.far_join(&room, &bob).await.unwrap();
    house.far_join(&other, &bob).await.unwrap();
    let elsewhere = house.say(&other, "elsewhere").await;
    let nothing = EventId::parse("$nothing").unwrap();
    let far = server("far");
    let mut said = house.reads(&far, &room, &elsewhere).await;
    let mut unknown = house.reads(&far, &room, &nothing).await;
    // The last one asks without a room, and the one before for a moment.
    said.truncate(5);
    unknown.truncate(5);
    assert_eq!(said, unknown);
}

#[tokio::test]
async fn s12_what_history_hides_is_shown_emptied_or_not_at_all() {
    let house = House::new();
    let room = house.room().await;
    house
        .state(
            &room,
            "m.room.history_visibility",
            json!({ "history_visibility": "joined" }),
        )
        .await;
    let before = house.say(&room, "before").await;
    let bob = user("@bob:far");
    house.far_join(&room, &bob).await.unwrap();
    let after = house.say(&room, "after").await;
    let far = server("far");
    let [hidden, shown] = [
        house.reads(&far, &room, &before).await,
        house.reads(&far, &room, &after).await,
    ];
    for single in [0, 1, 2, 6] {
        assert_eq!(hidden[single], "error: event not found", "{single}");
    }
    assert!(!hidden[3].contains("\"before\""), "{}", hidden[3]);
    assert!(hidden[3].contains("m.room.message"), "the graph is kept");
    assert!(shown[3].contains("\"after\"") && !shown[3].contains("\"before\""));
}

#[tokio::test]
async fn s15_a_server_that_is_shut_out_gets_no_template() {
    let house = House::new();
    let room = house.room().await;
    house
        .state(
            &room,
            "m.room.server_acl",
            json!({ "allow": ["*"], "deny": ["*.evil"] }),
        )
        .await;
    let mallory = user("@mallory:very.EVIL:8448");
    for kind in [MemberKind::Join, MemberKind::Leave, MemberKind::Knock] {
        let asked = house.member(&room, &mallory, kind).await;
        assert!(matches!(asked, Err(Error::Denied)), "{kind:?}: {asked:?}");
    }
    assert!(
        house
            .rooms
            .acl_permits(&room, &server("good"))
            .await
            .unwrap()
    );
    let evil = server("a.evil:1");
    assert!(!house.rooms.acl_permits(&room, &evil).await.unwrap());
}

#[tokio::test]
async fn a_template_is_for_known_versions_and_for_one_s_own_users() {
    let house = House::new();
    let room = house.room().await;
    let (far, bob) = (server("far"), user("@bob:far"));
    let none = house
        .rooms
        .member_template(&far, MemberKind::Join, (&room, &bob), &["1".to_owned()])
        .await;
    assert!(matches!(none, Err(Error::IncompatibleVersion(version)) if version == "11"));
    let other = user("@carol:elsewhere");
    let none = house
        .rooms
        .member_template(&far, MemberKind::Leave, (&room, &other), &[])
        .await;
    assert!(matches!(none, Err(Error::Denied)));
}

#[tokio::test(start_paused = true)]
async fn s19_a_server_speaks_for_its_own_joined_users_only() {
    let house = House::new();
    let room = house.room().await;
    let (bob, carol) = (user("@bob:far"), user("@carol:far"));
    house.far_join(&room, &bob).await.unwrap();
    let event = house.say(&room, "hello").await;
    let (far, evil) = (server("far"), server("evil"));
    let receipt = RemoteReceipt {
        event_id: event,
        thread: None,
        ts: UnixMs(NOW),
    };
    let version = house.rooms.typing().version();
    for (by, who) in [(&evil, &bob), (&far, &carol), (&far, &alice())] {
        house.rooms.receive_typing(by, &room, who).await.unwrap();
        let received = house.rooms.receive_receipt(by, &room, who, &receipt);
        received.await.unwrap();
    }
    assert_eq!(house.rooms.typing().version(), version, "nobody types");
    let position = house.position().await;
    house.rooms.receive_typing(&far, &room, &bob).await.unwrap();
    assert_ne!(house.rooms.typing().version(), version);
    let received = house.rooms.receive_receipt(&far, &room, &bob, &receipt);
    received.await.unwrap();
    assert!(house.position().await > position);
    let again = house.position().await;
    let received = house.rooms.receive_receipt(&far, &room, &bob, &receipt);
    received.await.unwrap();
    assert_eq!(
        house.position().await,
        again,
        "the same receipt is written once"
    );
    assert_eq!(house.clock.now(), UnixMs(NOW));
}

impl House {
    async fn position(&self) -> hearth_store::Position {
        self.rooms.snapshot().await.unwrap().position()
    }
}

#[tokio::test(start_paused = true)]
async fn s19_a_server_tells_of_the_presence_of_its_own_users_only() {
    use hearth_ports::PresenceSource;
    use ruma::presence::PresenceState;

    use crate::ephemeral::RemotePresence;

    let house = House::new();
    let room = house.room().await;
    let (bob, carol) = (user("@bob:far"), user("@carol:far"));
    house.far_join(&room, &bob).await.unwrap();
    let said = RemotePresence {
        state: PresenceState::Online,
        status_msg: Some("here".to_owned()),
        last_active_ago_ms: 1_000,
    };
    let (far, evil) = (server("far"), server("evil"));
    let presences = house.rooms.presences();
    for (by, who) in [(&evil, &bob), (&far, &carol), (&far, &alice())] {
        house.rooms.receive_presence(by, who, &said).await.unwrap();
        assert!(presences.presence(who).is_none(), "{by} told of {who}");
    }
    house
        .rooms
        .receive_presence(&far, &bob, &said)
        .await
        .unwrap();
    let shown = presences.presence(&bob).unwrap();
    assert_eq!(shown.state, PresenceState::Online);
    assert_eq!(shown.status_msg.as_deref(), Some("here"));
    assert_eq!(shown.last_active, Some(UnixMs(NOW - 1_000)));
    // When her server says no more of her, she is gone.
    tokio::time::sleep(std::time::Duration::from_secs(31 * 60)).await;
    let shown = presences.presence(&bob).unwrap();
    assert_eq!(shown.state, PresenceState::Offline);
}
