use MembershipState::{Invite, Join, Leave};
use ruma::events::room::member::MembershipState;
use serde_json::json;

use super::fixture::*;
use crate::{Ending, Error, FriendQuery, Standing};

#[tokio::test]
async fn row05_a_request_is_an_invite_into_a_fresh_direct_chat() {
    let house = House::new().await;
    let friend = house
        .social
        .request(&caller("anna"), &user("bert"), Some("It is me".to_owned()))
        .await
        .expect("a request");
    assert_eq!(friend.standing, Standing::Is(PendingOut));
    assert_eq!(friend.displayname.as_deref(), Some("BERT"));
    let room = friend.room.expect("a room");
    assert_eq!(house.membership("bert", &room).await, Some(Invite));
    assert_eq!(house.kind("anna", &room).await, "direct");
    let theirs = house.shown("bert", "anna").await;
    assert_eq!(theirs.standing, Standing::Is(PendingIn));
    assert_eq!(theirs.room.as_ref(), Some(&room));
    assert_eq!(theirs.message.as_deref(), Some("It is me"));
    assert_eq!(house.direct("anna", "bert").await, [room.as_str()]);
    assert!(house.direct("bert", "anna").await.is_empty());
    let again = house.request("anna", "bert").await.expect("the same");
    assert_eq!(again.room, Some(room));
    house.fsck().await;
}

#[tokio::test]
async fn row06_accepting_makes_the_direct_chat_at_once() {
    let house = House::new().await;
    let room = house.befriend("anna", "bert").await;
    for (name, peer) in [("anna", "bert"), ("bert", "anna")] {
        let friend = house.shown(name, peer).await;
        assert_eq!(friend.standing, Standing::Is(Friends));
        assert_eq!(friend.room.as_ref(), Some(&room));
        assert_eq!(house.membership(name, &room).await, Some(Join));
        assert_eq!(house.direct(name, peer).await, [room.as_str()]);
        house.say(name, &room, "hello").await.expect("sent");
    }
    let again = house.accept("bert", "anna").await.expect("no change");
    assert_eq!(again.standing, Standing::Is(Friends));
    house.fsck().await;
}

#[tokio::test]
async fn row05_declining_ends_it_for_both() {
    let house = House::new().await;
    let asked = house.request("anna", "bert").await.expect("a request");
    let declined = house.social.decline(&caller("bert"), &user("anna")).await;
    let declined = declined.expect("declined");
    assert_eq!(declined.standing, Standing::Is(Ended));
    assert_eq!(declined.ending, Some(Ending::Declined));
    let room = asked.room.expect("a room");
    assert_eq!(house.membership("anna", &room).await, Some(Leave));
    let entry = house.shown("anna", "bert").await;
    assert_eq!(entry.ending, Some(Ending::Declined));
    assert_eq!(entry.past, [room]);
    assert!(house.direct("anna", "bert").await.is_empty());
    house.fsck().await;
}

#[tokio::test]
async fn row05_withdrawing_takes_the_invite_back() {
    let house = House::new().await;
    let room = house.request("anna", "bert").await.expect("a request").room;
    let room = room.expect("a room");
    let withdrawn = house.social.withdraw(&caller("anna"), &user("bert")).await;
    let withdrawn = withdrawn.expect("withdrawn");
    assert_eq!(withdrawn.ending, Some(Ending::Withdrawn));
    assert_eq!(house.membership("bert", &room).await, Some(Leave));
    assert_eq!(
        house.shown("bert", "anna").await.ending,
        Some(Ending::Withdrawn)
    );
    let accepted = house.accept("bert", "anna").await;
    let wrong = Standing::Is(Ended);
    assert!(matches!(accepted, Err(Error::WrongState(state)) if state == wrong));
    house.fsck().await;
}

