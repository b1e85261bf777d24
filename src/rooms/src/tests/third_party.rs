//! Invites by address.

use hearth_event::SigningKey;
use hearth_event::canonical::{self, Object, Strictness};
use ruma::events::room::member::MembershipState;
use ruma::{RoomId, ServerName};
use serde_json::{Value, json};

use super::fixture::{House, caller, raw, sender};
use crate::{Error, NewRoom, NewState};

fn identity_server() -> SigningKey {
    SigningKey::generate([9; 32], "0").expect("a key")
}

/// What the identity server says of a token.
fn signed(mxid: &str, token: &str) -> Value {
    let said = json!({ "mxid": mxid, "sender": "@alice:house", "token": token });
    let said = said.to_string();
    let mut object: Object =
        canonical::parse_object(said.as_bytes(), Strictness::Strict).expect("JSON");
    let name = <&ServerName>::try_from("id.test").expect("a name");
    identity_server().sign_json(name, &mut object);
    serde_json::from_str(&canonical::to_string(&object)).expect("JSON")
}

async fn join(house: &House, name: &str, room: &RoomId, signed: Value) -> Result<(), Error> {
    let body = raw(json!({ "third_party_signed": signed }));
    let room = room.as_str().try_into().expect("a room id");
    let caller = caller(name);
    let joined = house.rooms.join_with(&caller, room, (None, Some(&body)));
    joined.await.map(drop)
}

#[tokio::test]
async fn who_was_invited_by_address_joins_with_the_identity_servers_word() {
    let house = House::new();
    let room = house.room("alice", NewRoom::default()).await;
    let invite = NewState {
        kind: "m.room.third_party_invite".to_owned(),
        state_key: "abc".to_owned(),
        content: raw(json!({
            "display_name": "b...@...",
            "public_key": identity_server().public_key(),
        })),
    };
    let put = house.rooms.put_state(&sender("alice"), &room, invite).await;
    put.expect("an invite");
    for wrong in [
        signed("@bob:house", "xyz"),
        signed("@carol:house", "abc"),
        json!({ "mxid": "@bob:house", "sender": "@alice:house", "token": "abc", "signatures": {} }),
        json!({}),
        json!(1),
    ] {
        assert!(join(&house, "bob", &room, wrong).await.is_err());
        assert_eq!(house.membership("bob", &room).await, None);
    }
    join(&house, "bob", &room, signed("@bob:house", "abc"))
        .await
        .expect("a join");
    assert_eq!(
        house.membership("bob", &room).await,
        Some(MembershipState::Join)
    );
    // One who is in already, or banned, is not invited again.
    join(&house, "bob", &room, signed("@bob:house", "abc"))
        .await
        .expect("a join");
    let ban = crate::TargetChange::Ban;
    house
        .change("alice", &room, ban, "bob")
        .await
        .expect("a ban");
    assert!(
        join(&house, "bob", &room, signed("@bob:house", "abc"))
            .await
            .is_err()
    );
}
