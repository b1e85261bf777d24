//! A small sound store with a row of every kind that `fsck` compares.

use bytes::Bytes;
use hearth_event::{Draft, Parents, Pdu, RoomVersion, SigningKey, build, redact};
use hearth_store::{Backend, Batch, KeyRange, MemoryBackend, Op};
use hearth_types::UnixMs;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedEventId, RoomVersionId, server_name};
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

use crate::accounts::devices::{AccessTokenRow, DeviceRow, TokenHash, TokenPair};
use crate::append::{
    self, Admitted, EventRow, LocalMember, MemberChange, RelatesTo, RoomBatch, Standing,
};
use crate::members::{MemberRow, UserRoomRow};
use crate::meta::{self, MetaRow};
use crate::reach::{Indexed, ReachCache, ReachWriter};
use crate::receipts::{ReceiptKey, ReceiptRow};
use crate::relations::RelationRow;
use crate::rooms::{AliasRow, RoomHead};
use crate::row::Json;
use crate::state::{HashKey, Node, RoomItem, StateWriter, States};
use crate::tables as t;
use crate::{EventNo, Place, RoomNo, accounts, receipts};

pub(super) const ROOM: RoomNo = RoomNo(3);
pub(super) const ALICE: &str = "@alice:b";
pub(super) const BOB: &str = "@bob:b";
const SECRET: &[u8; 16] = b"fedcba9876543210";

/// Enough for runs, a trie, and forks in it.
const TOPICS: usize = 130;

pub(super) struct Fixture {
    pub(super) store: MemoryBackend,
    states: States,
    reach: ReachCache,
    key: SigningKey,
    auth: Vec<OwnedEventId>,
    pub(super) message: Place,
    pub(super) reply: Place,
    pub(super) redacted: Place,
}

struct Sent<'a> {
    sender: &'a str,
    kind: &'a str,
    state_key: Option<&'a str>,
    content: &'a str,
    member: Option<MembershipState>,
    thread_of: Option<Place>,
}

fn plain<'a>(kind: &'a str, state_key: Option<&'a str>, content: &'a str) -> Sent<'a> {
    Sent {
        sender: ALICE,
        kind,
        state_key,
        content,
        member: None,
        thread_of: None,
    }
}

/// The rows of the sound store, made once: signing takes its time.
static SOUND: OnceCell<(Vec<Row>, [Place; 3])> = OnceCell::const_new();

type Row = (Bytes, Bytes);

impl Fixture {
    /// A store of its own with the same rows each time.
    pub(super) async fn new() -> Self {
        let (rows, [message, reply, redacted]) = SOUND.get_or_init(Self::sound).await;
        let fixture = Self {
            message: *message,
            reply: *reply,
            redacted: *redacted,
            ..Self::empty()
        };
        for some in rows.chunks(1_000) {
            let mut batch = Batch::new();
            for (key, value) in some.iter().cloned() {
                batch.push(Op::Put { key, value });
            }
            fixture.store.commit(batch).await.unwrap();
        }
        fixture
    }

    async fn sound() -> (Vec<Row>, [Place; 3]) {
        let mut fixture = Self::empty();
        fixture.accounts().await;
        fixture.room().await;
        let all = KeyRange {
            from: Bytes::from_static(b"\x01"),
            to: Bytes::from_static(b"\xf0"),
        };
        let snapshot = fixture.store.snapshot().await.unwrap();
        let rows = snapshot.range(all, false, usize::MAX).await.unwrap();
        (rows, [fixture.message, fixture.reply, fixture.redacted])
    }

    fn empty() -> Self {
        Self {
            store: MemoryBackend::new(),
            states: States::new(HashKey::new(*SECRET), 1 << 20),
            reach: ReachCache::new(1 << 20),
            key: SigningKey::generate([7; 32], "a").unwrap(),
            auth: Vec::new(),
            message: Place(0),
            reply: Place(0),
            redacted: Place(0),
        }
    }

