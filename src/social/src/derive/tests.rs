use MembershipState::{Ban, Invite, Join, Leave};
use hearth_types::UnixMs;
use ruma::RoomId;

use super::*;

fn chat(room: u64, mine: Option<MembershipState>, theirs: Option<MembershipState>) -> Chat {
    Chat {
        room: RoomNo(room),
        room_id: RoomId::parse(format!("!{room}:house")).expect("a room id"),
        mine,
        theirs,
    }
}

fn row(state: FriendState, room: u64) -> FriendRow {
    let chat = chat(room, None, None);
    FriendRow {
        state,
        since: UnixMs(0),
        chat: (state != FriendState::Ended).then_some((chat.room, chat.room_id)),
        ending: None,
        message: None,
        is_crossed: false,
    }
}

/// State, room, and acts as `leave 1`.
fn told(derived: &Derived) -> (Option<FriendState>, Option<u64>, Vec<String>) {
    let acts = derived.acts.iter().map(|act| match act {
        Act::Invite(chat) => format!("invite {}", chat.room.0),
        Act::Join(chat) => format!("join {}", chat.room.0),
        Act::Leave(chat) => format!("leave {}", chat.room.0),
    });
    let room = derived.chat.as_ref().map(|chat| chat.room.0);
    (derived.state, room, acts.collect())
}

#[test]
fn one_chat_says_how_two_stand() {
    use FriendState::{Ended, Friend, PendingIn, PendingOut};
    let cases = [
        (Some(Join), Some(Join), Some(Friend), vec![]),
        (Some(Join), Some(Invite), Some(PendingOut), vec![]),
        (Some(Invite), Some(Join), Some(PendingIn), vec![]),
        (Some(Invite), None, Some(PendingIn), vec![]),
        (Some(Join), Some(Leave), Some(Ended), vec!["leave 1"]),
        (Some(Join), Some(Ban), Some(Ended), vec!["leave 1"]),
        (Some(Invite), Some(Leave), Some(Ended), vec!["leave 1"]),
        (Some(Leave), Some(Join), Some(Ended), vec![]),
        (Some(Leave), Some(Leave), Some(Ended), vec![]),
        (Some(Ban), Some(Join), Some(Ended), vec![]),
        (None, Some(Join), None, vec![]),
        (Some(Join), None, None, vec![]),
    ];
    for (mine, theirs, state, acts) in cases {
        let at = format!("{mine:?} {theirs:?}");
        let derived = derive(None, &[chat(1, mine, theirs)], Blocking::No);
        let (found, room, done) = told(&derived);
        assert_eq!(found, state, "{at}");
        assert_eq!(done, acts, "{at}");
        let has_room = matches!(state, Some(Friend | PendingIn | PendingOut));
        assert_eq!(room.is_some(), has_room, "{at}");
    }
}

#[test]
fn a_request_whose_invite_is_not_out_yet_is_one_and_is_sent() {
    let chats = [chat(1, Some(Join), None)];
    let before = row(FriendState::PendingOut, 1);
    let derived = derive(Some(&before), &chats, Blocking::No);
    let invite = vec!["invite 1".to_owned()];
    assert_eq!(
        told(&derived),
        (Some(FriendState::PendingOut), Some(1), invite)
    );
}

#[test]
fn of_crossed_requests_the_smaller_room_id_stays_on_both_sides() {
    let mine = [
        chat(1, Some(Join), Some(Invite)),
        chat(2, Some(Invite), Some(Join)),
    ];
    let theirs = [
        chat(1, Some(Invite), Some(Join)),
        chat(2, Some(Join), Some(Invite)),
    ];
    let derived = derive(None, &mine, Blocking::No);
    let left = vec!["leave 2".to_owned()];
    assert_eq!(
        told(&derived),
        (Some(FriendState::PendingOut), Some(1), left.clone())
    );
    let derived = derive(None, &theirs, Blocking::No);
    let done = vec!["leave 2".to_owned(), "join 1".to_owned()];
    assert_eq!(
        told(&derived),
        (Some(FriendState::PendingIn), Some(1), done)
    );
}

