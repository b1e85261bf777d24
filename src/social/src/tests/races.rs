//! Two at once, and a server that stops in the middle.

use futures_util::future::{join, join_all};
use hearth_store::Fault;
use ruma::events::room::member::MembershipState;

use super::fixture::*;
use crate::{Error, Standing};

/// More commits than any of these stories takes.
const COMMITS_MAX: u64 = 60;

fn agree(mine: Standing, theirs: Standing) -> bool {
    match mine {
        Standing::Is(PendingOut) => theirs == Standing::Is(PendingIn),
        Standing::Is(PendingIn) => theirs == Standing::Is(PendingOut),
        Standing::Is(Friends) => theirs == Standing::Is(Friends),
        _ => matches!(theirs, Standing::None | Standing::Is(Ended)),
    }
}

#[tokio::test]
async fn both_request_each_other_at_once_and_are_friends_in_one_room() {
    for _ in 0..10 {
        let house = House::new().await;
        let (one, other) = join(house.request("anna", "bert"), house.request("bert", "anna")).await;
        one.expect("a request");
        other.expect("a request");
        house.rest().await;
        let (mine, theirs) = (
            house.shown("anna", "bert").await,
            house.shown("bert", "anna").await,
        );
        assert_eq!(mine.standing, Standing::Is(Friends));
        assert_eq!(theirs.standing, Standing::Is(Friends));
        assert_eq!(mine.room, theirs.room);
        assert!(
            mine.past.is_empty() && theirs.past.is_empty(),
            "one room was made"
        );
        house.fsck().await;
    }
}

#[tokio::test]
async fn many_sessions_request_at_once_and_one_room_is_made() {
    let house = House::new().await;
    let requests = (0..8).map(|_| house.request("anna", "bert"));
    let rooms: Vec<_> = join_all(requests).await;
    let first = rooms[0].as_ref().expect("a request").room.clone();
    for friend in rooms {
        assert_eq!(friend.expect("a request").room, first);
    }
    house.fsck().await;
}

#[tokio::test]
async fn accept_while_withdrawn_has_one_winner() {
    for round in 0..20 {
        let house = House::new().await;
        house.request("anna", "bert").await.expect("a request");
        let (anna, bert) = (caller("anna"), caller("bert"));
        let (you, me) = (user("bert"), user("anna"));
        let accept = house.social.accept(&bert, &me);
        let withdraw = house.social.withdraw(&anna, &you);
        let (accepted, withdrawn) = match round % 2 {
            0 => join(accept, withdraw).await,
            _ => {
                let (withdrawn, accepted) = join(withdraw, accept).await;
                (accepted, withdrawn)
            }
        };
        house.rest().await;
        let standing = house.standing("anna", "bert").await;
        match (accepted, withdrawn) {
            (Ok(_), Err(Error::WrongState(state))) => {
                assert_eq!((standing, state), (Standing::Is(Friends), standing));
            }
            (Err(Error::WrongState(state)), Ok(_)) => {
                assert_eq!((standing, state), (Standing::Is(Ended), standing));
            }
            other => panic!("{other:?}"),
        }
        assert!(agree(standing, house.standing("bert", "anna").await));
        house.fsck().await;
    }
}

#[tokio::test]
async fn the_same_private_group_made_at_once_is_one_room() {
    for _ in 0..5 {
        let house = House::new().await;
        for (name, peer) in [("anna", "bert"), ("anna", "cleo"), ("bert", "cleo")] {
            house.befriend(name, peer).await;
        }
        let open = async |name: &str, others: [&str; 2]| {
            let opened = house
                .social
                .open_private_group(&caller(name), users(&others), None)
                .await;
            opened.expect("a group")
        };
        let opened = futures_util::future::join3(
            open("anna", ["bert", "cleo"]),
            open("bert", ["anna", "cleo"]),
            open("cleo", ["anna", "bert"]),
        )
        .await;
        let opened = [opened.0, opened.1, opened.2];
        assert_eq!(opened.iter().filter(|opened| opened.is_new).count(), 1);
        let room = &opened[0].group.room;
        assert!(opened.iter().all(|opened| opened.group.room == *room));
        for name in ["anna", "bert", "cleo"] {
            let membership = house.membership(name, room).await;
            assert_eq!(membership, Some(MembershipState::Join));
        }
        house.fsck().await;
    }
}

