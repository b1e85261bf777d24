//! Typing, receipts and markers.

use std::time::Duration;

use hearth_data::accounts::account_data;
use hearth_data::receipts::{self, ReceiptKey};
use hearth_ports::TypingSource;
use ruma::{OwnedEventId, RoomId};
use serde_json::json;

use super::fixture::{House, user};
use crate::Error;
use crate::ephemeral::{MarkersUpdate, ReceiptKind, ReceiptThread};

async fn read(
    house: &House,
    room: &RoomId,
    thread: ReceiptThread,
    event: &OwnedEventId,
) -> crate::Result<()> {
    let update = MarkersUpdate {
        fully_read: None,
        receipts: vec![(ReceiptKind::Read, thread, event.clone())],
    };
    house.rooms.mark_read(&user("alice"), room, &update).await
}

async fn receipt(house: &House, room: &RoomId, thread: &str) -> Option<OwnedEventId> {
    let (number, _) = house.head(room).await;
    let key = ReceiptKey {
        user: "@alice:house".to_owned(),
        kind: "m.read".to_owned(),
        thread: thread.to_owned(),
    };
    let snapshot = house.snapshot().await;
    let row = receipts::receipt(&*snapshot, number, &key)
        .await
        .expect("a read");
    row.map(|row| row.event_id)
}

#[tokio::test]
async fn receipts_go_forward_only() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let first = house.say("alice", &room, "1").await.expect("a message");
    let second = house.say("alice", &room, "2").await.expect("a message");
    read(&house, &room, ReceiptThread::Unthreaded, &second)
        .await
        .expect("a receipt");
    assert_eq!(receipt(&house, &room, "").await, Some(second.clone()));
    let commits = house.store.commits();
    read(&house, &room, ReceiptThread::Unthreaded, &first)
        .await
        .expect("nothing to do");
    assert_eq!(house.store.commits(), commits);
    assert_eq!(receipt(&house, &room, "").await, Some(second));
}

#[tokio::test]
async fn receipts_of_threads_are_for_events_of_the_thread() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let root = house.say("alice", &room, "root").await.expect("a message");
    let relation = json!({"rel_type": "m.thread", "event_id": root});
    let content = json!({"msgtype": "m.text", "body": "x", "m.relates_to": relation});
    let reply = house
        .send("alice", &room, "m.room.message", content)
        .await
        .expect("a reply");
    let relation = json!({"rel_type": "m.annotation", "event_id": reply, "key": "+"});
    let content = json!({"m.relates_to": relation});
    let reaction = house
        .send("alice", &room, "m.reaction", content)
        .await
        .expect("a reaction");
    let thread = ReceiptThread::Thread(root.clone());
    read(&house, &room, thread.clone(), &root)
        .await
        .expect("the root is in its thread");
    read(&house, &room, thread, &reaction)
        .await
        .expect("what relates to a reply, too");
    assert_eq!(receipt(&house, &room, root.as_str()).await, Some(reaction));
    let main = read(&house, &room, ReceiptThread::Main, &reply).await;
    assert!(matches!(main, Err(Error::Invalid(_))));
    read(&house, &room, ReceiptThread::Main, &root)
        .await
        .expect("the root is in no thread");
    let other = read(&house, &room, ReceiptThread::Thread(reply), &root).await;
    assert!(matches!(other, Err(Error::Invalid(_))));
    house.fsck().await;
}

#[tokio::test]
async fn only_members_mark_and_only_events_of_the_room() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let other = house.public_room("bob").await;
    let said = house.say("bob", &other, "1").await.expect("a message");
    let foreign = read(&house, &room, ReceiptThread::Unthreaded, &said).await;
    assert!(matches!(foreign, Err(Error::NoSuchEvent)));
    let outside = read(&house, &other, ReceiptThread::Unthreaded, &said).await;
    assert!(matches!(outside, Err(Error::NotInRoom)));
}

#[tokio::test]
async fn the_marker_is_account_data_and_moves_with_the_receipts_in_one_commit() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let first = house.say("alice", &room, "1").await.expect("a message");
    let second = house.say("alice", &room, "2").await.expect("a message");
    let commits = house.store.commits();
    let update = MarkersUpdate {
        fully_read: Some(second.clone()),
        receipts: vec![
            (ReceiptKind::Read, ReceiptThread::Unthreaded, second.clone()),
            (
                ReceiptKind::ReadPrivate,
                ReceiptThread::Unthreaded,
                second.clone(),
            ),
        ],
    };
    house
        .rooms
        .mark_read(&user("alice"), &room, &update)
        .await
        .expect("markers");
    assert_eq!(house.store.commits(), commits + 1);
    let update = MarkersUpdate {
        fully_read: Some(first),
        receipts: Vec::new(),
    };
    house
        .rooms
        .mark_read(&user("alice"), &room, &update)
        .await
        .expect("nothing to do");
    let snapshot = house.snapshot().await;
    let key = (
        "@alice:house".to_owned(),
        room.to_string(),
        "m.fully_read".to_owned(),
    );
    let row = account_data::account_data(&*snapshot, &key)
        .await
        .expect("a read");
    let expected = format!(r#"{{"event_id":"{second}"}}"#);
    assert_eq!(row.expect("a marker").content.text(), expected);
    house.fsck().await;
}

#[tokio::test]
async fn typing_starts_stops_and_times_out_with_a_new_version_each_time() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let (number, _) = house.head(&room).await;
    let typing = house.rooms.typing();
    let before = typing.version();
    let stranger = house
        .rooms
        .set_typing(&user("bob"), &room, Some(Duration::from_secs(1)))
        .await;
    assert!(matches!(stranger, Err(Error::NotInRoom)));
    assert_eq!(typing.version(), before);
    let hour = Some(Duration::from_secs(3_600));
    house
        .rooms
        .set_typing(&user("alice"), &room, hour)
        .await
        .expect("typing");
    let started = typing.version();
    assert!(started > before);
    assert_eq!(typing.users(number), [user("alice")]);
    assert_eq!(typing.changed_since(before), [(number, started)]);
    house
        .rooms
        .set_typing(&user("alice"), &room, hour)
        .await
        .expect("typing");
    assert_eq!(typing.version(), started, "nothing that anybody is told");
    house
        .rooms
        .set_typing(&user("alice"), &room, None)
        .await
        .expect("not typing");
    assert!(typing.users(number).is_empty());
    let stopped = typing.version();
    assert!(stopped > started);
    let moment = Some(Duration::from_millis(1));
    house
        .rooms
        .set_typing(&user("alice"), &room, moment)
        .await
        .expect("typing");
    let started = typing.version();
    let ended = TypingSource::wait_past(typing, started).await;
    assert!(ended > started);
    assert!(typing.users(number).is_empty());
}
