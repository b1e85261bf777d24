//! Rows that are derived from the events, and those of users.

use hearth_store::Position;

use super::fixture::{BOB, ROOM};
use super::{Invariant, change_head, reported};
use crate::tables as t;
use crate::{EventNo, Place, RoomNo};

#[tokio::test]
async fn members_that_are_not_those_of_the_state_are_reported() {
    let bob = || (ROOM, BOB.to_owned());
    reported(
        Invariant::Members,
        "no member row says so of @bob:b",
        async |_, batch| {
            t::MEMBERS.delete(batch, &bob());
        },
    )
    .await;
    reported(
        Invariant::Members,
        "member events in the state",
        async |fixture, batch| {
            let row = fixture.member(BOB).await;
            t::MEMBERS.put(batch, &(ROOM, "@nobody:b".to_owned()), &row);
        },
    )
    .await;
    reported(
        Invariant::Members,
        "the head says",
        async |fixture, batch| {
            change_head(fixture, batch, |head| head.invited += 1).await;
        },
    )
    .await;
    reported(
        Invariant::Members,
        "the head says",
        async |fixture, batch| {
            change_head(fixture, batch, |head| head.joined_local -= 1).await;
        },
    )
    .await;
    reported(
        Invariant::Members,
        "which has no head",
        async |fixture, batch| {
            let row = fixture.member(BOB).await;
            t::MEMBERS.put(batch, &(RoomNo(99), BOB.to_owned()), &row);
        },
    )
    .await;
}

#[tokio::test]
async fn user_rows_that_do_not_mirror_members_are_reported() {
    let bob = || (BOB.to_owned(), ROOM);
    reported(
        Invariant::UserRooms,
        "the rooms of @bob:b do not say so",
        async |_, batch| {
            t::USER_ROOMS.delete(batch, &bob());
        },
    )
    .await;
    reported(
        Invariant::UserRooms,
        "the member row is missing or another",
        async |fixture, batch| {
            let mut row = fixture.user_room(BOB).await;
            row.event = EventNo(1);
            t::USER_ROOMS.put(batch, &bob(), &row);
        },
    )
    .await;
    reported(
        Invariant::UserRooms,
        "not in the index",
        async |fixture, batch| {
            let row = fixture.user_room(BOB).await;
            t::USER_ROOMS_AT.delete(batch, &(BOB.to_owned(), row.position, ROOM));
        },
    )
    .await;
    reported(
        Invariant::UserRooms,
        "did not change at",
        async |_, batch| {
            t::USER_ROOMS_AT.put(batch, &(BOB.to_owned(), Position(1), ROOM), &());
        },
    )
    .await;
}

#[tokio::test]
async fn relations_and_threads_that_point_nowhere_are_reported() {
    reported(
        Invariant::Relations,
        "one of them is missing",
        async |fixture, batch| {
            let row = fixture.relation().await;
            t::RELATIONS.put(batch, &(ROOM, EventNo(7_000), fixture.reply), &row);
        },
    )
    .await;
    reported(
        Invariant::Relations,
        "0 events, not 1",
        async |fixture, batch| {
            let target = fixture.row(fixture.message).await.event;
            t::RELATIONS.delete(batch, &(ROOM, target, fixture.reply));
        },
    )
    .await;
    reported(
        Invariant::Relations,
        "is not at place 77",
        async |fixture, batch| {
            let root = fixture.row(fixture.message).await.event;
            t::THREADS_AT.put(batch, &(ROOM, Place(77), root), &());
        },
    )
    .await;
    reported(
        Invariant::Relations,
        "not in the index",
        async |fixture, batch| {
            let root = fixture.row(fixture.message).await.event;
            t::THREADS_AT.delete(batch, &(ROOM, fixture.reply, root));
        },
    )
    .await;
    reported(Invariant::Relations, "annotation 8000", async |_, batch| {
        let key = (
            ROOM,
            EventNo(3),
            (BOB.to_owned(), "m.reaction".to_owned(), "x".to_owned()),
        );
        t::ANNOTATIONS.put(batch, &key, &EventNo(8_000));
    })
    .await;
}

