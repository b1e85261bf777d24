//! The other side is on another server, of whose rooms nothing is known but the invite.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hearth_event::{Draft, Parents, Pdu, RoomVersion, SigningKey, VerifyKey, build, client};
use hearth_ports::{BoxFuture, KeySet, Keys, WantedKey};
use hearth_rooms::remote::{Federation, InviteIn};
use hearth_types::UnixMs;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use super::away::Away;
use super::fixture::*;
use crate::{Error, Friend, Standing};

const NOW: UnixMs = UnixMs(1_700_000_000_000);

fn far_key() -> SigningKey {
    SigningKey::generate([2; 32], "far").expect("a key")
}

/// Every other server has the same key.
struct FarKeys;

impl FarKeys {
    fn all(wanted: &[WantedKey]) -> KeySet {
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

impl Keys for FarKeys {
    fn at_hand<'a>(&'a self, wanted: &'a [WantedKey]) -> BoxFuture<'a, KeySet> {
        Box::pin(async move { Self::all(wanted) })
    }
    fn fetch<'a>(&'a self, wanted: &'a [WantedKey]) -> BoxFuture<'a, KeySet> {
        self.at_hand(wanted)
    }
}

pub(super) fn federation(remote: Arc<Away>) -> Federation {
    Federation {
        remote,
        keys: Arc::new(FarKeys),
    }
}

/// A room of another server.
struct Elsewhere {
    room: OwnedRoomId,
    create: Pdu,
}

fn far(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:far")).expect("a user id")
}

impl Elsewhere {
    fn new(creator: &UserId, create: &Value) -> Self {
        Self::called("!elsewhere:far", creator, create)
    }

    fn called(room: &str, creator: &UserId, create: &Value) -> Self {
        let room = RoomId::parse(room).expect("a room id");
        let create = event(&room, (creator, "m.room.create", ""), create, &[]);
        Self { room, create }
    }

    /// Has somebody invite anna.
    async fn invite_anna(&self, house: &House, sender: &UserId, content: &Value) {
        let anna = user("anna");
        let of = (sender, "m.room.member", anna.as_str());
        let invite = event(&self.room, of, content, &[&self.create]);
        let json = client::federation(&invite);
        let incoming = InviteIn {
            version: "11",
            event: &json,
            state: vec![client::federation(&self.create)],
        };
        let (origin, id) = (sender.server_name(), invite.event_id());
        let taken = house.rooms.accept_invite(origin, &self.room, id, incoming);
        taken.await.expect("an invite");
    }

    async fn shown(&self, house: &House, peer: &UserId) -> Friend {
        let shown = house.social.friend(&user("anna"), peer).await;
        shown.expect("an entry")
    }
}

fn event(
    room: &RoomId,
    (sender, kind, key): (&UserId, &str, &str),
    content: &Value,
    auth: &[&Pdu],
) -> Pdu {
    let draft = Draft {
        sender: sender.to_owned(),
        kind: kind.to_owned(),
        state_key: Some(key.to_owned()),
        content: to_raw_value(content).expect("JSON"),
        redacts: None,
    };
    let ids = || auth.iter().map(|pdu| pdu.event_id().to_owned()).collect();
    let parents = Parents {
        room_id: Some(room.to_owned()),
        prev_events: ids(),
        auth_events: ids(),
        depth: 1 + auth.len() as u64,
        origin_server_ts: NOW,
        ..Parents::default()
    };
    let server = sender.server_name();
    build(&draft, &parents, RoomVersion::V11, &far_key(), server).expect("an event")
}

#[tokio::test]
async fn row05_a_request_of_another_hearth_arrives_and_is_declined() {
    let house = House::new().await;
    let bob = far("bob");
    let create = json!({"room_version": "11", "chat.hearth.kind": "direct"});
    let there = Elsewhere::new(&bob, &create);
    let content = json!({"membership": "invite", "is_direct": true, "reason": "from afar"});
    there.invite_anna(&house, &bob, &content).await;
    let entry = there.shown(&house, &bob).await;
    assert_eq!(entry.standing, Standing::Is(PendingIn));
    assert_eq!(entry.room.as_ref(), Some(&there.room));
    assert_eq!(entry.message.as_deref(), Some("from afar"));
    house.leave("anna", &there.room).await;
    let entry = there.shown(&house, &bob).await;
    assert_eq!(entry.standing, Standing::Is(Ended));
    house.fsck().await;
}

#[tokio::test]
async fn row05_an_ordinary_direct_invite_of_another_server_is_a_request() {
    let house = House::new().await;
    let bob = far("bob");
    let there = Elsewhere::new(&bob, &json!({"room_version": "11"}));
    let content = json!({"membership": "invite", "is_direct": true});
    there.invite_anna(&house, &bob, &content).await;
    let entry = there.shown(&house, &bob).await;
    assert_eq!(entry.standing, Standing::Is(PendingIn));
}

#[tokio::test]
async fn a_third_user_cannot_make_a_request_of_somebody_elses_direct_chat() {
    let house = House::new().await;
    let (bob, mallory) = (far("bob"), far("mallory"));
    let create = json!({"room_version": "11", "chat.hearth.kind": "direct"});
    let there = Elsewhere::new(&bob, &create);
    let content = json!({"membership": "invite", "is_direct": true});
    there.invite_anna(&house, &mallory, &content).await;
    for other in [&bob, &mallory] {
        let entry = there.shown(&house, other).await;
        assert_eq!(entry.standing, Standing::None, "{other}");
    }
    house.fsck().await;
}

#[tokio::test]
async fn row05_a_request_is_one_invite_whoever_sends_it() {
    let house = House::new().await;
    let bob = far("bob");
    let anna = caller("anna");
    let asked = [(); 3].map(|()| house.social.request(&anna, &bob, None));
    let asked = futures_util::future::join_all(asked).await;
    let is_told = asked
        .iter()
        .any(|asked| matches!(asked, Err(Error::Unreachable)));
    assert!(is_told, "{asked:?}");
    house.rest().await;
    // Each request that was told of a failure has sent one; the worker, who looks for what is left undone, none.
    let failed = asked.iter().filter(|asked| asked.is_err()).count();
    assert_eq!(house.away.invites.load(Ordering::Relaxed), failed);
    let entry = house
        .social
        .friend(&anna.user, &bob)
        .await
        .expect("an entry");
    assert_eq!(entry.standing, Standing::Is(Ended));
    house.fsck().await;
}

/// The other server has sent its invite and not written it down yet: it says no at first.
#[tokio::test]
async fn the_room_of_a_crossed_request_is_soon_tried_again() {
    let house = House::new().await;
    let bob = far("bob");
    house.away.is_there.store(true, Ordering::Relaxed);
    let asked = house.social.request(&caller("anna"), &bob, None).await;
    asked.expect("a request");
    let create = json!({"room_version": "11", "chat.hearth.kind": "direct"});
    // Smaller than any other id, so that this room stays.
    let there = Elsewhere::called("!!:far", &bob, &create);
    let content = json!({"membership": "invite", "is_direct": true});
    there.invite_anna(&house, &bob, &content).await;
    assert_eq!(
        there.shown(&house, &bob).await.room.as_ref(),
        Some(&there.room)
    );
    let joins = || house.away.joins.load(Ordering::Relaxed);
    let mut seen = vec![joins()];
    for _ in 0..3 {
        let began = tokio::time::Instant::now();
        while joins() == seen[seen.len() - 1] {
            assert!(began.elapsed() < Duration::from_secs(5), "tried {seen:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // All rounds of this try.
        tokio::time::sleep(Duration::from_millis(100)).await;
        seen.push(joins());
    }
}