    async fn accounts(&self) {
        let mut batch = Batch::new();
        t::META.put(
            &mut batch,
            &meta::HASH_KEY.to_owned(),
            &MetaRow(SECRET.to_vec()),
        );
        t::META.put(
            &mut batch,
            &meta::SERVER_NAME.to_owned(),
            &MetaRow(b"b".to_vec()),
        );
        t::ROOM_NUMBERS.put(&mut batch, &"!room:b".to_owned(), &ROOM);
        t::USERS.put(&mut batch, &BOB.to_owned(), &Default::default());
        let pair = TokenPair {
            access: TokenHash([1; 32]),
            refresh: None,
        };
        let device = DeviceRow {
            current: Some(pair),
            ..DeviceRow::default()
        };
        t::DEVICES.put(&mut batch, &(BOB.to_owned(), "D".to_owned()), &device);
        let token = AccessTokenRow {
            user: BOB.to_owned(),
            device: "D".to_owned(),
            expires_at: None,
            fresh: false,
        };
        t::ACCESS_TOKENS.put(&mut batch, &pair.access, &token);
        super::encryption::sound(&mut batch);
        let key = (BOB.to_owned(), String::new(), "m.direct".to_owned());
        accounts::account_data::put(&mut batch, &key, None, Json::from_text("{}"));
        let alias = AliasRow {
            room_id: "!room:b".try_into().unwrap(),
            creator: ALICE.to_owned(),
        };
        t::ALIASES.put(&mut batch, &"#alias:b".to_owned(), &alias);
        t::ROOM_ALIASES.put(&mut batch, &(ROOM, "#alias:b".to_owned()), &());
        self.store.commit(batch).await.unwrap();
    }