/// A story told up to where the server stops, and what is found after a new start.
async fn crashes(story: impl AsyncFn(&House), check: impl AsyncFn(&House)) {
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for after in 0..COMMITS_MAX {
            let house = House::new().await;
            let before = house.store.commits();
            house.store.plan_fault(after, fault);
            story(&house).await;
            let is_over = house.store.commits() < before + after;
            let house = house.crash();
            house.rest().await;
            for (one, other) in [("anna", "bert"), ("anna", "cleo")] {
                let mine = house.standing(one, other).await;
                let theirs = house.standing(other, one).await;
                assert!(
                    agree(mine, theirs),
                    "{fault:?} {after}: {mine:?} {theirs:?}"
                );
            }
            check(&house).await;
            house.fsck().await;
            if is_over {
                break;
            }
        }
    }
}

fn noted<T>(result: crate::Result<T>) {
    if let Err(error) = result {
        // The server stops somewhere; what counts is what is found afterwards.
        let _ = error.to_string();
    }
}

#[tokio::test]
async fn crossed_requests_survive_a_crash_at_any_commit() {
    let story = async |house: &House| {
        let (one, other) = join(house.request("anna", "bert"), house.request("bert", "anna")).await;
        noted(one);
        noted(other);
    };
    crashes(story, async |house| {
        // Whatever was left: asking again leads to one open chat.
        house.request("anna", "bert").await.expect("a request");
        house.request("bert", "anna").await.expect("a request");
        house.rest().await;
        let (mine, theirs) = (
            house.shown("anna", "bert").await,
            house.shown("bert", "anna").await,
        );
        assert_eq!(mine.standing, Standing::Is(Friends));
        assert_eq!(mine.room, theirs.room);
    })
    .await;
}

#[tokio::test]
async fn accept_withdraw_and_unfriend_survive_a_crash_at_any_commit() {
    let story = async |house: &House| {
        noted(house.request("anna", "bert").await);
        let (anna, bert) = (caller("anna"), caller("bert"));
        let (you, me) = (user("bert"), user("anna"));
        let (accepted, withdrawn) = join(
            house.social.accept(&bert, &me),
            house.social.withdraw(&anna, &you),
        )
        .await;
        noted(accepted);
        noted(withdrawn);
        noted(house.social.unfriend(&bert, &me).await);
    };
    crashes(story, async |house| {
        let friend = house.shown("anna", "bert").await;
        let direct = house.direct("anna", "bert").await;
        let room: Vec<String> = friend.room.iter().map(ToString::to_string).collect();
        assert_eq!(direct, room, "m.direct is in step");
    })
    .await;
}

#[tokio::test]
async fn a_private_group_survives_a_crash_at_any_commit() {
    let story = async |house: &House| {
        for peer in ["bert", "cleo"] {
            noted(house.request("anna", peer).await);
            noted(house.accept(peer, "anna").await);
        }
        let others = users(&["bert", "cleo"]);
        noted(
            house
                .social
                .open_private_group(&caller("anna"), others, None)
                .await,
        );
    };
    crashes(story, async |house| {
        for peer in ["bert", "cleo"] {
            house.request("anna", peer).await.expect("a request");
            house.request(peer, "anna").await.expect("a request");
        }
        let open = async || {
            let others = users(&["bert", "cleo"]);
            let opened = house
                .social
                .open_private_group(&caller("anna"), others, None)
                .await;
            opened.expect("a group").group.room
        };
        assert_eq!(open().await, open().await);
        let joined = house
            .rooms
            .joined_rooms(&user("anna"))
            .await
            .expect("rooms");
        assert_eq!(joined.len(), 3, "two chats and one group");
    })
    .await;
}