#[tokio::test]
async fn row05_unfriending_keeps_the_records_and_befriending_again_makes_new_ones() {
    let house = House::new().await;
    let old = house.befriend("anna", "bert").await;
    house
        .say("bert", &old, "remember this")
        .await
        .expect("sent");
    let ended = house.social.unfriend(&caller("bert"), &user("anna")).await;
    assert_eq!(ended.expect("ended").ending, Some(Ending::Unfriended));
    for name in ["anna", "bert"] {
        assert_eq!(house.membership(name, &old).await, Some(Leave));
        let create = ("m.room.create", "");
        let format = hearth_rooms::StateFormat::Content;
        let read = house
            .rooms
            .state_event(&user(name), &old, create, format)
            .await;
        read.expect("still readable");
        house.say(name, &old, "late").await.expect_err("it is over");
    }
    assert!(house.direct("anna", "bert").await.is_empty());
    let new = house.befriend("anna", "bert").await;
    assert_ne!(new, old);
    let entry = house.shown("anna", "bert").await;
    assert_eq!(entry.room, Some(new.clone()));
    assert_eq!(entry.past, [old]);
    assert_eq!(house.direct("bert", "anna").await, [new.as_str()]);
    house.fsck().await;
}

#[tokio::test]
async fn row05_blocking_ends_what_there_is_and_refuses_requests() {
    let house = House::new().await;
    let room = house.befriend("anna", "bert").await;
    house.request("cleo", "anna").await.expect("a request");
    for peer in ["bert", "cleo"] {
        let blocked = house.social.block(&caller("anna"), &user(peer)).await;
        assert_eq!(blocked.expect("blocked").standing, Standing::Blocked);
        let refused = house.request(peer, "anna").await;
        assert!(matches!(refused, Err(Error::Refused)));
        assert_eq!(house.standing(peer, "anna").await, Standing::Is(Ended));
    }
    assert_eq!(house.membership("bert", &room).await, Some(Leave));
    assert!(matches!(
        house.request("anna", "bert").await,
        Err(Error::Blocked)
    ));
    let listed = house.data("anna", "m.ignored_user_list").await;
    assert!(listed["ignored_users"]["@bert:house"].is_object());
    let unblocked = house.social.unblock(&caller("anna"), &user("bert")).await;
    assert_eq!(unblocked.expect("unblocked").standing, Standing::Is(Ended));
    house.request("bert", "anna").await.expect("again");
    house.fsck().await;
}