#[test]
fn whoever_has_asked_joins_though_her_own_request_was_declined_for_the_other() {
    let theirs = chat(1, Some(Invite), None);
    let mine = chat(2, Some(Join), Some(Leave));
    let over = chat(2, Some(Leave), Some(Leave));
    let pending = FriendState::PendingIn;
    let joins = |acts: &[&str]| {
        let acts = acts.iter().map(|act| (*act).to_owned()).collect();
        (Some(pending), Some(1), acts)
    };
    // Both came at once.
    let asked = row(FriendState::PendingOut, 2);
    let chats = [theirs.clone(), mine.clone()];
    let derived = derive(Some(&asked), &chats, Blocking::No);
    assert_eq!(told(&derived), joins(&["leave 2", "join 1"]));
    assert!(derived.is_crossed());
    // One after the other, until it is done.
    let crossed = FriendRow {
        is_crossed: true,
        ..row(pending, 1)
    };
    let derived = derive(Some(&crossed), &chats, Blocking::No);
    assert_eq!(told(&derived), joins(&["leave 2", "join 1"]));
    let derived = derive(Some(&crossed), &[theirs.clone(), over], Blocking::No);
    assert_eq!(told(&derived), joins(&["join 1"]));
    // Who has ended it before, or asks of somebody else's accord, waits for an answer.
    for before in [
        row(FriendState::Friend, 2),
        row(pending, 1),
        row(FriendState::Ended, 2),
    ] {
        let derived = derive(Some(&before), &chats, Blocking::No);
        assert_eq!(told(&derived), joins(&["leave 2"]), "{before:?}");
        assert!(!derived.is_crossed());
    }
}

#[test]
fn an_open_chat_outlives_further_requests_and_stays_the_same() {
    let chats = [
        chat(1, Some(Join), Some(Join)),
        chat(2, Some(Join), Some(Join)),
        chat(3, Some(Invite), Some(Join)),
    ];
    let derived = derive(None, &chats, Blocking::No);
    assert_eq!(told(&derived), (Some(FriendState::Friend), Some(1), vec![]));
    let before = row(FriendState::Friend, 2);
    let derived = derive(Some(&before), &chats, Blocking::No);
    assert_eq!(told(&derived), (Some(FriendState::Friend), Some(2), vec![]));
}

#[test]
fn requests_of_a_blocked_user_are_declined() {
    let chats = [
        chat(1, Some(Leave), Some(Leave)),
        chat(2, Some(Invite), Some(Join)),
    ];
    let before = row(FriendState::Ended, 1);
    let derived = derive(Some(&before), &chats, Blocking::Yes);
    let left = vec!["leave 2".to_owned()];
    assert_eq!(told(&derived), (Some(FriendState::Ended), None, left));
}

/// Whatever the memberships are: what each side does for itself ends, and both ends agree.
#[test]
fn doing_what_is_derived_comes_to_an_end_on_which_both_agree() {
    let memberships = [None, Some(Join), Some(Invite), Some(Leave), Some(Ban)];
    let pairs: Vec<_> = memberships
        .iter()
        .flat_map(|one| {
            memberships
                .iter()
                .map(move |other| (one.clone(), other.clone()))
        })
        // Somebody has to be in a room for anything to be seen of it.
        .filter(|(one, other)| *one == Some(Join) || *other == Some(Join))
        .collect();
    for first in &pairs {
        for second in &pairs {
            let mut rooms = [first.clone(), second.clone()];
            let at = format!("{rooms:?}");
            let mut rounds = 0;
            while step(&mut rooms) {
                rounds += 1;
                assert!(rounds < 10, "{at} goes on for ever");
            }
            let (mine, theirs) = (side(&rooms, 0), side(&rooms, 1));
            let agree = match mine.state {
                Some(FriendState::Friend) => theirs.state == Some(FriendState::Friend),
                Some(FriendState::PendingOut) => theirs.state == Some(FriendState::PendingIn),
                Some(FriendState::PendingIn) => theirs.state == Some(FriendState::PendingOut),
                Some(FriendState::Ended) | None => {
                    matches!(theirs.state, Some(FriendState::Ended) | None)
                }
            };
            assert!(agree, "{at}: {:?} and {:?}", mine.state, theirs.state);
        }
    }
}

type Room = (Option<MembershipState>, Option<MembershipState>);

fn side(rooms: &[Room; 2], who: usize) -> Derived {
    let chats: Vec<Chat> = rooms
        .iter()
        .zip(1..)
        .map(|((one, other), number)| match who {
            0 => chat(number, one.clone(), other.clone()),
            _ => chat(number, other.clone(), one.clone()),
        })
        .collect();
    derive(None, &chats, Blocking::No)
}

/// Lets both do what is derived; whether that was anything.
fn step(rooms: &mut [Room; 2]) -> bool {
    let mut acted = false;
    for who in 0..2 {
        for act in side(rooms, who).acts {
            let (chat, after) = match act {
                Act::Invite(_) => panic!("nothing was claimed"),
                Act::Join(chat) => (chat, Join),
                Act::Leave(chat) => (chat, Leave),
            };
            let index = usize::try_from(chat.room.0).expect("small") - 1;
            match who {
                0 => rooms[index].0 = Some(after),
                _ => rooms[index].1 = Some(after),
            }
            acted = true;
        }
    }
    acted
}
