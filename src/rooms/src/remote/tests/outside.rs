use hearth_data::members::UserRoomRow;
use hearth_event::{Draft, Pdu, RoomVersion};
use hearth_store::{Backend, Position};
use ruma::events::room::member::MembershipState;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::json;

use super::fixture::{House, alice, draft, far_event, json_of, user};
use crate::remote::InviteIn;
use crate::remote::import::{Ended, Step};
use crate::stage::admit::Intake;

/// A room of a far server, in which nobody of this server is.
pub(super) struct Elsewhere {
    pub(super) room: OwnedRoomId,
    pub(super) create: Pdu,
    pub(super) bob: OwnedUserId,
}

pub(super) fn member(sender: &UserId, of: &UserId, membership: &str) -> Draft {
    let content = json!({ "membership": membership });
    draft(sender, ("m.room.member", Some(of.as_str())), &content)
}

impl Elsewhere {
    pub(super) fn new() -> Self {
        let bob = user("@bob:far");
        let room = RoomId::parse("!elsewhere:far").unwrap();
        let content = json!({ "room_version": "11" });
        let create = draft(&bob, ("m.room.create", Some("")), &content);
        let create = far_event(RoomVersion::V11, &room, &create, (&[], &[]));
        Self { room, create, bob }
    }

    pub(super) fn event(&self, draft: &Draft, auth: &[Pdu]) -> Pdu {
        let auth: Vec<Pdu> = [std::slice::from_ref(&self.create), auth].concat();
        let prev = [&self.create];
        far_event(RoomVersion::V11, &self.room, draft, (&prev, &auth))
    }

    async fn invite_alice(&self, house: &House) -> Pdu {
        self.invite_alice_after(house, &[]).await
    }

    async fn invite_alice_after(&self, house: &House, auth: &[Pdu]) -> Pdu {
        let invite = self.event(&member(&self.bob, &alice(), "invite"), auth);
        let json = json_of(&invite);
        let incoming = InviteIn {
            version: "11",
            event: &json,
            state: Vec::new(),
        };
        let origin = self.bob.server_name();
        let id = invite.event_id();
        let taken = house.rooms.accept_invite(origin, &self.room, id, incoming);
        taken.await.unwrap();
        invite
    }
}

pub(super) async fn register_alice(house: &House) {
    use hearth_data::accounts::users::UserRow;
    use hearth_data::tables::USERS;
    use hearth_store::Batch;
    let mut batch = Batch::new();
    USERS.put(&mut batch, &alice().to_string(), &UserRow::default());
    house.store.commit(batch).await.unwrap();
}

/// What alice is told of a room.
pub(super) async fn membership(house: &House, room: &RoomId) -> Option<MembershipState> {
    row(house, room).await.map(|row| row.membership)
}

async fn row(house: &House, room: &RoomId) -> Option<UserRoomRow> {
    let snapshot = house.store.snapshot().await.unwrap();
    let number = hearth_data::rooms::number(&*snapshot, room)
        .await
        .unwrap()?;
    let row = hearth_data::members::user_room(&*snapshot, alice().as_str(), number).await;
    row.unwrap()
}

fn refusals(answer: &crate::remote::TxnAnswer) -> Vec<(OwnedEventId, bool)> {
    let answers = answer.0.iter();
    answers
        .map(|(id, refused)| (id.clone(), refused.is_some()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn an_invite_is_taken_back_by_whoever_sent_it_and_by_nobody_else() {
    let house = House::new();
    register_alice(&house).await;
    let there = Elsewhere::new();
    let invite = there.invite_alice(&house).await;
    assert_eq!(
        membership(&house, &there.room).await,
        Some(MembershipState::Invite)
    );
    let carol = user("@carol:far");
    let by_carol = there.event(
        &member(&carol, &alice(), "leave"),
        std::slice::from_ref(&invite),
    );
    let message = there.event(&super::fixture::message(&there.bob, "hello"), &[]);
    let answer = house.offer("far", &[&by_carol, &message]).await.unwrap();
    assert!(refusals(&answer).iter().all(|(_, refused)| *refused));
    house.settle().await;
    assert_eq!(
        membership(&house, &there.room).await,
        Some(MembershipState::Invite)
    );
    let by_bob = there.event(&member(&there.bob, &alice(), "leave"), &[invite]);
    house.send("far", &[&by_bob]).await;
    house.settle().await;
    assert_eq!(
        membership(&house, &there.room).await,
        Some(MembershipState::Leave)
    );
    assert_eq!(house.waiting(&there.room).await, 0);
    // Nothing is pending any more.
    let again = house.offer("far", &[&by_bob]).await.unwrap();
    assert!(refusals(&again).iter().all(|(_, refused)| *refused));
}

/// An invite was taken back and made again, and what took it back comes after the second one.
#[tokio::test(start_paused = true)]
async fn an_invite_stays_when_the_end_of_the_one_before_it_is_late() {
    let house = House::new();
    register_alice(&house).await;
    let there = Elsewhere::new();
    let first = there.invite_alice(&house).await;
    let end = there.event(&member(&there.bob, &alice(), "leave"), &[first]);
    there
        .invite_alice_after(&house, std::slice::from_ref(&end))
        .await;
    let answer = house.offer("far", &[&end]).await.unwrap();
    assert!(refusals(&answer).iter().all(|(_, refused)| *refused));
    house.settle().await;
    assert_eq!(
        membership(&house, &there.room).await,
        Some(MembershipState::Invite)
    );
}

/// As before, but it was in time, and waited for the room while the second one was taken in.
#[tokio::test(start_paused = true)]
async fn an_invite_stays_that_comes_while_the_one_before_it_is_being_ended() {
    let house = House::new();
    register_alice(&house).await;
    let there = Elsewhere::new();
    let first = there.invite_alice(&house).await;
    let end = there.event(
        &member(&there.bob, &alice(), "leave"),
        std::slice::from_ref(&first),
    );
    let room = house.number(&there.room).await;
    let ended = Ended {
        event: row(&house, &there.room).await.unwrap().event,
        row: (Position::ZERO, 0),
    };
    there
        .invite_alice_after(&house, std::slice::from_ref(&end))
        .await;
    let step = Step::Outside {
        user: alice(),
        membership: MembershipState::Leave,
        event: Some(end),
        stripped_state: None,
        ended: Some(ended),
    };
    let intake = Intake::Import(Box::new(step));
    house.rooms.take_in(room, intake).await.unwrap();
    assert_eq!(
        membership(&house, &there.room).await,
        Some(MembershipState::Invite)
    );
}
