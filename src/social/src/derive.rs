//! What memberships in their direct chats make of two people, from the side of one of them. Pure.

use hearth_data::RoomNo;
use hearth_data::social::{FriendRow, FriendState};
use ruma::OwnedRoomId;
use ruma::events::room::member::MembershipState;

/// A direct chat with the memberships of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chat {
    pub(crate) room: RoomNo,
    pub(crate) room_id: OwnedRoomId,
    pub(crate) mine: Option<MembershipState>,
    /// `None` also where this server cannot know.
    pub(crate) theirs: Option<MembershipState>,
}

/// Whether the other one is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocking {
    Yes,
    No,
}

/// Something that the server does for its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// The other one is not invited yet.
    Invite(Chat),
    /// Of two crossed requests this one stays.
    Join(Chat),
    /// The other one has left, is blocked, or this request is not the one that stays.
    Leave(Chat),
}

/// How two stand, from the side of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Derived {
    /// `None` if there never was anything.
    pub(crate) state: Option<FriendState>,
    /// The chat that the state is about.
    pub(crate) chat: Option<Chat>,
    pub(crate) acts: Vec<Act>,
}

impl Derived {
    /// Whether both have asked, and the user has yet to join the chat that stays.
    pub(crate) fn is_crossed(&self) -> bool {
        self.acts.iter().any(|act| matches!(act, Act::Join(_)))
    }
}

/// What a chat is to its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Both are in it.
    Open,
    /// The other one is invited, or about to be.
    Out,
    /// The user is invited.
    In,
    /// The user is in it or invited, the other one is gone.
    Left,
    /// The user is gone.
    Over,
    /// It does not concern the user yet.
    Foreign,
}

fn stage(chat: &Chat, previous: Option<&FriendRow>) -> Stage {
    use MembershipState::{Ban, Invite, Join, Leave};
    let is_claimed = || {
        previous.is_some_and(|row| {
            row.state == FriendState::PendingOut
                && row
                    .chat
                    .as_ref()
                    .is_some_and(|(room, _)| *room == chat.room)
        })
    };
    match (&chat.mine, &chat.theirs) {
        (Some(Join), Some(Join)) => Stage::Open,
        (Some(Join), Some(Invite)) => Stage::Out,
        (Some(Join), None) if is_claimed() => Stage::Out,
        (Some(Join | Invite), Some(Leave | Ban)) => Stage::Left,
        (Some(Invite), _) => Stage::In,
        (Some(Leave | Ban), _) => Stage::Over,
        _ => Stage::Foreign,
    }
}

/// How two stand. `chats` are all of them, in any order.
pub(crate) fn derive(previous: Option<&FriendRow>, chats: &[Chat], blocking: Blocking) -> Derived {
    let staged: Vec<(Stage, &Chat)> = chats
        .iter()
        .map(|chat| (stage(chat, previous), chat))
        .collect();
    let of = |wanted: Stage| {
        let mut found: Vec<&Chat> = staged
            .iter()
            .filter(|(stage, _)| *stage == wanted)
            .map(|(_, chat)| *chat)
            .collect();
        found.sort_by(|one, other| one.room_id.cmp(&other.room_id));
        found
    };
    let (open, out) = (of(Stage::Open), of(Stage::Out));
    let mut incoming = of(Stage::In);
    let mut acts: Vec<Act> = of(Stage::Left)
        .into_iter()
        .map(|chat| Act::Leave(chat.clone()))
        .collect();
    if blocking == Blocking::Yes {
        acts.extend(incoming.drain(..).map(|chat| Act::Leave(chat.clone())));
    }
    let kept = |of: &[&Chat]| {
        let chat = previous.and_then(|row| row.chat.as_ref());
        let same = chat.and_then(|(room, _)| of.iter().find(|chat| chat.room == *room));
        same.or(of.first()).map(|chat| (*chat).clone())
    };
    let (state, chat) = if let Some(chat) = kept(&open) {
        (Some(FriendState::Friend), Some(chat))
    } else if !out.is_empty() && !incoming.is_empty() {
        let (state, chat) = crossed(&out, &incoming, &mut acts);
        (Some(state), Some(chat))
    } else if let Some(chat) = kept(&out) {
        (Some(FriendState::PendingOut), Some(chat))
    } else if let Some(chat) = kept(&incoming) {
        if previous.is_some_and(|row| has_asked(row, &chat, &of(Stage::Left))) {
            acts.push(Act::Join(chat.clone()));
        }
        (Some(FriendState::PendingIn), Some(chat))
    } else {
        let is_something = |(stage, _): &(Stage, &Chat)| *stage != Stage::Foreign;
        let was = previous.is_some() || staged.iter().any(is_something);
        (was.then_some(FriendState::Ended), None)
    };
    let uninvited = out.iter().filter(|chat| chat.theirs.is_none());
    let is_left = |chat: &Chat| acts.contains(&Act::Leave(chat.clone()));
    let invites: Vec<Act> = uninvited
        .filter(|chat| !is_left(chat))
        .map(|chat| Act::Invite((*chat).clone()))
        .collect();
    acts.extend(invites);
    Derived { state, chat, acts }
}

/// Whether the user herself had asked who asks her now, although nothing but the other's request is left: the other server
/// knew sooner which of the two stays, and has declined hers.
fn has_asked(row: &FriendRow, incoming: &Chat, left: &[&Chat]) -> bool {
    let Some((room, _)) = &row.chat else {
        return false;
    };
    match row.state {
        FriendState::PendingIn => row.is_crossed && *room == incoming.room,
        FriendState::PendingOut => left.iter().any(|chat| chat.room == *room),
        FriendState::Friend | FriendState::Ended => false,
    }
}

/// Both have asked, so both want it: the room with the smaller id stays, whoever is invited there joins, the others
/// are left.
fn crossed(out: &[&Chat], incoming: &[&Chat], acts: &mut Vec<Act>) -> (FriendState, Chat) {
    let (first_out, first_in) = (out[0], incoming[0]);
    let (state, stays) = match first_out.room_id < first_in.room_id {
        true => (FriendState::PendingOut, first_out),
        false => (FriendState::PendingIn, first_in),
    };
    let others = out.iter().chain(incoming);
    let others = others.filter(|chat| chat.room != stays.room);
    acts.extend(others.map(|chat| Act::Leave((*chat).clone())));
    if state == FriendState::PendingIn {
        acts.push(Act::Join(stays.clone()));
    }
    (state, stays.clone())
}

#[cfg(test)]
mod tests;
