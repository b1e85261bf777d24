//! Invites by address, made by this server for one that knows whom the address belongs to.

use hearth_event::SigningKey;
use hearth_event::canonical::{self, Object, Strictness};
use hearth_rooms::{NewRoom, Preset};
use ruma::{RoomId, ServerName};
use serde_json::{Value, json};

use crate::house::{House, alice};

const BOB: &str = "@bob:far";

fn identity_server() -> SigningKey {
    SigningKey::generate([9; 32], "0").unwrap()
}

/// What the identity server says of a token.
fn signed(mxid: &str, token: &str) -> Value {
    let said = json!({ "mxid": mxid, "sender": "@alice:house", "token": token }).to_string();
    let mut object: Object = canonical::parse_object(said.as_bytes(), Strictness::Strict).unwrap();
    let name = <&ServerName>::try_from("id.test").unwrap();
    identity_server().sign_json(name, &mut object);
    serde_json::from_str(&canonical::to_string(&object)).unwrap()
}

fn invite(room: &RoomId, sender: &str, user: &str, signed: Value) -> Value {
    json!({
        "type": "m.room.member", "room_id": room, "sender": sender, "state_key": user,
        "content": {
            "membership": "invite",
            "third_party_invite": { "display_name": "not the room's", "signed": signed },
        },
    })
}

async fn room_with_token(house: &House) -> ruma::OwnedRoomId {
    let room = NewRoom {
        preset: Some(Preset::PrivateChat),
        ..NewRoom::default()
    };
    let room = house.room(room).await;
    let content =
        json!({ "display_name": "b...@...", "public_key": identity_server().public_key() });
    house
        .put(&room, ("m.room.third_party_invite", "abc"), content)
        .await;
    room
}

#[tokio::test]
async fn whom_an_address_belongs_to_is_invited_by_the_word_of_the_identity_server() {
    let house = House::new();
    let room = room_with_token(&house).await;
    let line = format!("PUT v1/exchange_third_party_invite/{room}");
    let body = invite(&room, "@alice:house", BOB, signed(BOB, "abc"));
    let answer = house.ask("far", &line, &body).await;
    assert_eq!(answer.ok(), json!({}));
    let asked = house.asked();
    let is_invited = |line: &String| line.starts_with("PUT far /_matrix/federation/v2/invite/");
    assert_eq!(
        asked.iter().filter(|line| is_invited(line)).count(),
        1,
        "{asked:?}"
    );
    let key = ("m.room.member", BOB);
    let format = hearth_rooms::StateFormat::Event;
    let event = house
        .rooms
        .state_event(&alice().user, &room, key, format)
        .await;
    let event: Value = serde_json::from_str(event.unwrap().get()).unwrap();
    assert_eq!(event["sender"], "@alice:house");
    assert_eq!(event["content"]["membership"], "invite");
    let third_party = &event["content"]["third_party_invite"];
    assert_eq!(third_party["display_name"], "b...@...");
    // Now she is let in.
    house.far_join(&room, &crate::house::user(BOB)).await;
}

#[tokio::test]
async fn an_exchange_that_is_not_as_it_has_to_be_invites_nobody() {
    let house = House::new();
    let room = room_with_token(&house).await;
    let line = format!("PUT v1/exchange_third_party_invite/{room}");
    let good = invite(&room, "@alice:house", BOB, signed(BOB, "abc"));
    let with = |field: &str, value: Value| {
        let mut changed = good.clone();
        changed[field] = value;
        changed
    };
    let mut forged = good.clone();
    forged["content"]["third_party_invite"]["signed"]["mxid"] = json!("@eve:far");
    let mut is_join = good.clone();
    is_join["content"]["membership"] = json!("join");
    for (origin, body, status) in [
        ("further", good.clone(), 403),
        ("far", with("sender", json!("@bob:far")), 403),
        ("far", with("sender", json!("@carol:house")), 403),
        ("far", with("state_key", json!("@eve:far")), 403),
        ("far", with("state_key", json!("bob")), 400),
        ("far", with("type", json!("m.room.message")), 400),
        ("far", with("room_id", json!("!other:house")), 400),
        (
            "far",
            with("content", json!({ "membership": "invite" })),
            400,
        ),
        ("far", is_join, 400),
        ("far", forged, 403),
        (
            "far",
            invite(&room, "@alice:house", BOB, signed(BOB, "other")),
            403,
        ),
    ] {
        let answer = house.ask(origin, &line, &body).await;
        assert_eq!(answer.status, status, "{body} {}", answer.body);
    }
    let nowhere = "PUT v1/exchange_third_party_invite/!nowhere:house";
    let answer = house.ask("far", nowhere, &good).await;
    assert_eq!(answer.error(), (403, "M_FORBIDDEN"));
    let is_invite = |line: &String| line.contains("/invite/");
    assert!(!house.asked().iter().any(is_invite));
}
