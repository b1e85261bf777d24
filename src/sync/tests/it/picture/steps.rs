//! What may happen: requests of users, and syncs of their clients.

use proptest::prelude::*;

/// Who takes part. The first one creates the rooms and stays in them.
pub(super) const NAMES: [&str; 4] = ["ann", "bob", "cat", "dan"];
/// How many rooms there are.
pub(super) const ROOMS: usize = 3;

/// One thing that happens. Numbers beyond what there is wrap around.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Join(usize, usize),
    Leave(usize, usize),
    /// By the creator: (target, room).
    Invite(usize, usize),
    Kick(usize, usize),
    Ban(usize, usize),
    Unban(usize, usize),
    Knock(usize, usize),
    Forget(usize, usize),
    Say(usize, usize, Message),
    /// (who, room, which event, what).
    Relate(usize, usize, usize, Relating),
    /// A change of the state: (room, which key).
    State(usize, u8),
    /// A change of a user's display name in a room.
    Rename(usize, usize),
    Visibility(usize, u8),
    /// Who may come in: (room, which rule).
    JoinRule(usize, u8),
    /// By the creator: (room, which event).
    Redact(usize, usize),
    /// (who, room, which event, what kind).
    Read(usize, usize, usize, Reading),
    FullyRead(usize, usize, usize),
    /// Account data: (who, room or none, which type).
    Data(usize, Option<usize>, u8),
    /// (who, which rule): turned on or off.
    PushRule(usize, Rule),
    /// (who, whom): ignores her, or not any more.
    Ignore(usize, usize),
    /// One client asks for news.
    Sync(usize, Asking),
    /// The reader is started anew and remembers nothing.
    Restart,
    /// All clients ask for news, and what they know is looked at.
    Check,
}

/// What a message says.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Plain,
    Notice,
    Keyword,
    Mention(usize),
}

/// How an event relates to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relating {
    Thread,
    Reference,
    Reaction,
    Edit,
}

/// What kind of receipt.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    Public,
    Private,
    /// In the thread of the event.
    Threaded,
}

/// Push rules that a user may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    Master,
    Keyword,
    Mute(usize),
    MuteSender(usize),
}

/// How a client asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) limit: u8,
    pub(super) state_after: bool,
    pub(super) full_state: bool,
    /// How many of its last answers the client has lost.
    pub(super) lost: usize,
    /// Gaps are closed from their old end.
    pub(super) forward: bool,
}

fn asking() -> impl Strategy<Value = Asking> {
    let lost = prop_oneof![4 => Just(0), 1 => 1..3_usize];
    let full = prop_oneof![8 => Just(false), 1 => Just(true)];
    let paging = (0..6_u8, any::<bool>());
    (paging, any::<bool>(), full, lost).prop_map(
        |((limit, forward), state_after, full_state, lost)| Asking {
            limit,
            state_after,
            full_state,
            lost,
            forward,
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        4 => Just(Message::Plain),
        1 => Just(Message::Notice),
        1 => Just(Message::Keyword),
        2 => (0..NAMES.len()).prop_map(Message::Mention),
    ]
}

fn relating() -> impl Strategy<Value = Relating> {
    prop_oneof![
        4 => Just(Relating::Thread),
        1 => Just(Relating::Reference),
        1 => Just(Relating::Reaction),
        2 => Just(Relating::Edit),
    ]
}

fn reading() -> impl Strategy<Value = Reading> {
    prop_oneof![
        Just(Reading::Public),
        Just(Reading::Private),
        Just(Reading::Threaded)
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    prop_oneof![
        1 => Just(Rule::Master),
        2 => Just(Rule::Keyword),
        2 => (0..ROOMS).prop_map(Rule::Mute),
        1 => (0..NAMES.len()).prop_map(Rule::MuteSender),
    ]
}

fn membership() -> impl Strategy<Value = Step> {
    let other = || (1..NAMES.len(), 0..ROOMS);
    prop_oneof![
        6 => other().prop_map(|(who, room)| Step::Join(who, room)),
        2 => other().prop_map(|(who, room)| Step::Leave(who, room)),
        2 => other().prop_map(|(who, room)| Step::Invite(who, room)),
        1 => other().prop_map(|(who, room)| Step::Kick(who, room)),
        1 => other().prop_map(|(who, room)| Step::Ban(who, room)),
        1 => other().prop_map(|(who, room)| Step::Unban(who, room)),
        1 => other().prop_map(|(who, room)| Step::Forget(who, room)),
        1 => other().prop_map(|(who, room)| Step::Rename(who, room)),
        2 => other().prop_map(|(who, room)| Step::Knock(who, room)),
        1 => (0..ROOMS, prop_oneof![3 => Just(0), 3 => Just(1), 1 => Just(2)])
            .prop_map(|(room, rule)| Step::JoinRule(room, rule)),
    ]
}

fn writing() -> impl Strategy<Value = Step> {
    let pair = || (0..NAMES.len(), 0..ROOMS);
    prop_oneof![
        8 => (pair(), message()).prop_map(|((who, room), said)| Step::Say(who, room, said)),
        5 => (pair(), 0..40_usize, relating())
            .prop_map(|((who, room), n, how)| Step::Relate(who, room, n, how)),
        3 => (0..ROOMS, 0..3_u8).prop_map(|(room, key)| Step::State(room, key)),
        1 => (0..ROOMS, 0..4_u8).prop_map(|(room, to)| Step::Visibility(room, to)),
        2 => (0..ROOMS, 0..40_usize).prop_map(|(room, n)| Step::Redact(room, n)),
    ]
}

fn following() -> impl Strategy<Value = Step> {
    let pair = || (0..NAMES.len(), 0..ROOMS);
    let some_room = prop::option::of(0..ROOMS);
    prop_oneof![
        6 => (pair(), 0..40_usize, reading())
            .prop_map(|((who, room), n, kind)| Step::Read(who, room, n, kind)),
        1 => (pair(), 0..40_usize).prop_map(|((who, room), n)| Step::FullyRead(who, room, n)),
        2 => (0..NAMES.len(), some_room, 0..3_u8)
            .prop_map(|(who, room, kind)| Step::Data(who, room, kind)),
        2 => (0..NAMES.len(), rule()).prop_map(|(who, rule)| Step::PushRule(who, rule)),
        1 => (0..NAMES.len(), 0..NAMES.len()).prop_map(|(who, whom)| Step::Ignore(who, whom)),
    ]
}

/// Steps of a history in which users come and go a lot.
pub(super) fn coming_and_going() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => membership(),
        8 => writing(),
        6 => (0..NAMES.len(), asking()).prop_map(|(who, asking)| Step::Sync(who, asking)),
        1 => Just(Step::Check),
    ]
}

/// Any step.
pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        7 => membership(),
        12 => writing(),
        6 => following(),
        8 => (0..NAMES.len(), asking()).prop_map(|(who, asking)| Step::Sync(who, asking)),
        1 => Just(Step::Restart),
        1 => Just(Step::Check),
    ]
}