#[tokio::test]
async fn rows_that_point_to_no_event_are_reported() {
    reported(
        Invariant::Transactions,
        "which is missing",
        async |_, batch| {
            let row = crate::txns::TxnRow {
                event_id: Some("$nothing".try_into().unwrap()),
            };
            let key = (BOB.to_owned(), "D".to_owned(), "send/1".to_owned());
            t::TXNS.put(batch, &key, &row);
        },
    )
    .await;
    reported(Invariant::Changes, "is missing", async |_, batch| {
        let change = crate::changes::Change::Event {
            room: ROOM,
            event: EventNo(6_000),
        };
        t::CHANGES.put(
            batch,
            &((), Position(1), ()),
            &crate::changes::ChangeRow(vec![change]),
        );
    })
    .await;
}

#[tokio::test]
async fn aliases_and_receipts_without_their_other_half_are_reported() {
    reported(
        Invariant::Aliases,
        "which does not know it",
        async |_, batch| {
            t::ROOM_ALIASES.delete(batch, &(ROOM, "#alias:b".to_owned()));
        },
    )
    .await;
    reported(
        Invariant::Aliases,
        "does not lead to room",
        async |_, batch| {
            t::ALIASES.delete(batch, &"#alias:b".to_owned());
        },
    )
    .await;
    reported(Invariant::Aliases, "has no head", async |_, batch| {
        t::PUBLIC_ROOMS.put(batch, &RoomNo(50), &());
    })
    .await;
    let key = || (BOB.to_owned(), "m.read".to_owned(), String::new());
    reported(
        Invariant::Receipts,
        "is not in the index",
        async |_, batch| {
            t::RECEIPTS_AT.delete_range(batch, t::RECEIPTS_AT.prefix(&()));
        },
    )
    .await;
    reported(
        Invariant::Receipts,
        "no receipt of @bob:b of position 1",
        async |_, batch| {
            t::RECEIPTS_AT.put(batch, &(ROOM, Position(1), key()), &());
        },
    )
    .await;
}

#[tokio::test]
async fn accounts_that_do_not_belong_together_are_reported() {
    let device = || (BOB.to_owned(), "D".to_owned());
    reported(Invariant::Accounts, "who is unknown", async |_, batch| {
        t::USERS.delete(batch, &BOB.to_owned());
    })
    .await;
    reported(
        Invariant::Accounts,
        "which that device does not hold",
        async |_, batch| {
            t::DEVICES.delete(batch, &device());
        },
    )
    .await;
    reported(
        Invariant::Accounts,
        "its access token is missing",
        async |_, batch| {
            t::ACCESS_TOKENS.delete_range(batch, t::ACCESS_TOKENS.prefix(&()));
        },
    )
    .await;
    reported(
        Invariant::Accounts,
        "a refresh token of",
        async |_, batch| {
            let row = crate::accounts::devices::RefreshTokenRow {
                user: BOB.to_owned(),
                device: "D".to_owned(),
            };
            t::REFRESH_TOKENS.put(batch, &crate::accounts::devices::TokenHash([9; 32]), &row);
        },
    )
    .await;
    reported(
        Invariant::Accounts,
        "is not in the index",
        async |_, batch| {
            t::ACCOUNT_DATA_AT.delete_range(batch, t::ACCOUNT_DATA_AT.prefix(&()));
        },
    )
    .await;
    reported(
        Invariant::Accounts,
        "no account data m.direct",
        async |_, batch| {
            let key = (
                BOB.to_owned(),
                Position(9_999),
                (String::new(), "m.direct".to_owned()),
            );
            t::ACCOUNT_DATA_AT.put(batch, &key, &());
        },
    )
    .await;
    reported(Invariant::Accounts, "counted are", async |_, batch| {
        t::ACCOUNT_DATA_COUNTS.put(batch, &BOB.to_owned(), &7);
    })
    .await;
}