    async fn room(&mut self) {
        self.send(plain("m.room.create", Some(""), r#"{"room_version":"11"}"#))
            .await;
        let join = r#"{"membership":"join"}"#;
        let member = Some(MembershipState::Join);
        self.send(Sent {
            member,
            ..plain("m.room.member", Some(ALICE), join)
        })
        .await;
        self.send(plain(
            "m.room.power_levels",
            Some(""),
            r#"{"users":{"@alice:b":100}}"#,
        ))
        .await;
        let invite = r#"{"membership":"invite"}"#;
        let member = Some(MembershipState::Invite);
        self.send(Sent {
            member,
            ..plain("m.room.member", Some(BOB), invite)
        })
        .await;
        let member = Some(MembershipState::Join);
        self.send(Sent {
            sender: BOB,
            member,
            ..plain("m.room.member", Some(BOB), join)
        })
        .await;
        for topic in 0..TOPICS {
            let key = format!("part {topic}");
            self.send(plain("org.example.topic", Some(&key), r#"{"topic":"x"}"#))
                .await;
        }
        self.message = self
            .send(plain("m.room.message", None, r#"{"body":"hello"}"#))
            .await;
        let thread_of = Some(self.message);
        self.reply = self
            .send(Sent {
                thread_of,
                ..plain("m.room.message", None, r#"{"body":"re"}"#)
            })
            .await;
        self.redacted = self
            .send(plain("m.room.message", None, r#"{"body":"secret"}"#))
            .await;
        self.take_back().await;
        self.receipt().await;
    }

    /// A redaction, and an outlier in the same commit.
    async fn take_back(&mut self) {
        let target = self.row(self.redacted).await;
        let content = format!(r#"{{"redacts":"{}"}}"#, target.event_id);
        let by = self.send(plain("m.room.redaction", None, &content)).await;
        let by = self.row(by).await.event;
        let head = self.head().await;
        let stray = self.built(&plain("m.room.message", None, r#"{"body":"stray"}"#), &head);
        let mut batch = RoomBatch::new(ROOM, Some(head.clone()), head);
        let pdu = Pdu::parse(RoomVersion::V11, &target.json).unwrap();
        append::redact(&mut batch, self.redacted, &target, &redact(&pdu), by);
        append::append_outlier(&mut batch, &stray, Standing::Outlier);
        self.store.commit(batch.finish().0).await.unwrap();
    }

    async fn receipt(&self) {
        let mut batch = Batch::new();
        let row = ReceiptRow {
            event_id: self.row(self.message).await.event_id,
            place: Some(self.message),
            ts: UnixMs(1),
            position: hearth_store::Position::ZERO,
        };
        let key = ReceiptKey {
            user: BOB.to_owned(),
            kind: "m.read".to_owned(),
            thread: String::new(),
        };
        receipts::put(&mut batch, ROOM, &key, None, &row);
        self.store.commit(batch).await.unwrap();
    }

    fn built(&self, sent: &Sent<'_>, head: &RoomHead) -> Pdu {
        let draft = Draft {
            sender: sent.sender.try_into().unwrap(),
            kind: sent.kind.to_owned(),
            state_key: sent.state_key.map(ToOwned::to_owned),
            content: RawValue::from_string(sent.content.to_owned()).unwrap(),
            redacts: None,
        };
        let parents = Parents {
            room_id: Some("!room:b".try_into().unwrap()),
            prev_events: head
                .extremities
                .iter()
                .map(|extremity| extremity.event_id.clone())
                .collect(),
            auth_events: self.auth.clone(),
            depth: head.depth + 1,
            origin_server_ts: UnixMs(1_000),
            ..Parents::default()
        };
        build(
            &draft,
            &parents,
            RoomVersion::V11,
            &self.key,
            server_name!("b"),
        )
        .unwrap()
    }

    async fn send(&mut self, sent: Sent<'_>) -> Place {
        let snapshot = self.store.snapshot().await.unwrap();
        let loaded = t::ROOM_HEADS.get(snapshot.as_ref(), &ROOM).await.unwrap();
        let new = || RoomHead::new("!room:b".try_into().unwrap(), RoomVersionId::V11);
        let head = loaded.clone().unwrap_or_else(new);
        let pdu = self.built(&sent, &head);
        let mut batch = RoomBatch::new(ROOM, loaded, head.clone());
        let number = batch.next_event();
        let mut writer = StateWriter::new(&self.states, ROOM, snapshot.as_ref(), head.next_state);
        let after = match sent.state_key {
            Some(key) => writer
                .set(head.state, &[(sent.kind, key, Some(number))])
                .await
                .unwrap(),
            None => head.state,
        };
        batch.head.next_state = writer.flush(batch.ops());
        let mut links = ReachWriter::new(ROOM, snapshot.as_ref(), &self.reach);
        let auth: Vec<EventNo> = (1..).take(self.auth.len()).map(EventNo).collect();
        assert_eq!(links.append(number, &auth).await.unwrap(), Indexed::Done);
        links.flush(batch.ops());
        let replaces: Vec<EventNo> = head
            .extremities
            .iter()
            .map(|extremity| extremity.event)
            .collect();
        let (_, place) = append::append(
            &mut batch,
            Admitted {
                pdu: &pdu,
                standing: Standing::Accepted,
                state_before: head.state,
                state_after: after,
                current_state: after,
                replaces: &replaces,
                txn: None,
                member: self.member_change(&sent).await,
                relates_to: self.relates_to(&sent).await,
            },
        );
        self.store.commit(batch.finish().0).await.unwrap();
        if self.auth.len() < 3 {
            self.auth.push(pdu.event_id().to_owned());
        }
        place
    }

    async fn member_change(&self, sent: &Sent<'_>) -> Option<MemberChange> {
        let after = sent.member.clone()?;
        let user = sent.state_key?.to_owned();
        let snapshot = self.store.snapshot().await.unwrap();
        let before = crate::members::user_room(snapshot.as_ref(), &user, ROOM)
            .await
            .unwrap();
        Some(MemberChange {
            before: before.as_ref().map(|row| row.membership.clone()),
            user,
            after,
            is_own: true,
            local: Some(LocalMember {
                before,
                stripped_state: None,
            }),
        })
    }

    async fn relates_to(&self, sent: &Sent<'_>) -> Option<RelatesTo> {
        Some(RelatesTo {
            target: self.row(sent.thread_of?).await.event,
            rel_type: "m.thread".to_owned(),
            key: None,
            thread: Some(None),
        })
    }

    pub(super) async fn head(&self) -> RoomHead {
        let snapshot = self.store.snapshot().await.unwrap();
        t::ROOM_HEADS
            .get(snapshot.as_ref(), &ROOM)
            .await
            .unwrap()
            .unwrap()
    }

    pub(super) async fn row(&self, place: Place) -> EventRow {
        let snapshot = self.store.snapshot().await.unwrap();
        t::TIMELINE
            .get(snapshot.as_ref(), &(ROOM, place))
            .await
            .unwrap()
            .unwrap()
    }

    pub(super) async fn member(&self, user: &str) -> MemberRow {
        let snapshot = self.store.snapshot().await.unwrap();
        t::MEMBERS
            .get(snapshot.as_ref(), &(ROOM, user.to_owned()))
            .await
            .unwrap()
            .unwrap()
    }

    pub(super) async fn user_room(&self, user: &str) -> UserRoomRow {
        let snapshot = self.store.snapshot().await.unwrap();
        t::USER_ROOMS
            .get(snapshot.as_ref(), &(user.to_owned(), ROOM))
            .await
            .unwrap()
            .unwrap()
    }

    pub(super) async fn relation(&self) -> RelationRow {
        let target = self.row(self.message).await.event;
        let snapshot = self.store.snapshot().await.unwrap();
        let key = (ROOM, target, self.reply);
        t::RELATIONS
            .get(snapshot.as_ref(), &key)
            .await
            .unwrap()
            .unwrap()
    }

    pub(super) async fn nodes(&self) -> Vec<(RoomItem, Node)> {
        let snapshot = self.store.snapshot().await.unwrap();
        let range = t::STATE_NODES.prefix(&());
        t::STATE_NODES
            .range(snapshot.as_ref(), range, usize::MAX)
            .await
            .unwrap()
    }
}