#[tokio::test]
async fn row05_blocking_takes_ones_own_request_back() {
    let house = House::new().await;
    house.request("anna", "bert").await.expect("a request");
    let blocked = house.social.block(&caller("anna"), &user("bert")).await;
    assert_eq!(blocked.expect("blocked").standing, Standing::Blocked);
    assert_eq!(house.standing("bert", "anna").await, Standing::Is(Ended));
    house.fsck().await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_says_how_they_stand() {
    let house = House::new().await;
    let (anna, bert) = (caller("anna"), user("bert"));
    for refused in [
        house.social.accept(&anna, &bert).await,
        house.social.decline(&anna, &bert).await,
        house.social.withdraw(&anna, &bert).await,
        house.social.unfriend(&anna, &bert).await,
    ] {
        assert!(matches!(refused, Err(Error::WrongState(Standing::None))));
    }
    let nobody = house.request("anna", "nobody").await;
    assert!(matches!(nobody, Err(Error::NoSuchUser)));
    assert!(matches!(
        house.request("anna", "anna").await,
        Err(Error::Oneself)
    ));
    let mut guest = caller("anna");
    guest.is_guest = true;
    let refused = house.social.request(&guest, &bert, None).await;
    assert!(matches!(refused, Err(Error::Guest)));
    let long = Some("x".repeat(501));
    let refused = house.social.request(&anna, &bert, long).await;
    assert!(matches!(refused, Err(Error::Invalid(_))));
    assert_eq!(house.standing("anna", "bert").await, Standing::None);
}

#[tokio::test]
async fn every_change_of_an_entry_is_signalled_to_both() {
    let house = House::new().await;
    let version = async |name| house.data(name, "chat.hearth.friends").await["version"].as_u64();
    let mut before = (version("anna").await, version("bert").await);
    assert_eq!(before, (None, None));
    for step in 0..3 {
        match step {
            0 => house.request("anna", "bert").await,
            1 => house.accept("bert", "anna").await,
            _ => house.social.unfriend(&caller("anna"), &user("bert")).await,
        }
        .expect("done");
        house.rest().await;
        let after = (version("anna").await, version("bert").await);
        assert!(
            after.0 > before.0 && after.1 > before.1,
            "{step}: {before:?} {after:?}"
        );
        before = after;
    }
}

#[tokio::test]
async fn the_list_holds_everybody_once_and_is_paged() {
    let house = House::new().await;
    house.befriend("anna", "bert").await;
    house.request("cleo", "anna").await.expect("a request");
    house.request("anna", "dora").await.expect("a request");
    let blocked = house.social.block(&caller("anna"), &user("emil")).await;
    blocked.expect("blocked");
    let mut query = FriendQuery {
        limit: Some(1),
        ..FriendQuery::default()
    };
    let mut listed = Vec::new();
    loop {
        let page = house.social.friends(&user("anna"), &query).await;
        let page = page.expect("a page");
        assert!(page.friends.len() <= 1);
        listed.extend(page.friends);
        query.from = page.next;
        if query.from.is_none() {
            break;
        }
    }
    let listed: Vec<_> = listed
        .iter()
        .map(|friend| (friend.user.localpart(), friend.standing))
        .collect();
    assert_eq!(
        listed,
        [
            ("bert", Standing::Is(Friends)),
            ("cleo", Standing::Is(PendingIn)),
            ("dora", Standing::Is(PendingOut)),
            ("emil", Standing::Blocked),
        ]
    );
    let query = FriendQuery {
        standing: Some(Standing::Is(PendingIn)),
        ..FriendQuery::default()
    };
    let page = house.social.friends(&user("anna"), &query).await;
    assert_eq!(page.expect("a page").friends.len(), 1);
}

#[tokio::test]
async fn row09_the_circle_is_searched_by_name_and_id() {
    let house = House::new().await;
    for peer in ["bert", "cleo", "dora"] {
        house.befriend("anna", peer).await;
    }
    house.request("anna", "emil").await.expect("a request");
    let found = async |search: Option<&str>| -> Vec<String> {
        let circle = house.social.circle(&user("anna"), search, None).await;
        let users = circle.expect("a circle").users;
        users
            .iter()
            .map(|friend| friend.user.localpart().to_owned())
            .collect()
    };
    assert_eq!(found(None).await, ["bert", "cleo", "dora"]);
    assert_eq!(found(Some("dO")).await, ["dora"]);
    assert_eq!(found(Some("r")).await, ["bert", "dora"]);
    assert!(found(Some("emil")).await.is_empty());
    let circle = house.social.circle(&user("anna"), None, Some(2)).await;
    let circle = circle.expect("a circle");
    assert!(circle.is_limited && circle.users.len() == 2);
}

#[tokio::test]
async fn other_entries_of_m_direct_are_left_alone() {
    let house = House::new().await;
    let direct = json!({"@x:elsewhere": ["!1:elsewhere"], "@bert:house": ["!2:house"]});
    house.put_data("anna", "m.direct", direct).await;
    let room = house.befriend("anna", "bert").await;
    assert_eq!(
        house.direct("anna", "bert").await,
        [room.as_str(), "!2:house"]
    );
    house
        .social
        .unfriend(&caller("anna"), &user("bert"))
        .await
        .expect("ended");
    let left = house.data("anna", "m.direct").await;
    assert_eq!(left["@bert:house"], json!(["!2:house"]));
    assert_eq!(left["@x:elsewhere"], json!(["!1:elsewhere"]));
}
