use std::collections::BTreeMap;

use MembershipState::{Invite, Join};
use hearth_rooms::{Publish, RoomKind};
use ruma::events::room::member::MembershipState;

use super::fixture::*;
use crate::{Error, GroupList, GroupQuery, NewGroup};

async fn listed(house: &House, name: &str, list: GroupList, search: Option<&str>) -> Vec<String> {
    let query = GroupQuery {
        list,
        search: search.map(ToOwned::to_owned),
        from: None,
        limit: None,
    };
    let page = house.social.groups(&user(name), &query).await;
    let groups = page.expect("a page").groups;
    groups
        .into_iter()
        .map(|group| group.name.unwrap_or_default())
        .collect()
}

fn group(name: &str, publish: Publish) -> NewGroup {
    NewGroup {
        name: name.to_owned(),
        publish,
        ..NewGroup::default()
    }
}

#[tokio::test]
async fn row04_who_makes_a_group_is_a_member_from_the_start() {
    let house = House::new().await;
    let made = house
        .social
        .create_group(&caller("anna"), group("Garden", Publish::Public))
        .await
        .expect("a group");
    assert_eq!(made.membership, Some(Join));
    assert_eq!(made.kind, RoomKind::Group);
    assert_eq!(made.creator, Some(user("anna")));
    assert_eq!(made.joined, 1);
    assert_eq!(house.membership("anna", &made.room).await, Some(Join));
    assert!(
        listed(&house, "anna", GroupList::Open, None)
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn row08_groups_are_listed_apart() {
    let house = House::new().await;
    house.befriend("anna", "bert").await;
    let own = group("Mine", Publish::Private);
    house
        .social
        .create_group(&caller("anna"), own)
        .await
        .expect("a group");
    let joined = house.public_room("bert", "Joined").await;
    house.join("anna", &joined).await;
    house.public_room("bert", "Open").await;
    let invited = NewGroup {
        invite: users(&["anna"]),
        ..group("Invited", Publish::Private)
    };
    house
        .social
        .create_group(&caller("bert"), invited)
        .await
        .expect("a group");
    let lists = [
        (GroupList::Created, "Mine"),
        (GroupList::Joined, "Joined"),
        (GroupList::Invited, "Invited"),
        (GroupList::Open, "Open"),
    ];
    for (list, name) in lists {
        assert_eq!(listed(&house, "anna", list, None).await, [name], "{list:?}");
        assert_eq!(listed(&house, "anna", list, Some("n")).await, [name]);
        assert!(listed(&house, "anna", list, Some("zzz")).await.is_empty());
    }
}

#[tokio::test]
async fn row03_open_groups_are_found_paged_and_joined() {
    let house = House::new().await;
    let mut rooms = BTreeMap::new();
    for number in 0..7 {
        let name = format!("Open {number}");
        rooms.insert(name.clone(), house.public_room("bert", &name).await);
    }
    let mut query = GroupQuery {
        list: GroupList::Open,
        search: None,
        from: None,
        limit: Some(3),
    };
    let mut found = Vec::new();
    loop {
        let page = house
            .social
            .groups(&user("anna"), &query)
            .await
            .expect("a page");
        assert!(page.groups.len() <= 3);
        found.extend(page.groups.into_iter().filter_map(|group| group.name));
        query.from = page.next;
        if query.from.is_none() {
            break;
        }
    }
    assert_eq!(found, rooms.keys().cloned().collect::<Vec<_>>());
    house.join("anna", &rooms["Open 3"]).await;
    let open = listed(&house, "anna", GroupList::Open, None).await;
    assert_eq!(open.len(), 6);
    assert_eq!(
        listed(&house, "anna", GroupList::Joined, None).await,
        ["Open 3"]
    );
}

#[tokio::test]
async fn row09_only_friends_can_be_put_into_a_group() {
    let house = House::new().await;
    house.befriend("anna", "bert").await;
    let stranger = NewGroup {
        invite: users(&["bert", "cleo"]),
        ..group("Garden", Publish::Private)
    };
    let refused = house.social.create_group(&caller("anna"), stranger).await;
    assert!(matches!(refused, Err(Error::NotInCircle(who)) if who == "@cleo:house"));
    let opened = house
        .social
        .open_private_group(&caller("anna"), users(&["bert", "cleo"]), None)
        .await;
    assert!(matches!(opened, Err(Error::NotInCircle(_))));
}

#[tokio::test]
async fn row10_the_same_set_leads_to_the_same_private_group() {
    let house = House::new().await;
    for peer in ["bert", "cleo", "dora"] {
        house.befriend("anna", peer).await;
    }
    let open = async |name: &str, others: &[&str]| {
        let opened = house
            .social
            .open_private_group(&caller(name), users(others), None)
            .await;
        opened.expect("a group")
    };
    let first = open("anna", &["bert", "cleo"]).await;
    assert!(first.is_new);
    assert_eq!(first.group.kind, RoomKind::PrivateGroup);
    assert_eq!(
        house.membership("bert", &first.group.room).await,
        Some(Invite)
    );
    house
        .say("anna", &first.group.room, "hello")
        .await
        .expect("sent");
    let again = open("anna", &["cleo", "bert", "anna", "bert"]).await;
    assert_eq!(
        (again.is_new, again.group.room),
        (false, first.group.room.clone())
    );
    // Bert and Cleo are no friends: to find the group they need not be.
    let theirs = open("bert", &["anna", "cleo"]).await;
    assert_eq!(theirs.group.room, first.group.room);
    assert_eq!(theirs.group.membership, Some(Join));
    let larger = open("anna", &["bert", "cleo", "dora"]).await;
    assert_ne!(larger.group.room, first.group.room);
    let smaller = open("anna", &["bert"]).await;
    assert!(smaller.is_new);
    house.fsck().await;
}

#[tokio::test]
async fn row10_the_set_is_that_of_now() {
    let house = House::new().await;
    for peer in ["bert", "cleo"] {
        house.befriend("anna", peer).await;
    }
    let open = async |others: &[&str]| {
        let opened = house
            .social
            .open_private_group(&caller("anna"), users(others), None)
            .await;
        opened.expect("a group")
    };
    let three = open(&["bert", "cleo"]).await.group.room;
    house.leave("cleo", &three).await;
    let two = open(&["bert"]).await;
    assert_eq!((two.is_new, two.group.room), (false, three.clone()));
    let new = open(&["bert", "cleo"]).await;
    assert!(new.is_new);
    assert_ne!(new.group.room, three);
}
